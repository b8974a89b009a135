"""The open day: lists that grow while they are read.

Each list owns blocks of doubling size in an arena, newest block last, each linked to the one before; one 64-bit head
(length, newest block) is stored last, with release. Nothing is moved or freed during a day, so a reader needs no lock
and sees every list as it was at some instant. Only the hash tables (key to list, author and key to post) are replaced
when they fill up: then the day needs a new row, and old rows stay right but blind to what came later.

Room to grow takes memory: 22 bytes an edge in both directions, where what grows no more takes 14. So only the newest
edges of a day are in such lists. When there are MAX_ON_TOP of them, a new layer of lists goes on top, and the graph has
those below made compact (`compact.py`) in the background. Posts are in no layer.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from feedgen.core.ids import NO_PERSON, NO_POST, POSTS_PER_DAY
from feedgen.core.jit import inline, njit
from feedgen.graph.access import (
    ABOUT,
    AUTHOR,
    BELOW,
    COUNT,
    DAY,
    FIELDS,
    FIND,
    FIND_SHIFT,
    FLAGS,
    FOLLOWS,
    HEADS,
    HOLE,
    I64,
    KEY,
    KEYS,
    KIND,
    LANGUAGE,
    LARGEST_BLOCK,
    LENGTH,
    LIKES,
    LIVE,
    OLD,
    OWN,
    POSTS,
    SHIFT,
    SIZE,
    SLOT,
    TICK,
    TICKS,
    U8,
    U16,
    U32,
    VALUES,
    Arrays,
    block_of,
    key_at,
    key_places,
    mix32,
    mix_key,
    places_of,
    table_find,
)
from feedgen.graph.doubles import Doubles
from feedgen.graph.edit import (
    add_count,
    add_person_ratings,
    find_in_block_list,
    follow_below,
    list_places,
    rating_below,
)
from feedgen.graph.memory import address, reserve, want_large_pages
from feedgen.graph.words import (
    i64,
    load_i64,
    load_i64_acquire,
    load_u32,
    prefetch,
    store_i64,
    store_i64_release,
    store_u8,
    store_u16,
    store_u32,
    store_u32_release,
)
from feedgen.ingest.events import DELETED

MAX_POSTS: Final = POSTS_PER_DAY - 2  # n + 1 must fit into 24 bits of the find table, and the last number is NO_POST
MAX_ON_TOP: Final = 1 << 21  # edges in lists that grow; then a new layer goes on top
MAX_ARENA: Final = 1 << 28  # words of one direction: about 180M ratings a day
MAX_FOLLOW_ARENA: Final = 1 << 25
MAX_LISTS: Final = 1 << 25  # lists of one group in one layer; edges that need one more are refused
NEVER: Final = 1 << 62
FIRST_TABLE_BITS: Final = 12
QUIET_EDGES: Final = 25_000  # a day with more gets large pages, and a filter that suits 26M
QUIET_FILTER_WORDS: Final = 1 << 12
FILTER_WORDS: Final = 1 << 22
FETCH: Final = 32  # edges whose memory is asked for at once
FILL: Final = 0.6  # of an open-addressing table, at most

# What the writer counts, as words of `LiveDay.state`.
_POSTS: Final = 0
LISTS: Final = 1  # + 0, 1, 2: how many lists OLD, LIKES, FOLLOWS have on top
TOPS: Final = 4  # + 0, 1, 2: words taken from their arenas
EDGES: Final = 8  # that were ever added


@inline
def _append(a: Arrays, d: int, group: int, heads: int, i: int, value: int, tick: int, state: I64, arena: int) -> bool:
    """Write value and tick, then publish the head. False when the arena is full."""
    head = load_i64(heads, i)
    length, block = head >> 32, head & 0xFFFF_FFFF
    size, used = 0, 0
    if length > 0:
        size, used = block_of(length)
    values, ticks = a.days[d, group + VALUES], a.days[d, group + TICKS]
    if used == size:
        size = min(max(2 * size, 2), LARGEST_BLOCK)
        top = state[TOPS + arena]
        if top + size + 1 > a.days[d, group + LENGTH]:
            return False
        state[TOPS + arena] = top + size + 1
        store_u32(values, top, block)
        block, used = top, 0
    at = block + used + 1
    store_u32(values, at, value)
    if ticks != 0:
        store_u16(ticks, at, tick)
    store_i64_release(heads, i, (length + 1) << 32 | block)
    return True


@inline
def _list_for(a: Arrays, d: int, group: int, key: int, state: I64, arena: int) -> int:
    """The list of a key, made if need be; -1 when there are as many as may be. The caller saw to it that the table has
    room.
    """
    found = table_find(a.days[d, group + KEYS], a.days[d, group + SHIFT], key)
    if found >= 0:
        return found
    i = i64(state[LISTS + arena])
    if i >= a.days[d, group + SIZE]:
        return -1
    state[LISTS + arena] = i + 1
    _table_put(a.days[d, group + KEYS], a.days[d, group + SHIFT], (i + 1) << 32 | key)
    return i


@inline
def _table_put(slots: int, shift: int, slot: int) -> None:
    mask = (1 << (32 - shift)) - 1
    i = mix32(slot & 0xFFFF_FFFF) >> shift
    while load_i64(slots, i) != 0:
        i = (i + 1) & mask
    store_i64_release(slots, i, slot)


@inline
def _already(a: Arrays, d: int, actor: int, post: int, person_list: int, liker_heads: int, liker_list: int) -> bool:
    """Whether the edge is on top: looked up in the shorter of its two lists."""
    if person_list < 0 or liker_list < 0:
        return False
    likes = load_i64_acquire(a.days[d, LIKES + HEADS], person_list)
    likers = load_i64_acquire(liker_heads, liker_list)
    if likes >> 32 < likers >> 32:
        return find_in_block_list(a, d, LIKES, likes, post) >= 0
    return find_in_block_list(a, d, OLD, likers, actor) >= 0


@inline
def edge_bits(actor: int, post: int) -> tuple[int, int]:
    """(which word of a filter, the four bits of it) of an edge. The words of one person are near each other, so that
    filling the filter person by person stays in the processor's cache.
    """
    h = (actor << 32 | post) * -7046029254386353131
    h = (h ^ ((h >> 32) & 0xFFFF_FFFF)) * -4658895280553007687
    bits = i64(1) << (h & 63) | i64(1) << ((h >> 6) & 63) | i64(1) << ((h >> 12) & 63) | i64(1) << ((h >> 18) & 63)
    return (mix32(actor) >> 22) << 12 | (h >> 24) & 0xFFF, bits


@inline
def _may_have(edges: I64, actor: int, post: int) -> bool:
    """False when the edge was never added today; nearly always, at that."""
    h, bits = edge_bits(actor, post)
    word: int = edges[h & (edges.size - 1)]
    return word & bits == bits


@inline
def _fetch_tail(a: Arrays, d: int, group: int, head: int) -> None:
    length = head >> 32
    if length > 0:
        _, used = block_of(length)
        at = (head & 0xFFFF_FFFF) + used + 1
        prefetch(a.days[d, group + VALUES], 4 * at)
        prefetch(a.days[d, group + TICKS], 2 * at)


@inline
def _fetch(a: Arrays, d: int, actors: U32, posts: U32, start: int, end: int, edges: I64, found: I64) -> None:
    """Ask for the memory that some edges will need, all at once instead of one after the other: tables, heads, tails.

    `found` keeps which lists they have, -1 where none yet: of the person, and of the post.
    """
    slot, people, old = a.days[d, SLOT], a.days[d, LIKES + KEYS], a.days[d, OLD + KEYS]
    for e in range(start, end):
        actor, post = i64(actors[e]), i64(posts[e])
        prefetch(people, 8 * (mix32(actor) >> a.days[d, LIKES + SHIFT]))
        if post >> 24 == slot:
            prefetch(a.days[d, OWN], 8 * (post & 0xFF_FFFF))
        else:
            prefetch(old, 8 * (mix32(post) >> a.days[d, OLD + SHIFT]))
        h, _ = edge_bits(actor, post)
        prefetch(edges.ctypes.data, 8 * (h & (edges.size - 1)))
        prefetch(a.person_ratings.ctypes.data, 4 * actor)
        row = i64(a.slot_row[post >> 24])
        if row >= 0:
            prefetch(a.days[row, COUNT], 2 * (post & 0xFF_FFFF))
    for e in range(start, end):
        person = table_find(people, a.days[d, LIKES + SHIFT], i64(actors[e]))
        prefetch(a.days[d, LIKES + HEADS], 8 * max(person, 0))
        found[e - start, 0] = person
        if i64(posts[e]) >> 24 != slot:
            likers = table_find(old, a.days[d, OLD + SHIFT], i64(posts[e]))
            prefetch(a.days[d, OLD + HEADS], 8 * max(likers, 0))
            found[e - start, 1] = likers
    for e in range(start, end):
        post, person, likers = i64(posts[e]), found[e - start, 0], found[e - start, 1]
        if person >= 0:
            _fetch_tail(a, d, LIKES, load_i64(a.days[d, LIKES + HEADS], person))
        if post >> 24 == slot:
            if post & 0xFF_FFFF < load_i64(a.days[d, POSTS], 0):
                _fetch_tail(a, d, OLD, load_i64(a.days[d, OWN], post & 0xFF_FFFF))
        elif likers >= 0:
            _fetch_tail(a, d, OLD, load_i64(a.days[d, OLD + HEADS], likers))


@njit
def _add_ratings(a: Arrays, d: int, actors: U32, posts: U32, ticks: U16, state: I64, edges: I64, added: U8) -> int:
    """Edges that are new today; how many could not be kept (a full arena, a number that nobody gave)."""
    refused = 0
    slot = a.days[d, SLOT]
    found = np.empty((FETCH, 2), np.int64)
    for e in range(actors.size):
        if e % FETCH == 0:
            _fetch(a, d, actors, posts, e, min(e + FETCH, actors.size), edges, found)
        actor, post, tick = i64(actors[e]), i64(posts[e]), i64(ticks[e])
        own = post >> 24 == slot
        if actor >= a.person_flags.size or post == NO_POST or (own and post & 0xFF_FFFF >= state[_POSTS]):
            refused += 1
            continue
        # A list that was not there when its memory was fetched may have come with an edge of the same group.
        person, likers = found[e % FETCH, 0], found[e % FETCH, 1]
        if person < 0:
            person = table_find(a.days[d, LIKES + KEYS], a.days[d, LIKES + SHIFT], actor)
        heads = a.days[d, OWN] if own else a.days[d, OLD + HEADS]
        if own:
            likers = post & 0xFF_FFFF
        elif likers < 0:
            likers = table_find(a.days[d, OLD + KEYS], a.days[d, OLD + SHIFT], post)
        if _may_have(edges, actor, post) and (
            _already(a, d, actor, post, person, heads, likers) or rating_below(a, d, actor, post)
        ):
            continue
        if person < 0:
            person = _list_for(a, d, LIKES, actor, state, 1)
        if likers < 0:
            likers = _list_for(a, d, OLD, post, state, 0)
        if person < 0 or likers < 0:
            refused += 1
            continue
        if not _append(a, d, OLD, heads, likers, actor, tick, state, 0):
            refused += 1
            continue
        if not _append(a, d, LIKES, a.days[d, LIKES + HEADS], person, post, tick, state, 1):
            refused += 1
            continue
        h, bits = edge_bits(actor, post)
        edges[h & (edges.size - 1)] |= bits
        added[e] = 1
        state[EDGES] += 1
        add_count(a, post, 1)
        add_person_ratings(a, actor, 1)
    return refused


@njit
def _refill_filter(a: Arrays, d: int, edges: I64) -> None:
    at, layer = places_of(a), i64(d)
    while True:
        values = a.days[layer, LIKES + VALUES]
        for place in range(key_places(at, layer, LIKES)):
            person = key_at(at, layer, LIKES, place)
            if person >= 0:
                _, places = list_places(a, layer, LIKES, person)
                for i in places:
                    post = load_u32(values, i)
                    if post != HOLE:
                        h, bits = edge_bits(person, post)
                        edges[h & (edges.size - 1)] |= bits
        layer = i64(a.days[layer, BELOW])
        if layer == 0:
            return


@njit
def _has_edges(a: Arrays, d: int, actors: U32, posts: U32, edges: I64, out: U8) -> None:
    """Which edges are there, or came earlier in the same arrays."""
    bits = 4
    while 1 << bits < 2 * actors.size:
        bits += 1
    seen = np.full(1 << bits, -1, np.int64)
    slot = a.days[d, SLOT]
    for e in range(actors.size):
        actor, post = i64(actors[e]), i64(posts[e])
        pair = actor << 32 | post
        i = (mix_key(actor, post) >> 4) & ((1 << bits) - 1)
        while seen[i] >= 0 and seen[i] != pair:
            i = (i + 1) & ((1 << bits) - 1)
        if seen[i] == pair:
            out[e] = 1
            continue
        seen[i] = pair
        if not _may_have(edges, actor, post):
            continue
        own = post >> 24 == slot
        if own and post & 0xFF_FFFF >= load_i64(a.days[d, POSTS], 0):
            continue
        person = table_find(a.days[d, LIKES + KEYS], a.days[d, LIKES + SHIFT], actor)
        heads = a.days[d, OWN] if own else a.days[d, OLD + HEADS]
        likers = post & 0xFF_FFFF if own else table_find(a.days[d, OLD + KEYS], a.days[d, OLD + SHIFT], post)
        out[e] = _already(a, d, actor, post, person, heads, likers) or rating_below(a, d, actor, post)


@njit
def _has_follows(a: Arrays, d: int, actors: U32, subjects: U32, out: U8) -> None:
    """Which follows are there."""
    for e in range(actors.size):
        i = table_find(a.days[d, FOLLOWS + KEYS], a.days[d, FOLLOWS + SHIFT], i64(actors[e]))
        if i >= 0:
            head = load_i64_acquire(a.days[d, FOLLOWS + HEADS], i)
            out[e] = find_in_block_list(a, d, FOLLOWS, head, i64(subjects[e])) >= 0
        if out[e] == 0:
            out[e] = follow_below(a, d, i64(actors[e]), i64(subjects[e]))


@njit
def _add_follows(a: Arrays, d: int, actors: U32, subjects: U32, state: I64, added: U8) -> int:
    """Follows that are new today; how many could not be kept."""
    refused = 0
    for e in range(actors.size):
        actor, subject = i64(actors[e]), i64(subjects[e])
        if actor >= a.person_flags.size or subject >= a.person_flags.size:
            refused += 1
            continue
        i = _list_for(a, d, FOLLOWS, actor, state, 2)
        if i < 0:
            refused += 1
            continue
        heads = a.days[d, FOLLOWS + HEADS]
        on_top = find_in_block_list(a, d, FOLLOWS, load_i64(heads, i), subject) >= 0
        if on_top or follow_below(a, d, actor, subject):
            continue
        if _append(a, d, FOLLOWS, heads, i, subject, 0, state, 2):
            added[e] = 1
        else:
            refused += 1
    return refused


@inline
def _blank(a: Arrays, d: int, n: int) -> None:
    store_u32(a.days[d, AUTHOR], n, NO_PERSON)
    store_u16(a.days[d, FLAGS], n, DELETED)
    store_u32(a.days[d, ABOUT], n, NO_POST)


@inline
def _find_put(table: int, shift: int, n: int, author: int, key: int) -> None:
    hashed = mix_key(author, key)
    i = hashed >> shift
    while load_u32(table, i) != 0:
        i = (i + 1) & ((1 << (32 - shift)) - 1)
    store_u32_release(table, i, (hashed & 0xFF) << 24 | (n + 1))


@njit
def _add_posts(
    a: Arrays,
    d: int,
    posts: U32,
    authors: U32,
    keys: I64,
    ticks: U16,
    flags: U16,
    languages: U8,
    abouts: U32,
    state: I64,
) -> None:
    """New posts. Numbers that were skipped stay blank."""
    table, shift = a.days[d, FIND], a.days[d, FIND_SHIFT]
    for p in range(posts.size):
        if p + FETCH < posts.size:
            prefetch(table, 4 * (mix_key(i64(authors[p + FETCH]), keys[p + FETCH]) >> shift))
        n = i64(posts[p]) & 0xFF_FFFF
        for gap in range(state[_POSTS], n):
            _blank(a, d, gap)
        store_u32(a.days[d, AUTHOR], n, authors[p])
        store_i64(a.days[d, KEY], n, keys[p])
        store_u16(a.days[d, TICK], n, ticks[p])
        store_u16(a.days[d, FLAGS], n, flags[p])
        store_u8(a.days[d, LANGUAGE], n, languages[p])
        store_u32(a.days[d, ABOUT], n, abouts[p])
        if n >= state[_POSTS]:
            store_i64_release(a.days[d, POSTS], 0, n + 1)
        if authors[p] != NO_PERSON:
            _find_put(table, shift, n, i64(authors[p]), keys[p])


@njit
def _skip_posts(a: Arrays, d: int, end: int, state: I64) -> None:
    for gap in range(state[_POSTS], end):
        _blank(a, d, gap)
    if end > state[_POSTS]:
        store_i64_release(a.days[d, POSTS], 0, end)


@njit
def _refill_table(old: I64, new: I64, new_address: int, shift: int) -> None:
    for slot in old:
        if slot != 0:
            _table_put(new_address, shift, slot)


@njit
def _refill_find(a: Arrays, d: int, table: U32, shift: int) -> None:
    mask = table.size - 1
    for n in range(load_i64(a.days[d, POSTS], 0)):
        author = load_u32(a.days[d, AUTHOR], n)
        if author != NO_PERSON:
            hashed = mix_key(author, load_i64(a.days[d, KEY], n))
            i = hashed >> shift
            while table[i] != 0:
                i = (i + 1) & mask
            table[i] = (hashed & 0xFF) << 24 | (n + 1)


def _shift_for(items: int) -> int:
    """How far to shift a 32-bit hash for a table that holds so many."""
    bits = FIRST_TABLE_BITS
    while items > FILL * (1 << bits):
        bits += 1
    return 32 - bits


class Group:
    """The lists of one kind: a table from keys to lists, their heads, an arena of values and perhaps of ticks."""

    def __init__(self, field: int, arena: int, words: int, with_ticks: bool) -> None:
        self.field, self.arena = field, arena
        self.table: I64 = np.zeros(1 << FIRST_TABLE_BITS, np.int64)
        self.shift = 32 - FIRST_TABLE_BITS
        self.heads: I64 = reserve(np.int64, MAX_LISTS)
        self.values: U32 = reserve(np.uint32, words)
        self.ticks: U16 | None = reserve(np.uint16, words) if with_ticks else None

    def fill_row(self, row: I64) -> None:
        row[self.field + KEYS] = address(self.table)
        row[self.field + SHIFT] = self.shift
        row[self.field + HEADS] = address(self.heads)
        row[self.field + VALUES] = address(self.values)
        row[self.field + TICKS] = 0 if self.ticks is None else address(self.ticks)
        row[self.field + LENGTH], row[self.field + SIZE] = self.values.size, self.heads.size

    def want_large_pages(self) -> None:
        want_large_pages(self.heads)
        want_large_pages(self.values)
        if self.ticks is not None:
            want_large_pages(self.ticks)

    def grow(self, lists: int) -> bool:
        """Make room for so many lists; True when the table was replaced."""
        shift = _shift_for(lists)
        if shift >= self.shift:
            return False
        table = np.zeros(1 << (32 - shift), np.int64)
        _refill_table(self.table, table, address(table), shift)
        self.table, self.shift = table, shift
        return True


class Layer(Protocol):
    """Some edges of an open day. `row` is what readers need of it, in the arrays of a View that keeps it alive."""

    def row(self) -> I64: ...


class Lists:
    """The layer on top of a day: lists that grow, of both directions. `state` is the day's."""

    def __init__(self, day: int, state: I64, busy: bool) -> None:
        self.day, self._state = day, state
        self._own_heads: I64 = reserve(np.int64, MAX_POSTS)
        self.groups = (
            Group(OLD, 0, MAX_ARENA, True),
            Group(LIKES, 1, MAX_ARENA, True),
            Group(FOLLOWS, 2, MAX_FOLLOW_ARENA, False),
        )
        if busy:
            self.want_large_pages()

    def row(self) -> I64:
        row = np.zeros(FIELDS, np.int64)
        row[KIND], row[DAY], row[SLOT] = LIVE, self.day, self.day % 256
        row[POSTS], row[OWN] = address(self._state), address(self._own_heads)
        for group in self.groups:
            group.fill_row(row)
        return row

    def want_large_pages(self) -> None:
        want_large_pages(self._own_heads)
        for group in self.groups:
            group.want_large_pages()


class LiveDay:
    """Written by one thread. Before a call that may add keys, ask `grow`; when it says True, readers need a new row.

    `below` are the layers under its lists, the newest first.
    """

    def __init__(self, day: int) -> None:
        self.day, self.slot = day, day % 256
        self.state: I64 = np.zeros(16, np.int64)
        self.counts: U16 = reserve(np.uint16, MAX_POSTS)
        self.counted = True
        self.filter: I64 = np.zeros(QUIET_FILTER_WORDS, np.int64)
        self.double_ratings, self.double_follows = Doubles(), Doubles()
        self._columns: dict[int, npt.NDArray[Any]] = {
            AUTHOR: reserve(np.uint32, MAX_POSTS),
            KEY: reserve(np.int64, MAX_POSTS),
            TICK: reserve(np.uint16, MAX_POSTS),
            FLAGS: reserve(np.uint16, MAX_POSTS),
            LANGUAGE: reserve(np.uint8, MAX_POSTS),
            ABOUT: reserve(np.uint32, MAX_POSTS),
        }
        self._find: U32 = np.zeros(1 << FIRST_TABLE_BITS, np.uint32)
        self._find_shift = 32 - FIRST_TABLE_BITS
        self._lists = Lists(day, self.state, False)
        self._edges_below = 0
        self.below: tuple[Layer, ...] = ()
        self.settled = True  # what is below is compact
        self.merge_again_at = NEVER  # so many edges on top

    @property
    def posts(self) -> int:
        return int(self.state[_POSTS])

    @property
    def edges(self) -> int:
        return int(self.state[EDGES])

    @property
    def edges_on_top(self) -> int:
        return self.edges - self._edges_below

    @property
    def busy(self) -> bool:
        return self.filter.size > QUIET_FILTER_WORDS

    def row(self) -> I64:
        row = self._lists.row()
        for field, column in self._columns.items():
            row[field] = address(column)
        row[COUNT] = address(self.counts)
        row[FIND], row[FIND_SHIFT] = address(self._find), self._find_shift
        return row

    def keep(self) -> tuple[object, ...]:
        """What a row's addresses point into, as of now, and those of the layers below."""
        tables = tuple(group.table for group in self._lists.groups)
        return (self, self._find, self._lists, *tables, *self.below)

    def begin_layer(self) -> None:
        """New lists on top; those that were there grow no more. Readers need new rows."""
        self.below = (self._lists, *self.below)
        self.settled = False
        self._lists = Lists(self.day, self.state, self.busy)
        self.state[LISTS : LISTS + 3] = self.state[TOPS : TOPS + 3] = 0
        self._edges_below = self.edges

    def put_below(self, layer: Layer) -> None:
        """One layer in the place of all that are below."""
        self.below = (layer,)
        self.settled = True

    def start_with(self, layer: Layer, edges: int) -> None:
        """So many edges of a day that has none yet."""
        self.put_below(layer)
        self.state[EDGES] = self._edges_below = edges

    def grow_for_ratings(self, ratings: int) -> bool:
        old, likes, _ = self._lists.groups
        grown = old.grow(int(self.state[LISTS]) + ratings)
        return likes.grow(int(self.state[LISTS + 1]) + ratings) or grown

    def grow_for_follows(self, follows: int) -> bool:
        return self._lists.groups[2].grow(int(self.state[LISTS + 2]) + follows)

    def grow_for_posts(self, a: Arrays, d: int, posts: int) -> bool:
        shift = _shift_for(self.posts + posts)
        if shift >= self._find_shift:
            return False
        table = np.zeros(1 << (32 - shift), np.uint32)
        _refill_find(a, d, table, shift)
        self._find, self._find_shift = table, shift
        return True

    def add_ratings(self, a: Arrays, d: int, actors: U32, posts: U32, ticks: U16) -> tuple[npt.NDArray[np.bool_], int]:
        """(which edges are new, how many were refused)."""
        added = np.zeros(actors.size, np.uint8)
        if self.edges > QUIET_EDGES and not self.busy:
            self.expect_many()
            _refill_filter(a, d, self.filter)
        refused = _add_ratings(a, d, actors, posts, ticks, self.state, self.filter, added)
        self.double_ratings.add(actors, posts, added)
        return added.view(np.bool_), refused

    def expect_many(self) -> None:
        """More than QUIET_EDGES: large pages, and a filter that is empty yet."""
        self.filter = reserve(np.int64, FILTER_WORDS)
        want_large_pages(self.filter)
        want_large_pages(self.counts)
        for column in self._columns.values():
            want_large_pages(column)
        self._lists.want_large_pages()

    def forget_doubles(self, person: int) -> None:
        self.double_ratings.forget(person)
        self.double_follows.forget(person)

    def has_edges(self, a: Arrays, d: int, actors: U32, posts: U32) -> npt.NDArray[np.bool_]:
        out = np.zeros(actors.size, np.uint8)
        _has_edges(a, d, actors, posts, self.filter, out)
        return out.view(np.bool_)

    def add_follows(self, a: Arrays, d: int, actors: U32, subjects: U32) -> int:
        added = np.zeros(actors.size, np.uint8)
        refused = int(_add_follows(a, d, actors, subjects, self.state, added))
        self.double_follows.add(actors, subjects, added)
        return refused

    def has_follows(self, a: Arrays, d: int, actors: U32, subjects: U32) -> npt.NDArray[np.bool_]:
        out = np.zeros(actors.size, np.uint8)
        _has_follows(a, d, actors, subjects, out)
        return out.view(np.bool_)

    def add_posts(
        self, a: Arrays, d: int, posts: U32, authors: U32, keys: I64, ticks: U16, flags: U16, languages: U8, abouts: U32
    ) -> None:
        _add_posts(a, d, posts, authors, keys, ticks, flags, languages, abouts, self.state)

    def skip_posts(self, a: Arrays, d: int, end: int) -> None:
        """Numbers below `end` are taken, though no post may carry them."""
        _skip_posts(a, d, end, self.state)

    def close(self) -> None:
        """Nothing to do: the memory goes with the last reader."""
