"""How fast the network lives: L, the median age of a post when it is liked.

A post written an hour ago and liked now is an age of one hour. The median of the last few ten thousand of these
follows the network as it runs; until enough were heard, L is a sane default.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.core.jit import njit
from feedgen.graph.access import I64, POSTS, SLOT, Arrays, copy_likers, day_field, places_of, post_flags, post_tick
from feedgen.graph.view import View
from feedgen.graph.words import load_i64_acquire
from feedgen.ingest.events import KNOWN, LATE
from feedgen.rank.numeric import edge_us, last_row
from feedgen.rank.params import DEFAULT_PACE_US

MAX_SAMPLES: Final = 20_000
MIN_SAMPLES: Final = 500
LEAST_US: Final = 60 * US_PER_S
MOST_US: Final = 60 * 86_400 * US_PER_S
POSTS_PROBED: Final = 20_000
LIKERS_PROBED: Final = 1000
PROBED_DAYS: Final = 14  # of posts
PROBED_SPAN_US: Final = US_PER_DAY  # of likes


@njit
def _sample_ages(a: Arrays, now_us: int, out: I64) -> int:
    """Ages at the likes of the last day, of every nth post of the last two weeks: each like is as likely as any
    other."""
    people, ticks = np.empty(LIKERS_PROBED, np.uint32), np.empty(LIKERS_PROBED, np.uint16)
    at, since_us = places_of(a), now_us - PROBED_SPAN_US
    n, posts, newest = 0, 0, last_row(at, now_us)
    for own in range(max(newest - PROBED_DAYS, 0), newest + 1):
        posts += load_i64_acquire(day_field(at, own, POSTS), 0)
    step = max(posts // POSTS_PROBED, 1)
    for own in range(max(newest - PROBED_DAYS, 0), newest + 1):
        for i in range(0, load_i64_acquire(day_field(at, own, POSTS), 0), step):
            post = day_field(at, own, SLOT) << 24 | i
            flags = post_flags(at, own, post)
            if flags & KNOWN == 0 or flags & LATE != 0:
                continue
            born_us = edge_us(at, own, post_tick(at, own, post))
            for d in range(max(own, newest - 1), newest + 1):
                for k in range(copy_likers(at, d, post, LIKERS_PROBED, people, ticks)):
                    at_us = edge_us(at, d, ticks[k])
                    if n < out.size and since_us <= at_us <= now_us:
                        out[n] = at_us - born_us
                        n += 1
    return n


class Pace:
    """A ring of the newest ages. `add` what is heard or `measure` the arrays now and then; ask `pace_us`."""

    def __init__(self, default_us: int = DEFAULT_PACE_US) -> None:
        self.default_us = default_us
        self._ages = np.zeros(MAX_SAMPLES, np.int64)
        self._heard = 0
        self._pace_us = default_us

    def add(self, ages_us: I64) -> None:
        """Ages of posts as they were liked: like time less post time."""
        ages = np.maximum(ages_us[-MAX_SAMPLES:], 0)
        self._ages[(self._heard + np.arange(ages.size)) % MAX_SAMPLES] = ages
        self._heard += ages.size
        if self.samples >= MIN_SAMPLES:
            median = float(np.median(self._ages[: self.samples]))
            self._pace_us = round(min(max(median, LEAST_US), MOST_US))

    def measure(self, view: View, now_us: int) -> None:
        """Sample the likes of the last day. A few milliseconds without the GIL: for a background task every few
        minutes."""
        ages = np.empty(MAX_SAMPLES, np.int64)
        self.add(ages[: _sample_ages(view.arrays, now_us, ages)])

    @property
    def samples(self) -> int:
        return min(self._heard, MAX_SAMPLES)

    @property
    def pace_us(self) -> int:
        return self._pace_us
