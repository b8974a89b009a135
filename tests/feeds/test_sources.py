"""What lists are made of: shares, codes, and the posts that are tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from feedgen.core.errors import SettingsError
from feedgen.core.ids import US_PER_S
from feedgen.core.settings_ranking import Lists
from feedgen.feeds import sources
from feedgen.feeds.for_you import ForYou
from feedgen.feeds.learning import path_of
from feedgen.feeds.services import FeedServices
from feedgen.feeds.sources import DEFAULT_MIX, SOURCES, Part, parse_mix
from feedgen.feeds.sources.explore import CHANCES, DEEP, NEW, POOLS, code_of, meaning_of
from feedgen.feeds.sources.source import PostSource, Rows, Scene, constant
from feedgen.rank.paging import Snapshots
from tests.feeds.town import NEWCOMER, NOW_US, Town, ask, make_services


@pytest.fixture(scope="module")
def shared_town() -> Town:
    return Town(posts=1500)


@pytest.fixture
def services(shared_town: Town) -> Iterator[FeedServices]:
    services = make_services(shared_town)
    yield services
    services.pool.close()


def test_the_settings_say_the_default() -> None:
    assert parse_mix(Lists().mix) == DEFAULT_MIX
    assert [round(part.share, 3) for part in DEFAULT_MIX] == [0.967, 0.033, 0.0]


@pytest.mark.parametrize(
    "mix",
    [(), ("nothing",), ("likes", "likes:3"), ("likes:x",), ("likes:120",), ("likes:0",), ("likes:60", "fresh:60")],
)
def test_a_mix_that_can_not_be_is_refused(mix: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError):
        parse_mix(mix)


def test_every_code_has_one_context_and_short_words() -> None:
    codes = [code for source in SOURCES for code in source.codes]
    contexts = [sources.context(code) or "" for code in codes]
    assert len(set(contexts)) == len(codes) == len(set(codes)) and max(codes) < 255
    assert all(0 < len(text) <= 30 and text.isascii() and "|" not in text for text in contexts)
    assert all(0 < len(path_of("for-you", code)) <= 24 for code in codes)
    assert sources.context(254) is None and path_of("for-you", 254) == "code 254"


def test_a_code_says_the_chance() -> None:
    assert {meaning_of(code_of(kind, n)) for kind in (DEEP, NEW) for n in CHANCES} == {
        (kind, n) for kind in (DEEP, NEW) for n in CHANCES
    }
    assert {2 * n for n in POOLS} | set(POOLS) == set(CHANCES)


async def test_one_post_a_page_is_tried_from_place_20_on(services: FeedServices) -> None:
    feed, tried = ForYou(services), Counter[int]()
    for visit in range(10):
        services.snapshots = Snapshots()
        made = await feed.page(ask(limit=90, now_us=NOW_US + visit * 60 * US_PER_S, peek=True))
        places = [at for at, item in enumerate(made.items) if ", 1 in " in (item.context or "")]
        assert len(places) == 3 and places[0] == 20 and places[1] >= 45
        assert all(feed.code_of(made.items[at].context or "") is not None for at in places)
        tried[hash(made.items[20].uri)] += 1
    assert len(tried) >= 8  # another at each visit


async def test_the_same_visit_tries_the_same(services: FeedServices) -> None:
    pages = []
    for second in (0, 5):
        services.snapshots = Snapshots()
        page = await ForYou(services).page(ask(now_us=NOW_US // (30 * US_PER_S) * 30 * US_PER_S + second, peek=True))
        pages.append([item.uri for item in page.items])
    assert pages[0] == pages[1]


async def test_nothing_is_tried_on_a_newcomer(services: FeedServices) -> None:
    page = await ForYou(services).page(ask(NEWCOMER, limit=100))
    assert {item.context for item in page.items} == {"popular, no likes yet"}


class Rarities(PostSource):
    """A source as somebody would add it: one class."""

    name = "rarities"
    codes = range(250, 251)

    def rows(self, scene: Scene) -> Rows:
        ints = scene.popular[-40:]
        return Rows(ints, constant(ints, 250))

    def context(self, code: int) -> str:
        return "rare"

    def words(self, code: int) -> str:
        return "rare"


async def test_a_new_source_takes_its_share(services: FeedServices, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Rarities()
    monkeypatch.setitem(sources._BY_CODE, 250, one)
    services.mix = (DEFAULT_MIX[0]._replace(share=0.8), Part(one, 0.2), DEFAULT_MIX[2])
    page = await ForYou(services).page(ask(limit=50))
    contexts = [item.context for item in page.items]
    assert contexts.count("rare") == 10 and contexts[:10].count("rare") == 2
    assert path_of("for-you", 250) == "rare"


async def test_fresh_posts_and_known_authors_take_theirs(services: FeedServices, shared_town: Town) -> None:
    services.mix = parse_mix(("likes", "known-authors:40", "fresh:10", "popular"))
    page = await ForYou(services).page(ask(limit=50))
    contexts = [item.context for item in page.items]
    liked = Counter(shared_town.view().names_of(shared_town.view().likes_of(0, 500)[0])[0].tolist())
    known = [item.uri for item in page.items if item.context == "likes, known author"]
    posts = np.array([shared_town.posts[shared_town.index(uri)] for uri in known], np.uint32)
    assert 18 <= len(known) <= 25 and all(liked[a] >= 2 for a in shared_town.view().names_of(posts)[0].tolist())
    assert contexts.count("likes, fresh") <= 5
