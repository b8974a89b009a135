"""What readers get when there is no time to rank: never an error, never nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from feedgen.feeds.also_liked import also_liked
from feedgen.feeds.contract import NOBODY, Event, Shown, reader_key
from feedgen.feeds.for_you import ForYou
from feedgen.feeds.list_feed import fallbacks
from feedgen.feeds.recipes import Recipe
from feedgen.feeds.wishes import Wishes
from feedgen.rank.params import preset
from feedgen.rank.pool import CROWD, RankPool, TooLate
from tests.feeds.town import NOW_US, PEOPLE, READER, Town, ask, did, make_services


class Noted:
    """Which pages were served."""

    def __init__(self) -> None:
        self.readers: list[int] = []
        self.presets: list[str] = []

    def served(self, page: Shown) -> None:
        self.readers.append(page.reader)
        self.presets.append(page.preset)

    def told(self, reader: int, events: Sequence[Event]) -> None: ...


async def test_the_last_list_else_the_popular_one() -> None:
    town = Town(posts=300)
    services = make_services(town)
    log = services.log = Noted()
    feed = ForYou(services)
    good = await feed.page(ask(person=READER, limit=10))
    before = fallbacks.value("last list", "late"), fallbacks.value("popular", "late")
    services.pool.close()
    services.pool = RankPool(1, deadline_s=0.0)
    late = await feed.page(ask(person=READER, limit=10, now_us=NOW_US + 3_600_000_000))
    assert [item.uri for item in late.items] == [item.uri for item in good.items]
    new_reader = await feed.page(ask(person=2, limit=10))
    assert len(new_reader.items) == 10
    assert {item.context for item in new_reader.items} == {"popular"}
    assert (fallbacks.value("last list", "late"), fallbacks.value("popular", "late")) == (before[0] + 1, before[1] + 1)
    assert log.presets == ["default", "default", "popular"]
    more = await feed.page(ask(person=2, limit=10, cursor=new_reader.cursor))
    assert not {item.uri for item in more.items} & {item.uri for item in new_reader.items}
    services.pool.close()


async def test_who_lay_in_the_socket_for_long_gets_what_is_at_hand() -> None:
    services = make_services(Town(posts=300))
    services.pool.close()
    services.pool = RankPool(1, monotonic_s=lambda: 5.0)
    log, feed = Noted(), ForYou(services)
    services.log = log

    async def posts_of(person: int, lag_s: float) -> list[str]:
        asked = replace(ask(person=person, limit=10), arrived_s=services.pool._now_s(), lag_s=lag_s)
        return [item.uri for item in (await feed.page(asked)).items]

    late_s, mine = 2 * services.pool.max_lag_s, await posts_of(READER, 0.0)
    for _ in range(2 * CROWD):
        with contextlib.suppress(TooLate):
            services.pool.left_s(services.pool._now_s(), late_s)  # others who lie there
    everybodys = await posts_of(2, late_s)
    assert await posts_of(READER, late_s) == mine != everybodys
    services.wishes[reader_key(did(3))] = Wishes(videos=False)  # this one can't have what all get
    assert len(await posts_of(3, late_s)) == 10
    assert log.presets == ["default", "popular", "default", "popular"]
    assert len(services.popular_lists) == 1
    services.pool.close()


async def test_a_last_list_that_is_empty_is_none() -> None:
    services = make_services(Town(posts=300))
    nothing = np.empty(0, np.uint32), np.empty(0, np.uint8)
    services.snapshots.put(ForYou(services).tag, reader_key(did(READER)), *nothing, NOW_US)
    services.pool.close()
    services.pool = RankPool(1, deadline_s=0.0)
    assert len((await ForYou(services).page(ask(person=READER, limit=10))).items) == 10
    services.pool.close()


async def test_what_was_made_in_a_hurry_is_remembered_as_that() -> None:
    services = make_services(Town(posts=300))
    log = services.log = Noted()
    services.pool.close()
    services.pool = RankPool(1, cheap_after_s=-1.0)
    for person in (READER, None):
        page = await ForYou(services).page(ask(person=person, limit=5))
        await ForYou(services).page(ask(person=person, limit=5, cursor=page.cursor))
        await ForYou(services).page(ask(person=person, limit=1, peek=True))
    assert log.presets == ["cheap", "cheap", "popular", "popular"]
    assert log.readers == [reader_key(did(READER))] * 2 + [NOBODY] * 2
    page = await also_liked(services, services.library.view().likes_of(READER, 1)[0][0], 10, None, NOW_US)
    assert page.items and len(log.presets) == 4  # no feed's page
    services.pool.close()
    foryou, own = Recipe(preset("foryou")), Recipe(preset("default", seeds=7))
    assert (foryou.called(False), foryou.called(True)) == ("foryou", "foryou, cheap")
    assert (own.called(False), own.called(True)) == ("own", "own, cheap")


async def test_an_empty_network_gives_an_empty_page_and_no_error() -> None:
    town = Town(posts=0)
    services = make_services(town)
    for person in (READER, None, PEOPLE):
        page = await ForYou(services).page(ask(person=person))
        assert (page.items, page.cursor) == ([], None)
    services.pool.close()
