from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from feedgen.core.clock import ManualClock
from feedgen.core.errors import StoreFull
from feedgen.core.ids import US_PER_DAY
from feedgen.feeds.contract import NOBODY, Event, Shown, parse_req_id, reader_key, req_id_of
from feedgen.serve.readers import history as module
from feedgen.serve.readers.history import History
from feedgen.store.pages import EVENT_NUMBERS, NO_CODE, Outcome, ShownPage

NOW_US = 1_790_000_000_000_000
DID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
READER = reader_key(DID)


class Store:
    def __init__(self) -> None:
        self.pages: list[ShownPage] = []
        self.outcomes: list[Outcome] = []
        self.full = False
        self.forgotten: list[int] = []
        self.too_old = 0

    async def put(self, pages: Sequence[ShownPage], outcomes: Sequence[Outcome]) -> None:
        if self.full:
            raise StoreFull("full")
        self.pages += pages
        self.outcomes += outcomes

    async def forget(self, reader: int) -> None:
        self.forgotten.append(reader)

    async def prune(self, before_us: int) -> bool:
        self.too_old = max(0, self.too_old - 1)
        return self.too_old > 0


def serve(history: History, n: int, reader: int = READER) -> None:
    history.served(Shown(reader, "for-you", "default", NOW_US - 1, 0, [n], [3], "e/arm"))


async def test_rows_have_times_of_their_own_and_are_written_together() -> None:
    store = Store()
    history = History(store, ManualClock(NOW_US))
    serve(history, 1)
    serve(history, 2)
    history.told(READER, [Event(1, "interactionSeen", NOW_US - 1, 3), Event(2, "interactionLike", NOW_US - 1, None)])
    await history.flush()
    assert [page.at_us for page in store.pages] == [NOW_US, NOW_US + 1]
    assert (store.pages[0].preset, store.pages[0].arm) == ("default", "e/arm")
    assert store.outcomes == [Outcome(NOW_US + 2, READER, NOW_US - 1, [1, 2], [0, 1], [3, NO_CODE])]
    await history.flush()
    assert len(store.pages) == 2


async def test_what_is_told_is_tied_to_lists_that_can_be() -> None:
    store = Store()
    history = History(store, ManualClock(NOW_US))
    seen = "interactionSeen"
    history.told(
        READER,
        [
            Event(1, seen, NOW_US - 7, 3),
            Event(1, seen, NOW_US - 7, 3),  # twice is once
            Event(2, seen, NOW_US + 7, 3),  # of the future
            Event(3, seen, 5, 3),  # of long ago
            Event(4, "unheard of", NOW_US - 7, 3),
        ],
    )
    await history.flush()
    number = EVENT_NUMBERS[seen]
    assert [(one.list_us, one.posts, one.events) for one in store.outcomes] == [
        (NOW_US - 7, [1], [number]),
        (None, [2, 3], [number, number]),
    ]


async def test_a_full_disk_costs_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 3)
    store = Store()
    history = History(store, ManualClock(NOW_US))
    store.full = True
    logging.disable(logging.CRITICAL)
    try:
        for n in range(5):
            serve(history, n)
            await history.flush()
    finally:
        logging.disable(logging.NOTSET)
    assert history.waiting == 3
    store.full = False
    await history.flush()
    assert [page.posts for page in store.pages] == [[0], [1], [2]]


async def test_one_reader_can_not_fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TOLD_A_DAY", 3)
    store, clock = Store(), ManualClock(NOW_US)
    history = History(store, clock)
    for n in range(10):
        history.told(READER, [Event(n, "requestMore", None, None)])
    history.told(READER + 1, [Event(1, "requestMore", None, None)])
    assert history.waiting == 4
    clock.advance(US_PER_DAY // 1_000_000)
    history.told(READER, [Event(1, "requestMore", None, None)])
    assert history.waiting == 5


async def test_a_flood_of_logged_out_pages_leaves_room_for_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NOBODYS", 3)
    monkeypatch.setattr(module, "MAX_NOBODYS_A_DAY", 5)
    store, clock = Store(), ManualClock(NOW_US)
    history = History(store, clock)
    for round_ in range(3):
        for n in range(10):
            serve(history, n, reader=NOBODY)
        serve(history, round_)
        await history.flush()
    assert [page.reader for page in store.pages] == [NOBODY] * 3 + [READER] + [NOBODY] * 2 + [READER, READER]
    clock.advance(US_PER_DAY // 1_000_000)
    serve(history, 1, reader=NOBODY)
    assert history.waiting == 1


async def test_what_is_too_old_goes_as_fast_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK_S", 0.001)
    monkeypatch.setattr(module, "PRUNE_TICKS", 1)
    store = Store()
    store.too_old = 2 * module.MAX_PRUNINGS
    running = asyncio.create_task(History(store, ManualClock(NOW_US)).run())
    async with asyncio.timeout(20):
        while store.too_old:
            await asyncio.sleep(0.001)
    running.cancel()


async def test_forgetting_takes_what_waits_as_well() -> None:
    store = Store()
    history = History(store, ManualClock(NOW_US))
    serve(history, 1)
    serve(history, 2, reader=9)
    history.told(READER, [Event(1, "interactionSeen", None, None)])
    await history.forget(DID)
    await history.flush()
    assert [page.reader for page in store.pages] == [9] and not store.outcomes and store.forgotten == [READER]


def test_a_req_id_is_read_back() -> None:
    assert parse_req_id(req_id_of(0xABC, NOW_US)) == (0xABC, NOW_US)
    for odd in (None, "", "x", "-", "1-", "-1", "12345-1", "1-123456789012345", "1-2-3", "A-1", "1-1 ", "1-1\n"):
        assert parse_req_id(odd) is None
