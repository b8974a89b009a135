"""Candidates that are no ranking's: posts by number, the newest, and what rises, in the layout of `request.py`."""

from __future__ import annotations

from typing import Final

import numpy as np

from feedgen.core.ids import NO_PERSON
from feedgen.core.jit import njit
from feedgen.graph.access import (
    I64,
    POSTS,
    SLOT,
    U32,
    Arrays,
    copy_likers,
    day_field,
    places_of,
    post_about,
    post_author,
    post_count,
    post_flags,
    post_language,
    post_row,
    post_tick,
)
from feedgen.graph.view import View
from feedgen.graph.words import load_i64_acquire
from feedgen.rank.colikers import SILENT
from feedgen.rank.numeric import edge_us, last_row
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

LIKERS_READ: Final = 500  # of a post, newest first


@njit
def _describe(a: Arrays, posts: U32, ints: I64) -> int:
    at, n = places_of(a), 0
    for i in range(posts.size):
        d = post_row(at, posts[i])
        author = post_author(at, d, posts[i]) if d >= 0 else NO_PERSON
        if author == NO_PERSON:
            continue
        row = ints[n]
        row[R_POST], row[R_AUTHOR], row[R_FLAGS] = posts[i], author, post_flags(at, d, posts[i])
        row[R_LANGUAGE], row[R_ABOUT] = post_language(at, d, posts[i]), post_about(at, d, posts[i])
        row[R_COUNT], row[R_TIME] = post_count(at, d, posts[i]), edge_us(at, d, post_tick(at, d, posts[i]))
        row[R_PATHS], row[R_VIA], row[R_SEED] = 0, NO_PERSON, -1
        n += 1
    return n


@njit
def _newest(a: Arrays, now_us: int, out: U32) -> int:
    at, n = places_of(a), 0
    for d in range(last_row(at, now_us), -1, -1):
        for i in range(load_i64_acquire(day_field(at, d, POSTS), 0) - 1, -1, -1):
            if n == out.size:
                return n
            out[n] = day_field(at, d, SLOT) << 24 | i
            n += 1
    return n


@njit
def _likes_since(a: Arrays, posts: U32, since_us: int, now_us: int, out: I64) -> None:
    at, flags = places_of(a), a.person_flags
    people, ticks = np.empty(LIKERS_READ, np.uint32), np.empty(LIKERS_READ, np.uint16)
    newest, oldest = last_row(at, now_us), max(last_row(at, since_us), 0)
    for i in range(posts.size):
        out[i], left = 0, LIKERS_READ
        for d in range(newest, oldest - 1, -1):
            found = copy_likers(at, d, posts[i], left, people, ticks)
            left -= found
            for k in range(found):
                if edge_us(at, d, ticks[k]) >= since_us and flags[people[k]] & SILENT == 0:
                    out[i] += 1


def rows_of(view: View, posts: U32) -> I64:
    """A row for each post that is known and has an author, in the same order."""
    ints = np.empty((posts.size, RESULT_INTS), np.int64)
    n = _describe(view.arrays, np.ascontiguousarray(posts, np.uint32), ints)
    return ints[:n]


def newest_posts(view: View, now_us: int, most: int) -> U32:
    """The newest of all, newest first."""
    out = np.empty(most, np.uint32)
    return out[: _newest(view.arrays, now_us, out)]


def newest_of(view: View, posts: U32, now_us: int, most: int) -> U32:
    """The newest of these ascending numbers, newest first: by day, and within a day in the order of arrival."""
    slots = view.arrays.day_numbers % 256
    found, left = list[U32](), most
    for slot in slots[::-1].tolist():
        start, end = np.searchsorted(posts, [slot << 24, slot + 1 << 24])
        newest = posts[max(start, end - left) : end][::-1]
        found.append(newest)
        left -= newest.size
        if not left:
            break
    return np.concatenate(found) if found else posts[:0]


def likes_since(view: View, posts: U32, since_us: int, now_us: int) -> I64:
    """How many people liked each post since then; of its newest LIKERS_READ, without those who carry no weight."""
    out = np.empty(posts.size, np.int64)
    _likes_since(view.arrays, np.ascontiguousarray(posts, np.uint32), since_us, now_us, out)
    return out
