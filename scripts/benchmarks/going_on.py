"""What an event costs in a folder that has much already, and goes on where it was: CPU by ratings on disk.

The same people go on with the same flood, so that likes refer to posts that are known and deletions name records that
are there. A `folder` is filled as for `boot`, kept, and longer by these events after each run.
"""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from feedgen.graph.archive import Archive
from scripts.benchmarks import Figure, Params
from scripts.benchmarks.flood import FloodProcess
from scripts.benchmarks.flood.plan import FloodPlan
from scripts.benchmarks.ingest import ClockAt, Listening, Spent
from scripts.benchmarks.loading import filled, plan_of

PARAMETERS = {"ratings": 2_000_000, "folder": "", "events": 600_000, "warm_up": 200_000, "steady_s": 20.0}
STEADY_RATE = 500.0
HOURS_12_US = 12 * 3_600_000_000
QUIET_SHARE = 0.1  # of a core, in the background


def run(params: Params) -> Iterable[Figure]:
    given = str(params["folder"])
    folder = Path(given or tempfile.mkdtemp(prefix="feedgen-going-on-"))
    try:
        kept, _ = filled(folder, int(params["ratings"]))
        yield Figure("going_on.ratings", kept, "ratings", "before the first of these events")
        with Archive(folder / "data", 120) as archive:
            _wait_until_quiet()
            gc.freeze()
            spent = go_on(archive, plan_of(folder), int(params["warm_up"]), int(params["events"]), HOURS_12_US)
            yield Figure("going_on.cpu_us_per_event", spent.us_per_event, "us", f"catching up; {_of_what(spent)}")
            rate, events = ("--max-rate", str(STEADY_RATE)), round(float(params["steady_s"]) * STEADY_RATE)
            spent = go_on(archive, plan_of(folder), round(3 * STEADY_RATE), events, 0, rate)
            yield Figure("going_on.steady_cpu_us_per_event", spent.us_per_event, "us", _of_what(spent))
    finally:
        if not given:
            shutil.rmtree(folder)


def _of_what(spent: Spent) -> str:
    return f"{spent.pipeline_s / spent.events * 1e6:.1f} of it in the pipeline's thread; {spent.rate:,.0f}/s"


def go_on(
    archive: Archive, plan: FloodPlan, warm_up: int, events: int, behind_us: int, words: tuple[str, ...] = ()
) -> Spent:
    at_us = archive.recorder.high_water_us()
    left = plan.events - plan.event_at(at_us)
    if left < warm_up + events:
        raise RuntimeError(f"the flood of this folder has only {left:,} events left; fill another one")
    flood = ("--plan", json.dumps(asdict(plan)), "--hosts", "v2", "--outbox", "0", "--batched", *words)
    with FloodProcess(*flood) as sim:
        listening = Listening(archive, sim.urls.jetstream[0], "v2", ClockAt(at_us + behind_us))
        return asyncio.run(listening.measure(warm_up, events))


def _wait_until_quiet() -> None:
    """A start verifies sidecars and counts in the background."""
    while True:
        before_s = time.process_time()
        time.sleep(1.0)
        if time.process_time() - before_s < QUIET_SHARE:
            return
