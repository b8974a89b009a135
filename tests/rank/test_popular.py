"""What everybody likes just now, by language."""

from __future__ import annotations

import pytest

from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.core.languages import number
from feedgen.ingest.events import ADULT, DELETED, HIDDEN, KNOWN, LATE, REPLY, SPAMMY, VIDEO
from feedgen.rank.listing import ListRules
from feedgen.rank.params import HOUR_US
from feedgen.rank.popular import Popular
from feedgen.rank.request import R_COUNT, R_LANGUAGE, R_POST
from tests.rank.world import World

START_US = 20_400 * US_PER_DAY
NOW_US = START_US + 2 * US_PER_DAY - US_PER_S
PACE_US = 4 * HOUR_US
EN, DE = number("en"), number("de")


def like(world: World, post: int, likers: int, hours_ago: float, first: int = 0) -> None:
    at_us = round(NOW_US - hours_ago * HOUR_US)
    world.rate([(first + i, post, at_us) for i in range(likers)])


@pytest.fixture
def world() -> World:
    return World(20_400, 2)


def popular_posts(world: World, languages: tuple[int, ...] = (), video: bool = False) -> list[int]:
    popular = Popular()
    popular.refresh(world.view, NOW_US, PACE_US)
    found: list[int] = popular.rows(languages, video)[:, R_POST].tolist()
    return found


def test_many_likes_now_before_more_likes_then(world: World) -> None:
    yesterday = world.post(1, NOW_US - 20 * HOUR_US)
    quiet = world.post(1, NOW_US - 2 * HOUR_US)
    loud = world.post(1, NOW_US - 2 * HOUR_US)
    like(world, yesterday, 60, 19)
    like(world, quiet, 5, 1)
    like(world, loud, 30, 1)
    assert popular_posts(world) == [loud, quiet, yesterday]


def test_by_language_and_then_by_any(world: World) -> None:
    posts = [world.post(1, NOW_US - HOUR_US, language=(EN, DE, 0)[i % 3]) for i in range(6)]
    for i, post in enumerate(posts):
        like(world, post, 10 + i, 0.5)
    assert popular_posts(world, (DE,))[:2] == [posts[4], posts[1]]
    assert popular_posts(world, (DE, EN))[:4] == [posts[4], posts[3], posts[1], posts[0]]
    assert popular_posts(world, (number("ja"),)) == popular_posts(world) == posts[::-1]


@pytest.mark.parametrize("flag", [REPLY, ADULT, LATE, DELETED, HIDDEN])
def test_never_popular(world: World, flag: int) -> None:
    like(world, world.post(1, NOW_US - HOUR_US, KNOWN | flag), 20, 0.5)
    like(world, world.post(1, NOW_US - HOUR_US, 0), 20, 0.5)
    assert popular_posts(world) == []


def test_what_may_be_popular_is_a_setting(world: World) -> None:
    answer, adult, gone = (world.post(1, NOW_US - HOUR_US, KNOWN | flag) for flag in (REPLY, ADULT, DELETED))
    for post in (answer, adult, gone):
        like(world, post, 20, 0.5)
    popular = Popular()
    popular.refresh(world.view, NOW_US, PACE_US, ListRules(replies=True, adult=True).forbidden())
    assert sorted(popular.rows()[:, R_POST].tolist()) == sorted([answer, adult])


def test_videos_have_lists_of_their_own(world: World) -> None:
    video = world.post(1, NOW_US - HOUR_US, KNOWN | VIDEO)
    text = world.post(1, NOW_US - HOUR_US)
    like(world, video, 2, 0.5)
    like(world, text, 9, 0.5)
    assert popular_posts(world, video=True) == [video]


def test_likes_of_spammers_do_not_count(world: World) -> None:
    honest, bought = (world.post(1, NOW_US - HOUR_US) for _ in range(2))
    like(world, honest, 4, 0.5)
    like(world, bought, 50, 0.5, first=100)
    world.people.flags[100:150] |= SPAMMY
    assert popular_posts(world) == [honest]


def test_each_language_has_room_whatever_the_others_do(world: World) -> None:
    for i in range(1500):
        like(world, world.post(1, NOW_US - HOUR_US, language=EN), 3 + i % 3, 0.5)
    small = world.post(1, NOW_US - HOUR_US, language=DE)
    like(world, small, 1, 0.5)
    popular = Popular()
    popular.refresh(world.view, NOW_US, PACE_US)
    assert popular.rows((DE,))[0, R_POST] == small
    english = popular.rows((EN,))
    assert len(english) == 1000
    assert set(english[:, R_LANGUAGE]) == {EN}
    assert english[:, R_COUNT].min() == 4


def test_as_many_as_fit_of_equals(world: World) -> None:
    for _ in range(1200):
        like(world, world.post(1, NOW_US - HOUR_US, language=EN), 1, 0.5)
    assert len(popular_posts(world, (EN,))) == 1000
