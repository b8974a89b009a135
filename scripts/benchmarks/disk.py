"""How much room a full-volume day takes, how much is written for it, and how long dropping it takes."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from feedgen.core.ids import US_PER_DAY
from feedgen.graph.archive import Archive
from feedgen.ingest.batch import Batch
from feedgen.simnet.flood import FloodPlan
from scripts.benchmarks import Figure, Params
from scripts.benchmarks.filling import batches, files_of, seal_all, written_bytes

PARAMETERS = {"ratings": 2_000_000, "folder": ""}
MIDNIGHT_US = 20_700 * US_PER_DAY


def run(params: Params) -> Iterable[Figure]:
    ratings = int(params["ratings"])
    plan = FloodPlan(start_us=MIDNIGHT_US).scaled(ratings / 26_000_000)
    folder = Path(tempfile.mkdtemp(prefix="feedgen-disk-", dir=str(params["folder"]) or None))
    try:
        yield from _measure(folder, plan, ratings)
    finally:
        shutil.rmtree(folder)


def _measure(folder: Path, plan: FloodPlan, ratings: int) -> Iterable[Figure]:
    before = written_bytes()
    with Archive(folder) as archive:
        kept = _fill(archive, batches(plan))
        log = archive.writer.days()[0]
        yield Figure("disk.log_bytes_per_rating", sum(files_of(folder).values()) / kept, "B", "while the day is open")
        seal_all(archive)
    written = written_bytes() - before
    sizes = files_of(folder)
    of_days = {kind: size for kind, size in sizes.items() if kind != ".open.db"}
    yield Figure("disk.bytes_per_rating", sum(of_days.values()) / kept, "B", f"every file; {kept:,} of {ratings:,}")
    for kind, size in sorted(of_days.items()):
        if size > kept / 100:
            yield Figure(f"disk.bytes_per_rating_{kind.strip('.').replace('.', '_')}", size / kept, "B")
    yield Figure("disk.written_bytes_per_rating", written / kept, "B", "log, sealing, sidecars, checkpoints")
    with Archive(folder) as archive:
        free = shutil.disk_usage(folder).free
        start = time.perf_counter()
        archive.graph.drop(log)
        archive.writer.drop(log)
        took = time.perf_counter() - start
        freed = shutil.disk_usage(folder).free - free
        yield Figure("disk.drop_day_s", took, "s", f"{freed / 1e6:,.0f} MB free again")


def _fill(archive: Archive, made: Iterable[Batch]) -> int:
    kept = 0
    for batch in made:
        archive.recorder.apply(batch)
        kept += len(batch.ratings.actors)
    return kept
