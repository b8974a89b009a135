"""What readers wish of their feed, as it comes out in their lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from feedgen.core.languages import number
from feedgen.feeds.contract import Known, reader_key
from feedgen.feeds.for_you import ForYou
from feedgen.feeds.popular import PopularFeed
from feedgen.feeds.recipes import Recipe
from feedgen.feeds.services import FeedServices
from feedgen.feeds.videos import VideosForYou
from feedgen.feeds.wishes import Wishes
from feedgen.ingest.events import VIDEO
from feedgen.rank.listing import ListRules
from feedgen.rank.params import DEFAULT, FORYOU, RankParams
from feedgen.rank.seen import Taste
from feedgen.serve.readers.wishes import KeptWishes
from feedgen.store.viewers import Viewers
from tests.feeds.town import NOW_US, READER, Town, ask, did, make_services


@pytest.fixture(scope="module")
def town() -> Town:
    return Town()


@pytest.fixture
def services(town: Town) -> Iterator[FeedServices]:
    services = make_services(town)
    yield services
    services.pool.close()


def wish(services: FeedServices, wishes: Wishes) -> None:
    services.wishes[reader_key(did(READER))] = wishes
    services.snapshots.forget_reader(reader_key(did(READER)))


async def posts(services: FeedServices, town: Town, feed: type[ForYou | PopularFeed] = ForYou) -> list[int]:
    return [town.posts[town.index(item.uri)] for item in (await feed(services).page(ask(limit=60))).items]


async def test_no_videos(services: FeedServices, town: Town) -> None:
    view = town.view()
    wish(services, Wishes(videos=False))
    shown = await posts(services, town)
    assert shown and not any(view.post(post).flags & VIDEO for post in shown)  # type: ignore[union-attr]
    assert await posts(services, town, VideosForYou)  # a feed of videos stays one


def test_what_is_popular_for_all_is_not_for_who_wishes_something(services: FeedServices, town: Town) -> None:
    feed, view = ForYou(services), town.view()
    everybody = feed.popular_list(ask(), Known(Taste([], NOW_US))).posts.tolist()
    mine = feed.popular_list(ask(), Known(Taste([], NOW_US), wishes=Wishes(videos=False))).posts.tolist()
    videos = [[post for post in shown if view.post(post).flags & VIDEO] for shown in (everybody, mine)]  # type: ignore[union-attr]
    assert videos[0] and mine and not videos[1]


async def test_fewer_by_one_author(services: FeedServices, town: Town) -> None:
    view = town.view()
    wish(services, Wishes(author_max=1))
    authors = [view.post(post).author for post in await posts(services, town)]  # type: ignore[union-attr]
    assert len(authors) == len(set(authors))


@pytest.mark.parametrize("params", [DEFAULT, FORYOU], ids=["default", "foryou"])
async def test_fresher_and_calmer_posts(params: RankParams) -> None:
    """Under each preset, "calmer" and "the best of days" give older posts, "fresher" newer ones: in the mean of three
    towns, since page rules decide as well which posts one page of one reader has."""

    async def mean_age_h(town: Town, services: FeedServices, freshness: str) -> float:
        services.readers.forget(reader_key(did(READER)))
        wish(services, Wishes(freshness=freshness))
        found = [town.view().post(post) for post in (await posts(services, town))[:30]]
        return sum(NOW_US - facts.time_us for facts in found if facts is not None) / len(found) / 3.6e9

    ages = np.zeros(5)
    for seed in (1, 2, 3):
        town = Town(seed=seed)
        services = make_services(town)
        services.recipe = Recipe(params)
        try:
            ages += [await mean_age_h(town, services, one) for one in ("freshest", "fresher", "", "calmer", "calmest")]
        finally:
            services.pool.close()
    assert max(ages[:2]) < ages[2] < ages[3] < ages[4], ages


async def test_languages_are_the_readers_own_also_where_all_share_a_list(services: FeedServices, town: Town) -> None:
    view = town.view()
    wish(services, Wishes(languages=("de",)))
    shown = await posts(services, town, PopularFeed)
    assert shown and {view.post(post).language for post in shown} == {number("de")}  # type: ignore[union-attr]


async def test_others_get_what_they_got(services: FeedServices, town: Town) -> None:
    before = [item.uri for item in (await ForYou(services).page(ask(2))).items]
    wish(services, Wishes(videos=False, author_max=1, freshness="freshest", follows="much"))
    services.snapshots.forget_reader(reader_key(did(2)))
    services.readers.forget(reader_key(did(2)))
    assert [item.uri for item in (await ForYou(services).page(ask(2))).items] == before


def test_how_much_from_follows() -> None:
    usual = [0.0, 0.2, 0.9]
    assert [Wishes().share(share) for share in usual] == usual
    assert [Wishes(follows="none").share(share) for share in usual] == [0, 0, 0]
    assert [Wishes(follows="some").share(share) for share in usual] == [0.3, 0.3, 0.9]


def test_what_changes_and_what_does_not() -> None:
    recipe, rules = Recipe(DEFAULT, "e/arm"), ListRules(replies=False, author_max=5)
    assert Wishes().recipe(recipe) is recipe and Wishes().rules(rules) == rules
    fresher = Wishes(freshness="fresher").recipe(recipe)
    assert fresher.arm == "e/arm" and fresher.params.age_half_life < (DEFAULT.age_half_life or 99)
    assert fresher.params.colikers == DEFAULT.colikers
    assert Wishes(freshness="calmest").recipe(Recipe(FORYOU)).params.age_half_life == 4 * FORYOU.age_half_life
    assert Wishes(replies=True).rules(rules).replies and not Wishes(replies=False).rules(rules).replies


async def test_they_are_kept_and_forgotten(tmp_path: Path) -> None:
    changed: list[int] = []
    mine, other = did(READER), did(7)
    wishes = Wishes("fresher", "some", True, False, 2, ("de", "en"))
    async with await Viewers.open(tmp_path) as viewers:
        kept = KeptWishes({}, viewers, changed.append)
        await kept.put(mine, wishes)
        await kept.put(other, Wishes(videos=False))
        await kept.put(other, Wishes())  # as usual again
        await viewers.put_wishes(5, b"{")
    assert changed == [reader_key(mine), reader_key(other), reader_key(other)]
    async with await Viewers.open(tmp_path) as viewers:
        again = KeptWishes(known := {}, viewers, changed.append)
        await again.load()
        assert known == {reader_key(mine): wishes} and again.of(mine) == wishes and again.of(other) == Wishes()
        await again.forget(mine)
        assert known == {} and [reader for reader, _ in await viewers.wishes()] == [5]
