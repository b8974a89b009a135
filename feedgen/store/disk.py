"""What the data folder takes on its disk, day by day, and how long the disk will last."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final, NamedTuple

from feedgen.store.folder import day_number

TYPICAL_DAYS: Final = 7  # whole days that tell what a day takes


class Usage(NamedTuple):
    by_day: dict[int, int]  # bytes, by day since 1970, oldest first; what is derived from a day included
    other: int  # names, readers, and everything else
    free: int

    @property
    def total(self) -> int:
        return sum(self.by_day.values()) + self.other

    def a_day(self) -> float:
        """Bytes of a typical whole day; 0 before there is one. The newest day still grows."""
        whole = sorted(self.by_day)[:-1][-TYPICAL_DAYS:]
        return sum(self.by_day[day] for day in whole) / len(whole) if whole else 0.0

    def lasts_days(self, retention_days: int) -> float | None:
        """Until the disk is full; None when it never will be, because old days go as new ones come."""
        missing = max(0, retention_days - len(self.by_day))
        if self.a_day() * missing <= self.free:
            return None
        return self.free / self.a_day()


def usage(folder: Path) -> Usage:
    """Files come and go while they are counted: one that is gone counts nothing."""
    by_day: dict[int, int] = {}
    other = 0
    for path in folder.rglob("*"):
        try:
            if not path.is_file():
                continue
            size = path.stat().st_blocks * 512  # sparse files take less than they say
        except OSError:
            continue
        day = _day(path) if path.parent.name == "days" else None
        if day is None:
            other += size
        else:
            by_day[day] = by_day.get(day, 0) + size
    return Usage(dict(sorted(by_day.items())), other, shutil.disk_usage(folder).free)


def _day(path: Path) -> int | None:
    try:
        return day_number(path.name[:10])
    except ValueError:
        return None
