"""Many events as columns: what the pipeline hands to the recorder in one piece.

Creates are columns because there are many of them; everything rare is a list in order of arrival. ARCHITECTURE.md,
"Sequence in a batch", says why applying the creates first and the rare events after them equals the order of arrival.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

from feedgen.core.ids import US_PER_DAY
from feedgen.ingest.events import Account, Delete, Event, Follow, Post, Rating

MAX_EVENTS: Final = 20_000


class Cursor(msgspec.Struct, frozen=True):
    """Where to go on: by `seq` on the same v2 host, by `time_us` anywhere else."""

    host: str = ""
    seq: int = 0
    time_us: int = 0


@dataclass(slots=True)
class Ratings:
    actors: list[str] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    rkeys: list[str] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)
    times_us: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Posts:
    authors: list[str] = field(default_factory=list)
    rkeys: list[str] = field(default_factory=list)
    times_us: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    languages: list[int] = field(default_factory=list)
    abouts: list[str | None] = field(default_factory=list)
    updated: list[bool] = field(default_factory=list)  # written anew: what it says now counts


@dataclass(slots=True)
class Follows:
    actors: list[str] = field(default_factory=list)
    rkeys: list[str] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """All events belong to one witnessed UTC day. `cursor` is the last event's.

    A day once left is not opened again: what comes later is counted to the open day, and the times in the columns are
    then moved to its edge. `first_us`, `last_us` and the cursor are as witnessed.
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
    rare: list[Event] = field(default_factory=list)


def _keep_to_day(batch: Batch) -> None:
    first, last = batch.day * US_PER_DAY, (batch.day + 1) * US_PER_DAY - 1
    if first <= batch.first_us and batch.last_us <= last:
        return
    for columns in (batch.ratings, batch.posts):
        columns.times_us = [min(max(us, first), last) for us in columns.times_us]


class BatchBuilder:
    """Collects events into a batch and knows when the batch must be closed before the next one.

    `add` returns False when the event does not fit any more: take the batch, then add it again. Events wait in lists by
    kind and become columns in `take`: measured, that is twice as fast as appending to each column as they come.
    """

    def __init__(self, host: str = "", max_events: int = MAX_EVENTS) -> None:
        self.host = host
        self.max_events = max_events
        self.events = 0
        self.day = 0
        self._last: Event | None = None
        self._ratings: list[Rating] = []
        self._posts: list[Post] = []
        self._follows: list[Follow] = []
        self._rare: list[Event] = []
        self._deleted: set[tuple[str, str]] = set()  # (did, rkey) that a delete in this batch named
        self._deleted_rkeys: set[str] = set()  # a quick look before the exact one
        self._changed: set[str] = set()  # people whose account changed in this batch

    def add(self, event: Event, day: int) -> bool:
        if self.events:
            if day != self.day or self.events >= self.max_events:
                return False
            if self._changed and event.did in self._changed:
                return False
        else:
            self.day = day
        if type(event) is Rating:  # four of five, so first
            if event.rkey in self._deleted_rkeys and (event.did, event.rkey) in self._deleted:
                return False
            self._ratings.append(event)
        elif isinstance(event, Post | Follow):
            if event.rkey in self._deleted_rkeys and (event.did, event.rkey) in self._deleted:
                return False
            if isinstance(event, Post):
                self._posts.append(event)
            else:
                self._follows.append(event)
        else:
            self._add_rare(event)
        self.events += 1
        self._last = event
        return True

    def _add_rare(self, event: Event) -> None:
        self._rare.append(event)
        if isinstance(event, Delete):
            self._deleted.add((event.did, event.rkey))
            self._deleted_rkeys.add(event.rkey)
        elif isinstance(event, Account):
            self._changed.add(event.did)

    def take(self) -> Batch:
        """The batch so far; the builder is empty afterwards."""
        ratings, posts, follows, last = self._ratings, self._posts, self._follows, self._last
        batch = Batch(day=self.day, events=self.events, rare=self._rare)
        batch.ratings = Ratings(
            actors=[e.did for e in ratings],
            kinds=[e.kind for e in ratings],
            rkeys=[e.rkey for e in ratings],
            subjects=[e.subject for e in ratings],
            times_us=[e.time_us for e in ratings],
        )
        batch.posts = Posts(
            authors=[e.did for e in posts],
            rkeys=[e.rkey for e in posts],
            times_us=[e.time_us for e in posts],
            flags=[e.flags for e in posts],
            languages=[e.language for e in posts],
            abouts=[e.about for e in posts],
            updated=[e.updated for e in posts],
        )
        batch.follows = Follows(
            actors=[e.did for e in follows], rkeys=[e.rkey for e in follows], subjects=[e.subject for e in follows]
        )
        if last is not None:
            batch.cursor = Cursor(self.host, last.seq, last.time_us)
            others = [e.time_us for e in (*follows, *self._rare)]
            columns = [column for column in (batch.ratings.times_us, batch.posts.times_us, others) if column]
            batch.first_us, batch.last_us = min(map(min, columns)), max(map(max, columns))
            _keep_to_day(batch)
        self._reset()
        return batch

    def _reset(self) -> None:
        self.events, self._last = 0, None
        self._ratings, self._posts, self._follows, self._rare = [], [], [], []
        self._deleted, self._deleted_rkeys, self._changed = set(), set(), set()
