"""Looking for records in an open day's log by their names, compiled: who, what kind, which key.

The log's blobs are read as bytes, for the reason that `pieces` gives. A filter says of most records that are not in a
stretch of the log that they are not; of one in thirty it doesn't know, and of one in six thousand when it is wide.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from feedgen.core.ids import NO_PERSON, US_PER_DAY
from feedgen.core.jit import i64, inline, njit
from feedgen.store.pieces import i64_at, offset_of, u16_at, u32_at
from feedgen.store.rows import I64, LOG_FOLLOW, LOG_RATING, NEAR_US, U8, U32

FILTER_RECORDS: Final = 1 << 17
FILTER_WORDS: Final = 1 << 14  # a byte for each record,
WIDE_WORDS: Final = 1 << 17  # and eight, where nearly all is looked for
FOLLOW: Final = 3  # a kind, beside ids.LIKE and ids.REPOST

_RATING: Final = LOG_RATING.itemsize
_ACTOR, _TICK, _LOW, _HIGH = (offset_of(LOG_RATING, name) for name in ("actor", "tick", "low", "high"))
_FOLLOW: Final = LOG_FOLLOW.itemsize
_FOLLOWER, _FOLLOW_KEY = (offset_of(LOG_FOLLOW, name) for name in ("actor", "key"))


@inline
def _key_and_kind(near: U8, at: Any, day: int) -> tuple[int, int]:
    """Of the rating at this byte; `rows.full_keys` says the same."""
    value = i64(u32_at(near, at + _LOW)) | i64(near[at + _HIGH]) << 32
    packed = value >> 1
    tick_us = day * US_PER_DAY + (i64(u16_at(near, at + _TICK)) * US_PER_DAY + 0xFFFF >> 16)
    return (packed >> 10) - NEAR_US + tick_us << 10 | packed & 1023, value & 1


@inline
def _hash(actor: int, kind: int, key: int) -> int:
    h = key * -7046029254386353131 + (actor << 2 | kind)
    h = (h ^ (h >> 29 & 0x7_FFFF_FFFF)) * -4658895280553007687
    return h ^ (h >> 32 & 0xFFFF_FFFF)


@inline
def _place(h: int, size: int) -> tuple[int, int]:
    """(which of so many words of a filter, the four bits of it)."""
    bits = i64(1) << (h & 63) | i64(1) << (h >> 6 & 63) | i64(1) << (h >> 12 & 63) | i64(1) << (h >> 18 & 63)
    return h >> 24 & size - 1, bits


def folded(words: I64) -> I64:
    """A wide filter as the narrow one of the same records."""
    narrow: I64 = np.bitwise_or.reduce(words.reshape(-1, FILTER_WORDS))
    return narrow


@njit
def note_ratings(near: U8, day: int, words: I64) -> None:
    """Enter LOG_RATING records into a filter."""
    for at in range(0, near.size, _RATING):
        key, kind = _key_and_kind(near, at, day)
        word, bits = _place(_hash(i64(u32_at(near, at + _ACTOR)), kind, key), words.size)
        words[word] |= bits


@njit
def note_follows(follows: U8, words: I64) -> None:
    """Enter LOG_FOLLOW records into a filter."""
    for at in range(0, follows.size, _FOLLOW):
        actor, key = i64(u32_at(follows, at + _FOLLOWER)), i64_at(follows, at + _FOLLOW_KEY)
        word, bits = _place(_hash(actor, FOLLOW, key), words.size)
        words[word] |= bits


@njit
def may_have(words: I64, actor: U32, kind: U8, key: I64, out: U8) -> None:
    """1 for the names that a filter does not rule out."""
    for i in range(actor.size):
        word, bits = _place(_hash(i64(actor[i]), i64(kind[i]), key[i]), words.size)
        out[i] = words[word] & bits == bits


@njit
def may_have_one(words: I64, actor: int, kind: int, key: int) -> bool:
    word, bits = _place(_hash(actor, kind, key), words.size)
    held: int = words[word]
    return held & bits == bits


@njit
def next_rating(near: U8, day: int, actor: int, kind: int, key: int, first: int) -> int:
    """Which record, from the `first` one on, has this name; -1 if none."""
    for i in range(first, near.size // _RATING):
        at = i * _RATING
        if i64(u32_at(near, at + _ACTOR)) == actor:
            its_key, its_kind = _key_and_kind(near, at, day)
            if its_key == key and its_kind == kind:
                return i
    return -1


@njit
def next_follow(follows: U8, actor: int, key: int, first: int) -> int:
    """The same among follows."""
    for i in range(first, follows.size // _FOLLOW):
        at = i * _FOLLOW
        if i64(u32_at(follows, at + _FOLLOWER)) == actor and i64_at(follows, at + _FOLLOW_KEY) == key:
            return i
    return -1


@njit
def find_many(near: U8, day: int, actor: U32, kind: U8, key: I64, hits: I64) -> int:
    """(which record, which name) of all LOG_RATING records that have one of the names. How many there are; as many as
    fit are in `hits`.
    """
    bits = 4
    while 1 << bits < 2 * actor.size:
        bits += 1
    mask, found = (1 << bits) - 1, 0
    table = np.full(1 << bits, -1, np.int64)
    for i in range(actor.size):
        slot = _hash(i64(actor[i]), i64(kind[i]), key[i]) & mask
        while table[slot] >= 0:
            slot = slot + 1 & mask
        table[slot] = i
    for record in range(near.size // _RATING):
        who = i64(u32_at(near, record * _RATING + _ACTOR))
        its_key, its_kind = _key_and_kind(near, record * _RATING, day)
        slot = _hash(who, its_kind, its_key) & mask
        while who != NO_PERSON and table[slot] >= 0:
            i = table[slot]
            if key[i] == its_key and i64(actor[i]) == who and i64(kind[i]) == its_kind:
                if found < len(hits):
                    hits[found, 0], hits[found, 1] = record, i
                found += 1
            slot = slot + 1 & mask
    return found
