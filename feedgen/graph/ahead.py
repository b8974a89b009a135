"""Posts whose key claims a later day than they were witnessed on: the days between key and now can't find those.

Clocks run a little ahead across midnight, and some keys lie. All such posts of the window stand in one open-addressing
table.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from feedgen.core.jit import njit
from feedgen.graph.access import HOLE, I64, U32, Arrays, mix_key, places_of, post_author, post_key, post_row
from feedgen.graph.words import i64

MAX_AHEAD: Final = 1 << 20  # further ones are numbered again when they are seen again
_FIRST_SIZE: Final = 1024


@njit
def _put(table: U32, authors: U32, keys: I64, posts: U32) -> None:
    mask = table.size - 1
    for p in range(posts.size):
        i = mix_key(i64(authors[p]), keys[p]) & mask
        while table[i] != HOLE and table[i] != posts[p]:
            i = (i + 1) & mask
        table[i] = posts[p]


@njit
def _facts(a: Arrays, posts: U32, authors: U32, keys: I64) -> int:
    """Who and which record the posts are; those whose day is gone are left out. How many remain, at the front."""
    at, n = places_of(a), 0
    for post in posts:
        d = post_row(at, post)
        if post != HOLE and d >= 0:
            posts[n], authors[n], keys[n] = post, post_author(at, d, post), post_key(at, d, post)
            n += 1
    return n


class Ahead:
    """`table` is replaced when it grows, so it belongs to a View like a day's rows."""

    def __init__(self) -> None:
        self.table: U32 = np.full(_FIRST_SIZE, HOLE, np.uint32)
        self._count = 0

    def add(self, authors: U32, keys: I64, posts: U32, a: Arrays) -> bool:
        """True when the table was replaced."""
        room = MAX_AHEAD - self._count
        authors, keys, posts = authors[:room], keys[:room], posts[:room]
        grown = self._grow(a, self._count + posts.size)
        _put(self.table, authors, keys, posts)
        self._count += posts.size
        return grown

    def add_numbers(self, posts: U32, a: Arrays) -> None:
        """Posts that the arrays know already."""
        numbers = np.array(posts, np.uint32)
        authors, keys = np.empty(numbers.size, np.uint32), np.empty(numbers.size, np.int64)
        n = _facts(a, numbers, authors, keys)
        self.add(authors[:n], keys[:n], numbers[:n], a)

    def forget_gone(self, a: Arrays) -> None:
        """Leave out the posts of days that were dropped. Makes a new table."""
        self._refill(a, self.table.size)

    def _grow(self, a: Arrays, count: int) -> bool:
        size = self.table.size
        while 2 * count > size:
            size *= 2
        if size == self.table.size:
            return False
        self._refill(a, size)
        return True

    def _refill(self, a: Arrays, size: int) -> None:
        numbers = self.table[self.table != HOLE]
        authors, keys = np.empty(numbers.size, np.uint32), np.empty(numbers.size, np.int64)
        n = _facts(a, numbers, authors, keys)
        table = np.full(size, HOLE, np.uint32)
        _put(table, authors[:n], keys[:n], numbers[:n])
        self.table, self._count = table, int(n)
