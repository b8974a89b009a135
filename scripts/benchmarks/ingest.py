"""From a socket to committed and rankable: CPU of our process for an event, catching up and in steady state."""

from __future__ import annotations

import asyncio
import gc
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from feedgen.core.clock import SystemClock
from feedgen.graph.archive import Archive
from feedgen.ingest.frames import Inlet
from feedgen.ingest.jetstream import Client
from feedgen.ingest.pipeline import Pipeline
from feedgen.simnet.process import SimnetProcess
from scripts.benchmarks import Figure, Params

PARAMETERS = {"events": 1_500_000, "warm_up": 300_000, "steady_s": 30.0, "steady_rate": 500.0}
A_36_H_OF_EVENTS = 45_000_000
Wire = Literal["v1", "v2"]


@dataclass(frozen=True, slots=True)
class Spent:
    events: int
    cpu_s: float
    wall_s: float


def run(params: Params) -> Iterable[Figure]:
    events, warm_up = int(params["events"]), int(params["warm_up"])
    flood = ("--flood", "--ratings", "26000000", "--hosts", "v2,legacy", "--outbox", "0")
    wires: tuple[Wire, ...] = ("v2", "v1")
    for wire in wires:
        with SimnetProcess(*flood) as sim:
            url = sim.urls.jetstream[0 if wire == "v2" else 1]
            spent = asyncio.run(_listen(url, wire, warm_up, events))
        per_core = spent.events / spent.cpu_s
        suffix = "" if wire == "v2" else "_v1"
        note = f"{spent.cpu_s / spent.events * 1e6:.1f} us an event, all threads; {spent.events / spent.wall_s:,.0f}/s"
        yield Figure(f"ingest.events_per_core_second{suffix}", per_core, "events/s", note)
        if wire == "v2":
            minutes = A_36_H_OF_EVENTS / (spent.events / spent.wall_s) / 60
            yield Figure("ingest.catch_up_36h_minutes", minutes, "min", "45M events, at the rate just measured")
    rate, seconds = float(params["steady_rate"]), float(params["steady_s"])
    with SimnetProcess(*flood, "--max-rate", str(rate)) as sim:
        spent = asyncio.run(_listen(sim.urls.jetstream[0], "v2", round(5 * rate), round(seconds * rate)))
    note = f"{spent.events / spent.wall_s:,.0f}/s"
    yield Figure("ingest.steady_cpu_us_per_event", spent.cpu_s / spent.events * 1e6, "us", note)


async def _listen(url: str, wire: Wire, warm_up: int, events: int) -> Spent:
    """The client, the pipeline and an archive, as in the service; what so many events cost after a warm-up."""
    folder = Path(tempfile.mkdtemp(prefix="feedgen-ingest-"))
    clock, inlet = SystemClock(), Inlet()
    try:
        with Archive(folder) as archive:
            pipeline = Pipeline(archive.recorder, inlet, clock)
            client = Client(
                urls=[url], wire=wire, start="oldest", dictionaries=folder / "dictionaries", inlet=inlet, clock=clock
            )
            gc.freeze()
            tasks = [asyncio.create_task(pipeline.run()), asyncio.create_task(client.run())]
            begun = await _reach(pipeline, warm_up, tasks)
            ended = await _reach(pipeline, begun.events + events, tasks)
            for task in reversed(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        shutil.rmtree(folder)
    return Spent(ended.events - begun.events, ended.cpu_s - begun.cpu_s, ended.wall_s - begun.wall_s)


async def _reach(pipeline: Pipeline, events: int, tasks: list[asyncio.Task[None]]) -> Spent:
    while pipeline.status.events < events:
        await asyncio.sleep(0.05)
        for task in tasks:
            if task.done():
                task.result()
    return Spent(pipeline.status.events, time.process_time(), time.perf_counter())
