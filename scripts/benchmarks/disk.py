"""How much room a full-volume day takes, how much is written for it, and how long dropping it takes.

The day that counts is the last of several: on the very first one everybody is new, and every older post that is liked
needs a number of its own.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from feedgen.core.ids import US_PER_DAY
from feedgen.graph.archive import Archive
from feedgen.store.folder import day_name
from scripts.benchmarks import Figure, Params
from scripts.benchmarks.filling import batches, files_of, seal_all, written_bytes
from scripts.benchmarks.flood.plan import FloodPlan

PARAMETERS = {"ratings": 1_000_000, "days": 3, "folder": ""}
MIDNIGHT_US = 20_700 * US_PER_DAY


def run(params: Params) -> Iterable[Figure]:
    ratings, days = int(params["ratings"]), int(params["days"])
    plan = FloodPlan(start_us=MIDNIGHT_US).scaled(ratings / 26_000_000).days(days)
    folder = Path(tempfile.mkdtemp(prefix="feedgen-disk-", dir=str(params["folder"]) or None))
    try:
        yield from _measure(folder, plan)
    finally:
        shutil.rmtree(folder)


def _measure(folder: Path, plan: FloodPlan) -> Iterable[Figure]:
    before = written_bytes()
    kept: dict[int, int] = {}
    names: dict[int, int] = {}
    with Archive(folder) as archive:
        for batch in batches(plan):
            archive.recorder.apply(batch)
            kept[batch.day] = kept.get(batch.day, 0) + len(batch.ratings.actors)
            names[batch.day] = archive.names.count
        last = max(kept)
        yield Figure("disk.log_bytes_per_rating", size_of(folder, last) / kept[last], "B", "while the day is open")
        seal_all(archive)
        count = archive.names.count
    written = written_bytes() - before
    total = sum(kept.values())
    for_names = files_of(folder)["names"] / count
    for day, what in ((last, "disk.bytes_per_rating"), (min(kept), "disk.bytes_per_rating_first_day")):
        new = count if day == min(kept) else names[day] - names[day - 1]
        size = size_of(folder, day) + new * for_names
        note = f"{kept[day]:,} ratings, sealed, with sidecar and {new:,} new names"
        yield Figure(what, size / kept[day], "B", note)
    sidecar = (folder / "days" / f"{day_name(last)}.idx").stat().st_size
    yield Figure("disk.sidecar_bytes_per_rating", sidecar / kept[last], "B", "part of that")
    yield Figure("disk.written_bytes_per_rating", written / total, "B", "log, sealing, sidecars, checkpoints")
    yield from _drop(folder, last)


def _drop(folder: Path, day: int) -> Iterable[Figure]:
    with Archive(folder) as archive:
        free = shutil.disk_usage(folder).free
        start = time.perf_counter()
        archive.graph.drop(day)
        archive.writer.drop(day)
        took = time.perf_counter() - start
        freed = shutil.disk_usage(folder).free - free
    yield Figure("disk.drop_day_s", took, "s", f"{freed / 1e6:,.0f} MB free again")


def size_of(folder: Path, day: int) -> int:
    """All files of a day, as blocks on the disk."""
    return sum(path.stat().st_blocks * 512 for path in (folder / "days").glob(f"{day_name(day)}.*"))
