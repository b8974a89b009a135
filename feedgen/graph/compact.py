"""What an open day has below its lists that grow: edges in the form of a sealed day, in memory.

Lists that were full are merged, list by list, with the compact layer below them into a new one. That only reads, so
readers and removals go on meanwhile; a removed edge is a hole, and holes are left out. Ticks are kept whole, unlike
those of a sealed day: what counts today is minutes old.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from feedgen.core.jit import inline, njit
from feedgen.graph.access import (
    BUCKETS,
    COMPACT,
    DAY,
    FIELDS,
    FOLLOWS,
    HEADS,
    HOLE,
    I64,
    KEYS,
    KIND,
    LENGTH,
    LIKES,
    OLD,
    OWN,
    POSTS,
    SHIFT,
    SIZE,
    SLOT,
    TICKS,
    U16,
    U32,
    VALUES,
    Arrays,
    block_of,
    key_places,
    mix32,
    places_of,
)
from feedgen.graph.build import KEYS_PER_BUCKET, bucket_shift, fill_buckets
from feedgen.graph.memory import address, reserve, want_large_pages
from feedgen.graph.words import load_i64, load_i64_acquire, load_u16, load_u32

NO_TICKS: Final[U16] = np.empty(0, np.uint16)
_HALF: Final = 1 << 31  # taken off a hashed key, so that it keeps its order as the upper half of an int64
_LAST: Final = HOLE + 1  # after every key


class Group:
    """Lists of one kind: their hashed keys, ascending; where each begins in `values`, and where the last one ends."""

    def __init__(self, field: int, keys: U32, offsets: U32, values: U32, ticks: U16) -> None:
        self.field, self.keys, self.offsets, self.values, self.ticks = field, keys, offsets, values, ticks
        self._shift = bucket_shift(keys.size, KEYS_PER_BUCKET)
        self._buckets: U32 = np.zeros((1 << (32 - self._shift)) + 1, np.uint32)
        fill_buckets(keys, self._shift, self._buckets)

    def fill_row(self, row: I64) -> None:
        row[self.field + KEYS], row[self.field + SIZE] = address(self.keys), self.keys.size
        row[self.field + HEADS], row[self.field + BUCKETS] = address(self.offsets), address(self._buckets)
        row[self.field + SHIFT], row[self.field + VALUES] = self._shift, address(self.values)
        row[self.field + TICKS] = address(self.ticks) if self.ticks.size else 0
        row[self.field + LENGTH] = self.values.size


class Compact:
    """A layer that nothing is added to. `own_offsets` are those of the likers of the day's own posts."""

    def __init__(self, day: int, own_offsets: U32, groups: tuple[Group, ...]) -> None:
        self.day, self._own_offsets, self._groups = day, own_offsets, groups
        self._posts = np.array([own_offsets.size - 1], np.int64)

    def row(self) -> I64:
        row = np.zeros(FIELDS, np.int64)
        row[KIND], row[DAY], row[SLOT] = COMPACT, self.day, self.day % 256
        row[POSTS], row[OWN] = address(self._posts), address(self._own_offsets)
        for group in self._groups:
            group.fill_row(row)
        return row


class Room:
    """For the lists of one group, before it is known how much they take: at most so many lists and values."""

    def __init__(self, lists: int, values: int, with_ticks: bool) -> None:
        self.keys: U32 = reserve(np.uint32, max(lists, 1))
        self.offsets: U32 = reserve(np.uint32, lists + 1)
        self.values: U32 = reserve(np.uint32, max(values, 1))
        self.ticks: U16 = reserve(np.uint16, max(values, 1)) if with_ticks else NO_TICKS
        for array in (self.keys, self.offsets, self.values, self.ticks):
            want_large_pages(array)

    def group(self, field: int, lists: int, values: int) -> Group:
        """What was filled; the rest never took memory."""
        return Group(field, self.keys[:lists], self.offsets[: lists + 1], self.values[:values], self.ticks[:values])


def room_for_posts(posts: int) -> U32:
    offsets: U32 = reserve(np.uint32, posts + 1)
    want_large_pages(offsets)
    return offsets


def merge(a: Arrays, upper: int, lower: int) -> Compact:
    """Lists that grow no more, and the compact layer below them, as one. These are rows of `a`; no `lower`: 0.

    Who is erased meanwhile is erased from the result again, by what is in it of their likes. So these come first: a
    like that is gone by then is gone from the likers that come later, too.
    """
    own_offsets = room_for_posts(_posts(a, upper))
    groups = tuple(_merge_group(a, upper, lower, field, own_offsets) for field in (LIKES, OLD, FOLLOWS))
    return Compact(int(a.days[upper, DAY]), own_offsets, groups)


def _merge_group(a: Arrays, upper: int, lower: int, field: int, own_offsets: U32) -> Group:
    ranked = _lists(a, upper, field)
    ranked.sort()
    lists, values = int(ranked.size), int(_places(a, upper, field))
    if lower:
        lists, values = lists + int(a.days[lower, field + SIZE]), values + int(a.days[lower, field + LENGTH])
    room = Room(lists, values, bool(a.days[upper, field + TICKS]))
    top = _merge_own(a, upper, lower, own_offsets, room.values, room.ticks) if field == OLD else 0
    made, top = _merge_keyed(
        a, upper, lower, field, ranked, top, room.keys, room.offsets, room.values, room.ticks
    )  # fmt: skip
    return room.group(field, made, top)


@njit
def _posts(a: Arrays, d: int) -> int:
    return load_i64_acquire(a.days[d, POSTS], 0)


@njit
def _lists(a: Arrays, d: int, group: int) -> I64:
    """The lists of a layer by hashed key, less _HALF, << 32 | number; in no order."""
    slots, found = a.days[d, group + KEYS], 0
    for place in range(key_places(places_of(a), d, group)):
        found += load_i64(slots, place) != 0
    out = np.empty(found, np.int64)
    found = 0
    for place in range(key_places(places_of(a), d, group)):
        slot = load_i64(slots, place)
        if slot != 0:
            out[found] = (mix32(slot & HOLE) - _HALF) << 32 | ((slot >> 32) - 1)
            found += 1
    return out


@njit
def _places(a: Arrays, d: int, group: int) -> int:
    """How many values the lists of a layer have, holes counted."""
    places = 0
    for place in range(key_places(places_of(a), d, group)):
        slot = load_i64(a.days[d, group + KEYS], place)
        if slot != 0:
            places += load_i64_acquire(a.days[d, group + HEADS], (slot >> 32) - 1) >> 32
    if group == OLD:
        for n in range(load_i64_acquire(a.days[d, POSTS], 0)):
            places += load_i64_acquire(a.days[d, OWN], n) >> 32
    return places


@inline
def _take_range(a: Arrays, d: int, group: int, start: int, end: int, out: U32, out_ticks: U16, top: int) -> int:
    values, ticks = a.days[d, group + VALUES], a.days[d, group + TICKS]
    for i in range(start, min(end, a.days[d, group + LENGTH])):
        value = load_u32(values, i)
        if value != HOLE:
            out[top] = value
            if ticks != 0:
                out_ticks[top] = load_u16(ticks, i)
            top += 1
    return top


@inline
def _take_blocks(a: Arrays, d: int, group: int, head: int, out: U32, out_ticks: U16, top: int) -> int:
    """The oldest first, though the newest is found first: written from where it would end without holes."""
    length, block = head >> 32, head & 0xFFFF_FFFF
    values, ticks = a.days[d, group + VALUES], a.days[d, group + TICKS]
    end = top + length
    at = end
    while length > 0:
        _, used = block_of(length)
        for i in range(block + used, block, -1):
            value = load_u32(values, i)
            if value != HOLE:
                at -= 1
                out[at] = value
                if ticks != 0:
                    out_ticks[at] = load_u16(ticks, i)
        length -= used
        block = load_u32(values, block)
    holes = at - top
    if holes > 0:
        for i in range(top, end - holes):
            out[i] = out[i + holes]
            if ticks != 0:
                out_ticks[i] = out_ticks[i + holes]
    return end - holes


@njit
def _merge_own(a: Arrays, upper: int, lower: int, offsets: U32, out: U32, out_ticks: U16) -> int:
    """Likers of the day's own posts, from the start of `out` on. Where they end."""
    heads, below = a.days[upper, OWN], a.days[lower, OWN]
    known = load_i64(a.days[lower, POSTS], 0) if lower != 0 else 0
    top = 0
    for n in range(offsets.size - 1):
        offsets[n] = top
        if n < known:
            start, end = load_u32(below, n), load_u32(below, n + 1)
            top = _take_range(a, lower, OLD, start, end, out, out_ticks, top)
        top = _take_blocks(a, upper, OLD, load_i64_acquire(heads, n), out, out_ticks, top)
    offsets[offsets.size - 1] = top
    return top


@njit
def _merge_keyed(
    a: Arrays, upper: int, lower: int, group: int, ranked: I64, top: int,
    keys: U32, offsets: U32, out: U32, out_ticks: U16,
) -> tuple[int, int]:  # fmt: skip
    """Lists by key, from `top` on. (how many there are, where they end)."""
    size = a.days[lower, group + SIZE] if lower != 0 else 0
    starts, heads = a.days[lower, group + HEADS], a.days[upper, group + HEADS]
    made, i, j = 0, 0, 0
    while i < size or j < ranked.size:
        below = load_u32(a.days[lower, group + KEYS], i) if i < size else _LAST
        above = (ranked[j] >> 32) + _HALF if j < ranked.size else _LAST
        key, begin = min(below, above), top
        if below == key:
            start, end = load_u32(starts, i), load_u32(starts, i + 1)
            top = _take_range(a, lower, group, start, end, out, out_ticks, top)
            i += 1
        if above == key:
            top = _take_blocks(a, upper, group, load_i64_acquire(heads, ranked[j] & HOLE), out, out_ticks, top)
            j += 1
        if top > begin:  # not of holes alone
            keys[made], offsets[made] = key, begin
            made += 1
    offsets[made] = top
    return made, top
