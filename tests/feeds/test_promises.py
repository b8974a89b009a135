"""What a page promises: nothing again and again, languages, what a like and a "show less" change."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.core.languages import number
from feedgen.feeds.contract import Fetched, Page, reader_key
from feedgen.feeds.for_you import PLACES, ForYou
from feedgen.feeds.popular import PopularFeed
from feedgen.feeds.services import FeedServices
from feedgen.rank.listing import ListRules
from feedgen.rank.seen import AUTHOR_SEEN, SERVED_FACTOR, ReaderState
from tests.feeds.town import NEWCOMER, NOW_US, READER, Town, ask, did, make_services, u32

MINUTE_US = 60 * US_PER_S


@pytest.fixture(scope="module")
def shared_town() -> Town:
    return Town()


@pytest.fixture
def services(shared_town: Town) -> Iterator[FeedServices]:
    services = make_services(shared_town)
    yield services
    services.pool.close()


def uris(page: Page) -> list[str]:
    return [item.uri for item in page.items]


@pytest.mark.parametrize("person", [READER, NEWCOMER])
@pytest.mark.parametrize("after_min", [1, 5, 60])
async def test_who_reports_nothing_gets_a_new_first_page_at_each_refresh(
    services: FeedServices, person: int, after_min: int
) -> None:
    feed, before = ForYou(services), set[str]()
    for refresh in range(3):
        page = await feed.page(ask(person, now_us=NOW_US + refresh * after_min * MINUTE_US))
        first = set(uris(page)[:10])
        assert len(page.items) == 30
        assert len(first & before) <= 3
        before |= first


async def test_a_page_asked_for_twice_is_no_second_look(services: FeedServices) -> None:
    feed = ForYou(services)
    pages = [uris(await feed.page(ask(now_us=NOW_US + second * US_PER_S))) for second in (0, 10, 20)]
    assert pages[0][:10] == pages[1][:10] == pages[2][:10]


async def test_what_was_seen_is_gone_and_what_was_seen_often_comes_last() -> None:
    town = Town(posts=200)
    services = make_services(town)
    feed, state = ForYou(services), services.readers.edit(reader_key(did(READER)))
    state.saw(town.posts, NOW_US)
    first = uris(await feed.page(ask(limit=100)))
    again = uris(await feed.page(ask(limit=100, now_us=NOW_US + MINUTE_US)))
    places = [again.index(uri) for uri in first[:10]]
    assert sum(places) / 10 > 8  # served once more after they were seen: others that were seen come first
    services.pool.close()


def test_a_state_of_an_older_version_is_read() -> None:
    state = ReaderState()
    state.saw([7], NOW_US)
    whole = msgspec.msgpack.decode(state.pack())
    old = ReaderState.unpack(msgspec.msgpack.encode(whole[:3]))
    assert 7 in old.seen.all(NOW_US) and not old.faded(NOW_US)[0].size and old.authors == {}


def test_fading_survives_packing_and_being_seen_ends_it() -> None:
    state = ReaderState()
    for look in range(5):
        state.was_served([1, 2], NOW_US + look * MINUTE_US, top=[1, 2])
    state = ReaderState.unpack(state.pack())
    posts, factors = state.faded(NOW_US + 10 * MINUTE_US)
    assert posts.tolist() == [1, 2] and factors.tolist() == pytest.approx([SERVED_FACTOR**3] * 2)
    state.saw([1], NOW_US + 11 * MINUTE_US)
    assert state.faded(NOW_US + 12 * MINUTE_US)[0].tolist() == [2]
    assert not state.faded(NOW_US + 5 * US_PER_DAY)[0].size


async def test_the_reader_likes_english_and_sees_it_first(services: FeedServices, shared_town: Town) -> None:
    """The town writes three posts in German for four in English. The newcomer likes English ones only."""
    english = [post for i, post in enumerate(shared_town.posts) if i % 7 >= 3 and i % 2 == 0][:60]
    shares = {}
    for language in ("en", "de"):
        mixed = english if language == "en" else english[:30] + [p for p in shared_town.posts[::2] if p not in english]
        shared_town.fetched_by_did[did(NEWCOMER)] = Fetched(u32(mixed[:60]), np.full(60, NOW_US - 1, np.int64), u32([]))
        page = await ForYou(services).page(ask(NEWCOMER, languages=(), now_us=NOW_US + len(shares)))
        shares[language] = sum(shared_town.index(uri) % 7 < 3 for uri in uris(page)) / 30
    shared_town.fetched_by_did.clear()
    assert shares["en"] < 0.25 and shares["de"] > 0.3


async def test_content_language_tells_what_the_page_holds(services: FeedServices, shared_town: Town) -> None:
    page = await ForYou(services).page(ask(languages=("fr",)))
    held = {"de" if shared_town.index(uri) % 7 < 3 else "en" for uri in uris(page)}
    assert set(page.languages) == held and number(page.languages[0])


async def test_after_a_like_what_was_not_served_is_ranked_again() -> None:
    town = Town()
    services = make_services(town)
    feed = ForYou(services)
    first = await feed.page(ask(limit=10))
    same = await feed.page(ask(limit=10, cursor=first.cursor, now_us=NOW_US + US_PER_S))
    assert same.req_id == first.req_id
    odd = town.posts[-1 if len(town.posts) % 2 == 0 else -2]
    town.world.rate([(READER, odd, NOW_US + 20 * US_PER_S)])
    after = await feed.page(ask(limit=10, cursor=same.cursor, now_us=NOW_US + 30 * US_PER_S))
    assert after.req_id != first.req_id
    assert not set(uris(after)) & {*uris(first), *uris(same)}
    rest = await feed.page(ask(limit=10, cursor=after.cursor, now_us=NOW_US + 40 * US_PER_S))
    assert rest.req_id == after.req_id  # once
    services.pool.close()


async def test_show_less_is_felt_on_the_next_page(services: FeedServices, shared_town: Town) -> None:
    feed = ForYou(services)
    first = await feed.page(ask(limit=10))
    post = shared_town.posts[shared_town.index(uris(first)[0])]
    author = shared_town.view().author(post)
    state = services.readers.edit(reader_key(did(READER)))
    state.judge(shared_town.view(), [(post, True)], NOW_US + 5 * US_PER_S)
    page = await feed.page(ask(limit=30, cursor=first.cursor, now_us=NOW_US + 10 * US_PER_S))
    assert page.req_id != first.req_id
    assert did(author or 0) not in {uri.split("/")[2] for uri in uris(page)}


async def test_an_author_who_is_seen_and_never_liked_fades(shared_town: Town) -> None:
    services = make_services(shared_town)
    feed = ForYou(services)
    before = uris(await feed.page(ask(limit=100)))
    author = before[0].split("/")[2]
    number_of = {did(person): person for person in range(300)}
    state = services.readers.edit(reader_key(did(READER)))
    liked = set(shared_town.view().names_of(shared_town.view().likes_of(READER, 1000)[0])[0].tolist())
    state.authors[number_of[author]] = 3 * AUTHOR_SEEN
    services.snapshots.forget_reader(reader_key(did(READER)))
    after = uris(await feed.page(ask(limit=100, now_us=NOW_US + US_PER_S)))
    place = next((at for at, uri in enumerate(after) if uri.split("/")[2] == author), 100)
    assert (place > 10) is (number_of[author] not in liked)
    services.pool.close()


async def test_seen_posts_are_counted_once_an_author(shared_town: Town) -> None:
    state, view = ReaderState(), shared_town.view()
    posts = shared_town.posts[:50]
    for _ in range(3):
        state.saw(posts, NOW_US, view)
    assert sum(state.authors.values()) == 50


async def test_popular_fades_too(services: FeedServices) -> None:
    feed = PopularFeed(services)
    assert uris(await feed.page(ask())) == uris(await feed.page(ask(now_us=NOW_US + MINUTE_US)))


async def test_a_list_is_composed_as_far_as_it_is_read(shared_town: Town) -> None:
    services = make_services(shared_town)
    feed, cursor, found, made = ForYou(services), None, list[str](), list[int]()
    while cursor is not None or not found:
        page = await feed.page(ask(limit=50, cursor=cursor))
        made.append(len(services.snapshots))
        found, cursor = found + uris(page), page.cursor
        assert len(page.items) == 50 or cursor is None  # none comes short at a seam
    # 120 places hold two pages of 50; what is left of them when the third is asked for is ranked again.
    assert made[:5] == [1, 1, 2, 2, 3]
    assert len(found) == len(set(found)) > 2 * PLACES
    authors = [shared_town.view().author(shared_town.posts[shared_town.index(uri)]) for uri in found[: 2 * PLACES]]
    assert max(authors.count(author) for author in authors) <= services.rules.author_max
    for at in range(90, 110):  # over the seam
        assert len(set(authors[at : at + 5])) == 5


async def test_a_list_ends_where_the_settings_say(shared_town: Town) -> None:
    services = make_services(shared_town)
    services.rules = ListRules(size=150)
    feed, cursor, sizes = ForYou(services), None, list[int]()
    while cursor is not None or not sizes:
        page = await feed.page(ask(limit=40, cursor=cursor))
        sizes.append(len(page.items))
        cursor = page.cursor
    assert sizes == [40, 40, 40, 30]
