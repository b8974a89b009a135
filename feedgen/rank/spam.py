"""Whose likes carry no weight: accounts that like as no person does. Arrays in, people's numbers out.

Two habits give a machine away: it likes thousands of posts a day, or it likes what an author posts within seconds,
nearly always. Both are found by walking over the lists of a day, in a background thread every few minutes. Ticks are
exact enough for the second only while a day is open, so a verdict is kept for some days.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from feedgen.core.ids import US_PER_DAY
from feedgen.core.jit import inline, njit
from feedgen.core.telemetry import Gauge
from feedgen.graph.access import (
    BELOW,
    I64,
    KIND,
    LIKES,
    LIVE,
    POSTS,
    SLOT,
    U16,
    U32,
    Arrays,
    Places,
    copy_likes,
    day_field,
    key_at,
    key_places,
    keyed_length,
    places_of,
    post_author,
    post_flags,
    post_tick,
)
from feedgen.graph.view import View
from feedgen.graph.words import load_i64_acquire
from feedgen.ingest.events import KNOWN, LATE
from feedgen.rank.numeric import wide

MAX_SPAMMERS: Final = 1 << 20  # found on one day, and kept in all
MAX_READ: Final = 2000  # of one person's newest likes of a day
KEPT_DAYS: Final = 7

spammers_now = Gauge("feedgen_rank_spammers", "People whose likes carry no weight, because they like as no person does")


class SpamRules(NamedTuple):
    likes_a_day: int = 3000  # the busiest people who read what they like stay below
    fast_ticks: int = 4  # of 1.3 s: nobody has read a post within five seconds
    fast_likes: int = 8  # so many fast likes of one author's posts on one day,
    fast_share: float = 0.6  # being so large a part of all likes of that author's posts of the day,
    fast_total: int = 100  # or so many of anybody's


RULES: Final = SpamRules()


@inline
def _read_likes(
    at: Places, d: int, person: int, fast_ticks: int, posts: U32, ticks: U16, authors: I64
) -> tuple[int, int]:
    """The day's likes of the day's own posts, as author << 1 | whether it came within seconds of the post. How many
    likes, and how many of them were fast."""
    n, fast = 0, 0
    for i in range(copy_likes(at, d, person, MAX_READ, posts, ticks)):
        post = wide(posts[i])
        if post >> 24 != day_field(at, d, SLOT) or post & 0xFF_FFFF >= load_i64_acquire(day_field(at, d, POSTS), 0):
            continue
        # What was only referred to has the time of its first like.
        if post_flags(at, d, post) & (KNOWN | LATE) != KNOWN:
            continue
        after = wide(ticks[i]) - wide(post_tick(at, d, post))
        is_fast = 0 <= after <= fast_ticks
        authors[n] = wide(post_author(at, d, post)) << 1 | is_fast
        n += 1
        fast += is_fast
    return n, fast


@inline
def _is_robot(authors: I64, n: int, fast: int, rules: SpamRules) -> bool:
    """Whether nearly all likes of one author, and enough of them, were fast; or very many of anybody."""
    if fast < rules.fast_likes:
        return False
    if fast >= rules.fast_total:
        return True
    ordered = np.sort(authors[:n])
    likes, fast_ones = 0, 0
    for i in range(n):
        if i > 0 and ordered[i] >> 1 != ordered[i - 1] >> 1:
            likes, fast_ones = 0, 0
        likes += 1
        fast_ones += ordered[i] & 1
        last = i == n - 1 or ordered[i + 1] >> 1 != ordered[i] >> 1
        if last and fast_ones >= rules.fast_likes and fast_ones >= rules.fast_share * likes:
            return True
    return False


@inline
def _likes_of(at: Places, d: int, layer: int, person: int) -> int:
    """How many likes the person has on the day; 0 unless this is the first of the day's layers to have any of them."""
    likes, below = 0, wide(d)
    while True:
        likes += keyed_length(at, below, LIKES, person)
        if likes and below < layer:
            return 0
        below = day_field(at, below, BELOW)
        if below == 0:
            return likes


@njit
def _find_spammers(a: Arrays, d: int, rules: SpamRules, out: U32) -> int:
    posts, ticks = np.empty(MAX_READ, np.uint32), np.empty(MAX_READ, np.uint16)
    at, authors = places_of(a), np.empty(MAX_READ, np.int64)
    n, layer = 0, wide(d)
    while True:
        for place in range(key_places(at, layer, LIKES)):
            person = key_at(at, layer, LIKES, place)
            if person < 0 or person >= at.people or n == out.size:
                continue
            likes = _likes_of(at, d, layer, person)
            caught = likes >= rules.likes_a_day
            if not caught and day_field(at, d, KIND) == LIVE and likes >= rules.fast_likes:
                read, fast = _read_likes(at, d, person, rules.fast_ticks, posts, ticks, authors)
                caught = _is_robot(authors, read, fast, rules)
            if caught:
                out[n] = person
                n += 1
        layer = day_field(at, layer, BELOW)
        if layer == 0:
            return n


def find_spammers(view: View, d: int, rules: SpamRules = RULES) -> U32:
    """The spammers of one day (a row of the arrays), ascending. Without the GIL; no list is changed."""
    out = np.empty(MAX_SPAMMERS, np.uint32)
    return np.unique(out[: _find_spammers(view.arrays, d, rules, out)])


class Spammers:
    """Verdicts, kept for `KEPT_DAYS` after the last bad day."""

    def __init__(self, rules: SpamRules = RULES) -> None:
        self.rules = rules
        self._until: dict[int, int] = {}  # by person: the first day that is good again
        self._judged: set[int] = set()  # days that ended and were looked at

    def look(self, view: View, now_us: int) -> U32:
        """Everybody who carries no weight now, ascending. For a background thread, every few minutes."""
        numbers, today = view.arrays.day_numbers.tolist(), now_us // US_PER_DAY
        for d, day in enumerate(numbers):
            if day <= today - KEPT_DAYS or day in self._judged:
                continue
            for person in find_spammers(view, d, self.rules).tolist():
                self._until[person] = max(self._until.get(person, 0), day + KEPT_DAYS)
            if day < numbers[-1]:
                self._judged.add(day)
        self._judged.intersection_update(numbers)
        self._until = {person: day for person, day in self._until.items() if day > today}
        while len(self._until) > MAX_SPAMMERS:
            self._until.popitem()
        spammers_now.set(len(self._until))
        return np.sort(np.array(list(self._until), np.uint32))
