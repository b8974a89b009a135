"""An immutable look at the arrays: which days there are and where their memory is, kept alive while someone looks.

A `View` is a handful of references. The open day goes on growing under it, and removals show at once; only a day that
is added, sealed or dropped needs a new one. So take a View for each request and let it go afterwards.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from feedgen.core.ids import NO_PERSON, NO_POST, tick_us
from feedgen.core.jit import brief, inline, njit
from feedgen.graph.access import (
    AUTHOR,
    AUTHOR_WIDTH,
    FIND,
    FIND_BUCKETS,
    FIND_SHIFT,
    FIND_SIZE,
    HOLE,
    I64,
    KEY,
    KIND,
    LIVE,
    PACKED,
    U16,
    U32,
    US_PER_DAY,
    Arrays,
    Places,
    copy_all_likers,
    copy_all_likes,
    copy_follows,
    copy_likers,
    copy_likes,
    day_field,
    day_number,
    find_post,
    mix32,
    mix_key,
    places_of,
    post_about,
    post_author,
    post_count,
    post_flags,
    post_key,
    post_language,
    post_row,
    post_tick,
)
from feedgen.graph.aside import NOTHING, Aside
from feedgen.graph.memory import own_array
from feedgen.graph.recent import Recent
from feedgen.graph.words import i64, load_u32, prefetch

FETCH: Final = 32  # searches whose memory is asked for at once
MAX_LIST: Final = 1_000_000  # what one call may gather
_LIKES, _LIKERS, _FOLLOWS, _SEEN_LIKES, _SEEN_LIKERS = 0, 1, 2, 3, 4


@inline
def _slot_of(seen: U32, value: int) -> int:
    """Where the value is, or belongs. The table's size is a power of two."""
    mask = seen.size - 1
    slot: int = (i64(value) * 0x9E37_79B1 >> 7) & mask
    while seen[slot] != HOLE and seen[slot] != value:
        slot = (slot + 1) & mask
    return slot


@inline
def _larger(seen: U32, values: U32, n: int) -> U32:
    more = np.full(8 * seen.size, HOLE, np.uint32)
    for i in range(n):
        more[_slot_of(more, values[i])] = values[i]
    return more


@njit
def _gather(a: Arrays, which: int, key: int, limit: int, out: U32, times_us: I64) -> int:
    """A list over all days, newest first, each value once."""
    at, seen = places_of(a), np.full(1024, HOLE, np.uint32)  # most lists are short: the table grows with what is found
    day_out, day_ticks = np.empty(limit, np.uint32), np.zeros(limit, np.uint16)  # follows have no ticks
    n = 0
    for d in range(at.rows - 1, -1, -1):
        if which == _LIKES:
            found = copy_all_likes(at, d, key, limit, day_out, day_ticks)
        elif which == _LIKERS:
            found = copy_all_likers(at, d, key, limit, day_out, day_ticks)
        elif which == _SEEN_LIKES:
            found = copy_likes(at, d, key, limit, day_out, day_ticks)
        elif which == _SEEN_LIKERS:
            found = copy_likers(at, d, key, limit, day_out, day_ticks)
        else:
            found = copy_follows(at, d, key, limit, day_out)
        day_us = day_number(at, d) * US_PER_DAY
        for i in range(found):
            if 2 * n >= seen.size:
                seen = _larger(seen, out, n)
            slot = _slot_of(seen, day_out[i])
            if seen[slot] == HOLE:
                seen[slot] = day_out[i]
                out[n], times_us[n] = day_out[i], day_us + (i64(day_ticks[i]) * US_PER_DAY + 65_535 >> 16)
                n += 1
                if n == limit:
                    return n
    return n


@inline
def _first_row(at: Places, key: int) -> int:
    """The row of the first day on which a post with that key may be, or -1."""
    day = (key >> 10) // US_PER_DAY
    d = at.rows - 1
    if key < 0 or d < 0 or day_number(at, d) < day:
        return -1
    while d > 0 and day_number(at, d - 1) >= day:
        d -= 1
    return d


@inline
def _fetch(at: Places, authors: U32, keys: I64, start: int, end: int, rows: I64) -> None:
    """Ask for the memory that some searches will need first, all at once instead of one after the other."""
    for i in range(start, end):
        d = _first_row(at, keys[i])
        rows[i - start] = d
        if d >= 0 and day_field(at, d, KIND) == LIVE:
            prefetch(day_field(at, d, FIND), 4 * (mix_key(i64(authors[i]), keys[i]) >> day_field(at, d, FIND_SHIFT)))
        elif d >= 0:
            prefetch(day_field(at, d, FIND_BUCKETS), 4 * (mix32(i64(authors[i])) >> day_field(at, d, FIND_SHIFT)))
    for i in range(start, end):
        d = rows[i - start]
        if d >= 0 and day_field(at, d, KIND) != LIVE:
            first = load_u32(day_field(at, d, FIND_BUCKETS), mix32(i64(authors[i])) >> day_field(at, d, FIND_SHIFT))
            prefetch(day_field(at, d, FIND), 4 * first)
    for i in range(start, end):
        d = rows[i - start]
        if d < 0:
            continue
        hashed, slot = mix_key(i64(authors[i]), keys[i]), 0
        if day_field(at, d, KIND) == LIVE:
            slot = load_u32(day_field(at, d, FIND), hashed >> day_field(at, d, FIND_SHIFT))
        else:
            bucket, starts = mix32(i64(authors[i])) >> day_field(at, d, FIND_SHIFT), day_field(at, d, FIND_BUCKETS)
            for k in range(load_u32(starts, bucket), min(load_u32(starts, bucket + 1), day_field(at, d, FIND_SIZE))):
                slot = load_u32(day_field(at, d, FIND), k)
                if slot >> 24 == hashed & 0xFF:
                    break
        n = (slot & 0xFF_FFFF) - 1
        packed = day_field(at, d, KIND) == PACKED
        prefetch(day_field(at, d, KEY), (4 if packed else 8) * n)
        prefetch(day_field(at, d, AUTHOR), n * day_field(at, d, AUTHOR_WIDTH) >> 3 if packed else 4 * n)


@njit
def _find_posts(a: Arrays, authors: U32, keys: I64, out: U32) -> None:
    at, rows = places_of(a), np.empty(FETCH, np.int64)
    for i in range(authors.size):
        if i % FETCH == 0 and authors.size > 1:
            _fetch(at, authors, keys, i, min(i + FETCH, authors.size), rows)
        out[i] = find_post(at, authors[i], keys[i])


@njit
def _post_flags(a: Arrays, posts: U32, out: U16) -> None:
    at = places_of(a)
    for i in range(posts.size):
        d = post_row(at, posts[i])
        out[i] = post_flags(at, d, posts[i]) if d >= 0 else 0


@brief
def _names_of(a: Arrays, posts: U32, authors: U32, keys: I64) -> None:
    at = places_of(a)
    for i in range(posts.size):
        d = post_row(at, posts[i])
        authors[i], keys[i] = (post_author(at, d, posts[i]), post_key(at, d, posts[i])) if d >= 0 else (NO_PERSON, 0)


@brief
def _describe(a: Arrays, post: int, out: I64) -> int:
    """Everything about one post in one call: day row, author, key, tick, flags, language, about, count."""
    at = places_of(a)
    d = post_row(at, post)
    if d >= 0:
        out[0], out[1], out[2] = post_author(at, d, post), post_key(at, d, post), post_tick(at, d, post)
        out[3], out[4], out[5] = post_flags(at, d, post), post_language(at, d, post), post_about(at, d, post)
        out[6] = post_count(at, d, post)
    return d


class PostFacts:
    """What the arrays know of one post."""

    __slots__ = ("about", "author", "count", "flags", "key", "language", "time_us")

    def __init__(self, author: int, key: int, time_us: int, flags: int, language: int, about: int, count: int) -> None:
        self.author, self.key, self.time_us, self.flags = author, key, time_us, flags
        self.language, self.about, self.count = language, about, count


class Moment:
    """The newest event, as long as what is heard lies in the past. One for all Views of a graph."""

    __slots__ = ("newest_us",)

    def __init__(self) -> None:
        self.newest_us: int | None = None

    def set(self, us: int | None) -> None:
        self.newest_us = us


class Reposts(NamedTuple):
    """The newest first."""

    posts: U32
    times_us: I64  # the earlier of the key's time and the witnessed one
    keys: I64


class View:
    """`arrays` is what kernels take; it is valid while this View is alive, so hold on to the View during the call."""

    __slots__ = ("__weakref__", "_keep", "_reposts", "arrays", "aside", "moment", "unread_day")

    def __init__(
        self,
        arrays: Arrays,
        keep: tuple[tuple[object, ...], ...],
        aside: Aside = NOTHING,
        unread_day: int | None = None,
        moment: Moment | None = None,
        reposts: Recent | None = None,
    ) -> None:
        self.arrays, self.aside, self.unread_day = arrays, aside, unread_day
        self.moment = moment or Moment()
        self._keep, self._reposts = keep, reposts

    def moment_us(self, now_us: int) -> int:
        """As of when to rank: now; but the end of the day before while today's is not read, and the newest event while
        the archive is read. All that is liked now would else be missing, and the pages empty."""
        now_us = now_us if self.moment.newest_us is None else min(now_us, self.moment.newest_us)
        return now_us if self.unread_day is None else min(now_us, self.unread_day * US_PER_DAY - 1)

    def parts(self) -> list[object]:
        """Whose memory this View keeps: days, layers, tables."""
        return [part for day in self._keep for part in day]

    def likes_of(self, person: int, limit: int, dated: bool = True) -> tuple[U32, I64]:
        """(posts, times in us) that the person rated, newest first, a post once. `dated`: also old ratings, which have
        the first moment of the day on which we were told of them.
        """
        return self._list(_LIKES if dated else _SEEN_LIKES, person, limit)

    def likers_of(self, post: int, limit: int, dated: bool = True) -> tuple[U32, I64]:
        """(people, times in us) who rated the post, newest first, a person once. `dated` as for `likes_of`."""
        return self._list(_LIKERS if dated else _SEEN_LIKERS, post, limit)

    def reposts_of(self, person: int, limit: int) -> Reposts:
        """The person's newest reposts that are in memory (recent.MAX_RECENT of all people). A post may be among them
        that was deleted since: ask `post_flags`.
        """
        if self._reposts is None:
            return Reposts(np.empty(0, np.uint32), np.empty(0, np.int64), np.empty(0, np.int64))
        return Reposts(*self._reposts.newest_of(person, limit))

    def follows_of(self, person: int, limit: int = 10_000) -> U32:
        """Whom the person followed within the window, newest first."""
        return self._list(_FOLLOWS, person, limit)[0]

    def find_posts(self, authors: npt.ArrayLike, keys: npt.ArrayLike) -> U32:
        """The numbers of posts; NO_POST where unknown."""
        who, which = own_array(authors, np.uint32), own_array(keys, np.int64)
        out = np.empty(who.size, np.uint32)
        _find_posts(self.arrays, who, which, out)
        return out

    def post_flags(self, posts: npt.ArrayLike) -> U16:
        """Flags by post; 0 for what is unknown."""
        numbers = own_array(posts, np.uint32)
        out = np.empty(numbers.size, np.uint16)
        _post_flags(self.arrays, numbers, out)
        return out

    def post(self, post: int) -> PostFacts | None:
        """What is known of a post; None when its day is gone or never was."""
        out = np.empty(7, np.int64)
        d = _describe(self.arrays, post, out)
        if d < 0:
            return None
        author, key, tick, flags, language, about, count = out.tolist()
        return PostFacts(author, key, tick_us(int(self.arrays.day_numbers[d]), tick), flags, language, about, count)

    def names_of(self, posts: U32) -> tuple[U32, I64]:
        """(authors, keys) of posts; NO_PERSON where the day is gone or the author was erased."""
        authors, keys = np.empty(posts.size, np.uint32), np.empty(posts.size, np.int64)
        _names_of(self.arrays, np.ascontiguousarray(posts), authors, keys)
        return authors, keys

    def author(self, post: int) -> int | None:
        facts = self.post(post)
        return facts.author if facts else None

    def key(self, post: int) -> int | None:
        facts = self.post(post)
        return facts.key if facts else None

    def post_time_us(self, post: int) -> int | None:
        facts = self.post(post)
        return facts.time_us if facts else None

    def _list(self, which: int, key: int, limit: int) -> tuple[U32, I64]:
        limit = min(limit, MAX_LIST)
        out, times_us = np.empty(limit, np.uint32), np.empty(limit, np.int64)
        n = _gather(self.arrays, which, key, limit, out, times_us) if limit > 0 else 0
        return out[:n], times_us[:n]


__all__ = ["NO_POST", "PostFacts", "Reposts", "View"]
