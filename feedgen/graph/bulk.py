"""The open day's arrays from whole columns, at the start: many times as fast as adding edge by edge, which waits for
memory at every step.

Edges are first dealt out, piece by piece as they are read, to parts of a few thousand lists; once for each direction.
Then each part is put into the order of its lists within the processor's cache, repeats are dropped, and its lists are
written one after the other. What comes out is what adding edge by edge leaves, but for the places of the lists, and
goes on growing like it. The two directions share nothing, so each has a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Protocol, runtime_checkable

import numpy as np

from feedgen.core.ids import NO_POST
from feedgen.core.jit import inline, njit
from feedgen.graph.access import COUNT, HOLE, I64, LARGEST_BLOCK, LIKES, OLD, POSTS, SLOT, U16, U32, Arrays, mix32
from feedgen.graph.doubles import MAX_DOUBLES, Doubles
from feedgen.graph.edit import MAX_COUNT
from feedgen.graph.live import (
    EDGES,
    LISTS,
    MAX_POSTS,
    QUIET_EDGES,
    TOPS,
    Group,
    LiveDay,
    edge_bits,
)
from feedgen.graph.memory import address, own_array, reserve, want_large_pages
from feedgen.graph.source import DaySource
from feedgen.graph.words import i64, load_i64, load_u16, store_i64_release, store_u16

# Taken in bulk, 20 bytes each until it is done; what comes after them is added edge by edge. An edge takes three words
# of an arena at most, so the arenas can't fill up.
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
_NO_TICKS: Final[U16] = np.empty(0, np.uint16)
_NO_DOUBLES: Final[I64] = np.empty(0, np.int64)

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
def _list_keyed(pairs: I64, starts: I64, p: int, lists: U32, counts: U32, keys: U32, first: int, table: I64) -> int:
    """The same for lists that have a key, which is noted from `first` on. The table is empty, and left so."""
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
                keys[first + made] = key
                counts[made] = 0
                made += 1
            found = (table[at] >> 32) - 1
            lists[n] = found
            counts[found] += 1
            n += 1
    for i in range(made):
        at = _home(i64(keys[first + i]), table)
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
def _write(values: U32, ticks: U16, start: int, end: int, out: U32, out_ticks: U16, top: int) -> tuple[int, int]:
    """A list as blocks like those of `live.py`. (its head, the next free word)."""
    block, size, at = 0, 2, start
    while at < end:
        n = min(size, end - at)
        out[top] = block
        for i in range(n):
            out[top + 1 + i] = values[at + i]
        if ticks.size:
            for i in range(n):
                out_ticks[top + 1 + i] = ticks[at + i]
        block = top
        top += size + 1
        at += n
        size = min(2 * size, LARGEST_BLOCK)
    return (end - start) << 32 | block, top


@inline
def _remember_edges(edges: I64, person: int, posts: U32, start: int, end: int) -> None:
    for i in range(start, end):
        word, bits = edge_bits(person, i64(posts[i]))
        edges[word & (edges.size - 1)] |= bits


@inline
def _count_posts(columns: I64, keys: U32, first: int, own: int, counts: U32, made: int) -> None:
    """Add the lengths of a part's lists to the posts' counts; `own` is its first post if of the day itself, else -1."""
    for i in range(made):
        post = own + i if own >= 0 else i64(keys[first + i])
        column, n = columns[post >> 24, 0], post & 0xFF_FFFF
        if counts[i] and n < columns[post >> 24, 1]:
            store_u16(column, n, min(load_u16(column, n) + i64(counts[i]), MAX_COUNT))


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
    a: Arrays, group: int, slot: int, own_heads: int, pairs: I64, in_ticks: U16, starts: I64,
    out: U32, out_ticks: U16, heads: I64, keys: U32, edges: I64, doubles: I64,
) -> tuple[int, int, int, int]:  # fmt: skip
    """One direction, part by part: (lists with keys, words taken, edges kept, repeats noted)."""
    room = max(_most_rows(starts), _OWN_LISTS)
    lists, counts, values = np.empty(room, np.uint32), np.empty(room, np.uint32), np.empty(room, np.uint32)
    ticks = np.empty(room if in_ticks.size else 0, np.uint16)
    bits = _OWN_BITS
    while 1 << bits < 2 * room:
        bits += 1
    table, seen = np.zeros(1 << bits, np.int64), np.empty(4 * room, np.uint32)
    columns = _count_columns(a)
    first, top, edges_kept, noted = 0, 0, 0, 0
    for p in range(starts.shape[1] - 1):
        own = slot << 24 | (p - _KEYED_PARTS) << _OWN_BITS if p >= _KEYED_PARTS else -1
        if own >= 0:
            made = _list_own(pairs, starts, p, lists, counts)
        else:
            made = _list_keyed(pairs, starts, p, lists, counts, keys, first, table)
        _place(pairs, in_ticks, starts, p, lists, counts, made, values, ticks)
        start = 0
        for i in range(made):
            end = i64(counts[i])
            if end == start:  # a post of the day's own that nobody rated
                counts[i] = 0
                continue
            key = own + i if own >= 0 else i64(keys[first + i])
            kept, noted = _drop_repeats(values, ticks, start, end, seen, key, doubles, noted)
            head, top = _write(values, ticks, start, kept, out, out_ticks, top)
            if own < 0:
                heads[first + i] = head
            else:
                store_i64_release(own_heads, key & 0xFF_FFFF, head)
            if group == LIKES:
                _remember_edges(edges, key, values, start, kept)
                a.person_ratings[key] += kept - start
            edges_kept += kept - start
            counts[i] = kept - start
            start = end
        if group == OLD:
            _count_posts(columns, keys, first, own, counts, made)
        first += 0 if own >= 0 else made
    return first, top, edges_kept, noted


class _Direction:
    """Edges seen from one side: dealt out piece by piece, then made into the lists of a group."""

    def __init__(self, slot: int, rows: int, with_ticks: bool) -> None:
        self.slot, self.rows = slot, 0
        self._pairs: I64 = reserve(np.int64, rows)
        self._ticks: U16 = reserve(np.uint16, rows) if with_ticks else _NO_TICKS
        self._starts: list[I64] = []
        want_large_pages(self._pairs)
        want_large_pages(self._ticks)

    def deal(self, keys: U32, values: U32, ticks: U16) -> None:
        starts = np.empty(_KEYED_PARTS + 1 + (_OWN_PARTS if self.slot >= 0 else 0), np.int64)
        _deal(keys, values, ticks, self.slot, self.rows, self._pairs, self._ticks, starts)
        self._starts.append(starts)
        self.rows += keys.size

    def fill(self, day: LiveDay, a: Arrays, group: Group, doubles: Doubles | None) -> int:
        """How many edges there are."""
        if not self.rows:
            return 0
        keys: U32 = reserve(np.uint32, self.rows)
        repeated: I64 = reserve(np.int64, self.rows) if doubles is not None else _NO_DOUBLES
        lists, top, kept, noted = _fill(
            a, group.field, self.slot, address(day.own_heads), self._pairs, self._ticks, np.stack(self._starts),
            group.values, _NO_TICKS if group.ticks is None else group.ticks, group.heads, keys, day.filter, repeated,
        )  # fmt: skip
        group.index(keys[:lists])
        day.state[LISTS + group.arena], day.state[TOPS + group.arena] = lists, top
        if doubles is not None:
            _remember(doubles, repeated[:noted])
        return int(kept)


def _remember(doubles: Doubles, pairs: I64) -> None:
    """What was said more than once. The repeats of one list stand together."""
    some = pairs[:MAX_DOUBLES]
    complete = some.size == pairs.size
    if not complete:
        some = some[some >> 32 != pairs[MAX_DOUBLES] >> 32]  # of a list that is cut in two, nothing is certain
    unique, more = np.unique(some, return_counts=True)
    doubles.take_over(unique, more, complete)


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
        """What was taken, and follows, into a day in row `d` that has none yet.

        Make a new row afterwards: it has new tables. In older ones, readers see the lists of the day's own posts come.
        """
        if day.edges or day.state[LISTS : LISTS + 3].any():
            raise ValueError("the day is not empty")
        day.skip_posts(a, d, self._end)
        if self._likes.rows > QUIET_EDGES:
            day.expect_many()
        old, liked, followed = day.groups
        with ThreadPoolExecutor(2, "graph-fill") as threads:
            both = (
                threads.submit(self._likers.fill, day, a, old, None),
                threads.submit(self._likes.fill, day, a, liked, day.double_ratings),
            )
            good = (actors < self.people) & (subjects < self.people)
            follows = _Direction(-1, MAX_FOLLOWS, False)
            follows.deal(actors[good], subjects[good], _NO_TICKS)
            follows.fill(day, a, followed, day.double_follows)
            edges = [each.result() for each in both]
        if edges[0] != edges[1]:
            raise AssertionError("an edge has two directions")
        day.state[EDGES] = edges[0]
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
