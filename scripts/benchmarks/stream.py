"""The stream: CPU of an enriched event, of each further consumer, and memory with full caches.

The posts are a made-up world's, as frames of Jetstream's second wire; the caches are warm, so nothing is asked.
Consumers are the service's own, with sockets that count. The hub runs in this process; its CPU is what is measured.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from feedgen.core.clock import SystemClock
from feedgen.graph.archive import Archive
from feedgen.ingest.tap import Tap, Tapped
from feedgen.simnet import wire
from feedgen.simnet.world import World
from feedgen.stream.asking import Asker
from feedgen.stream.consumer import Consumer
from feedgen.stream.filters import Query
from feedgen.stream.formats import Formats, Pictures
from feedgen.stream.happening import read
from feedgen.stream.hub import Hub, Parts
from feedgen.stream.known import Known
from feedgen.stream.visibility import Visibility

from . import Figure, Params

PARAMETERS = {"people": 3_000, "posts": 20_000, "consumers": 50, "kept": 100_000}
_START_US = 1_790_000_000_000_000
_HOST = "jetstream.test"


class _Socket:
    def __init__(self) -> None:
        self.bytes = 0

    def write(self, data: bytes) -> None:
        self.bytes += len(data)

    def close(self, code: int, reason: str) -> None:
        raise AssertionError(f"closed: {code} {reason}")


def run(params: Params) -> Iterator[Figure]:
    frames = list(_posts(int(params["people"]), int(params["posts"])))
    note = f"{len(frames)} posts of {sum(map(len, frames)) // len(frames)} B, cache warm"
    for form in ("feedgen", "graze", "rs"):
        one_s, size = asyncio.run(_cpu_s(frames, form, 1))
        name = "stream.events_per_core_second" + ("" if form == "feedgen" else f"_{form}")
        yield Figure(name, len(frames) / one_s, "events/s", f"{form}, {size // len(frames)} B each; {note}")
        if form == "feedgen":
            n = int(params["consumers"])
            many_s, _ = asyncio.run(_cpu_s(frames, form, n))
            each_us = (many_s - one_s) / (n - 1) / len(frames) * 1e6
            yield Figure("stream.cpu_us_per_event_consumer", each_us, "us", f"{n} consumers against one")
    yield Figure(
        "stream.mb", asyncio.run(_memory_mb(frames, int(params["kept"]))), "MB", "of caches, see the parameters"
    )


def _posts(people: int, posts: int) -> Iterator[bytes]:
    """Frames of a world's posts, the later ones with replies and quotes."""
    world = World(1, people, _START_US, odd_share=0.0)
    found = 0
    for event in world.events(_START_US + 90 * 86_400_000_000):
        if event.collection == "app.bsky.feed.post" and event.operation == "create":
            found += 1
            yield wire.v2(event)
            if found == posts:
                return


def _profile(did: str) -> bytes:
    """As long as the AppView's are."""
    view = {
        "did": did, "handle": f"{did[8:20]}.bsky.social", "displayName": "Somebody", "description": "x" * 180,
        "avatar": f"https://cdn.bsky.app/img/avatar/plain/{did}/bafkreib2rxk3rybk3aobmv5cjuql3bm2twh4jo5uxgf5kpqcsgz7soitae@jpeg",
        "labels": [], "createdAt": "2024-01-01T00:00:00.000Z", "indexedAt": "2026-01-01T00:00:00.000Z",
        "followersCount": 120, "followsCount": 110, "postsCount": 900,
    }  # fmt: skip
    return msgspec.json.encode(view)


class _Bench:
    def __init__(self, folder: Path, kept: int) -> None:
        clock = SystemClock()
        self.archive = Archive(folder)
        self.known = Known(clock, kept, kept)
        self.asker = Asker("http://127.0.0.1:9", self.known, clock, 8.0, lambda keys: None)
        self.asker.rests_until_s = clock.monotonic_s() + 3600  # nothing is asked
        shown = Visibility(self.archive.library, self.known, False, clock)
        formats = Formats(Pictures(("https://cdn.bsky.app", "https://video.bsky.app")), clock)
        self.hub = Hub(Tap(), Parts(self.known, self.asker, shown, formats, clock, 0.3))
        self.clock = clock

    def warm(self, frames: list[bytes]) -> None:
        for frame in frames:
            one = read(_HOST, frame)
            assert one is not None
            self.known.pass_by(one)
            if self.known.profiles.get(one.did) is None:
                self.known.profile_came(one.did, _profile(one.did))


async def _cpu_s(frames: list[bytes], form: str, consumers: int) -> tuple[float, int]:
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(Path(folder), 100_000)
        bench.warm(frames)
        sockets = [_Socket() for _ in range(consumers)]
        for socket in sockets:
            consumer = Consumer("bench", Query(format=form), socket, bench.clock)
            bench.hub.expect(consumer)
            bench.hub.attach(consumer)
        gc.collect()
        gc.freeze()
        began_s = time.process_time()
        for start in range(0, len(frames), 200):
            await bench.hub.hear(Tapped(_HOST, frames[start : start + 200], 0))
        took_s = time.process_time() - began_s
        gc.unfreeze()
        counts = {one.sent for one in bench.hub.everybody()}
        hidden = len(frames) - max(counts)
        assert len(counts) == 1
        assert hidden < len(frames) // 10
        bench.archive.close()
        await bench.asker.close()
        return took_s, max(socket.bytes for socket in sockets)


async def _memory_mb(frames: list[bytes], kept: int) -> float:
    """What full caches add to the process: `kept` profiles and as many posts, in use by consumers of one format."""
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(Path(folder), kept)
        gc.collect()
        before = _resident_mb()
        ones = [one for frame in frames if (one := read(_HOST, frame)) is not None]
        for n in range(kept):
            one = ones[n % len(ones)]
            did = f"did:plc:{n:024d}"
            bench.known.profile_came(did, _profile(did))
            again = msgspec.structs.replace(one, rkey=f"{n:013d}", record=bytes(bytearray(one.record or b"")))
            bench.known.pass_by(again)
        del ones
        gc.collect()
        after = _resident_mb()
        assert len(bench.known.posts) == len(bench.known.profiles) == kept
        bench.archive.close()
        return after - before


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6
