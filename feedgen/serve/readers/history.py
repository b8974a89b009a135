"""Pages served and what came of them, on their way to `viewers.db`: noted in memory, written a little later together.

A request only appends to a list. A crash costs the last seconds; a disk that refuses costs what does not fit in the
list, counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol

from feedgen.core.clock import Clock
from feedgen.core.errors import StoreError
from feedgen.core.ids import US_PER_DAY
from feedgen.core.telemetry import Counter
from feedgen.feeds.contract import NOBODY, Event, Shown, reader_key
from feedgen.store.pages import EVENT_NUMBERS, KEPT_US, NO_CODE, Outcome, ShownPage

TICK_S: Final = 5.0
PRUNE_TICKS: Final = 12
MAX_PRUNINGS: Final = 50  # at one time, of 2,000 rows each: more than 420 pages a second leave
MAX_WAITING: Final = 20_000  # pages, and as many calls of interactions
MAX_NOBODYS: Final = 5_000  # of these, for who is logged out: a flood of them leaves room for readers
MAX_NOBODYS_A_DAY: Final = 200_000  # 43 MB a day with 30 posts each, half of the file's 8 GB in 90 days
MAX_TOLD_A_DAY: Final = 20_000  # events of one reader that are kept
MAX_TELLERS: Final = 200_000  # readers whose events are counted

kept = Counter(
    "feedgen_history_rows_total",
    "Pages and calls of interactions: written, or dropped because they could not be",
    "what",
)

log = logging.getLogger(__name__)


class PageStore(Protocol):
    """What `store.pages` does for us. Raises StoreError."""

    async def put(self, pages: Sequence[ShownPage], outcomes: Sequence[Outcome]) -> None: ...
    async def forget(self, reader: int) -> None: ...
    async def prune(self, before_us: int) -> bool: ...


class History:
    """Belongs to the event loop."""

    def __init__(self, store: PageStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._pages: list[ShownPage] = []
        self._outcomes: list[Outcome] = []
        self._last_us = 0
        self._told: dict[int, int] = {}
        self._nobodys = self._nobodys_today = 0
        self._day = 0
        self._writing = asyncio.Lock()
        self._fails = False

    @property
    def waiting(self) -> int:
        return len(self._pages) + len(self._outcomes)

    def served(self, page: Shown) -> None:
        if len(self._pages) >= MAX_WAITING or (page.reader == NOBODY and not self._may_keep_nobodys()):
            kept.add(1, "page dropped")
            return
        self._pages.append(ShownPage(self._now_us(), *page))

    def told(self, reader: int, events: Sequence[Event]) -> None:
        """One call of a reader's app. What it says of several lists becomes several rows."""
        if len(self._outcomes) >= MAX_WAITING or not self._may_tell(reader, len(events)):
            kept.add(1, "outcome dropped")
            return
        now_us = self._clock.now_us()
        by_list: dict[int | None, dict[tuple[int, int], int]] = {}
        for one in events:
            number = EVENT_NUMBERS.get(one.event)
            if number is None:
                continue
            list_us = one.list_us
            if list_us is not None and not now_us - KEPT_US <= list_us <= now_us:
                list_us = None  # not one that we made
            code = NO_CODE if one.code is None else one.code
            by_list.setdefault(list_us, {})[one.post, number] = code
        for list_us, said in by_list.items():
            posts, numbers = [post for post, _ in said], [number for _, number in said]
            self._outcomes.append(Outcome(self._now_us(), reader, list_us, posts, numbers, list(said.values())))

    def _may_keep_nobodys(self) -> bool:
        """Anybody can ask for these, as often as they like."""
        self._begin_day()
        if self._nobodys >= MAX_NOBODYS or self._nobodys_today >= MAX_NOBODYS_A_DAY:
            return False
        self._nobodys += 1
        self._nobodys_today += 1
        return True

    def _begin_day(self) -> None:
        day = self._clock.now_us() // US_PER_DAY
        if day != self._day:
            self._day, self._nobodys_today = day, 0
            self._told.clear()

    def _may_tell(self, reader: int, events: int) -> bool:
        """So that nobody fills the disk with a button."""
        self._begin_day()
        if len(self._told) > MAX_TELLERS:
            self._told.clear()
        told = self._told[reader] = self._told.get(reader, 0) + events
        return told <= MAX_TOLD_A_DAY

    def _now_us(self) -> int:
        """A key of its own for every row."""
        self._last_us = max(self._clock.now_us(), self._last_us + 1)
        return self._last_us

    async def run(self) -> None:
        """Until cancelled."""
        tick = 0
        while True:
            await asyncio.sleep(TICK_S)
            tick += 1
            await self.flush()
            if tick % PRUNE_TICKS == 0:
                await self._prune()

    async def flush(self) -> None:
        async with self._writing:
            pages, outcomes = self._pages, self._outcomes
            if not pages and not outcomes:
                return
            self._pages, self._outcomes, self._nobodys = [], [], 0
            try:
                await self._store.put(pages, outcomes)
            except StoreError as error:
                # Again later, as far as there is room.
                self._pages = (pages + self._pages)[:MAX_WAITING]
                self._outcomes = (outcomes + self._outcomes)[:MAX_WAITING]
                self._nobodys = sum(page.reader == NOBODY for page in self._pages)
                if not self._fails:
                    log.warning("can't keep which pages were served: %s", error.message)
                self._fails = True
                return
            self._fails = False
            kept.add(len(pages), "page")
            kept.add(len(outcomes), "outcome")

    async def forget(self, did: str) -> None:
        """For good. A writing under way is awaited: it must not bring the reader back."""
        reader = reader_key(did)
        async with self._writing:
            self._pages = [page for page in self._pages if page.reader != reader]
            self._outcomes = [one for one in self._outcomes if one.reader != reader]
            await self._store.forget(reader)

    async def _prune(self) -> None:
        try:
            for _ in range(MAX_PRUNINGS):
                if not await self._store.prune(self._clock.now_us() - KEPT_US):
                    break
        except StoreError as error:
            log.warning("can't prune which pages were served: %s", error.message)
