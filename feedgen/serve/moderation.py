"""What labelers and the operator say, put where pages see it: `moderation.db` in, bits over posts and people out.

A subject may be unknown when it is spoken of: labelers hear a post when we do, and label accounts that we meet much
later. Posts wait in a list until our own stream has passed their time. Of accounts, all that were ever spoken of are in
a bitmap by a hash of their DID, and each person who gets a number is looked up in it.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Iterable
from itertools import chain
from typing import Any, Final, Protocol

import numpy as np
from pyroaring import BitMap

from feedgen.core.clock import Clock
from feedgen.core.errors import StoreError
from feedgen.core.ids import NO_POST, US_PER_S, parse_at_uri, rkey_to_int
from feedgen.core.settings import Settings
from feedgen.core.telemetry import Gauge
from feedgen.graph.aside import Aside
from feedgen.graph.view import View
from feedgen.ingest.events import PERSON_ADULT, PERSON_HIDDEN
from feedgen.ingest.labeler import Labeler
from feedgen.ingest.labels import Label
from feedgen.store.moderation import Kept, Moderation

TICK_S: Final = 1.0
MAX_PENDING: Final = 200_000  # posts that were spoken of before we heard them
PENDING_AT_ONCE: Final = 2_000
GRACE_US: Final = 600 * US_PER_S  # how far our stream must be past a post's time before it is given up
MET_AT_ONCE: Final = 2_000
LOADED_AT_ONCE: Final = 2_000
EXPIRE_TICKS: Final = 30
DAY_TICKS: Final = 600
US_PER_DAY: Final = 86_400 * US_PER_S

pending_posts = Gauge("feedgen_moderation_pending_posts", "Labelled or blocked posts that we have not heard of yet")
hidden_posts = Gauge("feedgen_moderation_hidden_posts", "Posts that are shown to nobody, by labels and blocks")
adult_posts = Gauge("feedgen_moderation_adult_posts", "Posts that labelers call adult")

log = logging.getLogger(__name__)


class Archive(Protocol):
    """What `graph.archive` does for us."""

    def set_aside(self, person: int, given: int) -> None: ...


class Names(Protocol):
    """What is asked of `graph.library` and `store.names`."""

    def person(self, did: str) -> int | None: ...
    def did(self, person: int) -> str | None: ...
    def view(self) -> View: ...


class Moderator:
    """Belongs to the event loop. `count` is how many people have numbers; `heard_us` how far our own stream is."""

    def __init__(
        self,
        store: Moderation,
        settings: Settings,
        archive: Archive,
        names: Names,
        aside: Aside,
        clock: Clock,
        count: Callable[[], int],
        heard_us: Callable[[], int],
        given_again: deque[int] | None = None,
    ) -> None:
        self._store, self._archive, self._names, self._aside, self._clock = store, archive, names, aside, clock
        self._count, self._heard_us = count, heard_us
        self._given_again = deque[int]() if given_again is None else given_again  # numbers that are somebody else's now
        labels = settings.labels
        self._hide, self._adult = frozenset(labels.hide), frozenset(labels.adult)
        if not labels.enabled:
            self._hide, self._adult = frozenset(), frozenset()
        self._always = frozenset(settings.moderation.block)
        self._blocked: frozenset[str] = frozenset()
        self._kept_us = (settings.store.retention_days + 1) * US_PER_DAY
        self._pending: OrderedDict[str, None] = OrderedDict()
        self._spoken_of = BitMap()  # accounts, by a hash
        self._met = 0  # people below this number were looked up
        self._version = -1
        self._fails = False
        self._words = " ".join(sorted(self._hide | self._adult))
        first = 0 if labels.start == "oldest" else None
        urls = labels.urls if labels.enabled else ()
        self.labelers = [Labeler(url, self._keep, self._resume, first) for url in urls]
        self._enabled = labels.enabled

    async def load(self) -> None:
        """Blocks, before the first page. Labels follow in `run`, some millions of them."""
        self._met = self._count()
        await self._forget_labelers()
        await self._look_at_blocks()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_ticks())
            for labeler in self.labelers:
                group.create_task(labeler.run())

    async def _run_ticks(self) -> None:
        while not await self._guarded(self._load_labels()):
            await asyncio.sleep(TICK_S)
        tick = 0
        while True:
            tick += 1
            await self._guarded(self.tick(tick))
            await asyncio.sleep(TICK_S)

    async def tick(self, tick: int = 1) -> None:
        version = await self._store.changed_by_others()
        if version != self._version:
            await self._look_at_blocks()
            self._version = version
        await self._meet()
        await self._try_pending()
        if tick % EXPIRE_TICKS == 0:
            await self._apply(await self._store.expire(self._now_s()))
        if tick % DAY_TICKS == 0:
            self._aside.keep_days({int(day) % 256 for day in self._names.view().arrays.day_numbers.tolist()})
        pending_posts.set(len(self._pending))
        hidden_posts.set(len(self._aside.hidden))
        adult_posts.set(len(self._aside.adult))

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether it was done; what was not is still to do."""
        try:
            await work
        except StoreError as error:
            if not self._fails:
                log.warning("labels and blocks can't be kept, it is tried again: %s", error.message)
            self._fails = True
            return False
        self._fails = False
        return True

    # Labels

    def _stream(self, url: str) -> str:
        """Who counts other labels than before must hear everything again."""
        return f"{url} {self._words}"

    async def _resume(self, url: str) -> int | None:
        return await self._store.seq(self._stream(url))

    async def _keep(self, url: str, labels: list[Label], seq: int) -> None:
        """Under the address that they came from: no labeler can take back another's words, whatever source it names."""
        oldest_us = self._clock.now_us() - self._kept_us
        wanted = self._hide | self._adult
        counting = [
            one._replace(source=f"{url} {one.source}")
            for one in labels
            if one.val in wanted and (one.negated or _time_us(one.subject) >= oldest_us)
        ]
        await self._apply(await self._store.put(self._stream(url), counting, seq, self._now_s()))

    async def _forget_labelers(self) -> None:
        """Whom the settings no longer name. Switching labels off forgets nothing."""
        if self._enabled:
            before = {stream.partition(" ")[0] for stream in await self._store.streams()}
            for url in sorted(before - {labeler.url for labeler in self.labelers}):
                await self._store.forget_labeler(url)

    async def _load_labels(self) -> None:
        """All that is kept, at the start; what left the window goes."""
        after, oldest_us = "", self._clock.now_us() - self._kept_us
        while rows := await self._store.after(after, LOADED_AT_ONCE):
            if len(rows) == LOADED_AT_ONCE and rows[0].subject != rows[-1].subject:
                last = rows[-1].subject  # there may be more of it
                rows = [row for row in rows if row.subject != last]
            after = rows[-1].subject
            gone = {row.subject for row in rows if _time_us(row.subject) < oldest_us}
            await self._store.forget(sorted(gone))
            await self._apply_rows([row for row in rows if row.subject not in gone])

    async def _apply_rows(self, rows: list[Kept]) -> None:
        values: dict[str, list[str]] = {}
        for row in rows:
            values.setdefault(row.subject, []).append(row.val)
        await self._put(values, values)

    async def _apply(self, subjects: Iterable[str]) -> None:
        asked = sorted(subjects)
        if asked:
            await self._put(asked, await self._store.values_of(asked))

    # Blocks

    async def _look_at_blocks(self) -> None:
        before, now = self._blocked, frozenset(await self._store.blocks()) | self._always
        self._blocked = now
        try:
            await self._apply(now ^ before)
        except StoreError:
            self._blocked = before
            raise

    # Posts and people

    async def _put(self, subjects: Iterable[str], values: dict[str, list[str]]) -> None:
        """Each subject's bits become what its labels and blocks come to."""
        posts: list[str] = []
        people: list[tuple[int, int]] = []
        for subject in subjects:
            if not subject.startswith("did:"):
                posts.append(subject)
                continue
            self._spoken_of.add(_hash(subject))
            person = self._names.person(subject)
            if person is not None:
                hidden, adult = self._judge(subject, values)
                people.append((person, PERSON_HIDDEN * hidden | PERSON_ADULT * adult))
        if people:
            await asyncio.to_thread(self._set_people, people)  # may wait for a lock
        for subject, number in zip(posts, self._find(posts), strict=True):
            hidden, adult = self._judge(subject, values)
            if number != NO_POST:
                self._aside.set_post(number, hidden, adult)
                self._pending.pop(subject, None)
            elif (hidden or adult) and self._may_come(subject):
                self._pending[subject] = None
                if len(self._pending) > MAX_PENDING:
                    self._pending.popitem(last=False)
        await asyncio.sleep(0)

    def _judge(self, subject: str, values: dict[str, list[str]]) -> tuple[bool, bool]:
        said = values.get(subject, ())
        hidden = subject in self._blocked or not self._hide.isdisjoint(said)
        return hidden, not self._adult.isdisjoint(said)

    def _set_people(self, people: list[tuple[int, int]]) -> None:
        for person, given in people:
            self._archive.set_aside(person, given)

    def _find(self, uris: list[str]) -> list[int]:
        authors = np.zeros(len(uris), np.uint32)
        keys = np.zeros(len(uris), np.int64)
        known = np.zeros(len(uris), np.bool_)
        for i, uri in enumerate(uris):
            parsed = parse_at_uri(uri)
            author = self._names.person(parsed.did) if parsed is not None else None
            if parsed is not None and author is not None:
                authors[i], keys[i], known[i] = author, rkey_to_int(parsed.rkey), True
        out = np.full(len(uris), NO_POST, np.uint32)
        if known.any():
            out[known] = self._names.view().find_posts(authors[known], keys[known])
        found: list[int] = out.tolist()
        return found

    def _may_come(self, uri: str) -> bool:
        """A post that is not older than what our own stream has told. A block waits as long as it is one."""
        return uri in self._blocked or _time_us(uri) > self._heard_us() - GRACE_US

    async def _try_pending(self) -> None:
        """The longest waiting first; who still waits goes to the end."""
        some = [self._pending.popitem(last=False)[0] for _ in range(min(len(self._pending), PENDING_AT_ONCE))]
        try:
            await self._apply(some)
        except StoreError:
            self._pending.update(dict.fromkeys(some))
            raise

    async def _meet(self) -> None:
        """People who got a number since the last look, if somebody spoke of them before."""
        end = min(self._count(), self._met + MET_AT_ONCE)
        again = [self._given_again.popleft() for _ in range(min(len(self._given_again), MET_AT_ONCE))]
        new = chain(range(self._met, end), again)
        dids = [did for did in map(self._names.did, new) if did and _hash(did) in self._spoken_of]
        try:
            await self._apply(dids)
        except StoreError:
            self._given_again.extendleft(again)
            raise
        self._met = end

    def _now_s(self) -> int:
        return self._clock.now_us() // US_PER_S


def _hash(did: str) -> int:
    return zlib.crc32(did.encode())


def _time_us(subject: str) -> int:
    """When a post says it was written; an account, and a key that is no time, never leave the window."""
    parsed = parse_at_uri(subject)
    key = rkey_to_int(parsed.rkey) if parsed is not None else -1
    return key >> 10 if key >= 0 else 1 << 62
