"""After a power cut: the first personal page, and the longest time that a batch waits, while sidecars are built again.

The worst case: every sidecar bears the stamp of another boot, so each may lack a removal, and nothing is in the page
cache. A `folder` is filled as for `boot`, kept, and used again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from feedgen.graph.archive import Archive
from feedgen.graph.layout import STAMP_AT, STAMP_BYTES
from feedgen.ingest.batch import Batch
from scripts.benchmarks import Figure, Params
from scripts.benchmarks.boot import Service
from scripts.benchmarks.flood import FloodProcess
from scripts.benchmarks.going_on import STEADY_RATE, go_on
from scripts.benchmarks.loading import filled, plan_of

PARAMETERS = {"ratings": 5_000_000, "folder": "", "steady_s": 30.0}


def run(params: Params) -> Iterable[Figure]:
    given = str(params["folder"])
    folder = Path(given or tempfile.mkdtemp(prefix="feedgen-power-"))
    try:
        kept, people = filled(folder, int(params["ratings"]))
        words = ("--ratings", "1000", "--people", str(people), "--hosts", "v2", "--max-rate", "1")
        with FloodProcess(*words) as sim:
            service = Service(folder, sim)
            service.first_personal_page()  # makes the sidecars
            service.wait_until_counted()
            _kill(service)
            service = Service(folder, sim)
            killed_s, _ = service.first_personal_page()
            _kill(service)
            days = _cut_power(folder)
            service = Service(folder, sim)
            took_s, listening_s = service.first_personal_page()
            _kill(service)
        note = f"{kept / 1e6:.0f}M ratings, {days} sidecars in doubt; listens after {listening_s:.2f} s"
        note += f"; after SIGKILL alone {killed_s:.2f} s"
        yield Figure("boot.after_power_cut_s", took_s, "s", note)
        _cut_power(folder)
        yield _longest_block(folder, round(float(params["steady_s"]) * STEADY_RATE))
    finally:
        if not given:
            shutil.rmtree(folder)


def _kill(service: Service) -> None:
    service.process.kill()
    service.process.wait()


def _cut_power(folder: Path) -> int:
    """How many sidecars are in doubt now."""
    os.sync()
    sidecars = list((folder / "data" / "days").glob("*.idx"))
    for path in sidecars:
        with path.open("r+b") as file:
            file.seek(STAMP_AT)
            file.write(b"before the cut".ljust(STAMP_BYTES))
            os.fsync(file.fileno())
    for path in (folder / "data").rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return len(sidecars)


def _longest_block(folder: Path, events: int) -> Figure:
    with Archive(folder / "data", 120) as archive:
        longest_s, apply = 0.0, archive.recorder.apply

        def timed(batch: Batch) -> None:
            nonlocal longest_s
            began_s = time.perf_counter()
            apply(batch)
            longest_s = max(longest_s, time.perf_counter() - began_s)

        archive.recorder.apply = timed  # type: ignore[method-assign]
        go_on(archive, plan_of(folder), round(3 * STEADY_RATE), events, 0, ("--max-rate", str(STEADY_RATE)))
        note = f"of {events:,} events at {STEADY_RATE:.0f}/s, while all past days are built again"
        return Figure("ingest.longest_block_after_power_cut_s", longest_s, "s", note)
