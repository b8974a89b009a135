"""The open day's arrays from whole columns, at the start: many times as fast as adding edge by edge, which waits for
memory at every step.

Edges are first dealt out, piece by piece as they are read, to parts of a few thousand lists; once for each direction.
Then each part is put into the order of its lists within the processor's cache, repeats are dropped, and its lists are
written one after the other. What comes out is a compact layer (`compact.py`); what comes later is added on top of it.
The two directions share nothing, so each has a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Protocol, runtime_checkable

import numpy as np

from feedgen.core.ids import NO_POST
from feedgen.core.jit import inline, njit
from feedgen.graph.access import COUNT, FOLLOWS, HOLE, I64, LIKES, OLD, POSTS, SLOT, U16, U32, Arrays, mix32
from feedgen.graph.compact import NO_TICKS, Compact, Group, Room, room_for_posts
from feedgen.graph.doubles import Doubles
from feedgen.graph.edit import MAX_COUNT
from feedgen.graph.live import MAX_POSTS, QUIET_EDGES, LiveDay, edge_bits
from feedgen.graph.memory import own_array, reserve, want_large_pages
from feedgen.graph.source import DaySource
from feedgen.graph.words import i64, load_i64, load_u16, store_u16

# Taken in bulk, 20 bytes each until it is done; what comes after them is added edge by edge.
MAX_RATINGS: Final = 1 << 25
MAX_FOLLOWS: Final = 1 << 23
PIECE: Final = 1 << 20  # rows dealt out at once
_KEYED_BITS: Final = 10
_KEYED_PARTS: Final = 1 << _KEYED_BITS  # by the first bits of the hashed key
_OWN_BITS: Final = 13
_OWN_LISTS: Final = 1 << _OWN_BITS  # in a part of the day's own posts
_OWN_PARTS: Final = (MAX_POSTS - 1 >> _OWN_BITS) + 1
_FEW: Final = 12  # values among which a repeat is looked for one by one
_SEEN_MASK: Final = 31  # of the smallest table for more
_NO_DOUBLES: Final[I64] = np.empty(0, np.int64)
_NO_OFFSETS: Final[U32] = np.empty(0, np.uint32)

RatingPiece = tuple[U32, U32, U16]


@runtime_checkable
class InPieces(Protocol):
    """A source whose ratings need not be in memory all at once."""

    def rating_pieces(self) -> Iterator[RatingPiece]: ...


def rating_pieces(source: DaySource) -> Iterator[RatingPiece]:
    """A day's ratings, at most PIECE rows at once."""
    for actors, posts, ticks in source.rating_pieces() if isinstance(source, InPieces) else [source.ratings()]:
        for at in range(0, actors.size, PIECE):
            here = slice(at, at + PIECE)
            who, which = own_array(actors[here], np.uint32), own_array(posts[here], np.uint32)
            yield who, which, own_array(ticks[here], np.uint16)


@njit
def _survey(actors: U32, posts: U32, slot: int, people: int) -> tuple[int, int, int]:
    """(how many edges bear numbers that nobody gave, ends of the people's and of the day's own posts' numbers)."""
    bad, top, end = 0, 0, 0
    for i in range(actors.size):
        actor, post = i64(actors[i]), i64(posts[i])
        n = post & 0xFF_FFFF if post >> 24 == slot else -1
        if actor >= people or post == NO_POST or n >= MAX_POSTS:
            bad += 1
        else:
            top, end = max(top, actor + 1), max(end, n + 1)
    return bad, top, end


@inline
def _part(key: int, slot: int) -> int:
    if key >> 24 == slot:
        return _KEYED_PARTS + ((key & 0xFF_FFFF) >> _OWN_BITS)
    return mix32(key) >> (32 - _KEYED_BITS)


@njit
def _deal(keys: U32, values: U32, ticks: U16, slot: int, at: int, pairs: I64, out_ticks: U16, starts: I64) -> None:
    """Rows to their parts, in their order, from `at` on. `slot` is that of posts with parts of their own, or -1."""
    starts[:] = 0
    for i in range(keys.size):
        starts[_part(i64(keys[i]), slot) + 1] += 1
    starts[0] = at
    for p in range(1, starts.size):
        starts[p] += starts[p - 1]
    cursor = starts.copy()
    for i in range(keys.size):
        key = i64(keys[i])
        p = _part(key, slot)
        to = cursor[p]
        cursor[p] = to + 1
        pairs[to] = key << 32 | i64(values[i])
        if ticks.size:
            out_ticks[to] = ticks[i]


@inline
def _list_own(pairs: I64, starts: I64, p: int, lists: U32, counts: U32) -> int:
    """Which list each row of a part belongs to, when each number has its list. How many lists there are."""
    counts[:_OWN_LISTS] = 0
    n = 0
    for piece in range(starts.shape[0]):
        for i in range(starts[piece, p], starts[piece, p + 1]):
            found = (pairs[i] >> 32) & (_OWN_LISTS - 1)
            lists[n] = found
            counts[found] += 1
            n += 1
    return _OWN_LISTS


@inline
def _home(key: int, table: I64) -> int:
    """Where a key's search begins: by the bits of its hash after those that all keys of the part have in common."""
    return (((mix32(key) << _KEYED_BITS) & HOLE) * table.size) >> 32


@inline
def _list_keyed(pairs: I64, starts: I64, p: int, lists: U32, counts: U32, keys: U32, table: I64) -> int:
    """The same for lists that have a key, which is noted. The table is empty, and left so."""
    mask = table.size - 1
    n, made = 0, 0
    for piece in range(starts.shape[0]):
        for i in range(starts[piece, p], starts[piece, p + 1]):
            key = (pairs[i] >> 32) & HOLE
            at = _home(key, table)
            while table[at] != 0 and table[at] & HOLE != key:
                at = (at + 1) & mask
            if table[at] == 0:
                table[at] = (made + 1) << 32 | key
                keys[made] = key
                counts[made] = 0
                made += 1
            found = (table[at] >> 32) - 1
            lists[n] = found
            counts[found] += 1
            n += 1
    for i in range(made):
        at = _home(i64(keys[i]), table)
        while table[at] != 0:  # whatever else stands in the way goes, too
            table[at] = 0
            at = (at + 1) & mask
    return made


@inline
def _place(
    pairs: I64, in_ticks: U16, starts: I64, p: int, lists: U32, counts: U32, made: int, values: U32, ticks: U16
) -> None:
    """A part's rows by list, each list in its order. `counts` become where each list ends."""
    total = 0
    for i in range(made):
        count = counts[i]
        counts[i] = total
        total += count
    n = 0
    for piece in range(starts.shape[0]):
        for i in range(starts[piece, p], starts[piece, p + 1]):
            to = counts[lists[n]]
            counts[lists[n]] = to + 1
            values[to] = pairs[i] & HOLE
            if in_ticks.size:
                ticks[to] = in_ticks[i]
            n += 1


@inline
def _drop_repeats(
    values: U32, ticks: U16, start: int, end: int, seen: U32, key: int, doubles: I64, found: int
) -> tuple[int, int]:
    """Keep the first of equal values. (where the kept ones end, how many repeats are noted in all)."""
    kept, mask = start, 0
    if end - start > _FEW:
        mask = _SEEN_MASK
        while mask < 2 * (end - start):
            mask = 2 * mask + 1
        seen[: mask + 1] = HOLE
    for i in range(start, end):
        value = values[i]
        repeat = False
        if mask == 0:
            for j in range(start, kept):
                repeat |= values[j] == value
        else:
            at = (mix32(i64(value)) >> 7) & mask
            while seen[at] != HOLE and seen[at] != value:
                at = (at + 1) & mask
            repeat = seen[at] == value
            seen[at] = value
        if repeat:
            if doubles.size:
                doubles[found] = key << 32 | i64(value)
                found += 1
            continue
        values[kept] = value
        if ticks.size:
            ticks[kept] = ticks[i]
        kept += 1
    return kept, found


@inline
def _rank(keys: U32, made: int) -> I64:
    """A part's lists in the order of their hashed keys, as the lower halves. The first bits are the same for all."""
    ranked = np.empty(made, np.int64)
    for i in range(made):
        ranked[i] = (mix32(i64(keys[i])) & (HOLE >> _KEYED_BITS)) << 32 | i
    ranked.sort()
    return ranked


@inline
def _write(values: U32, ticks: U16, start: int, end: int, out: U32, out_ticks: U16, top: int) -> int:
    """A list, behind those before it. Where it ends."""
    for i in range(start, end):
        out[top + i - start] = values[i]
    if ticks.size:
        for i in range(start, end):
            out_ticks[top + i - start] = ticks[i]
    return top + end - start


@inline
def _remember_edges(edges: I64, person: int, posts: U32, start: int, end: int) -> None:
    for i in range(start, end):
        word, bits = edge_bits(person, i64(posts[i]))
        edges[word & (edges.size - 1)] |= bits


@inline
def _count_post(columns: I64, post: int, length: int) -> None:
    """Add the length of a list to its post's count."""
    column, n = columns[post >> 24, 0], post & 0xFF_FFFF
    if length and n < columns[post >> 24, 1]:
        store_u16(column, n, min(load_u16(column, n) + length, MAX_COUNT))


@inline
def _count_columns(a: Arrays) -> I64:
    """By slot: where the counts of that day's posts are, and how many."""
    columns = np.zeros((256, 2), np.int64)
    for row in range(a.day_numbers.size):
        columns[a.days[row, SLOT], 0] = a.days[row, COUNT]
        columns[a.days[row, SLOT], 1] = load_i64(a.days[row, POSTS], 0)
    return columns


@inline
def _most_rows(starts: I64) -> int:
    most = 0
    for p in range(starts.shape[1] - 1):
        most = max(most, (starts[:, p + 1] - starts[:, p]).sum())
    return most


@njit
def _fill(
    a: Arrays, group: int, slot: int, pairs: I64, in_ticks: U16, starts: I64,
    own_offsets: U32, keys: U32, offsets: U32, out: U32, out_ticks: U16, edges: I64, doubles: I64,
) -> tuple[int, int, int]:  # fmt: skip
    """One direction, part by part: (lists with keys, edges kept, repeats noted)."""
    room = max(_most_rows(starts), _OWN_LISTS)
    lists, counts, values = np.empty(room, np.uint32), np.empty(room, np.uint32), np.empty(room, np.uint32)
    ticks, names = np.empty(room if in_ticks.size else 0, np.uint16), np.empty(room, np.uint32)
    bits = _OWN_BITS
    while 1 << bits < 2 * room:
        bits += 1
    table, seen = np.zeros(1 << bits, np.int64), np.empty(4 * room, np.uint32)
    columns, in_order = _count_columns(a), np.arange(_OWN_LISTS)
    first, top, noted = 0, 0, 0
    for p in range(starts.shape[1] - 1):
        own = (p - _KEYED_PARTS) << _OWN_BITS if p >= _KEYED_PARTS else -1
        if own >= own_offsets.size:
            break
        if own >= 0:
            made, ranked = _list_own(pairs, starts, p, lists, counts), in_order
        else:
            made = _list_keyed(pairs, starts, p, lists, counts, names, table)
            ranked = _rank(names, made)
        _place(pairs, in_ticks, starts, p, lists, counts, made, values, ticks)
        for rank in range(made):
            i = ranked[rank] & HOLE
            key = slot << 24 | own + i if own >= 0 else i64(names[i])
            start = i64(counts[i - 1]) if i > 0 else 0
            kept, noted = _drop_repeats(values, ticks, start, i64(counts[i]), seen, key, doubles, noted)
            if own >= 0 and own + i < own_offsets.size:
                own_offsets[own + i] = top
            top = _write(values, ticks, start, kept, out, out_ticks, top)
            if own < 0:
                keys[first], offsets[first + 1] = mix32(key), top
                first += 1
            if group == OLD:
                _count_post(columns, key, kept - start)
            elif group == LIKES:
                _remember_edges(edges, key, values, start, kept)
                a.person_ratings[key] += kept - start
    return first, top, noted


class _Direction:
    """Edges seen from one side: dealt out piece by piece, then made into the lists of a group."""

    def __init__(self, slot: int, rows: int, with_ticks: bool) -> None:
        self.slot, self.rows = slot, 0
        self._pairs: I64 = reserve(np.int64, rows)
        self._ticks: U16 = reserve(np.uint16, rows) if with_ticks else NO_TICKS
        self._starts: list[I64] = []
        want_large_pages(self._pairs)
        want_large_pages(self._ticks)

    def deal(self, keys: U32, values: U32, ticks: U16) -> None:
        starts = np.empty(_KEYED_PARTS + 1 + (_OWN_PARTS if self.slot >= 0 else 0), np.int64)
        _deal(keys, values, ticks, self.slot, self.rows, self._pairs, self._ticks, starts)
        self._starts.append(starts)
        self.rows += keys.size

    def fill(self, day: LiveDay, a: Arrays, field: int, own_offsets: U32, doubles: Doubles | None) -> Group:
        """The lists of a group; those of the day's own posts are found by `own_offsets`."""
        room = Room(self.rows, self.rows, self._ticks.size > 0)
        if not self.rows:
            return room.group(field, 0, 0)
        repeated: I64 = reserve(np.int64, self.rows) if doubles is not None else _NO_DOUBLES
        lists, kept, noted = _fill(
            a, field, self.slot, self._pairs, self._ticks, np.stack(self._starts),
            own_offsets, room.keys, room.offsets, room.values, room.ticks, day.filter, repeated,
        )  # fmt: skip
        if doubles is not None:
            _remember(doubles, repeated[:noted])
        return room.group(field, lists, kept)


def _remember(doubles: Doubles, pairs: I64) -> None:
    """What was said more than once. The repeats of one list stand together."""
    unique, more = np.unique(pairs, return_counts=True)
    doubles.take_over(unique, more)


class Filling:
    """A day's ratings on their way into arrays that are still empty."""

    def __init__(self, slot: int, people: int) -> None:
        self.slot, self.people = slot, people
        self.refused = 0
        self.top = 0  # one more than the highest number of a person who rated
        self._end = 0  # of the numbers of the day's own posts
        self._likers, self._likes = _Direction(slot, MAX_RATINGS, True), _Direction(-1, MAX_RATINGS, True)

    def take(self, pieces: Iterator[RatingPiece]) -> None:
        """As many as may be in memory; some pieces may be left. One is read while the one before is dealt out."""
        dealing: list[Future[None]] = []
        with ThreadPoolExecutor(2, "graph-deal") as threads:
            for piece in pieces:
                who, which, when = self._good(*piece)
                for each in dealing:
                    each.result()
                dealing = [
                    threads.submit(self._likers.deal, which, who, when),
                    threads.submit(self._likes.deal, who, which, when),
                ]
                if self._likes.rows + 2 * PIECE > MAX_RATINGS:  # this piece and a next one
                    break
        for each in dealing:
            each.result()

    def fill(self, day: LiveDay, a: Arrays, d: int, actors: U32, subjects: U32) -> None:
        """What was taken, and follows, into a day in row `d` that has none yet. Make new rows afterwards."""
        if day.edges or day.below:
            raise ValueError("the day is not empty")
        day.skip_posts(a, d, self._end)
        if self._likes.rows > QUIET_EDGES:
            day.expect_many()
        own_offsets = room_for_posts(day.posts)
        with ThreadPoolExecutor(2, "graph-fill") as threads:
            both = (
                threads.submit(self._likers.fill, day, a, OLD, own_offsets, None),
                threads.submit(self._likes.fill, day, a, LIKES, _NO_OFFSETS, day.double_ratings),
            )
            good = (actors < self.people) & (subjects < self.people)
            follows = _Direction(-1, MAX_FOLLOWS, False)
            follows.deal(actors[good], subjects[good], NO_TICKS)
            followed = follows.fill(day, a, FOLLOWS, _NO_OFFSETS, day.double_follows)
            likers, likes = (each.result() for each in both)
        if likers.values.size != likes.values.size:
            raise AssertionError("an edge has two directions")
        own_offsets[-1] = likers.values.size
        day.start_with(Compact(day.day, own_offsets, (likers, likes, followed)), likes.values.size)
        self.refused += good.size - int(good.sum())

    def _good(self, who: U32, which: U32, when: U16) -> RatingPiece:
        """Without numbers that nobody gave."""
        bad, top, end = _survey(who, which, self.slot, self.people)
        self.refused += bad
        self.top, self._end = max(self.top, top), max(self._end, end)
        if not bad:
            return who, which, when
        n = np.where(which >> 24 == self.slot, which & 0xFF_FFFF, 0)
        good = (who < self.people) & (which != NO_POST) & (n < MAX_POSTS)
        return who[good], which[good], when[good]
