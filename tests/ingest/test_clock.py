"""Our own clock jumps, as that of a PC with a flat battery does: the stream dates what is kept, not the clock."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.graph.archive import Archive
from feedgen.ingest.frames import Frames, Inlet
from feedgen.ingest.pipeline import Pipeline
from feedgen.store.reader import DayReader
from tests.ingest import wires
from tests.ingest.listening import TestClock
from tests.ingest.wires import NOW_US, commit, dump

NOON_US = NOW_US // US_PER_DAY * US_PER_DAY + US_PER_DAY // 2
YEAR_US = 365 * US_PER_DAY


def tell(archive: Archive, clock: TestClock, first: int, count: int, us: int, jumps_us: list[int]) -> None:
    """Likes, one a second; before each some jump of the clock."""
    pipeline = Pipeline(archive.recorder, inlet := Inlet(), clock, batch_s=0.01)
    pipeline.start()
    try:
        for n in range(first, first + count):
            clock._shift_us += jumps_us[n % len(jumps_us)]
            time_us = us + (n - first) * US_PER_S
            message = dump(commit("v1", record=wires.like(), rkey=f"like-{n}", time_us=time_us, seq=n))
            inlet.put(Frames("host", 1, [message], bytes=len(message)))
            until_s = time.monotonic() + 60
            while pipeline.status.events < n - first + 1:
                assert time.monotonic() < until_s and pipeline.failure is None
                time.sleep(0.002)
    finally:
        pipeline.stop()


def kept(archive: Archive) -> dict[int, int]:
    """How many likes, by day."""
    found = {}
    for day in archive.writer.days():
        path = archive.folder.day_path(day)
        assert path is not None
        with DayReader(path) as reader:
            found[day] = len(reader.ratings())
    return found


@pytest.mark.parametrize(
    "jumps_us",
    [[YEAR_US, -YEAR_US], [-YEAR_US, YEAR_US], [-2 * US_PER_DAY, US_PER_DAY, US_PER_DAY], [-(10**15), 10**15]],
    ids=["a year ahead", "a year back", "days back and forth", "decades back"],
)
def test_a_clock_that_jumps_loses_nothing_and_moves_nothing(jumps_us: list[int], tmp_path: Path) -> None:
    today = NOON_US // US_PER_DAY
    clock = TestClock(NOON_US)
    with Archive(tmp_path, retention_days=3) as archive:
        tell(archive, clock, 1, 6, NOON_US, [0])
        tell(archive, clock, 7, 6, NOON_US + 60 * US_PER_S, jumps_us)
        assert kept(archive) == {today: 12}
        assert archive.recorder.high_water_us() <= NOON_US + 65 * US_PER_S
    with Archive(tmp_path, retention_days=3) as archive:  # started with the wrong clock, a day later
        cursor = archive.recorder.cursor()
        assert cursor is not None and cursor.seq == 12
        clock._shift_us += US_PER_DAY
        tell(archive, clock, 13, 6, NOON_US + US_PER_DAY, [0, *jumps_us])
        found = kept(archive)
        assert sum(found.values()) == 18 and found[today] >= 12 and set(found) <= {today, today + 1}
