"""Pages under load: a million daily readers' requests on this machine, the load generator included.

The service runs as it is started by hand, behind a real Caddy, on a flood of made-up events and on its own settings.
Readers ask from another process on pooled connections, each request with a token of its own, as their apps do: of ten
requests six are pages, three tell what was seen, one is another. Rates are of pages, whether answers come or not. A
time is from when a page was due to its last byte. CPU and ratios of one run are told beside times, because they do not
depend on who else uses the machine; rates are also told as shares of the highest that this machine can do.
"""

from __future__ import annotations

import gc
import json
import os
import random
import tempfile
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from feedgen.simnet.process import SimnetProcess
from scripts.benchmarks import Figure, Params, _holds, _http_layer
from scripts.benchmarks._service import (
    AUDIENCE,
    FEED,
    SEED,
    Readers,
    Service,
    errors_of,
    flood,
    known_accounts,
    said,
    stopping,
)

PARAMETERS = {
    "ratings": 2_000_000,  # what the service knows
    "people": 60_000,  # who made them
    "readers": 10_000,  # of these people, who ask
    "rate": 420.0,  # pages/s: 1M readers, 22 requests a day, in the busiest hour
    "seconds": 15.0,  # of each phase
    "probe_seconds": 6.0,  # of each rate that is tried in search of the highest
    "most_pages_s": 3000.0,  # no more is tried
    "events_s": 2_000,  # while ingesting
    "kept_readers": 1_000_000,  # for the memory a reader takes
    "likes": 20,  # for the time from a like to its effect
    "parts": "http holds load like memory",  # what to measure
}
WARM_UP_S = 4.0
SETTLE_S = 30.0  # after a start, which is measured elsewhere (boot): popular lists are renewed often at first
ASK_EVERY_S = 0.025  # a reader who asks more than sixty times at once is refused
DIFFERENT_READERS = 1_000
GOOD_P99_MS = 150.0
STEP = 1.3  # between two rates that are tried
AT_EASE = 0.6  # of the highest rate, beside the live stream
OVERLOAD = 2.0  # times the highest rate


def under_load(params: Params, folder: Path) -> Iterable[Figure]:
    rate, seconds = float(params["rate"]), float(params["seconds"])
    readers = Readers(params)
    known_accounts(folder, readers.dids, readers.keys)
    with stopping(readers):
        with flood(params, "--ratings", str(params["ratings"])) as network:
            service = Service(folder, network.urls.jetstream[0], network.urls.plc, caddy=True)
            with stopping(service):
                service.idle(int(params["ratings"]))
                readers.phase(service, network, rate / 4, WARM_UP_S)
                calm = readers.phase(service, network, rate, seconds)
                yield Figure("serve.p99_ms", calm["p99_ms"], "ms", said(calm))
                yield Figure("serve.errors", errors_of(calm), "requests", f"of {calm['sent']}")
                yield Figure("serve.cpu_ms", calm["service_ms"], "ms/page", "all threads, interactions included")
                yield Figure("serve.loop_cpu_ms", calm["loop_ms"], "ms/page", "the event loop's thread")
                highest = _highest(params, readers, service, network, rate)
                yield Figure(
                    "serve.capacity_per_s", highest, "pages/s", f"{rate / max(highest, 1):.0%} of it are {rate:.0f}/s"
                )
                ease = readers.phase(service, network, AT_EASE * highest, seconds)
                hard = readers.phase(service, network, OVERLOAD * highest, seconds)
                yield Figure("serve.overload_p99_ms", hard["p99_ms"], "ms", said(hard))
                yield Figure("serve.overload_errors", errors_of(hard), "requests", f"of {hard['sent']}")
        yield from _while_ingesting(params, folder, readers, ease)


def _highest(params: Params, readers: Readers, service: Service, network: Any, rate: float) -> float:
    """The highest rate of pages at which p99 is good and nothing fails; up or down by steps, then halfway once."""

    def holds(pages_s: float) -> bool:
        found = readers.phase(service, network, pages_s, float(params["probe_seconds"]))
        good = found["p99_ms"] < GOOD_P99_MS and not errors_of(found) and not found["files"]
        return bool(good and found["rate"] > 0.95 * pages_s)

    good, bad = 0.0, 0.0
    while not (good and bad) and 10 < rate < float(params["most_pages_s"]):
        if holds(rate):
            good, rate = rate, rate * STEP
        else:
            bad, rate = rate, rate / STEP
    middle = (good + bad) / 2
    return middle if good and bad and holds(middle) else good


def _while_ingesting(params: Params, folder: Path, readers: Readers, ease: dict[str, Any]) -> Iterable[Figure]:
    """The same people go on, as fast as wanted, from now on: it is the live stream that is listened to, and not what
    was heard before. So the service is started anew.
    """
    per_s, hours = int(params["events_s"]), 2
    words = ("--ratings", str(round(per_s * 3600 * hours * 0.83)), "--span-h", str(hours), "--max-rate", str(per_s))
    later = str(time.time_ns() // 1000 + hours * 3_600_000_000)
    with flood(params, *words, "--now", later) as network:
        service = Service(folder, network.urls.jetstream[0], network.urls.plc, caddy=True)
        with stopping(service):
            readers.phase(service, network, float(params["rate"]) / 4, SETTLE_S)
            before, began_s = service.health()["jetstream"]["events"], time.monotonic()
            busy = readers.phase(service, network, ease["asked_rate"], float(params["seconds"]))
            events_s = (service.health()["jetstream"]["events"] - before) / (time.monotonic() - began_s)
            ratio, note = busy["p99_ms"] / ease["p99_ms"], f"p99 {busy['p99_ms']:.1f} against {ease['p99_ms']:.1f} ms; "
            yield Figure("serve.ingest_ratio", ratio, "x", f"{note}{events_s:.0f} events/s; {said(busy)}")


def like_to_page(params: Params, folder: Path) -> Iterable[Figure]:
    """How long a like takes from the wire to the reader's next first page, on a network of which all is heard."""
    with SimnetProcess("--people", "300", "--days", "1", "--rate", "10", "--wait", "--lookback-h", "-1") as network:
        service = Service(folder, network.urls.jetstream[0], network.urls.plc, network.urls.pds)
        with stopping(service):
            service.live()
            times = sorted(_one_like(network, service, n) for n in range(int(params["likes"])))
    note = f"median of {len(times)}, the slowest {times[-1]:.3f}; asked every {ASK_EVERY_S * 1000:.0f} ms"
    yield Figure("serve.like_to_page_s", times[len(times) // 2], "s", note)


def _one_like(network: SimnetProcess, service: Service, n: int) -> float:
    reader = network.control("readers?k=10")[n % 10]["person"]
    token = network.token(reader, AUDIENCE, lifetime_s=600)
    url = f"http://127.0.0.1:{service.port}/xrpc/app.bsky.feed.getFeedSkeleton?limit=30&feed={FEED}"
    request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})

    def page() -> list[str]:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return [item["post"] for item in json.load(answer)["feed"]]

    post = page()[0]
    time.sleep(2.0 + n * 0.618 % 1 / 2)  # so that likes come at any time between two looks at the stream
    network.control("like", {"person": reader, "post": post})
    began_s = time.perf_counter()
    while post in page():
        time.sleep(ASK_EVERY_S)
    return time.perf_counter() - began_s


def memory(params: Params) -> Iterable[Figure]:
    """Readers of an ordinary day, as they are kept: 22 requests a day, for two and a half days; and their last lists.

    So many states take long to make up: some are, and each is kept by many readers, in bytes of its own.
    """
    from feedgen.rank.paging import Snapshots
    from feedgen.rank.seen import Readers as States
    from feedgen.rank.seen import ReaderState

    n, now_us = int(params["kept_readers"]), time.time_ns() // 1000
    posts, packed = _Posts(random.Random(SEED), now_us), list[bytes]()
    for _ in range(DIFFERENT_READERS):
        state = ReaderState()
        posts.read(state)
        packed.append(state.pack())
    states, lists = States(), Snapshots()
    gc.collect()
    before = _resident_bytes()
    for i in range(n):
        reader = i * 0x9E37_79B9_7F4A_7C15 & (1 << 64) - 1
        states.put(reader, bytes(bytearray(packed[i % len(packed)])))
        states.get(reader)  # unpacked, as for a page
        lists.put(1, reader, np.arange(500, dtype=np.uint32), np.zeros(500, np.uint8), now_us)
    gc.collect()
    used = _resident_bytes() - before
    on_disk = sum(map(len, packed)) / len(packed)
    note = (
        f"{n} readers, {posts.mean:.0f} posts served to each; {used / 2**20:.0f} MiB in all: {len(states)} readers "
        f"and {len(lists)} lists are in memory, all others in viewers.db"
    )
    yield Figure("serve.bytes_per_reader", used / n, "B", note)
    yield Figure("serve.disk_bytes_per_reader", on_disk, "B", "as packed for viewers.db")


class _Posts:
    """What readers are shown: posts of the last day, some to many readers, in sessions of two and a half days."""

    def __init__(self, chance: random.Random, now_us: int) -> None:
        self.chance, self.now_us = chance, now_us
        self.readers = self.shown = 0

    @property
    def mean(self) -> float:
        return self.shown / max(self.readers, 1)

    def read(self, state: Any) -> None:
        """Readers differ: 22 requests are the mean of a long tail."""
        self.readers += 1
        day = self.now_us // 86_400_000_000
        for half_day in range(5):
            pages = min(int(self.chance.expovariate(1 / 11)), 60)
            at_us = self.now_us - (4 - half_day) * 43_200_000_000
            slot = (day - (4 - half_day) // 2) % 256
            for _ in range(pages):
                served = [slot << 24 | self.chance.randrange(3_300_000) for _ in range(30)]
                state.was_served(served, at_us)
                if self.chance.random() < 0.55:
                    state.saw(served, at_us)
                self.shown += 30


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * int(os.sysconf("SC_PAGE_SIZE"))


def run(params: Params) -> Iterable[Figure]:
    parts = str(params["parts"]).split()
    if "http" in parts:
        yield from _http_layer.compare()
    for name, measure in {"holds": _holds.longest, "load": under_load, "like": like_to_page}.items():
        if name in parts:
            with tempfile.TemporaryDirectory() as folder:
                yield from measure(params, Path(folder))
    if "memory" in parts:
        yield from memory(params)
