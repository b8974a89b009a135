"""Pages under load: a million daily readers' requests on this machine, the load generator included.

The service runs as it is started by hand, on a flood of made-up events and on its own settings; readers ask from
another process, each request with a token of its own, at a fixed rate whether answers come or not. A time is from when
a request was due to its last byte. CPU is told beside times, because it does not depend on who else uses the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from feedgen.simnet.process import SimnetProcess
from scripts.benchmarks import Figure, Params
from scripts.benchmarks.flood import FloodProcess

PARAMETERS = {
    "ratings": 2_000_000,  # what the service knows
    "people": 60_000,  # who made them
    "readers": 10_000,  # of these people, who ask
    "rate": 420.0,  # requests/s: 1M readers, 22 requests a day, in the busiest hour
    "seconds": 20.0,  # of each phase
    "overload": 3.0,  # times the rate
    "events_s": 2_000,  # while ingesting
    "kept_readers": 1_000_000,  # for the memory a reader takes
    "likes": 20,  # for the time from a like to its effect
    "parts": "load like memory",  # what to measure
}
FIRST_SHARE = 0.45
HOST = "feed.example.com"
AUDIENCE = f"did:web:{HOST}"
PUBLISHER = "did:plc:publisheraaaaaaaaaaaaaaa"
FEED = f"at://{PUBLISHER}/app.bsky.feed.generator/for-you"
SEED = 1
WARM_UP_S = 4.0
SETTLE_S = 30.0  # after a start, which is measured elsewhere (boot): popular lists are renewed often at first
PATIENCE_S = 600.0
ASK_EVERY_S = 0.025  # a reader who asks more than sixty times at once is refused
QUIET_S = 3.0  # longer than the service gathers old events for
DIFFERENT_READERS = 1_000
TICKS_S = os.sysconf("SC_CLK_TCK")


class Service:
    """`feedgen run` in a process of its own."""

    def __init__(
        self,
        folder: Path,
        jetstream: str,
        plc: str,
        pds: str = "",
        program: Sequence[str] = (sys.executable, "-m", "feedgen"),
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        settings = {
            "store.dir": folder / "data",
            "service.hostname": HOST,
            "service.publisher_did": PUBLISHER,
            "service.bind": "127.0.0.1:0",
            "log.format": "json",
            "jetstream.urls": jetstream,
            "identity.plc_url": plc,
            "labels.enabled": "false",
        } | ({"identity.trusted_pds": pds} if pds else {})
        settings.update(more)
        command = [*program, "run"]
        for name, value in settings.items():
            command += ["--set", f"{name}={value}"]
        self._log = (folder / "service.log").open("a+")
        self._log.seek(0, os.SEEK_END)
        self._from = self._log.tell()
        self.process = subprocess.Popen(command, stderr=self._log)
        self.port = self._wait(self._bound)

    def _bound(self) -> int:
        self._log.seek(self._from)
        for line in self._log:
            if '"answering"' in line and line.endswith("\n"):
                return int(json.loads(line)["bind"].rpartition(":")[2])
        return 0

    def _wait(self, look: Any, every_s: float = 0.1) -> Any:
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            if found := look():
                return found
            if self.process.poll() is not None:
                self._log.seek(self._from)
                raise RuntimeError(f"the service ended: {self._log.read()[-2000:]}")
            time.sleep(every_s)
        raise RuntimeError("the service takes too long")

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/xrpc/_health", timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def idle(self, at_least: int = 1) -> None:
        """Until everything that was told is in, and what was kept is read, and nothing more comes."""
        last = -1

        def still() -> bool:
            nonlocal last
            told = self.health()
            before, last = last, told["jetstream"]["events"]
            return bool(told["store"]["whole"] and last == before and last >= at_least)

        self._wait(still, QUIET_S)

    def live(self) -> None:
        """Until what comes is new."""

        def new() -> bool:
            behind_s = self.health()["jetstream"]["behind_s"]
            return behind_s is not None and bool(behind_s < QUIET_S)

        self._wait(new)

    @property
    def cpu_s(self) -> float:
        return cpu_s(self.process)

    @property
    def loop_s(self) -> float:
        """CPU seconds of the event loop, which is the first thread."""
        told = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/schedstat").read_text()
        return int(told.split()[0]) / 1e9

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self.process.wait()
        self._log.close()


def cpu_s(process: subprocess.Popen[Any]) -> float:
    """What a process has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_S


class Readers:
    """The load generator."""

    def __init__(self, params: Params) -> None:
        command = [sys.executable, "-m", "scripts.benchmarks._load"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        config = {
            "port": 0,
            "feed": FEED,
            "audience": AUDIENCE,
            "seed": SEED,
            "people": params["people"],
            "readers": params["readers"],
            "first_share": FIRST_SHARE,
        }
        made = self.ask(config)
        self.dids, self.keys = made["dids"], made["keys"]

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def phase(self, service: Service, network: SimnetProcess, rate: float, seconds: float) -> dict[str, Any]:
        used, lists, loop_s = self._used(service, network), service.health()["lists"], service.loop_s
        found = self.ask({"port": service.port, "rate": rate, "seconds": seconds})
        used = {name: value - used[name] for name, value in self._used(service, network).items()}
        found["service_ms"] = used["service"] * 1000 / max(found["sent"], 1)
        found["loop_ms"] = (service.loop_s - loop_s) * 1000 / max(found["sent"], 1)
        found["cores"] = {name: value / found["took_s"] for name, value in used.items()}
        found["lists"] = {k: v - lists.get(k, 0) for k, v in service.health()["lists"].items() if v > lists.get(k, 0)}
        return found

    def _used(self, service: Service, network: SimnetProcess) -> dict[str, float]:
        """CPU seconds of everybody who shares the machine in a benchmark."""
        return {"service": service.cpu_s, "readers": cpu_s(self.process), "network": cpu_s(network.process)}

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextlib.contextmanager
def stopping(*parts: Any) -> Iterator[None]:
    try:
        yield
    finally:
        for part in parts:
            part.stop()


def known_accounts(folder: Path, dids: list[str], keys: list[str]) -> None:
    """Readers whose documents were looked up before, as nearly all are."""
    from feedgen.store.viewers import Account, Viewers

    async def put() -> None:
        (folder / "data").mkdir(exist_ok=True)
        async with await Viewers.open(folder / "data") as viewers:
            for did, key in zip(dids, keys, strict=True):
                account = Account(did, "Multikey", key, "", "", time.time_ns() // 10**9)
                await viewers.put_account(account)

    asyncio.run(put())


def said(found: dict[str, Any]) -> str:
    lists = ", ".join(f"{count} {kind}" for kind, count in found["lists"].items())
    cores = ", ".join(f"{name} {used:.2f}" for name, used in found["cores"].items())
    errors = f", errors {found['errors']}" if found["errors"] else ""
    return (
        f"{found['rate']:.0f}/s, p50 {found['p50_ms']:.1f} p90 {found['p90_ms']:.1f} max {found['max_ms']:.0f} ms; "
        f"CPU {found['service_ms']:.2f} ms a request, {found['loop_ms']:.2f} of it the event loop's; "
        f"cores: {cores}; lists: {lists}; {found['items']:.1f} posts a page{errors}"
    )


def errors_of(found: dict[str, Any]) -> int:
    return int(sum(found["errors"].values()) + found["sent"] - found["answered"])


def flood(params: Params, *more: str) -> FloodProcess:
    words = ["--seed", str(SEED), "--people", str(params["people"]), "--hosts", "v2", "--batched", *more]
    return FloodProcess(*words, "--lookback-h", "-1")


def under_load(params: Params, folder: Path) -> Iterable[Figure]:
    rate, seconds = float(params["rate"]), float(params["seconds"])
    readers = Readers(params)
    known_accounts(folder, readers.dids, readers.keys)
    with stopping(readers):
        with flood(params, "--ratings", str(params["ratings"])) as network:
            service = Service(folder, network.urls.jetstream[0], network.urls.plc)
            with stopping(service):
                service.idle(int(params["ratings"]))
                readers.phase(service, network, rate / 4, WARM_UP_S)
                calm = readers.phase(service, network, rate, seconds)
                yield Figure("serve.p99_ms", calm["p99_ms"], "ms", said(calm))
                yield Figure("serve.errors", errors_of(calm), "requests", f"of {calm['sent']}")
                yield Figure("serve.cpu_ms", calm["service_ms"], "ms/request", "of the service, ranking included")
                hard = readers.phase(service, network, rate * float(params["overload"]), seconds)
                yield Figure("serve.overload_p99_ms", hard["p99_ms"], "ms", said(hard))
                yield Figure("serve.overload_errors", errors_of(hard), "requests", f"of {hard['sent']}")
        yield from _while_ingesting(params, folder, readers, calm)


def _while_ingesting(params: Params, folder: Path, readers: Readers, calm: dict[str, Any]) -> Iterable[Figure]:
    """The same people go on, as fast as wanted, from now on: it is the live stream that is listened to, and not what
    was heard before. So the service is started anew.
    """
    per_s, hours = int(params["events_s"]), 2
    words = ("--ratings", str(round(per_s * 3600 * hours * 0.83)), "--span-h", str(hours), "--max-rate", str(per_s))
    later = str(time.time_ns() // 1000 + hours * 3_600_000_000)
    with flood(params, *words, "--now", later) as network:
        service = Service(folder, network.urls.jetstream[0], network.urls.plc)
        with stopping(service):
            readers.phase(service, network, float(params["rate"]) / 4, SETTLE_S)
            before, began_s = service.health()["jetstream"]["events"], time.monotonic()
            busy = readers.phase(service, network, float(params["rate"]), float(params["seconds"]))
            events_s = (service.health()["jetstream"]["events"] - before) / (time.monotonic() - began_s)
            times = f"{busy['p99_ms'] / calm['p99_ms']:.2f} times the quiet one; {events_s:.0f} events/s; "
            yield Figure("serve.p99_ms_while_ingesting", busy["p99_ms"], "ms", times + said(busy))


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
    for name, measure in {"load": under_load, "like": like_to_page}.items():
        if name in parts:
            with tempfile.TemporaryDirectory() as folder:
                yield from measure(params, Path(folder))
    if "memory" in parts:
        yield from memory(params)
