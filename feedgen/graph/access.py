"""What compiled code may ask of the arrays: a day's lists and posts, by row.

`Arrays` is all that a kernel gets, and `places_of` makes of it what its inner loops pass around. Row `d` of `days`
describes the day `day_numbers[d]`; rows ascend by day. A row holds addresses, and the `View` that made it keeps the
memory alive. Rows have one layout for all forms of a day (`live.py`, `compact.py`, `sealed.py`), so callers never ask
which it is. Nothing here takes a lock: a live list is published by its head, and a removed edge becomes a hole that
copies skip.

An open day's older edges lie in layers below its row: further rows of `days`, behind those that have a day number. A
list is what its layers have of it, from the top down; an edge is in one layer only.

Sealed days may be damaged until their checksums were verified in the background, so whatever is read from them is
checked against the limits before it is used as an index: wrong bits may give a wrong answer, never a wrong address.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from feedgen.core.ids import DATED_TICK, NO_PERSON
from feedgen.core.jit import inline
from feedgen.graph.layout import BEFORE_US, CLOCK_BITS, FAR, MAX_CLOCKS, NO_KEY, OFFSET_BITS, TICK_BITS
from feedgen.graph.words import (
    i64,
    load_bits,
    load_i64,
    load_i64_acquire,
    load_u8,
    load_u16,
    load_u32,
    load_u32_acquire,
)

I64 = npt.NDArray[np.int64]
I16 = npt.NDArray[np.int16]
U32 = npt.NDArray[np.uint32]
U16 = npt.NDArray[np.uint16]
U8 = npt.NDArray[np.uint8]

HOLE: Final = 0xFFFF_FFFF
US_PER_DAY: Final = 86_400_000_000

# Fields of a row. A row is a day, or a layer below one; "sealed and compact | live" where the forms differ.
KIND: Final = 0  # PACKED, WHOLE, COMPACT | LIVE
DAY: Final = 1
SLOT: Final = 2
POSTS: Final = 3  # address of an int64: how many posts are numbered
AUTHOR: Final = 4
KEY: Final = 5
TICK: Final = 6
FLAGS: Final = 7
LANGUAGE: Final = 8
ABOUT: Final = 9
COUNT: Final = 10  # uint16 a post: likes and reposts over all days, stops at 65,535
FIND: Final = 11  # posts in buckets by author | open addressing by (author, key)
FIND_BUCKETS: Final = 12  # address of bucket starts | unused
FIND_SHIFT: Final = 13  # both: of the 32-bit hash
OWN: Final = 14  # likers of the day's own posts: offsets | heads
FIND_SIZE: Final = 15  # entries in FIND
OLD: Final = 16  # group: likers of posts of earlier days
LIKES: Final = 26  # group: posts that a person rated
FOLLOWS: Final = 36  # group: people whom a person followed
SUMS: Final = 46  # addresses of the checksums by section, 0 on an open day: what removals must keep right
OWN_HOLES: Final = 47  # how many edges of a list were removed, as far as the bits of a number reach | 0
OLD_HOLES: Final = 48
PEOPLE_HOLES: Final = 49
HOLES_WIDTH: Final = 50  # bits of each of these
BELOW: Final = 51  # the row with the older edges of the same day, 0: there are none
AUTHOR_WIDTH: Final = 52  # if packed: bits of an author's number
FAR_KEYS: Final = 53  # if packed: keys of posts that do not fit into a word
FAR_KEYS_SIZE: Final = 54
CLOCKS: Final = 55  # if packed: the dictionary of clock ids
FIELDS: Final = 56

# Fields of a group, added to its number.
KEYS: Final = 0  # sorted hashed keys | open addressing: (list + 1) << 32 | key
SIZE: Final = 1  # how many keys | how many lists there may be
HEADS: Final = 2  # offsets | heads: length << 32 | newest block
BUCKETS: Final = 3  # where each bucket of hashed keys starts | unused
SHIFT: Final = 4  # of the 32-bit hash, to the bucket | to the first slot
VALUES: Final = 5
TICKS: Final = 6  # uint8, the high half of a tick, if sealed; else uint16; 0 where the group keeps none
LENGTH: Final = 7  # how many values there are
WIDTH: Final = 8  # if packed: bits of a value, its tick included
OFFSET_WIDTH: Final = 9  # if packed: bits of an offset

PACKED: Final = 0
LIVE: Final = 1
COMPACT: Final = 2
WHOLE: Final = 3  # a sealed day as it was written before numbers were packed

MIX: Final = 0x9E37_79B1  # odd, so that multiplying by it is a permutation of 32 bits
UNMIX: Final = pow(MIX, -1, 1 << 32)
FIRST_BLOCK: Final = 2
LARGEST_BLOCK: Final = 32  # more would leave more room unused in each list's last block
MOST_DATED: Final = 4096  # old ratings that a look for others steps over in one list of the open day
_DOUBLED: Final = 2 * LARGEST_BLOCK - FIRST_BLOCK  # entries in the blocks up to and with the first of the largest size


class Arrays(NamedTuple):
    days: I64  # [days and layers, FIELDS]
    day_numbers: I64  # ascending
    slot_row: I16  # [256]; -1: no such day
    person_flags: U8  # as long as there can be people: any person number that an accessor gives is a valid index
    person_ratings: U32  # ratings in the window, the same length
    ahead: U32  # open addressing: posts whose key claims a later day than they were witnessed on


class Places(NamedTuple):
    """Where the arrays lie. Compiled code passes plain numbers around for nothing, but every array in a tuple costs a
    visit to its owner's count of references, at each call: more than it takes to read a list."""

    days: int
    day_numbers: int
    rows: int
    slot_row: int
    people: int  # any smaller number is a person's
    ahead: int
    ahead_mask: int


@inline
def places_of(a: Arrays) -> Places:
    """Good for as long as the arrays are."""
    return Places(
        a.days.ctypes.data,
        a.day_numbers.ctypes.data,
        a.day_numbers.size,
        a.slot_row.ctypes.data,
        a.person_flags.size,
        a.ahead.ctypes.data,
        a.ahead.size - 1,
    )


@inline
def day_field(at: Places, d: int, field: int) -> int:
    return load_i64(at.days, d * FIELDS + field)


@inline
def tick_start_us(tick: int) -> int:
    """The first microsecond of a tick, from midnight."""
    return (tick * US_PER_DAY + 65_535) >> 16


@inline
def day_number(at: Places, d: int) -> int:
    return load_i64(at.day_numbers, d)


@inline
def row_of_slot(at: Places, slot: int) -> int:
    """-1: no such day."""
    row = load_u16(at.slot_row, slot)
    return row if row < 0x8000 else -1


@inline
def mix32(x: int) -> int:
    """A permutation of 32 bits whose high bits are well spread."""
    return (x * MIX) & 0xFFFF_FFFF


@inline
def unmix32(x: int) -> int:
    return (x * UNMIX) & 0xFFFF_FFFF


@inline
def mix_key(author: int, key: int) -> int:
    """32 bits of hash of who and which record; the low 8 are its tag."""
    h = (key ^ (author * -7046029254386353131)) * -4658895280553007687
    h = (h ^ ((h >> 29) & 0x7_FFFF_FFFF)) * -7723592293110705685
    return (h >> 32) & 0xFFFF_FFFF


@inline
def table_find(slots: int, shift: int, key: int) -> int:
    """The list that a live table has for a key, or -1."""
    mask = (1 << (32 - shift)) - 1
    i = mix32(key) >> shift
    while True:
        slot = load_i64_acquire(slots, i)
        if slot == 0:
            return -1
        if slot & 0xFFFF_FFFF == key:
            return (slot >> 32) - 1
        i = (i + 1) & mask


@inline
def keys_find(at: Places, d: int, group: int, hashed: int) -> int:
    """The index of a hashed key among the sorted ones of a sealed group, or -1."""
    bucket = hashed >> day_field(at, d, group + SHIFT)
    buckets = day_field(at, d, group + BUCKETS)
    i = load_u32(buckets, bucket)
    end = min(load_u32(buckets, bucket + 1), day_field(at, d, group + SIZE))
    keys = day_field(at, d, group + KEYS)
    while i < end:
        found = load_u32(keys, i)
        if found >= hashed:
            return i if found == hashed else -1
        i += 1
    return -1


@inline
def list_start(at: Places, d: int, group: int, i: int) -> int:
    """Where in VALUES a list of a group that does not grow begins; the one before ends there."""
    if day_field(at, d, KIND) == PACKED:
        return load_bits(day_field(at, d, group + HEADS), i, day_field(at, d, group + OFFSET_WIDTH))
    return load_u32(day_field(at, d, group + HEADS), i)


@inline
def own_start(at: Places, d: int, n: int) -> int:
    """The same for the likers of the day's own posts."""
    if day_field(at, d, KIND) == PACKED:
        return load_bits(day_field(at, d, OWN), n, day_field(at, d, OLD + OFFSET_WIDTH))
    return load_u32(day_field(at, d, OWN), n)


@inline
def post_at(at: Places, d: int, local: int) -> int:
    """A post by its number within a packed day, or HOLE."""
    own = load_i64(day_field(at, d, POSTS), 0)
    if local < own:
        return day_field(at, d, SLOT) << 24 | local
    if local - own < day_field(at, d, OLD + SIZE):
        return unmix32(load_u32(day_field(at, d, OLD + KEYS), local - own))
    return HOLE


@inline
def person_at(at: Places, d: int, local: int) -> int:
    """A person by their number within a packed day, or HOLE."""
    if local < day_field(at, d, LIKES + SIZE):
        return unmix32(load_u32(day_field(at, d, LIKES + KEYS), local))
    return HOLE


@inline
def value_at(at: Places, d: int, group: int, i: int) -> int:
    """What stands in a place of VALUES, whatever form the day has; HOLE if it was removed."""
    if day_field(at, d, KIND) != PACKED:
        return load_u32(day_field(at, d, group + VALUES), i)
    width = day_field(at, d, group + WIDTH)
    value = load_bits(day_field(at, d, group + VALUES), i, width)
    if group == LIKES:
        return post_at(at, d, value >> TICK_BITS)
    if group == OLD:
        return person_at(at, d, value >> TICK_BITS)
    return value if value != (i64(1) << width) - 1 else HOLE


@inline
def block_of(length: int) -> tuple[int, int]:
    """(size of the newest block, entries in it) of a live list; the length is at least 1."""
    if length > _DOUBLED:
        return LARGEST_BLOCK, (length - _DOUBLED - 1) % LARGEST_BLOCK + 1
    size = FIRST_BLOCK
    while length > size:
        length -= size
        size *= 2
    return size, length


@inline
def _copy_range(
    at: Places, d: int, group: int, start: int, end: int, bound: int, least: int, n: int, limit: int, out: U32,
    out_ticks: U16,
) -> int:  # fmt: skip
    kind = day_field(at, d, KIND)
    if kind == PACKED:
        return _copy_packed(at, d, group, start, end, bound, least, n, limit, out, out_ticks)
    values = day_field(at, d, group + VALUES)
    ticks = day_field(at, d, group + TICKS)
    i, left_out = min(end, day_field(at, d, group + LENGTH)) - 1, 0
    while i >= start and n < limit and left_out < MOST_DATED:
        value = load_u32(values, i)
        if value < bound:
            tick = least
            if ticks != 0:
                tick = load_u8(ticks, i) << 8 | 128 if kind == WHOLE else load_u16(ticks, i)
            if tick >= least:
                out[n] = value
                if ticks != 0:
                    out_ticks[n] = tick
                n += 1
            else:
                left_out += 1
        i -= 1
    return n


@inline
def _copy_packed(
    at: Places, d: int, group: int, start: int, end: int, bound: int, least: int, n: int, limit: int, out: U32,
    out_ticks: U16,
) -> int:  # fmt: skip
    values, width = day_field(at, d, group + VALUES), day_field(at, d, group + WIDTH)
    i = min(end, day_field(at, d, group + LENGTH)) - 1
    if group == FOLLOWS:
        while i >= start and n < limit:
            value = value_at(at, d, FOLLOWS, i)
            if value < bound:
                out[n] = value
                n += 1
            i -= 1
        return n
    # Numbers within the day: of posts first its own, then those of a table; of people all from a table.
    own, slot, table, known = 0, 0, day_field(at, d, LIKES + KEYS), day_field(at, d, LIKES + SIZE)
    if group == LIKES:
        own, slot = load_i64(day_field(at, d, POSTS), 0), day_field(at, d, SLOT) << 24
        table, known = day_field(at, d, OLD + KEYS), day_field(at, d, OLD + SIZE)
    while i >= start and n < limit:
        rating = load_bits(values, i, width)
        local, tick = rating >> TICK_BITS, rating & 0xFF
        if tick < least:
            return n  # in order of time, so that all others are dated, too
        # No branch here: whether a post is of the day is a coin toss, and a wrong guess costs more than the load.
        place = local - own
        inside = place >= 0 and place < known
        value = unmix32(load_u32(table, place if inside else 0))
        value = value if inside else HOLE
        value = slot | local if local < own else value
        if value < bound:
            out[n] = value
            out_ticks[n] = tick << 8 | (128 if tick != DATED_TICK else 0)
            n += 1
        i -= 1
    return n


@inline
def _copy_blocks(
    at: Places, d: int, group: int, head: int, bound: int, least: int, n: int, limit: int, out: U32, out_ticks: U16
) -> int:
    length = head >> 32
    if length == 0:
        return n
    values = day_field(at, d, group + VALUES)
    ticks = day_field(at, d, group + TICKS)
    block = head & 0xFFFF_FFFF
    size, used = block_of(length)
    left_out = 0
    while True:
        i = block + used
        while i > block and n < limit:
            value = load_u32(values, i)
            if value < bound:
                tick = load_u16(ticks, i) if ticks != 0 else least
                if tick >= least:
                    out[n] = value
                    if ticks != 0:
                        out_ticks[n] = tick
                    n += 1
                else:
                    left_out += 1
            i -= 1
        length -= used
        if length <= 0 or n >= limit or left_out >= MOST_DATED:
            return n
        if length < _DOUBLED or size < LARGEST_BLOCK:
            size //= 2
        used = size
        block = load_u32(values, block)


@inline
def _copy_keyed(
    at: Places, d: int, group: int, key: int, bound: int, least: int, n: int, limit: int, out: U32, out_ticks: U16
) -> int:
    """What one layer has of a list that is found by its key, newest first, from place `n` on. Where it ends."""
    if day_field(at, d, KIND) == LIVE:
        i = table_find(day_field(at, d, group + KEYS), day_field(at, d, group + SHIFT), key)
        if i < 0:
            return n
        head = load_i64_acquire(day_field(at, d, group + HEADS), i)
        return _copy_blocks(at, d, group, head, bound, least, n, limit, out, out_ticks)
    i = keys_find(at, d, group, mix32(key))
    if i < 0:
        return n
    start, end = list_start(at, d, group, i), list_start(at, d, group, i + 1)
    return _copy_range(at, d, group, start, end, bound, least, n, limit, out, out_ticks)


@inline
def _copy_group(
    at: Places, d: int, group: int, key: int, bound: int, least: int, limit: int, out: U32, out_ticks: U16
) -> int:
    """A list that is found by its key, newest first; how long it is."""
    n = _copy_keyed(at, d, group, key, bound, least, 0, limit, out, out_ticks)
    layer = day_field(at, d, BELOW)
    while layer != 0 and n < limit:
        n = _copy_keyed(at, layer, group, key, bound, least, n, limit, out, out_ticks)
        layer = day_field(at, layer, BELOW)
    return n


@inline
def _copy_own(
    at: Places, d: int, number: int, bound: int, least: int, n: int, limit: int, out: U32, out_ticks: U16
) -> int:
    """What one layer has of the likers of a post of its own day, from place `n` on. Where it ends."""
    if number >= load_i64_acquire(day_field(at, d, POSTS), 0):
        return n
    if day_field(at, d, KIND) == LIVE:
        head = load_i64_acquire(day_field(at, d, OWN), number)
        return _copy_blocks(at, d, OLD, head, bound, least, n, limit, out, out_ticks)
    start, end = own_start(at, d, number), own_start(at, d, number + 1)
    return _copy_range(at, d, OLD, start, end, bound, least, n, limit, out, out_ticks)


@inline
def _copy_likers(at: Places, d: int, post: int, least: int, limit: int, out_people: U32, out_ticks: U16) -> int:
    post = i64(post)
    bound = at.people
    if post >> 24 != day_field(at, d, SLOT):
        return _copy_group(at, d, OLD, post, bound, least, limit, out_people, out_ticks)
    n = _copy_own(at, d, post & 0xFF_FFFF, bound, least, 0, limit, out_people, out_ticks)
    layer = day_field(at, d, BELOW)
    while layer != 0 and n < limit:
        n = _copy_own(at, layer, post & 0xFF_FFFF, bound, least, n, limit, out_people, out_ticks)
        layer = day_field(at, layer, BELOW)
    return n


@inline
def copy_likers(at: Places, d: int, post: int, limit: int, out_people: U32, out_ticks: U16) -> int:
    """Who was seen to rate the post on that day, newest first; the number of them. On sealed days the order is exact
    and the tick is known to 5.6 minutes. Old ratings that were told on that day are left out; where they lie between
    others (`MOST_DATED` of them in one layer), so may be what came before them.
    """
    return _copy_likers(at, d, post, DATED_TICK + 1, limit, out_people, out_ticks)


@inline
def copy_all_likers(at: Places, d: int, post: int, limit: int, out_people: U32, out_ticks: U16) -> int:
    """The same with the old ratings, which have DATED_TICK."""
    return _copy_likers(at, d, post, DATED_TICK, limit, out_people, out_ticks)


@inline
def copy_likes(at: Places, d: int, person: int, limit: int, out_posts: U32, out_ticks: U16) -> int:
    """What the person was seen to rate on that day; the rest as for `copy_likers`."""
    return _copy_group(at, d, LIKES, i64(person), HOLE, DATED_TICK + 1, limit, out_posts, out_ticks)


@inline
def copy_all_likes(at: Places, d: int, person: int, limit: int, out_posts: U32, out_ticks: U16) -> int:
    """The same with the old ratings, which have DATED_TICK."""
    return _copy_group(at, d, LIKES, i64(person), HOLE, DATED_TICK, limit, out_posts, out_ticks)


@inline
def copy_follows(at: Places, d: int, person: int, limit: int, out_people: U32) -> int:
    """Whom the person followed on that day, newest first; the number of them."""
    no_ticks = np.empty(0, np.uint16)
    return _copy_group(at, d, FOLLOWS, i64(person), at.people, 0, limit, out_people, no_ticks)


@inline
def key_places(at: Places, d: int, group: int) -> int:
    """In how many places of one layer there may be a key of a group: all its lists, in no order."""
    return (
        1 << (32 - day_field(at, d, group + SHIFT))
        if day_field(at, d, KIND) == LIVE
        else day_field(at, d, group + SIZE)
    )


@inline
def key_at(at: Places, d: int, group: int, place: int) -> int:
    """The key in such a place, or -1."""
    if day_field(at, d, KIND) != LIVE:
        return unmix32(load_u32(day_field(at, d, group + KEYS), place))
    slot = load_i64_acquire(day_field(at, d, group + KEYS), place)
    return slot & 0xFFFF_FFFF if slot != 0 else -1


@inline
def keyed_length(at: Places, d: int, group: int, key: int) -> int:
    """How many places one layer has for a list, those of removed edges counted; 0 when it has no such list."""
    if day_field(at, d, KIND) == LIVE:
        i = table_find(day_field(at, d, group + KEYS), day_field(at, d, group + SHIFT), key)
        return load_i64_acquire(day_field(at, d, group + HEADS), i) >> 32 if i >= 0 else 0
    i = keys_find(at, d, group, mix32(key))
    if i < 0:
        return 0
    return min(list_start(at, d, group, i + 1), day_field(at, d, group + LENGTH)) - list_start(at, d, group, i)


@inline
def post_row(at: Places, post: int) -> int:
    """The row of the day that knows the post, or -1."""
    post = i64(post)
    d = row_of_slot(at, post >> 24)
    if d < 0 or post & 0xFF_FFFF >= load_i64_acquire(day_field(at, d, POSTS), 0):
        return -1
    return d


@inline
def post_author(at: Places, d: int, post: int) -> int:
    """NO_PERSON when the author was erased. `d` is the post's own row, here and below."""
    n = i64(post) & 0xFF_FFFF
    if day_field(at, d, KIND) != PACKED:
        return load_u32(day_field(at, d, AUTHOR), n)
    width = day_field(at, d, AUTHOR_WIDTH)
    author = load_bits(day_field(at, d, AUTHOR), n, width)
    return author if author != (i64(1) << width) - 1 else NO_PERSON


@inline
def post_key(at: Places, d: int, post: int) -> int:
    n = i64(post) & 0xFF_FFFF
    if day_field(at, d, KIND) != PACKED:
        return load_i64(day_field(at, d, KEY), n)
    word = load_u32(day_field(at, d, KEY), n)
    if word >= FAR:
        place = word & (FAR - 1)
        known = word != NO_KEY and place < day_field(at, d, FAR_KEYS_SIZE)
        return load_i64(day_field(at, d, FAR_KEYS), place) if known else 0
    start_us = day_field(at, d, DAY) * US_PER_DAY + tick_start_us(load_u16(day_field(at, d, TICK), n))
    us = start_us - BEFORE_US + (word >> CLOCK_BITS & ((1 << OFFSET_BITS) - 1))
    return us << 10 | load_u16(day_field(at, d, CLOCKS), word & (MAX_CLOCKS - 1))


@inline
def post_tick(at: Places, d: int, post: int) -> int:
    """When the post was first witnessed or referred to, on its day; exact to 1.3 s on all days."""
    return load_u16(day_field(at, d, TICK), i64(post) & 0xFF_FFFF)


@inline
def post_flags(at: Places, d: int, post: int) -> int:
    return load_u16(day_field(at, d, FLAGS), i64(post) & 0xFF_FFFF)


@inline
def post_language(at: Places, d: int, post: int) -> int:
    return load_u8(day_field(at, d, LANGUAGE), i64(post) & 0xFF_FFFF)


@inline
def post_about(at: Places, d: int, post: int) -> int:
    """The post that it quotes or replies to, or NO_POST."""
    return load_u32(day_field(at, d, ABOUT), i64(post) & 0xFF_FFFF)


@inline
def post_count(at: Places, d: int, post: int) -> int:
    """Likes and reposts over all days, each person once a day; stops at 65,535."""
    return load_u16(day_field(at, d, COUNT), i64(post) & 0xFF_FFFF)


@inline
def _slot_is(at: Places, d: int, slot: int, author: int, key: int) -> bool:
    """Whether a slot of a find table (8 bits of hash, 24 of number plus one) stands for that post."""
    n = (slot & 0xFF_FFFF) - 1
    if slot >> 24 != mix_key(author, key) & 0xFF or n < 0 or n >= load_i64_acquire(day_field(at, d, POSTS), 0):
        return False
    return post_key(at, d, n) == key and post_author(at, d, n) == author


@inline
def find_on_day(at: Places, d: int, author: int, key: int) -> int:
    """The post with that author and key, if it was numbered on that day; or -1."""
    table, shift = day_field(at, d, FIND), day_field(at, d, FIND_SHIFT)
    if day_field(at, d, KIND) == LIVE:
        i = mix_key(author, key) >> shift
        slot = load_u32_acquire(table, i)
        while slot != 0:
            if _slot_is(at, d, slot, author, key):
                return day_field(at, d, SLOT) << 24 | ((slot & 0xFF_FFFF) - 1)
            i = (i + 1) & ((1 << (32 - shift)) - 1)
            slot = load_u32_acquire(table, i)
        return -1
    bucket, starts = mix32(author) >> shift, day_field(at, d, FIND_BUCKETS)
    for i in range(load_u32(starts, bucket), min(load_u32(starts, bucket + 1), day_field(at, d, FIND_SIZE))):
        slot = load_u32(table, i)
        if _slot_is(at, d, slot, author, key):
            return day_field(at, d, SLOT) << 24 | ((slot & 0xFF_FFFF) - 1)
    return -1


@inline
def _find_ahead(at: Places, author: int, key: int) -> int:
    i = mix_key(author, key) & at.ahead_mask
    while load_u32(at.ahead, i) != HOLE:
        post = load_u32(at.ahead, i)
        d = post_row(at, post)
        if d >= 0 and post_key(at, d, post) == key and post_author(at, d, post) == author:
            return post
        i = (i + 1) & at.ahead_mask
    return -1


@inline
def find_post(at: Places, author: int, key: int) -> int:
    """The number of a post, or -1.

    A post is numbered on the day it was first witnessed or referred to, so not before the day that its TID claims:
    that day and the next come first, then the later ones, newest last. Keys that claim a day still to come have a
    table of their own. Odd keys claim nothing: all days.
    """
    author, key = i64(author), i64(key)
    rows = at.rows
    first = 0
    if key >= 0:
        day = (key >> 10) // US_PER_DAY
        first = rows
        while first > 0 and day_number(at, first - 1) >= day:
            first -= 1
    for d in range(first, rows):
        post = find_on_day(at, d, author, key)
        if post >= 0:
            return post
    return _find_ahead(at, author, key) if key >= 0 else -1
