"""A client in front of simnet's hosts, and what it hears."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from feedgen.ingest.batch import Cursor
from feedgen.ingest.events import Event, decode
from feedgen.ingest.frames import Frames, Inflater, Inlet
from feedgen.ingest.jetstream import Client, Options
from feedgen.simnet.records import SimEvent
from tests.ingest import wires

NOW_US = wires.NOW_US
QUICK = Options(stall_s=5.0, ping_s=0.3, tick_s=0.02, backoff_s=0.02, max_backoff_s=0.1)


class TestClock:
    """Real seconds, counted from a moment of our choice."""

    __test__ = False

    def __init__(self, now_us: int = NOW_US) -> None:
        self._shift_us = now_us - time.monotonic_ns() // 1000
        self._slept_s = 0.0

    def now_us(self) -> int:
        return time.monotonic_ns() // 1000 + self._shift_us + round(self._slept_s * 1e6)

    def monotonic_s(self) -> float:
        return time.monotonic() + self._slept_s

    def sleep(self, seconds: float) -> None:
        """What a stopped process sees when it goes on."""
        self._slept_s += seconds


def like(seq: int, time_us: int) -> SimEvent:
    record = wires.dump(wires.like())
    rkey = f"key{seq}"
    return SimEvent(
        seq, time_us, wires.DID, "commit", "create", "app.bsky.feed.like", rkey, "3kaaaaaaaaaa2", wires.CID, record
    )


def likes(n: int, *, first_seq: int = 1, until_us: int = NOW_US, step_us: int = 1_000_000) -> list[SimEvent]:
    return [like(first_seq + i, until_us - (n - i) * step_us) for i in range(n)]


class Hearing:
    """The other end of the inlet: everything that came, decoded."""

    def __init__(self, client: Client, inlet: Inlet) -> None:
        self.client, self.inlet = client, inlet
        self.pieces: list[Frames] = []
        self.events: list[Event] = []
        self.reads = 0
        self.task: asyncio.Task[None] = asyncio.get_running_loop().create_task(client.run())

    def drain(self) -> None:
        self.reads += self.inlet.pieces
        while self.inlet.pieces:
            frames = self.inlet.take(0)
            assert frames is not None
            self.pieces.append(frames)
            inflate = Inflater(frames.dictionary) if frames.dictionary else None
            for message in frames.messages:
                event = decode(inflate(message) or b"" if inflate else message)
                if isinstance(event, Event):
                    self.events.append(event)

    @property
    def rkeys(self) -> list[str]:
        return [getattr(e, "rkey", "") for e in self.events]

    async def until(self, done: Callable[[], bool], timeout_s: float = 5.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not done():
                self.drain()
                if self.task.done():
                    self.task.result()
                await asyncio.sleep(0.005)

    async def until_heard(self, n: int) -> None:
        await self.until(lambda: len(self.events) >= n)


@asynccontextmanager
async def listening(
    tmp_path: Path,
    *urls: str,
    at: Cursor | None = None,
    wire: Any = "auto",
    start: Any = "oldest",
    inlet: Inlet | None = None,
    options: Options = QUICK,
    now_us: int = NOW_US,
    clock: TestClock | None = None,
) -> AsyncIterator[Hearing]:
    inlet = Inlet() if inlet is None else inlet
    client = Client(
        urls=urls,
        wire=wire,
        start=start,
        dictionaries=tmp_path / "dictionaries",
        inlet=inlet,
        clock=clock or TestClock(now_us),
        resume_at=lambda: at,
        options=options,
        rng=Random(1),
    )
    hearing = Hearing(client, inlet)
    try:
        yield hearing
    finally:
        hearing.task.cancel()
        await asyncio.gather(hearing.task, return_exceptions=True)
