"""Joins on the way to consumers: a message waits for what it needs, but not for long, and never overtakes its author's.

All messages of a lane have ascending numbers. `Sent` says where the lane is when a message leaves it: everything up to
`head` has left, but for `pending`. That is what a cursor is made of (cursor.py).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from feedgen.core.clock import Clock
from feedgen.core.telemetry import Counter, Histogram
from feedgen.stream.asking import POSTS, PROFILES, Asker
from feedgen.stream.happening import Happening, author_of
from feedgen.stream.known import Known

MAX_WAITING: Final = 1_000  # messages; with more, the oldest goes out as it is

LOOKUPS = Counter("feedgen_stream_lookups_total", "Profiles and posts that messages needed, by result.", "result")
DELAY = Histogram("feedgen_stream_delay_seconds", "From the socket to the consumers' queues.")

T = TypeVar("T")


class _Waiting(Generic[T]):
    __slots__ = ("deadline_s", "happening", "hits", "left", "missing", "needed", "targets")

    def __init__(self, happening: Happening, targets: T, deadline_s: float) -> None:
        self.happening, self.targets, self.deadline_s = happening, targets, deadline_s
        self.missing: set[str] = set()
        self.hits = self.needed = 0
        self.left = False


class Sent(NamedTuple):
    """A message that leaves, and what of the lane has not left yet."""

    happening: Happening
    head: Happening
    pending: Sequence[Happening]
    hits: int  # of what it needed, so much was known at once
    needed: int


def needs_of(happening: Happening, known: Known) -> list[tuple[str, str]]:
    """(what, key) of all that belongs to a message. A record that passed by brings its author along as a need."""
    needs = [(PROFILES, happening.did)]
    parts = happening.parts
    posts = [happening.subject] if happening.subject else []
    if parts is not None:
        posts += [uri for uri in (parts.parent, parts.root, parts.quoted) if uri]
        needs += [(PROFILES, did) for did in parts.mentioned]
    for uri in dict.fromkeys(posts):
        needs.append((POSTS, uri))
        entry = known.posts.get(uri)
        if entry is not None and entry.there and not entry.view:
            needs.append((PROFILES, author_of(uri)))
    return list(dict.fromkeys(needs))


class Lane(Generic[T]):
    """`emit` is called for each message as it leaves, with what `add` was given for it."""

    def __init__(
        self, known: Known, asker: Asker, clock: Clock, patience_s: float, emit: Callable[[Sent, T], None]
    ) -> None:
        self._known, self._asker, self._clock = known, asker, clock
        self.patience_s, self._emit = patience_s, emit
        self._by_author: dict[str, deque[_Waiting[T]]] = {}
        self._by_key: dict[str, list[_Waiting[T]]] = {}
        self._in_order: deque[_Waiting[T]] = deque()
        self._pending: dict[int, Happening] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.head: Happening | None = None

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def lowest(self) -> int | None:
        """The number of the oldest message that waits."""
        return next(iter(self._pending), None)

    def add(self, happening: Happening, targets: T, join: bool) -> None:
        """`join`: something of it may have to be asked for."""
        self.head = happening
        one = _Waiting(happening, targets, self._clock.monotonic_s() + self.patience_s)
        if join:
            for what, key in needs_of(happening, self._known):
                one.needed += 1
                table = self._known.posts if what == POSTS else self._known.profiles
                if table.get(key) is not None:
                    one.hits += 1
                elif self._asker.want(what, key):
                    one.missing.add(key)
            LOOKUPS.add(one.hits, "known")
            LOOKUPS.add(one.needed - one.hits, "unknown")
        queue = self._by_author.get(happening.did)
        if not one.missing and queue is None:
            self._leave(one)
            return
        self._wait(one, queue)

    def settled(self, keys: Iterable[str]) -> None:
        """Nobody need wait for these any more."""
        ready = []
        for key in keys:
            for one in self._by_key.pop(key, ()):
                one.missing.discard(key)
                if not one.missing:
                    ready.append(one)
        for one in ready:
            self._flush(one.happening.did)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self, one: _Waiting[T], queue: deque[_Waiting[T]] | None) -> None:
        if queue is None:
            queue = self._by_author[one.happening.did] = deque()
        queue.append(one)
        self._in_order.append(one)
        self._pending[one.happening.number] = one.happening
        for key in one.missing:
            self._by_key.setdefault(key, []).append(one)
        while len(self._pending) > MAX_WAITING:
            self._give_up(self._in_order.popleft())
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.patience_s, self._expire)

    def _expire(self) -> None:
        self._timer = None
        now_s = self._clock.monotonic_s()
        while self._in_order and (self._in_order[0].left or self._in_order[0].deadline_s <= now_s):
            self._give_up(self._in_order.popleft())
        if self._in_order:
            wait_s = max(0.001, self._in_order[0].deadline_s - now_s)
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._expire)

    def _give_up(self, one: _Waiting[T]) -> None:
        if one.left:
            return
        for key in one.missing:
            waiting = self._by_key.get(key)
            if waiting is not None:
                waiting.remove(one)
                if not waiting:
                    del self._by_key[key]
        one.missing.clear()
        self._flush(one.happening.did)

    def _flush(self, did: str) -> None:
        queue = self._by_author.get(did)
        while queue and not queue[0].missing:
            one = queue.popleft()
            del self._pending[one.happening.number]
            one.left = True
            self._leave(one)
        if queue is not None and not queue:
            self._by_author.pop(did, None)

    def _leave(self, one: _Waiting[T]) -> None:
        assert self.head is not None
        DELAY.observe(self._clock.monotonic_s() - one.happening.heard_s)
        self._emit(Sent(one.happening, self.head, tuple(self._pending.values()), one.hits, one.needed), one.targets)
