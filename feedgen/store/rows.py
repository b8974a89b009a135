"""The columns that pass in and out of the store, and the fixed-width records that they become on disk.

Everything on disk is little-endian and without padding, so that plain SQL can take it apart (views.py) and numpy can
read it in one piece.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import NO_PERSON, NO_POST, TICKS_PER_DAY, US_PER_DAY

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Records = NDArray[np.void]

# What a record key names, beside ids.LIKE and ids.REPOST.
POST_RECORD: Final = 2
FOLLOW_RECORD: Final = 3

# A key within this distance of its tick fits into 29 bits of microseconds.
NEAR_US: Final = 1 << 28
SLACK_US: Final = 2_000_000  # more than a tick: a key is near its tick's start, commits know true times
REACH_US: Final = NEAR_US + SLACK_US  # so far from its commit's times a near key can be

# One rating in the log of an open day. The last 11 bytes are also its form in a sealed day, where the person is the
# row.
LOG_RATING: Final = np.dtype([("actor", "<u4"), ("post", "<u4"), ("tick", "<u2"), ("low", "<u4"), ("high", "u1")])
RATING: Final = np.dtype([("post", "<u4"), ("tick", "<u2"), ("low", "<u4"), ("high", "u1")])
LOG_WIDE: Final = np.dtype([("actor", "<u4"), ("key", "<i8"), ("kind", "u1"), ("post", "<u4"), ("tick", "<u2")])
WIDE: Final = np.dtype([("key", "<i8"), ("kind", "u1"), ("post", "<u4"), ("tick", "<u2")])
POST: Final = np.dtype(
    [
        ("post", "<u4"),
        ("author", "<u4"),
        ("key", "<i8"),
        ("tick", "<u2"),
        ("flags", "<u2"),
        ("language", "u1"),
        ("about", "<u4"),
    ]
)
OWN_POST: Final = np.dtype(  # a post in its author's row of a sealed day; `n` is the low 24 bits of its number
    [
        ("n0", "<u2"),
        ("n1", "u1"),
        ("key", "<i8"),
        ("tick", "<u2"),
        ("flags", "<u2"),
        ("language", "u1"),
        ("about", "<u4"),
    ]
)
LOG_FOLLOW: Final = np.dtype([("actor", "<u4"), ("key", "<i8"), ("subject", "<u4")])
FOLLOW: Final = np.dtype([("key", "<i8"), ("subject", "<u4")])
# A rating of this log that is no more: where it stood (`at` with its top bit set: among the wide ones), and what it
# said.
REMOVED: Final = np.dtype([("n", "<u4"), ("at", "<u4"), ("actor", "<u4"), ("post", "<u4")])
REMOVED_POST: Final = np.dtype([("post", "<u4"), ("author", "<u4")])
REMOVED_FOLLOW: Final = np.dtype([("actor", "<u4"), ("key", "<i8")])
TOMBSTONE: Final = np.dtype([("actor", "<u4"), ("kind", "u1"), ("key", "<i8")])
WIDE_AT: Final = 1 << 31

# The blobs of a log's row, and of a person's row in a sealed day, in their order on disk.
LOG_BLOBS: Final = {
    "removed": REMOVED,
    "removed_posts": REMOVED_POST,
    "removed_follows": REMOVED_FOLLOW,
    "tombstones": TOMBSTONE,
    "wide": LOG_WIDE,
    "far_follows": LOG_FOLLOW,
    "follows": LOG_FOLLOW,
    "posts": POST,
    "ratings": LOG_RATING,
}
PERSON_BLOBS: Final = {"ratings": RATING, "wide": WIDE, "posts": OWN_POST, "follows": FOLLOW}


def people_of(blobs: Iterable[bytes | None]) -> U32:
    """Everybody whom the blobs of a log's row name, with repeats."""
    people = [_u4()]
    for blob, dtype in zip(blobs, LOG_BLOBS.values(), strict=True):
        records = np.frombuffer(blob or b"", dtype, len(blob or b"") // dtype.itemsize)
        people += [records[name] for name in ("actor", "author", "subject") if name in (dtype.names or ())]
    joined: U32 = np.concatenate(people)
    named: U32 = joined[joined != NO_PERSON]
    return named


def crc(blobs: Iterable[bytes | None]) -> int:
    """A row's checksum: SQLite notices a broken page's structure, but not a flipped bit within a blob."""
    value = 0
    for blob in blobs:
        value = zlib.crc32(blob or b"", zlib.crc32(b"%d" % len(blob or b""), value))
    return value


def crc_after(before: int, old: Iterable[bytes | None], new: Iterable[bytes | None]) -> int:
    """The checksum of a row that changed. One that was wrong stays wrong: what rotted must not be signed as good."""
    return crc(new) ^ crc(old) ^ before


def _u1() -> U8:
    return np.empty(0, np.uint8)


def _u2() -> U16:
    return np.empty(0, np.uint16)


def _u4() -> U32:
    return np.empty(0, np.uint32)


def _i8() -> I64:
    return np.empty(0, np.int64)


@dataclass(slots=True)
class RatingRows:
    actor: U32 = field(default_factory=_u4)
    kind: U8 = field(default_factory=_u1)
    key: I64 = field(default_factory=_i8)
    post: U32 = field(default_factory=_u4)
    time_us: I64 = field(default_factory=_i8)

    def __len__(self) -> int:
        return len(self.actor)


@dataclass(slots=True)
class PostRows:
    post: U32 = field(default_factory=_u4)
    author: U32 = field(default_factory=_u4)
    key: I64 = field(default_factory=_i8)
    time_us: I64 = field(default_factory=_i8)
    flags: U16 = field(default_factory=_u2)
    language: U8 = field(default_factory=_u1)
    about: U32 = field(default_factory=_u4)

    def __len__(self) -> int:
        return len(self.post)


@dataclass(slots=True)
class FollowRows:
    actor: U32 = field(default_factory=_u4)
    key: I64 = field(default_factory=_i8)
    subject: U32 = field(default_factory=_u4)

    def __len__(self) -> int:
        return len(self.actor)


@dataclass(slots=True)
class Rows:
    """What one batch adds. `odd_keys` spells out the keys that are not TIDs: (person, key as int64, text)."""

    ratings: RatingRows = field(default_factory=RatingRows)
    posts: PostRows = field(default_factory=PostRows)
    follows: FollowRows = field(default_factory=FollowRows)
    odd_keys: list[tuple[int, int, str]] = field(default_factory=list)


@dataclass(slots=True)
class Ratings:
    """Ratings as they are read: in order of witnessing for an open day, by person for a sealed one. `key` is empty
    unless asked for.
    """

    actor: U32 = field(default_factory=_u4)
    post: U32 = field(default_factory=_u4)
    tick: U16 = field(default_factory=_u2)
    kind: U8 = field(default_factory=_u1)
    key: I64 = field(default_factory=_i8)

    def __len__(self) -> int:
        return len(self.actor)


@dataclass(slots=True)
class Posts:
    """Posts as they are read, one row a number (the newest state)."""

    post: U32 = field(default_factory=_u4)
    author: U32 = field(default_factory=_u4)
    key: I64 = field(default_factory=_i8)
    tick: U16 = field(default_factory=_u2)
    flags: U16 = field(default_factory=_u2)
    language: U8 = field(default_factory=_u1)
    about: U32 = field(default_factory=_u4)

    def __len__(self) -> int:
        return len(self.post)


def ticks_of(day: int, time_us: I64) -> U16:
    """Ticks of witnessed times; a time outside the day is moved to its edge."""
    into = np.clip(time_us - day * US_PER_DAY, 0, US_PER_DAY - 1)
    return (into * TICKS_PER_DAY // US_PER_DAY).astype(np.uint16)


def tick_starts(day: int, tick: U16) -> I64:
    """The first microsecond of each tick."""
    return day * US_PER_DAY + -(-(tick.astype(np.int64) * US_PER_DAY) // TICKS_PER_DAY)


def near_keys(day: int, tick: U16, key: I64) -> tuple[I64, Bool]:
    """Each key's 39 bits relative to its tick, and whether it fits at all."""
    distance = (key >> 10) - tick_starts(day, tick) + NEAR_US
    near = (key >= 0) & (distance >= 0) & (distance < 2 * NEAR_US)
    return distance << 10 | (key & 1023), near


def astray(day: int, key: I64) -> Bool:
    """Which records of a day claim by their keys to be of another one."""
    us = key >> 10
    stray: Bool = (key < 0) | (us < day * US_PER_DAY - REACH_US) | (us >= (day + 1) * US_PER_DAY + REACH_US)
    return stray


def full_keys(day: int, records: Records) -> I64:
    """The keys of LOG_RATING or RATING records."""
    packed = records["low"].astype(np.int64) >> 1 | records["high"].astype(np.int64) << 31
    return (packed >> 10) - NEAR_US + tick_starts(day, records["tick"]) << 10 | (packed & 1023)


def kinds(records: Records) -> U8:
    return (records["low"] & 1).astype(np.uint8)


def encode_ratings(day: int, rows: RatingRows) -> tuple[Records, Records, Bool]:
    """LOG_RATING records, LOG_WIDE records for keys that are too far off, and which row went where (True: near)."""
    tick = ticks_of(day, rows.time_us)
    packed, near = near_keys(day, tick, rows.key)
    value = packed[near] << 1 | rows.kind[near]
    records = np.empty(len(value), LOG_RATING)
    records["actor"], records["post"], records["tick"] = rows.actor[near], rows.post[near], tick[near]
    records["low"], records["high"] = value & 0xFFFF_FFFF, value >> 32
    far = ~near
    wide = np.empty(int(far.sum()), LOG_WIDE)
    wide["actor"], wide["key"], wide["kind"] = rows.actor[far], rows.key[far], rows.kind[far]
    wide["post"], wide["tick"] = rows.post[far], tick[far]
    return records, wide, near


def decode_ratings(day: int, records: Records, wide: Records, keys: bool = False) -> Ratings:
    """LOG_RATING and LOG_WIDE records as columns, without holes."""
    records, wide = records[records["actor"] != NO_PERSON], wide[wide["actor"] != NO_PERSON]
    if not len(wide):
        key = full_keys(day, records) if keys else np.empty(0, np.int64)
        return Ratings(records["actor"].copy(), records["post"].copy(), records["tick"].copy(), kinds(records), key)

    def both(name: str) -> Any:
        return np.concatenate([records[name], wide[name]])

    key = np.concatenate([full_keys(day, records), wide["key"]]) if keys else np.empty(0, np.int64)
    return Ratings(both("actor"), both("post"), both("tick"), np.concatenate([kinds(records), wide["kind"]]), key)


def encode_posts(day: int, rows: PostRows) -> Records:
    records = np.empty(len(rows), POST)
    records["post"], records["author"], records["key"] = rows.post, rows.author, rows.key
    records["tick"], records["flags"] = ticks_of(day, rows.time_us), rows.flags
    records["language"], records["about"] = rows.language, rows.about
    return records


def decode_posts(records: Records) -> Posts:
    """POST records in log order as columns: for each number the last record counts; blanked ones are left out."""
    kept = records[records["post"] != NO_POST]
    n = kept["post"] & 0xFF_FFFF
    if len(kept) > 1 and not (np.diff(n.astype(np.int64)) > 0).all():
        # Writing positions in order lets the last one win, without sorting.
        last = np.zeros(int(n.max()) + 1, np.int64)
        last[n] = np.arange(len(n))
        kept = kept[last[n] == np.arange(len(n))]
    return Posts(*(kept[name].copy() for name in ("post", "author", "key", "tick", "flags", "language", "about")))


def encode_follows(rows: FollowRows) -> Records:
    records = np.empty(len(rows), LOG_FOLLOW)
    records["actor"], records["key"], records["subject"] = rows.actor, rows.key, rows.subject
    return records


def decode_follows(records: Records) -> FollowRows:
    kept = records[records["actor"] != NO_PERSON]
    return FollowRows(kept["actor"].copy(), kept["key"].copy(), kept["subject"].copy())


def blank(records: Records, mask: Bool) -> None:
    """Turn records into holes: positions stay, what they said is gone."""
    names = records.dtype.names or ()
    for name in names:
        records[name][mask] = 0
    for name, nothing in (("actor", NO_PERSON), ("author", NO_PERSON), ("post", NO_POST), ("about", NO_POST)):
        if name in names:
            records[name][mask] = nothing
