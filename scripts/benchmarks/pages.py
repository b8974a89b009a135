"""How long a personal page takes while the service catches up at full speed, beside the same when it is idle.

The whole process, asked one page after another over its socket; the flood comes from a process of its own.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from feedgen.simnet.process import SimnetProcess
from scripts.benchmarks import Figure, Params
from scripts.benchmarks.boot import Service
from scripts.benchmarks.loading import load, plan_for

PARAMETERS = {"ratings": 2_000_000, "pages": 500, "folder": ""}
AGO_US = 12 * 3_600_000_000  # what is loaded ends at a noon: the last one


def run(params: Params) -> Iterable[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="feedgen-pages-", dir=str(params["folder"]) or None))
    ratings, pages = int(params["ratings"]), int(params["pages"])
    plan, days = plan_for(ratings, int(time.time() * 1e6) - AGO_US)
    try:
        load(folder / "data", plan, days, ratings)
        for name, words in (("idle", ("--max-rate", "1")), ("catching_up", ("--outbox", "0"))):
            with SimnetProcess(
                "--flood", "--flood-people", str(plan.people), "--hosts", "v2", "--span-h", "0.5", *words
            ) as sim:
                yield from _measure(Service(folder, sim), name, pages, plan.people)
    finally:
        shutil.rmtree(folder)


def _measure(service: Service, name: str, pages: int, people: int) -> Iterable[Figure]:
    """Everybody asks once, so that each page is a reader's first: looked up, ranked, answered."""
    try:
        service.first_personal_page()
        service.wait_until_whole()
        if name == "idle":
            service.wait_until_counted()
        times_ms, events, start = [], service.events(), time.perf_counter()
        for person in np.linspace(1, people - 1, pages).astype(int).tolist():
            asked = time.perf_counter()
            page = service.page(person)
            times_ms.append((time.perf_counter() - asked) * 1e3)
            if not page.get("feed"):
                raise RuntimeError(f"no page: {page}")
        rate = (service.events() - events) / (time.perf_counter() - start)
        note = f"{pages} pages, each a reader's first; {rate:,.0f} events/s meanwhile"
        yield Figure(f"pages.{name}_p50_ms", float(np.percentile(times_ms, 50)), "ms")
        yield Figure(f"pages.{name}_p99_ms", float(np.percentile(times_ms, 99)), "ms", note)
    finally:
        service.process.kill()
        service.process.wait()
