"""When old records were made. A record that is told long after its making (a repository that a host reads again, the
archive's first read of one) comes with the time of the reading; only its key says when it was made.

The key is the writer's word. So it dates old records only, never one that is told live: nobody can date a like into the
past to appear before others.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from feedgen.core.ids import DATED_TICK, US_PER_DAY, tick_us
from feedgen.ingest.events import MIN_TIME_US

I64 = npt.NDArray[np.int64]

OLD_US: Final = US_PER_DAY  # a key that is older than this against its record's witnessed time is believed
LATE_US: Final = 600_000_000  # events of the day before that come after midnight are not older than this


def dated_us(keys: I64, witnessed_us: I64) -> I64:
    """The times of records from a repository that was read as a whole: by the key (`ids.rkey_to_int`) if that is much
    older, else as witnessed. Nothing is older than the network.
    """
    claimed = keys >> 10
    old = (keys >= 0) & (claimed < witnessed_us - OLD_US)
    return np.where(old, np.maximum(claimed, MIN_TIME_US), witnessed_us)


def one_dated_us(key: int, witnessed_us: int) -> int:
    return int(dated_us(np.array([key]), np.array([witnessed_us]))[0])


def within_day_us(day: int, keys: I64, times_us: I64) -> I64:
    """Times of ratings within the day that records them. A day takes old ratings too, but nobody may meet them as
    ratings of midnight: they stand at its first moment (DATED_TICK), and all others after it.
    """
    begins_us = day * US_PER_DAY
    early = times_us < tick_us(day, DATED_TICK + 1)
    if not early.any():
        return times_us
    old = (keys >= 0) & (keys >> 10 < begins_us - LATE_US)
    return np.where(early, np.where(old, begins_us, tick_us(day, DATED_TICK + 1)), times_us)
