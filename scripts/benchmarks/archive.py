"""From the archive's compressed blocks to committed and rankable: events a core second, memory, and pages meanwhile.

The archive holds some made-up days with the people of the real network; a process of its own serves it. Days are
sealed as they pass, so that cost is in the figures.
"""

from __future__ import annotations

import asyncio
import gc
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from feedgen.archive.source import Source, Wanted
from feedgen.core.clock import SystemClock
from feedgen.core.ids import US_PER_DAY
from feedgen.graph.archive import Archive
from feedgen.ingest.frames import Inlet
from feedgen.ingest.pipeline import Pipeline
from feedgen.ingest.watch import Status
from scripts.benchmarks import Figure, Params
from scripts.benchmarks._archive import write
from scripts.benchmarks.flood.plan import FloodPlan
from scripts.benchmarks.ingest import ClockAt

PARAMETERS = {"events": 1_200_000, "days": 3, "people": 1_000_000, "keep": ""}
NINETY_DAYS_EVENTS = 2_700_000_000


@dataclass(frozen=True, slots=True)
class Spent:
    events: int
    cpu_s: float
    wall_s: float
    peak_mb: float
    by_thread: dict[str, float]


def plan_of(params: Params) -> FloodPlan:
    days, events = int(params["days"]), int(params["events"])
    now_us = SystemClock().now_us()
    today = FloodPlan()
    share = events / days / today.events
    scaled = today.scaled(share).days(days)
    fields = {"people": int(params["people"]), "start_us": (now_us // US_PER_DAY - days - 2) * US_PER_DAY}
    return FloodPlan(**{name: fields.get(name, getattr(scaled, name)) for name in FloodPlan.__dataclass_fields__})


def run(params: Params) -> Iterable[Figure]:
    plan = plan_of(params)
    kept = Path(str(params["keep"])) if params["keep"] else None
    folder = kept or Path(tempfile.mkdtemp(prefix="feedgen-archive-"))
    try:
        if not (folder / "index.json").exists():
            folder.mkdir(exist_ok=True)
            write(plan, folder)
        with _serving(folder) as url:
            spent = asyncio.run(_read(url, plan))
    finally:
        if kept is None:
            shutil.rmtree(folder)
    per_core, per_s = spent.events / spent.cpu_s, spent.events / spent.wall_s
    threads = ", ".join(f"{name} {seconds / spent.events * 1e6:.2f}" for name, seconds in spent.by_thread.items())
    yield Figure("archive.events_per_core_second", per_core, "events/s", f"us an event by thread: {threads}")
    yield Figure("archive.events_s", per_s, "events/s", f"{spent.events:,} events in {spent.wall_s:.1f} s")
    yield Figure("archive.ninety_days_h", NINETY_DAYS_EVENTS / per_s / 3600, "h", "2.7 billion events at that rate")
    yield Figure("archive.peak_mb", spent.peak_mb, "MB", "memory beside that before it began")


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "scripts.benchmarks._archive", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


async def _read(url: str, plan: FloodPlan) -> Spent:
    folder = Path(tempfile.mkdtemp(prefix="feedgen-archive-data-"))
    clock = ClockAt(plan.start_us + plan.span_us)
    try:
        with Archive(folder) as archive:
            gc.freeze()
            inlet = Inlet()
            pipeline = Pipeline(archive.recorder, inlet, clock)
            source = Source(
                url, lambda: "", folder, Wanted(90, True, 90), pipeline, inlet, archive.recorder.cursor, Status(), clock
            )
            running = asyncio.create_task(pipeline.run())
            await asyncio.sleep(0.2)
            before_mb = _rss_mb()
            began_s, cpu_s = time.perf_counter(), time.process_time()
            watch = asyncio.create_task(_watch())
            await source.catch_up()
            wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
            watch.cancel()
            by_thread = dict(_THREADS)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            events = pipeline.status.events
            peak_mb = max(_RSS, default=before_mb) - before_mb
        if source.progress.trouble:
            raise RuntimeError(source.progress.trouble)
        return Spent(events, cpu_s, wall_s, peak_mb, by_thread)
    finally:
        shutil.rmtree(folder)


_THREADS: dict[str, float] = {}
_RSS: list[float] = []


async def _watch() -> None:
    while True:
        _RSS.append(_rss_mb())
        for thread in threading.enumerate():
            if thread.ident is not None:
                try:
                    used = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
                except OSError:
                    continue
                _THREADS[thread.name] = used
        await asyncio.sleep(0.1)


def _rss_mb() -> float:
    """Our own memory, without mapped files, which are the kernel's to drop."""
    [line] = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) / 1024
