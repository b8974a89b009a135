"""Also liked: what people who liked a post liked as well."""

from __future__ import annotations

import pytest

from feedgen.core.errors import SettingsError
from feedgen.feeds.also_liked import also_liked
from feedgen.feeds.popular import PopularFeed
from feedgen.feeds.registry import make_feeds
from tests.feeds.town import NOW_US, Town, make_services


async def test_pages_of_what_the_likers_liked() -> None:
    town = Town()
    services = make_services(town)
    post = town.posts[501]
    found: list[str] = []
    cursor: str | None = None
    for _ in range(4):
        page = await also_liked(services, post, 10, cursor, NOW_US)
        found += [item.uri for item in page.items]
        cursor = page.cursor
    assert len(set(found)) == 40
    assert town.uri(post) not in found
    assert {town.taste_of(uri) for uri in found} == {1}
    other = await also_liked(services, town.posts[500], 10, cursor, NOW_US)  # a cursor of another post
    assert {town.taste_of(item.uri) for item in other.items} == {0}
    assert len(services.readers) == 0
    services.pool.close()


async def test_a_post_that_nobody_liked_leads_nowhere() -> None:
    town = Town(posts=50)
    services = make_services(town)
    page = await also_liked(services, 123 << 24, 10, None, NOW_US)
    assert (page.items, page.cursor) == ([], None)
    services.pool.close()


def test_two_feeds_can_not_have_one_name() -> None:
    services = make_services(Town(posts=10))
    assert sorted(make_feeds(services)) == ["for-you", "gallery", "popular", "trending", "videos-for-you"]
    with pytest.raises(SettingsError, match="popular"):
        make_feeds(services, more=[PopularFeed])
    services.pool.close()
