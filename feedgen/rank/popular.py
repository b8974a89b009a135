"""What everybody likes just now, by language: one set of lists that all readers share.

`refresh` is called in the background every minute or so; `rows` only picks from what it left. A post's score is its
decayed count of ratings, so yesterday's hit makes room for today's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from feedgen.core.ids import NO_PERSON
from feedgen.core.jit import inline, njit
from feedgen.graph.access import (
    I64,
    POSTS,
    SLOT,
    U8,
    Arrays,
    Places,
    copy_likers,
    day_field,
    places_of,
    post_about,
    post_author,
    post_count,
    post_flags,
    post_language,
    post_tick,
)
from feedgen.graph.view import View
from feedgen.graph.words import load_i64_acquire
from feedgen.ingest.events import ADULT, DELETED, HIDDEN, KNOWN, LATE, REPLY, VIDEO
from feedgen.rank.colikers import SILENT
from feedgen.rank.numeric import F64, decay, edge_us, last_row
from feedgen.rank.params import Decay, decay_tables
from feedgen.rank.request import (
    R_ABOUT,
    R_AUTHOR,
    R_COUNT,
    R_FLAGS,
    R_LANGUAGE,
    R_PATHS,
    R_POST,
    R_SEED,
    R_TIME,
    R_VIA,
    RESULT_INTS,
)

PER_LANGUAGE: Final = 1000
LANGUAGES: Final = 256
BUCKETS: Final = 512  # of a quick score, eight to an octave
WINDOW_L: Final = 8  # posts older than this many L are not popular now
LIKERS_READ: Final = 500
FORBID: Final = DELETED | HIDDEN | LATE | REPLY | ADULT


@inline
def _quick(at: Places, d: int, post: int, require: int, forbid: int, now_us: int, t: Decay) -> int:
    """The bucket of ratings x decay by age, or -1 for what may not be listed. Cheap enough for every post of the
    window."""
    flags = post_flags(at, d, post)
    if flags & require != require or flags & forbid != 0:
        return -1
    at_us = edge_us(at, d, post_tick(at, d, post))
    likely = post_count(at, d, post) * decay(t, now_us - at_us)
    if likely < 2.0**-16 or at_us > now_us:
        return -1
    return min(int((np.log2(likely) + 16) * 8), BUCKETS - 1)


@njit
def _find_popular(
    a: Arrays, require: int, forbid: int, now_us: int, since_us: int, t: Decay, ints: I64, scores: F64
) -> int:
    """The most rated posts of each language, in no order. Two walks: count by bucket, then take the buckets on top."""
    at, counts = places_of(a), np.zeros((LANGUAGES, BUCKETS), np.int64)
    newest = last_row(at, now_us)
    oldest = max(last_row(at, since_us), 0)
    for d in range(oldest, newest + 1):
        for i in range(load_i64_acquire(day_field(at, d, POSTS), 0)):
            post = day_field(at, d, SLOT) << 24 | i
            bucket = _quick(at, d, post, require, forbid, now_us, t)
            if bucket >= 0:
                counts[post_language(at, d, post), bucket] += 1
    # All posts above the bucket where a language's list is full, and of that bucket the newest, as many as fit.
    full, room = np.zeros(LANGUAGES, np.int64), np.full(LANGUAGES, PER_LANGUAGE, np.int64)
    for language in range(LANGUAGES):
        bucket = BUCKETS - 1
        while bucket > 0 and counts[language, bucket] <= room[language]:
            room[language] -= counts[language, bucket]
            bucket -= 1
        full[language] = bucket
    n, flags = 0, a.person_flags
    for d in range(newest, oldest - 1, -1):
        for i in range(load_i64_acquire(day_field(at, d, POSTS), 0) - 1, -1, -1):
            post = day_field(at, d, SLOT) << 24 | i
            bucket = _quick(at, d, post, require, forbid, now_us, t)
            if bucket < 0 or n == scores.size:
                continue
            language = post_language(at, d, post)
            if bucket < full[language] or (bucket == full[language] and room[language] == 0):
                continue
            if bucket == full[language]:
                room[language] -= 1
            n += _describe(at, flags, d, post, now_us, t, ints[n], scores, n)
    return n


@inline
def _describe(at: Places, flags: U8, d: int, post: int, now_us: int, t: Decay, row: I64, scores: F64, n: int) -> int:
    """One popular post in full; 0 when it turns out to be none."""
    people, ticks = np.empty(LIKERS_READ, np.uint32), np.empty(LIKERS_READ, np.uint16)
    left, total = LIKERS_READ, 0.0
    for day in range(last_row(at, now_us), d - 1, -1):
        found = copy_likers(at, day, post, left, people, ticks)
        left -= found
        for k in range(found):
            if flags[people[k]] & SILENT == 0:
                total += decay(t, now_us - edge_us(at, day, ticks[k]))
    author = post_author(at, d, post)
    if total <= 0.0 or author == NO_PERSON:
        return 0
    row[R_POST], row[R_AUTHOR], row[R_FLAGS] = post, author, post_flags(at, d, post)
    row[R_LANGUAGE], row[R_ABOUT] = post_language(at, d, post), post_about(at, d, post)
    row[R_COUNT], row[R_TIME] = post_count(at, d, post), edge_us(at, d, post_tick(at, d, post))
    row[R_PATHS], row[R_VIA], row[R_SEED] = 0, NO_PERSON, -1
    scores[n] = total
    return 1


class _Lists(NamedTuple):
    by_language: dict[int, tuple[I64, F64]]
    all: I64


_NOTHING: Final = _Lists({}, np.empty((0, RESULT_INTS), np.int64))


class Popular:
    """Lists by language, best first, replaced as a whole: readers see the old ones or the new ones."""

    def __init__(self) -> None:
        self._lists = {False: _NOTHING, True: _NOTHING}  # by whether only videos count
        self.refreshed_us = 0

    def refresh(self, view: View, now_us: int, pace_us: int, forbid: int = FORBID) -> None:
        """Walk the newest posts, without those that have a flag of `forbid`. Without the GIL; for a background
        thread."""
        room = LANGUAGES * PER_LANGUAGE
        ints, scores = np.empty((room, RESULT_INTS), np.int64), np.empty(room)
        t = decay_tables(pace_us)
        for video in (False, True):
            require = KNOWN | VIDEO if video else KNOWN
            n = _find_popular(view.arrays, require, forbid, now_us, now_us - WINDOW_L * pace_us, t, ints, scores)
            order = np.lexsort((ints[:n, R_POST], -scores[:n]))
            self._lists[video] = _by_language(ints[order], scores[order])
        self.refreshed_us = now_us

    @property
    def empty(self) -> bool:
        return not len(self._lists[False].all)

    def rows(self, languages: Sequence[int] = (), video: bool = False) -> I64:
        """Rows in the layout of `request.py`, best first: of these languages, then of any, so that no page is empty."""
        lists = self._lists[video]
        found = [lists.by_language[n] for n in dict.fromkeys(languages) if n in lists.by_language]
        if not found:
            return lists.all
        ints = np.concatenate([rows for rows, _ in found])
        scores = np.concatenate([s for _, s in found])
        best = ints[np.lexsort((ints[:, R_POST], -scores))][:PER_LANGUAGE]
        return best if len(best) >= PER_LANGUAGE else np.concatenate([best, lists.all])


def _by_language(ints: I64, scores: F64) -> _Lists:
    languages = ints[:, R_LANGUAGE]
    each = {int(n): (ints[languages == n], scores[languages == n]) for n in np.unique(languages)}
    return _Lists(each, ints[:PER_LANGUAGE].copy())
