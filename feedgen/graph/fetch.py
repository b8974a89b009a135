"""Memory that lists will need, asked for before they are read.

A list is four or five steps away: bucket, key, offset, values. Each step is somewhere else in gigabytes, so each waits
for memory, and a ranking reads thousands of lists. Whoever knows which lists come next takes these steps for some of
them together, so they wait together: `for stage in range(STAGES): for each of some lists: fetch_...(stage)`.
Only hints are given: nothing is read but what leads on, and what leads nowhere does no harm.
"""

from __future__ import annotations

from typing import Final

from feedgen.core.jit import inline
from feedgen.graph.access import (
    ABOUT,
    AUTHOR,
    AUTHOR_WIDTH,
    BELOW,
    BUCKETS,
    COUNT,
    FLAGS,
    HEADS,
    KEYS,
    KIND,
    LANGUAGE,
    LIKES,
    LIVE,
    OFFSET_WIDTH,
    OLD,
    OWN,
    PACKED,
    POSTS,
    SHIFT,
    SLOT,
    TICK,
    TICKS,
    VALUES,
    WHOLE,
    WIDTH,
    Places,
    block_of,
    day_field,
    keys_find,
    list_start,
    mix32,
    own_start,
    row_of_slot,
    table_find,
)
from feedgen.graph.words import i64, load_i64, load_u32, prefetch_read

STAGES: Final = 4
TOGETHER: Final = 16  # lists: about as many lines of memory as a processor waits for at once
_LINE: Final = 64


@inline
def fetch_post(at: Places, post: int) -> None:
    """All columns of a post that ranking looks at."""
    post = i64(post)
    d = row_of_slot(at, post >> 24)
    if d >= 0:
        n = post & 0xFF_FFFF
        packed = day_field(at, d, KIND) == PACKED
        prefetch_read(day_field(at, d, AUTHOR), n * day_field(at, d, AUTHOR_WIDTH) >> 3 if packed else 4 * n)
        prefetch_read(day_field(at, d, TICK), 2 * n)
        prefetch_read(day_field(at, d, FLAGS), 2 * n)
        prefetch_read(day_field(at, d, LANGUAGE), n)
        prefetch_read(day_field(at, d, ABOUT), 4 * n)
        prefetch_read(day_field(at, d, COUNT), 2 * n)


@inline
def fetch_count(at: Places, post: int) -> None:
    post = i64(post)
    d = row_of_slot(at, post >> 24)
    if d >= 0:
        prefetch_read(day_field(at, d, COUNT), 2 * (post & 0xFF_FFFF))


@inline
def fetch_likers(at: Places, d: int, post: int, stage: int) -> None:
    post, layer = i64(post), i64(d)
    own, n = post >> 24 == day_field(at, d, SLOT), post & 0xFF_FFFF
    while True:
        if own:
            _fetch_own(at, layer, n, stage)
        else:
            _fetch_list(at, layer, OLD, post, stage)
        layer = day_field(at, layer, BELOW)
        if layer == 0:
            return


@inline
def fetch_likes(at: Places, d: int, person: int, stage: int) -> None:
    layer = i64(d)
    while True:
        _fetch_list(at, layer, LIKES, i64(person), stage)
        layer = day_field(at, layer, BELOW)
        if layer == 0:
            return


@inline
def _fetch_own(at: Places, d: int, n: int, stage: int) -> None:
    """The likers of a post of the day itself, in one of its layers."""
    if stage > 1 or n >= load_i64(day_field(at, d, POSTS), 0):
        return
    live = day_field(at, d, KIND) == LIVE
    if stage == 0:
        prefetch_read(day_field(at, d, OWN), 8 * n if live else _offset_place(at, d, OLD, n))
    elif live:
        _fetch_block(at, d, OLD, load_i64(day_field(at, d, OWN), n))
    else:
        _fetch_end(at, d, OLD, own_start(at, d, n), own_start(at, d, n + 1))


@inline
def _offset_place(at: Places, d: int, group: int, i: int) -> int:
    if day_field(at, d, KIND) == PACKED:
        return i * day_field(at, d, group + OFFSET_WIDTH) >> 3
    return 4 * i


@inline
def _fetch_list(at: Places, d: int, group: int, key: int, stage: int) -> None:
    """A list that is found by its key, in one of the day's layers."""
    if day_field(at, d, KIND) == LIVE:
        if stage == 0:
            prefetch_read(day_field(at, d, group + KEYS), 8 * (mix32(key) >> day_field(at, d, group + SHIFT)))
        elif stage <= 2:
            i = table_find(day_field(at, d, group + KEYS), day_field(at, d, group + SHIFT), key)
            if i >= 0 and stage == 1:
                prefetch_read(day_field(at, d, group + HEADS), 8 * i)
            elif i >= 0:
                _fetch_block(at, d, group, load_i64(day_field(at, d, group + HEADS), i))
        return
    hashed = mix32(key)
    bucket = hashed >> day_field(at, d, group + SHIFT)
    if stage == 0:
        prefetch_read(day_field(at, d, group + BUCKETS), 4 * bucket)
    elif stage == 1:
        prefetch_read(day_field(at, d, group + KEYS), 4 * load_u32(day_field(at, d, group + BUCKETS), bucket))
    else:
        i = keys_find(at, d, group, hashed)
        if i >= 0 and stage == 2:
            prefetch_read(day_field(at, d, group + HEADS), _offset_place(at, d, group, i))
        elif i >= 0:
            _fetch_end(at, d, group, list_start(at, d, group, i), list_start(at, d, group, i + 1))


@inline
def _fetch_end(at: Places, d: int, group: int, start: int, end: int) -> None:
    """The newest values of a list that does not grow: its last two lines. What else it has comes by itself, read in
    order.
    """
    if end > start and day_field(at, d, KIND) == PACKED:
        last = (end - 1) * day_field(at, d, group + WIDTH) >> 3
        prefetch_read(day_field(at, d, group + VALUES), last)
        prefetch_read(day_field(at, d, group + VALUES), max(last - _LINE, start * day_field(at, d, group + WIDTH) >> 3))
    elif end > start:
        last = 4 * (end - 1)
        prefetch_read(day_field(at, d, group + VALUES), last)
        prefetch_read(day_field(at, d, group + VALUES), max(last - _LINE, 4 * start))
        tick_bytes = 1 if day_field(at, d, KIND) == WHOLE else 2
        prefetch_read(day_field(at, d, group + TICKS), tick_bytes * (end - 1))


@inline
def _fetch_block(at: Places, d: int, group: int, head: int) -> None:
    """The newest block of a live list."""
    length = head >> 32
    if length > 0:
        block = head & 0xFFFF_FFFF
        _, used = block_of(length)
        prefetch_read(day_field(at, d, group + VALUES), 4 * (block + used))
        prefetch_read(day_field(at, d, group + VALUES), 4 * block)
        prefetch_read(day_field(at, d, group + TICKS), 2 * (block + used))
