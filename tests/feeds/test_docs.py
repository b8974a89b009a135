"""The feed that docs/feeds.md writes is real: it is taken out of the page, and run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from feedgen.feeds.list_feed import ListFeed
from feedgen.feeds.registry import make_feeds
from tests.feeds.town import NOW_US, READER, Town, ask, make_services, u32

PAGE = Path(__file__).parents[2] / "docs" / "feeds.md"


def example() -> str:
    found = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def test_it_is_about_twenty_lines() -> None:
    assert len(example()[example().index("class") :].strip().splitlines()) <= 22


async def test_it_runs() -> None:
    town = Town()
    odd_people = u32(list(range(1, 100, 2)))
    day = town.world.days[1]
    day.grow_for_follows(100)
    town.world.refresh()
    day.add_follows(town.world.arrays, 1, np.full(odd_people.size, READER, np.uint32), odd_people)
    names: dict[str, type[ListFeed]] = {}
    exec(compile(example(), str(PAGE), "exec"), names)
    services = make_services(town)
    feed = make_feeds(services, more=[names["FriendsLike"]])["friends-like"]
    page = await feed.page(ask(limit=30))
    assert [town.taste_of(item.uri) for item in page.items] == [1] * 30  # what odd people like
    assert {item.context for item in page.items} == {"friends"}
    assert page.cursor is not None
    again = await feed.page(ask(limit=30, cursor=page.cursor, now_us=NOW_US))
    assert not {item.uri for item in page.items} & {item.uri for item in again.items}
    nobody = await feed.page(ask(person=None))
    assert len(nobody.items) == 30
    services.pool.close()
