"""Many events as columns: what the pipeline hands to the recorder in one piece.

Creates are columns because there are many of them; everything rare is a list in order of arrival. ARCHITECTURE.md, "Sequence in a batch", says why
applying the creates first and the rare events after them still equals the order of arrival.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

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


@dataclass(slots=True)
class Follows:
    actors: list[str] = field(default_factory=list)
    rkeys: list[str] = field(default_factory=list)
    subjects: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """All events belong to one witnessed UTC day. `cursor` is the last event's."""

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


class BatchBuilder:
    """Collects events into a batch and knows when the batch must be closed before the next one.

    `add` returns False when the event does not fit any more: take the batch, then add it again.
    """

    def __init__(self, host: str = "") -> None:
        self.host = host
        self.batch = Batch()
        self._deleted: set[tuple[str, str]] = set()  # (did, rkey) that a delete in this batch named
        self._changed: set[str] = set()  # people whose account changed in this batch

    def add(self, event: Event, day: int) -> bool:
        batch = self.batch
        if batch.events and (day != batch.day or batch.events >= MAX_EVENTS or self._conflicts(event)):
            return False
        if not batch.events:
            batch.day, batch.first_us = day, event.time_us
        batch.events += 1
        batch.last_us = max(batch.last_us, event.time_us)
        batch.cursor = Cursor(self.host, event.seq, event.time_us)
        if isinstance(event, Rating):
            r = batch.ratings
            r.actors.append(event.did)
            r.kinds.append(event.kind)
            r.rkeys.append(event.rkey)
            r.subjects.append(event.subject)
            r.times_us.append(event.time_us)
        elif isinstance(event, Post):
            p = batch.posts
            p.authors.append(event.did)
            p.rkeys.append(event.rkey)
            p.times_us.append(event.time_us)
            p.flags.append(event.flags)
            p.languages.append(event.language)
            p.abouts.append(event.about)
        elif isinstance(event, Follow):
            f = batch.follows
            f.actors.append(event.did)
            f.rkeys.append(event.rkey)
            f.subjects.append(event.subject)
        else:
            batch.rare.append(event)
            if isinstance(event, Delete):
                self._deleted.add((event.did, event.rkey))
            elif isinstance(event, Account):
                self._changed.add(event.did)
        return True

    def take(self) -> Batch:
        batch, self.batch = self.batch, Batch()
        self._deleted.clear()
        self._changed.clear()
        return batch

    def _conflicts(self, event: Event) -> bool:
        if event.did in self._changed:
            return True
        if self._deleted and isinstance(event, Rating | Post | Follow):
            return (event.did, event.rkey) in self._deleted
        return False
