"""Many events as columns: what the pipeline hands to the recorder in one piece.

Creates are columns because there are many of them; everything rare is a list in order of arrival. ARCHITECTURE.md,
"Sequence in a batch", says why applying the creates first and the rare events after them equals the order of arrival.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final, Self

import msgspec
import numpy as np
import numpy.typing as npt

from feedgen.core.ids import US_PER_DAY, pack_plc, rkey_to_int
from feedgen.ingest.events import Account, Block, Delete, Event, Follow, Identity, Post, Rating, Replaced

MAX_EVENTS: Final = 20_000


class Cursor(msgspec.Struct, frozen=True):
    """Where to go on: by `seq` on the same v2 host, by `time_us` anywhere else."""

    host: str = ""
    seq: int = 0
    time_us: int = 0


U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


def _no_numbers() -> I64:
    return np.empty(0, np.int64)


class _Columns:
    """Lists of one length, a row for each event."""

    __slots__: tuple[str, ...] = ()

    def append(self, other: Self) -> None:
        for name in self.__slots__:
            getattr(self, name).extend(getattr(other, name))


@dataclass(slots=True)
class Ratings(_Columns):
    actors: list[str] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    rkeys: list[str] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    times_us: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Posts(_Columns):
    authors: list[str] = field(default_factory=list)
    rkeys: list[str] = field(default_factory=list)
    times_us: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    languages: list[int] = field(default_factory=list)
    abouts: list[str | None] = field(default_factory=list)
    updated: list[bool] = field(default_factory=list)  # the record was replaced: this version counts
    tags: list[tuple[str, ...]] = field(default_factory=list)  # patterns of feeds that it matches


@dataclass(slots=True)
class Follows(_Columns):
    actors: list[str] = field(default_factory=list)
    rkeys: list[str] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Plain:
    """Creates as numbers, all kinds in one: records of did:plc accounts under TIDs, about such accounts and posts.

    A DID is two words (`ids.pack_plc`). `kinds` are ids.LIKE, ids.REPOST, and 2 and 3 for posts and follows. Nothing
    that a post is about: a subject's key of -1.
    """

    kinds: U8
    high: U64
    low: U64
    keys: I64
    times_us: I64
    subject_high: U64
    subject_low: U64
    subject_keys: I64
    flags: I64
    languages: U8

    def __len__(self) -> int:
        return len(self.kinds)


@dataclass(slots=True)
class Batch:
    """All events belong to one witnessed UTC day. `cursor` is the last event's.

    A day once left is not opened again: what comes later is counted to the open day, and the times in the columns are
    then moved to its edge, as are those of old records that are told now. `first_us`, `last_us` and the cursor are as
    witnessed.
    """

    day: int = 0
    events: int = 0
    cursor: Cursor = field(default_factory=Cursor)
    first_us: int = 0
    last_us: int = 0
    replayed: bool = False  # some of it may have been recorded before: check each record key
    ratings: Ratings = field(default_factory=Ratings)
    posts: Posts = field(default_factory=Posts)
    follows: Follows = field(default_factory=Follows)
    plain: list[Plain] = field(default_factory=list)  # creates beside those in the columns
    rare: list[Event] = field(default_factory=list)


def _keep_to_day(batch: Batch) -> None:
    first, last = batch.day * US_PER_DAY, (batch.day + 1) * US_PER_DAY - 1
    for plain in batch.plain:
        np.clip(plain.times_us, first, last, out=plain.times_us)
    if first <= batch.first_us and batch.last_us <= last:
        return
    for columns in (batch.ratings, batch.posts):
        columns.times_us = [min(max(us, first), last) for us in columns.times_us]


@dataclass(slots=True)
class Piece:
    """Events that came together, taken apart in one go (gather.py). They may be added to a batch as they are when `cut`
    lies behind the last message.
    """

    cut: int = 0
    ratings: Ratings = field(default_factory=Ratings)
    posts: Posts = field(default_factory=Posts)
    follows: Follows = field(default_factory=Follows)
    rare: list[Event] = field(default_factory=list)
    plain: Plain | None = None
    events: int = 0
    seqs: I64 = field(default_factory=_no_numbers)
    times_us: I64 = field(default_factory=_no_numbers)

    @property
    def rkeys(self) -> tuple[list[str], ...]:
        return self.ratings.rkeys, self.posts.rkeys, self.follows.rkeys

    @property
    def people(self) -> tuple[list[str], ...]:
        return self.ratings.actors, self.posts.authors, self.follows.actors


@dataclass(frozen=True, slots=True)
class Told:
    """What an archive tells, in order: pieces, and messages that must be looked at one by one."""

    host: str
    connection: int
    parts: list[Piece | list[bytes]]
    dropped: Counter[str]
    bytes: int
    same_host: bool = False


class BatchBuilder:
    """Collects events into a batch and knows when the batch must be closed before the next one.

    `add` returns False when the event does not fit any more: take the batch, then add it again. So does `extend` with a
    plain piece.
    """

    def __init__(self, host: str = "", max_events: int = MAX_EVENTS) -> None:
        self.host = host
        self.max_events = max_events
        self.day = 0
        self.held: Cursor | None = None  # where to go on instead of after the last event
        self._reset()

    @property
    def events(self) -> int:
        return self._batch.events

    def add(self, event: Event, day: int) -> bool:
        batch = self._batch
        if batch.events:
            if isinstance(event, Replaced):
                return False  # it is compared with what is committed
            if day != self.day or batch.events >= self.max_events:
                return False
            if self._changed and event.did in self._changed and not isinstance(event, Identity | Block):
                return False
        if isinstance(event, Rating | Post | Follow):
            if event.rkey in self._deleted_rkeys and (event.did, event.rkey) in self._deleted:
                return False
            add_create(batch, event)
        else:
            self._add_rare(event)
        self._see(1, day, event.seq, event.time_us, event.time_us, event.time_us)
        return True

    def extend(self, piece: Piece, day: int) -> bool:
        """All of a plain piece, or nothing of it. All its events are of that day."""
        batch = self._batch
        if batch.events and (day != self.day or batch.events + piece.events > self.max_events):
            return False
        if batch.events and self._may_affect(piece):
            return False
        batch.ratings.append(piece.ratings)
        batch.posts.append(piece.posts)
        batch.follows.append(piece.follows)
        if piece.plain is not None:
            batch.plain.append(piece.plain)
        for event in piece.rare:
            self._add_rare(event)
        times = piece.times_us
        self._see(piece.events, day, int(piece.seqs[-1]), int(times[-1]), int(times.min()), int(times.max()))
        return True

    def _may_affect(self, piece: Piece) -> bool:
        """True if a pending delete or account event affects this piece."""
        for people, keys in zip(piece.people, piece.rkeys, strict=True):
            if not self._deleted_rkeys.isdisjoint(keys):
                again = (pair for pair in zip(people, keys, strict=True) if pair[1] in self._deleted_rkeys)
                if not self._deleted.isdisjoint(again):
                    return True
        if piece.plain is not None and self._may_affect_plain(piece.plain):
            return True
        if not self._changed:
            return False
        rare = [event.did for event in piece.rare if not isinstance(event, Identity | Block)]
        return not all(map(self._changed.isdisjoint, (*piece.people, rare)))

    def _may_affect_plain(self, plain: Plain) -> bool:
        """The same, at times too careful: half of the name is compared."""
        if self._deleted_rkeys:
            keys = np.fromiter(map(rkey_to_int, self._deleted_rkeys), np.int64)
            if np.isin(plain.keys, keys).any():
                return True
        words = [pack_plc(did) for did in self._changed]
        high = np.array([word[0] for word in words if word is not None], np.uint64)
        return bool(high.size and np.isin(plain.high, high).any())

    def _add_rare(self, event: Event) -> None:
        self._batch.rare.append(event)
        if isinstance(event, Delete):
            self._deleted.add((event.did, event.rkey))
            self._deleted_rkeys.add(event.rkey)
        elif isinstance(event, Account | Replaced):
            self._changed.add(event.did)

    def _see(self, events: int, day: int, seq: int, time_us: int, first_us: int, last_us: int) -> None:
        batch = self._batch
        batch.first_us = min(batch.first_us, first_us) if batch.events else first_us
        batch.last_us = max(batch.last_us, last_us)
        batch.events += events
        self.day = batch.day = day
        self._seq, self._time_us = seq, time_us

    def take(self) -> Batch:
        """The batch so far; the builder is empty afterwards."""
        batch = self._batch
        if batch.events:
            batch.cursor = self.held or Cursor(self.host, self._seq, self._time_us)
            _keep_to_day(batch)
        self._reset()
        return batch

    def _reset(self) -> None:
        self._batch = Batch()
        self._seq = self._time_us = 0
        self._deleted: set[tuple[str, str]] = set()  # (did, rkey) that a delete in this batch named
        self._deleted_rkeys: set[str] = set()  # a quick look before the exact one
        self._changed: set[str] = set()  # people whose account changed in this batch


def add_create(to: Batch | Piece, event: Rating | Post | Follow, at: int | None = None) -> None:
    """One more row, at the end of its columns or somewhere in them."""
    row: tuple[object, ...]
    columns: Ratings | Posts | Follows
    if isinstance(event, Rating):
        columns, row = to.ratings, (event.did, event.kind, event.rkey, event.subject, event.made_us or event.time_us)
    elif isinstance(event, Post):
        columns = to.posts
        row = (
            event.did,
            event.rkey,
            event.made_us or event.time_us,
            event.flags,
            event.language,
            event.about,
            event.updated,
            event.tags,
        )
    else:
        columns, row = to.follows, (event.did, event.rkey, event.subject)
    for name, value in zip(columns.__slots__, row, strict=True):
        column = getattr(columns, name)
        column.insert(len(column) if at is None else at, value)
