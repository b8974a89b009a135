from __future__ import annotations

from pathlib import Path

from feedgen.store.disk import Usage, usage

KB = 1000


def test_files_are_counted_to_their_day(tmp_path: Path) -> None:
    (tmp_path / "days").mkdir()
    for name, kilobytes in [
        ("days/2026-11-19.db", 40),
        ("days/2026-11-19.idx", 24),
        ("days/2026-11-20.open.db", 8),
        ("days/open.sql", 4),
        ("names.db", 16),
        ("viewers.db", 4),
    ]:
        (tmp_path / name).write_bytes(b"x" * (kilobytes * 1024))
    found = usage(tmp_path)
    (day, first), (next_day, second) = found.by_day.items()
    assert next_day == day + 1 and first >= 64 * 1024 and 8 * 1024 <= second < first
    assert found.other >= 24 * 1024 and found.total == first + second + found.other and found.free > 0
    assert found.a_day() == first  # the day that is being written tells nothing yet


def test_how_long_the_disk_lasts() -> None:
    days = {day: 10 * KB for day in range(30)}
    assert Usage(days, 0, free=600 * KB).lasts_days(90) is None  # the 60 that are missing fit
    assert Usage(days, 0, free=599 * KB).lasts_days(90) == 59.9
    assert Usage(days, 0, free=0).lasts_days(30) is None  # old days go as new ones come
    assert Usage({}, 5, free=0).lasts_days(90) is None
    assert Usage({1: 5}, 0, free=0).lasts_days(90) is None  # nothing is known yet
