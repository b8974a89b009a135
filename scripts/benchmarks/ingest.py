"""From a socket to committed and rankable: CPU of our process for an event, catching up and in steady state.

The made-up host writes each event by itself and gives a subscriber no more than the real ones do: 7,000 to 19,000
events/s were measured on v2 hosts. `unbounded` is what our side can take from one that writes many at a time.
"""

from __future__ import annotations

import asyncio
import gc
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

from feedgen.core.clock import Clock, SystemClock
from feedgen.core.ids import US_PER_DAY
from feedgen.graph.archive import Archive
from feedgen.ingest.frames import Inlet
from feedgen.ingest.jetstream import Client
from feedgen.ingest.pipeline import Pipeline
from scripts.benchmarks import Figure, Params
from scripts.benchmarks.flood import FloodProcess

PARAMETERS = {
    "events": 450_000, "warm_up": 150_000, "host_rate": 15_000.0, "unbounded_events": 1_500_000,
    "steady_s": 30.0, "steady_rate": 500.0,
}  # fmt: skip
A_36_H_OF_EVENTS = 45_000_000
Wire = Literal["v1", "v2"]


@dataclass(frozen=True, slots=True)
class Spent:
    events: int
    cpu_s: float
    wall_s: float
    pipeline_s: float  # the part of its thread

    @property
    def us_per_event(self) -> float:
        return self.cpu_s / self.events * 1e6

    @property
    def rate(self) -> float:
        return self.events / self.wall_s


def run(params: Params) -> Iterable[Figure]:
    events, warm_up = int(params["events"]), int(params["warm_up"])
    flood = ("--ratings", "26000000", "--hosts", "v2,legacy", "--outbox", "0")
    wires: tuple[Wire, ...] = ("v2", "v1")
    for wire in wires:
        with FloodProcess(*flood, "--max-rate", str(params["host_rate"])) as sim:
            url = sim.urls.jetstream[0 if wire == "v2" else 1]
            spent = asyncio.run(_listen(url, wire, warm_up, events))
        per_core = spent.events / spent.cpu_s
        suffix = "" if wire == "v2" else "_v1"
        note = f"{spent.us_per_event:.1f} us an event, all threads; {spent.rate:,.0f}/s"
        yield Figure(f"ingest.events_per_core_second{suffix}", per_core, "events/s", note)
        if wire == "v2":
            minutes = A_36_H_OF_EVENTS / spent.rate / 60
            yield Figure("ingest.catch_up_36h_minutes", minutes, "min", "45M events, at what one real host gives")
    with FloodProcess(*flood, "--batched") as sim:
        spent = asyncio.run(_listen(sim.urls.jetstream[0], "v2", warm_up, int(params["unbounded_events"])))
    note = f"{spent.events / spent.cpu_s:,.0f} a core second"
    yield Figure("ingest.unbounded_events_s", spent.rate, "events/s", note)
    rate, seconds = float(params["steady_rate"]), float(params["steady_s"])
    now_us = SystemClock().now_us()
    with FloodProcess(*flood, "--max-rate", str(rate), "--now", str(now_us)) as sim:
        url, live = sim.urls.jetstream[0], ClockAt(now_us - US_PER_DAY)  # the flood's first event happens now
        spent = asyncio.run(_listen(url, "v2", round(5 * rate), round(seconds * rate), live))
    yield Figure("ingest.steady_cpu_us_per_event", spent.us_per_event, "us", f"{spent.rate:,.0f}/s")


async def _listen(url: str, wire: Wire, warm_up: int, events: int, clock: Clock | None = None) -> Spent:
    """What so many events cost a new folder after a warm-up."""
    folder = Path(tempfile.mkdtemp(prefix="feedgen-ingest-"))
    try:
        with Archive(folder) as archive:
            gc.freeze()
            return await Listening(archive, url, wire, clock or SystemClock()).measure(warm_up, events)
    finally:
        shutil.rmtree(folder)


class ClockAt(SystemClock):
    """Time as if the process had started at that moment."""

    def __init__(self, now_us: int) -> None:
        self._ahead_us = now_us - super().now_us()

    def now_us(self) -> int:
        return super().now_us() + self._ahead_us


class Listening:
    """The client and the pipeline in front of an archive, as in the service."""

    def __init__(self, archive: Archive, url: str, wire: Wire, clock: Clock) -> None:
        inlet = Inlet()
        self._pipeline = Pipeline(archive.recorder, inlet, clock)
        self._client = Client(
            urls=[url],
            wire=wire,
            start="oldest",
            dictionaries=archive.folder.path / "dictionaries",
            inlet=inlet,
            clock=clock,
            resume_at=archive.recorder.cursor,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def measure(self, warm_up: int, events: int) -> Spent:
        self._tasks = [asyncio.create_task(part.run()) for part in (self._pipeline, self._client)]
        begun = await self._reach(warm_up)
        ended = await self._reach(begun.events + events)
        for task in reversed(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return Spent(*(after - before for after, before in zip(astuple(ended), astuple(begun), strict=True)))

    async def _reach(self, events: int) -> Spent:
        while self._pipeline.status.events < events:
            await asyncio.sleep(0.05)
            for task in self._tasks:
                if task.done():
                    task.result()
        return Spent(self._pipeline.status.events, time.process_time(), time.perf_counter(), _cpu_s_of_the_pipeline())


def _cpu_s_of_the_pipeline() -> float:
    [thread] = (thread for thread in threading.enumerate() if thread.name == "ingest")
    assert thread.ident is not None
    return time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
