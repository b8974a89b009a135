"""An open day's ratings and posts as columns, fast: what a start waits for.

Compiled, because numpy is slow with records whose fields are not aligned; and byte by byte, because arrays of such
fields have another type when they are short, and would be compiled once more for it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from feedgen.core.ids import NO_PERSON, NO_POST, POSTS_PER_DAY
from feedgen.core.jit import inline, njit
from feedgen.store.rows import I64, LOG_RATING, POST, U8, U16, U32, Posts, Records


def offset_of(record: np.dtype[Any], name: str) -> int:
    assert record.fields is not None
    return int(record.fields[name][1])


_N: Final = POSTS_PER_DAY - 1  # the bits of a post's number that tell it from others of its day
_RATING_BYTES: Final = LOG_RATING.itemsize
_RATING_ACTOR, _RATING_POST, _RATING_TICK = (offset_of(LOG_RATING, name) for name in ("actor", "post", "tick"))
_POST_BYTES: Final = POST.itemsize
_POST, _AUTHOR, _KEY, _TICK, _FLAGS, _LANGUAGE, _ABOUT = (
    offset_of(POST, name) for name in ("post", "author", "key", "tick", "flags", "language", "about")
)


# Unsigned places spare the compiled code a look for negative ones, at every byte.
@inline
def u16_at(raw: U8, at: Any) -> int:
    i = np.uint64(at)
    return np.uint16(raw[i]) | np.uint16(raw[i + np.uint64(1)]) << np.uint16(8)  # type: ignore[return-value]


@inline
def u32_at(raw: U8, at: Any) -> int:
    return np.uint32(u16_at(raw, at)) | np.uint32(u16_at(raw, at + 2)) << np.uint32(16)  # type: ignore[return-value]


@inline
def i64_at(raw: U8, at: Any) -> int:
    return np.int64(u32_at(raw, at)) | np.int64(u32_at(raw, at + 4)) << np.int64(32)  # type: ignore[return-value]


@inline
def _is_there(person: int, flags: U8, gone: int) -> bool:
    return person >= flags.size or flags[person] & gone == 0


@njit
def _rating_columns(
    near: U8, wide_actor: U32, wide_post: U32, wide_tick: U16, flags: U8, gone: int, actor: U32, post: U32, tick: U16
) -> int:
    n, w = 0, 0
    for at in range(0, near.size + _RATING_BYTES, _RATING_BYTES):
        is_last = at == near.size
        when = 0 if is_last else u16_at(near, at + _RATING_TICK)
        while w < wide_actor.size and (is_last or wide_tick[w] < when):
            if wide_actor[w] != NO_PERSON and _is_there(wide_actor[w], flags, gone):
                actor[n], post[n], tick[n] = wide_actor[w], wide_post[w], wide_tick[w]
                n += 1
            w += 1
        if not is_last:
            who = u32_at(near, at + _RATING_ACTOR)
            if who != NO_PERSON and _is_there(who, flags, gone):
                actor[n], post[n], tick[n] = who, u32_at(near, at + _RATING_POST), when
                n += 1
    return n


def rating_columns(near: Records, wide: Records, flags: U8, gone: int) -> tuple[U32, U32, U16]:
    """(actors, posts, ticks) of LOG_RATING and LOG_WIDE records, both in order of time, as one; without holes, and
    without people who have these flags.
    """
    room = len(near) + len(wide)
    actor, post, tick = np.empty(room, np.uint32), np.empty(room, np.uint32), np.empty(room, np.uint16)
    raw, far = near.view(np.uint8), [wide[name].copy() for name in ("actor", "post", "tick")]
    n = _rating_columns(raw, far[0], far[1], far[2], flags, gone, actor, post, tick)
    return actor[:n], post[:n], tick[:n]


@njit
def _newest(raw: U8, removed: U32, last: U32) -> int:
    """By number: the last record of a post, counted from one; 0 for removed ones. One more than the highest number."""
    end: Any = 0
    for i in range(raw.size // _POST_BYTES):
        post = u32_at(raw, i * _POST_BYTES + _POST)
        if post != NO_POST:
            n = np.int64(post) & _N
            last[n] = i + 1
            end = max(end, n + 1)
    for post in removed:
        last[np.int64(post) & _N] = 0
    return int(end)


@njit
def _post_columns(
    raw: U8, last: U32, there: U8, gone: int,
    post: U32, author: U32, key: I64, tick: U16, flags: U16, language: U8, about: U32,
) -> int:  # fmt: skip
    n = 0
    for place in last:
        at = (np.int64(place) - 1) * _POST_BYTES
        if place != 0 and _is_there(u32_at(raw, at + _AUTHOR), there, gone):
            post[n], author[n], key[n] = u32_at(raw, at + _POST), u32_at(raw, at + _AUTHOR), i64_at(raw, at + _KEY)
            tick[n], flags[n] = u16_at(raw, at + _TICK), u16_at(raw, at + _FLAGS)
            language[n], about[n] = raw[at + _LANGUAGE], u32_at(raw, at + _ABOUT)
            n += 1
    return n


def posts_left(records: Records, removed: U32, flags: U8, gone: int) -> Posts:
    """The posts that POST records in log order leave, by number: the newest record of each that was not removed. Those
    of people with these flags are left out.
    """
    raw = records.view(np.uint8)
    last = np.zeros(POSTS_PER_DAY, np.uint32)  # touched where there are posts
    last = last[: _newest(raw, removed, last)]
    types = (np.uint32, np.uint32, np.int64, np.uint16, np.uint16, np.uint8, np.uint32)
    columns: list[Any] = [np.empty(min(last.size, len(records)), each) for each in types]
    count = _post_columns(raw, last, flags, gone, *columns)
    return Posts(*(column[:count] for column in columns))
