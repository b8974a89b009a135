"""What readers get when there is no time to rank: never an error, never nothing."""

from __future__ import annotations

from feedgen.feeds.base import fallbacks
from feedgen.feeds.for_you import ForYou
from feedgen.rank.pool import RankPool
from tests.feeds.town import NOW_US, PEOPLE, READER, Town, ask, make_desk


async def test_the_last_list_else_the_popular_one() -> None:
    town = Town(posts=300)
    desk = make_desk(town)
    feed = ForYou(desk)
    good = await feed.page(ask(person=READER, limit=10))
    before = fallbacks.value("last list"), fallbacks.value("popular")
    desk.pool.close()
    desk.pool = RankPool(1, deadline_s=0.0)
    late = await feed.page(ask(person=READER, limit=10, now_us=NOW_US + 3_600_000_000))
    assert [item.uri for item in late.items] == [item.uri for item in good.items]
    new_reader = await feed.page(ask(person=2, limit=10))
    assert len(new_reader.items) == 10
    assert {item.context for item in new_reader.items} == {"popular"}
    assert (fallbacks.value("last list"), fallbacks.value("popular")) == (before[0] + 1, before[1] + 1)
    more = await feed.page(ask(person=2, limit=10, cursor=new_reader.cursor))
    assert not {item.uri for item in more.items} & {item.uri for item in new_reader.items}
    desk.pool.close()


async def test_an_empty_network_gives_an_empty_page_and_no_error() -> None:
    town = Town(posts=0)
    desk = make_desk(town)
    for person in (READER, None, PEOPLE):
        page = await ForYou(desk).page(ask(person=person))
        assert (page.items, page.cursor) == ([], None)
    desk.pool.close()
