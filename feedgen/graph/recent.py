"""The newest records of one kind (reposts), by person and by name: in memory only, filled from the truth at a start.

The arrays hold edges: a like and a repost of one post are one. A timeline needs the records: what somebody reposted,
when, and under which key. They lie in a ring, each linked to the next older one of its bucket of people and of its
bucket of names. A link is a distance, so what was overwritten needs no unlinking: it is too far away.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from feedgen.core.ids import NO_PERSON, NO_POST, US_PER_DAY
from feedgen.core.jit import inline, njit
from feedgen.graph.access import I64, U16, U32, mix32, mix_key
from feedgen.graph.memory import own_array, reserve
from feedgen.graph.words import i64

MAX_RECENT: Final = 1 << 22  # records, 28 bytes each: 33 hours of the network's reposts, 117 MB
MAX_STEPS: Final = 1 << 14  # records that one look passes: a bucket has several people, and one may be a robot
MAX_MISSED: Final = 1 << 20  # removals while the past is read
_BUCKET_BITS: Final = 18
_COPIED: Final = 1 << 16  # records that are copied while the lock is held


class Records(NamedTuple):
    """`when` is day << 16 | tick."""

    actor: U32
    post: U32
    key: I64
    when: U32


class _Ring(NamedTuple):
    actor: U32  # NO_PERSON: erased
    post: U32  # NO_POST: removed
    key: I64
    when: U32
    older: U32  # how far back the next one of the person's bucket is; 0: there is none
    same: U32  # the same for the bucket of the name
    people: I64  # by bucket, the newest record's number plus one
    names: I64
    added: I64  # one word: how many records ever


def _ring(size: int) -> _Ring:
    buckets = 1 << _BUCKET_BITS
    return _Ring(
        reserve(np.uint32, size), reserve(np.uint32, size), reserve(np.int64, size), reserve(np.uint32, size),
        reserve(np.uint32, size), reserve(np.uint32, size), reserve(np.int64, buckets), reserve(np.int64, buckets),
        np.zeros(1, np.int64),
    )  # fmt: skip


@inline
def _person_bucket(person: int) -> int:
    return mix32(i64(person)) >> (32 - _BUCKET_BITS)


@inline
def _name_bucket(person: int, key: int) -> int:
    return mix_key(i64(person), key) >> (32 - _BUCKET_BITS)


@inline
def _link(newest: I64, bucket: int, n: int, size: int) -> int:
    """Record n becomes the newest of a bucket; how far back the one before it is."""
    before = newest[bucket]
    newest[bucket] = n + 1
    return n + 1 - before if before != 0 and n + 1 - before < size else 0


@inline
def _next(ring: _Ring, n: int, distance: int) -> int:
    """The record that a link leads to, or -1."""
    older = n - i64(distance)
    return older if distance != 0 and older >= ring.added[0] - ring.post.size else -1


@inline
def _first(ring: _Ring, newest: I64, bucket: int) -> int:
    n = newest[bucket] - 1
    return n if n >= ring.added[0] - ring.post.size else -1


@njit
def _add(ring: _Ring, actors: U32, posts: U32, keys: I64, whens: U32) -> None:
    size = ring.post.size
    for i in range(actors.size):
        n = ring.added[0]
        at = n & (size - 1)
        ring.actor[at], ring.post[at], ring.key[at], ring.when[at] = actors[i], posts[i], keys[i], whens[i]
        ring.older[at] = _link(ring.people, _person_bucket(actors[i]), n, size)
        ring.same[at] = _link(ring.names, _name_bucket(actors[i], keys[i]), n, size)
        ring.added[0] = n + 1


@njit
def _newest_of(ring: _Ring, person: int, since: int, posts: U32, keys: I64, whens: U32) -> int:
    """A person's records, as many as there is room for; how many."""
    found = 0
    n = _first(ring, ring.people, _person_bucket(person))
    for _ in range(MAX_STEPS):
        if n < 0 or found == posts.size:
            break
        at = n & (ring.post.size - 1)
        if ring.actor[at] == person and ring.post[at] != NO_POST and ring.when[at] >= since:
            posts[found], keys[found], whens[found] = ring.post[at], ring.key[at], ring.when[at]
            found += 1
        n = _next(ring, n, ring.older[at])
    return found


@njit
def _remove(ring: _Ring, person: int, key: int) -> None:
    """All records of that name: a key that was used for two subjects has two."""
    n = _first(ring, ring.names, _name_bucket(person, key))
    while n >= 0:
        at = n & (ring.post.size - 1)
        if ring.actor[at] == person and ring.key[at] == key:
            ring.post[at] = NO_POST
        n = _next(ring, n, ring.same[at])


@njit
def _erase(ring: _Ring, person: int) -> None:
    n = _first(ring, ring.people, _person_bucket(person))
    while n >= 0:
        at = n & (ring.post.size - 1)
        if ring.actor[at] == person:
            ring.actor[at], ring.post[at], ring.key[at] = NO_PERSON, NO_POST, 0
        n = _next(ring, n, ring.older[at])


class Recent:
    """One thread adds and removes; any may look. `recall` puts the past in place in the background."""

    def __init__(self, size: int = MAX_RECENT) -> None:
        self._lock = threading.Lock()
        self._ring = _ring(size)
        self._since = 0  # what is older belongs to days that were dropped
        self._recalling = False
        self._missed: list[tuple[int, int | None]] = []  # (person, key; None: erased) while the past is read

    def add(self, records: Records) -> None:
        with self._lock:
            _add(self._ring, *records)

    def remove(self, person: int, key: int) -> None:
        with self._lock:
            self._miss(person, key)
            _remove(self._ring, person, key)

    def erase(self, person: int) -> None:
        with self._lock:
            self._miss(person, None)
            _erase(self._ring, person)

    def drop_until(self, day: int) -> None:
        """That day and those before it are no more."""
        self._since = max(self._since, day + 1 << 16)

    def newest_of(self, person: int, limit: int) -> tuple[U32, I64, I64]:
        """(posts, times in us, keys), newest first. The time is the earlier of the key's and the witnessed one, so what
        was told late stands where it belongs.
        """
        posts, keys, whens = (
            np.empty(MAX_STEPS, np.uint32),
            np.empty(MAX_STEPS, np.int64),
            np.empty(MAX_STEPS, np.uint32),
        )
        with self._lock:
            found = int(_newest_of(self._ring, person, self._since, posts, keys, whens))
        posts, keys, when = posts[:found], keys[:found], whens[:found].astype(np.int64)
        witnessed = (when >> 16) * US_PER_DAY + ((when & 0xFFFF) * US_PER_DAY + 65_535 >> 16)
        times_us = np.where(keys > 0, np.minimum(keys >> 10, witnessed), witnessed)
        order = np.argsort(-times_us, kind="stable")[: max(limit, 0)]
        return posts[order], times_us[order], keys[order]

    def expect_past(self) -> None:
        """Removals from here on concern what `recall` will bring, too."""
        with self._lock:
            self._recalling, self._missed = True, []

    def recall(self, days: Iterable[Records]) -> None:
        """Records from before those that are here, by day, the newest day first; no more are read than have room."""
        parts: list[Records] = []
        room = self._ring.post.size
        for records in days:
            actor, post, key, when = records
            parts.append(Records(actor[-room:], post[-room:], key[-room:], when[-room:]))
            room -= len(parts[-1].actor)
            if room <= 0:
                break
        ring = _ring(self._ring.post.size)
        for part in reversed(parts):
            _add(ring, *part)
        copied = 0
        while True:  # then what came meanwhile, the last of it under the lock
            with self._lock:
                missed, self._missed = self._missed, []
                end = int(self._ring.added[0])
                if end - copied <= _COPIED and len(missed) <= _COPIED:
                    self._catch_up(ring, missed, copied, end)
                    self._ring, self._recalling = ring, False
                    return
                self._recalling = len(missed) <= MAX_MISSED
            if not self._recalling:
                return  # only what was heard since the start is known
            self._catch_up(ring, missed, copied, end)
            copied = end

    def _catch_up(self, ring: _Ring, missed: list[tuple[int, int | None]], start: int, end: int) -> None:
        """Removals were done in the present ring at once, so they are done again only on what was copied before."""
        for person, key in missed:
            if key is None:
                _erase(ring, person)
            else:
                _remove(ring, person, key)
        here = self._ring
        at = np.arange(max(start, end - here.post.size), end) & (here.post.size - 1)
        there = at[here.post[at] != NO_POST]
        _add(ring, here.actor[there], here.post[there], here.key[there], here.when[there])

    def _miss(self, person: int, key: int | None) -> None:
        if self._recalling and len(self._missed) <= MAX_MISSED:
            self._missed.append((person, key))


def records_of(day: int, actors: npt.ArrayLike, posts: npt.ArrayLike, keys: npt.ArrayLike, ticks: U16) -> Records:
    when = ticks.astype(np.uint32) | np.uint32(day << 16)
    return Records(own_array(actors, np.uint32), own_array(posts, np.uint32), own_array(keys, np.int64), when)
