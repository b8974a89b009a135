"""How long a personal page takes while the service catches up at full speed, beside the same when it is idle.

The whole process, asked one page after another over its socket. What it catches up with is what the same people go on
to do, from a process of its own that made `ready` events beforehand: making them takes the processor from nobody. Who
readers are is told by another process still, so that nothing that is not ours is slower in one of the two cases.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from scripts.benchmarks import Figure, Params
from scripts.benchmarks.boot import SERVICE, Service
from scripts.benchmarks.flood import FloodProcess
from scripts.benchmarks.loading import load, plan_for

PARAMETERS = {"ratings": 2_000_000, "pages": 500, "ready": 1_500_000, "folder": ""}
AGO_US = 24 * 3_600_000_000  # what is loaded ends on yesterday's date, so all of it and what follows is past


def run(params: Params) -> Iterable[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="feedgen-pages-", dir=str(params["folder"]) or None))
    ratings, pages = int(params["ratings"]), int(params["pages"])
    plan, days = plan_for(ratings, int(time.time() * 1e6) - AGO_US)
    words = ("--plan", json.dumps(asdict(plan)), "--hosts", "v2", "--outbox", "0", "--batched")
    try:
        load(folder / "data", plan, days, ratings)
        with FloodProcess(*words, "--max-rate", "1") as quiet:
            yield from _measure(Service(folder, quiet), "idle", pages, plan.people)
            with FloodProcess(*words, "--ready", str(params["ready"])) as flood:
                yield from _measure(Service(folder, quiet, flood), "catching_up", pages, plan.people)
    finally:
        shutil.rmtree(folder)


def _measure(service: Service, name: str, pages: int, people: int) -> Iterable[Figure]:
    """Everybody asks once, so that each page is a reader's first: looked up, ranked, answered."""
    try:
        service.first_personal_page()
        service.wait_until_whole()
        if name == "idle":
            service.wait_until_counted()
        else:
            service.wait_until_heard()
        times_ms, events, ticks, start = [], service.events(), service.cpu_ticks(), time.perf_counter()
        first = 1 if name == "idle" else 2  # not the same people: who was here before is known
        for person in np.linspace(first, people - 2, pages).astype(int).tolist():
            token = service.sim.token(person, SERVICE)
            asked = time.perf_counter()
            page = service.page_for(token)
            times_ms.append((time.perf_counter() - asked) * 1e3)
            if not page.get("feed"):
                raise RuntimeError(f"no page: {page}")
        took_s = time.perf_counter() - start
        rate, cores = (service.events() - events) / took_s, (service.cpu_ticks() - ticks) / 100 / took_s
        note = f"{pages} pages, each a reader's first; {rate:,.0f} events/s meanwhile; {cores:.2f} cores"
        yield Figure(f"pages.{name}_p50_ms", float(np.percentile(times_ms, 50)), "ms")
        yield Figure(f"pages.{name}_p99_ms", float(np.percentile(times_ms, 99)), "ms", note)
    finally:
        service.process.kill()
        service.process.wait()
