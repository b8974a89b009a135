"""For You as a reader meets it: pages, seen posts, show less, newcomers, deletions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from feedgen.core.ids import NO_POST, US_PER_DAY, US_PER_S
from feedgen.feeds.contract import Ask, Fetched, Known, Page, reader_key
from feedgen.feeds.for_you import ForYou, excluded_posts
from feedgen.feeds.popular import PopularFeed
from feedgen.feeds.services import FeedServices
from feedgen.feeds.videos import VideosForYou
from feedgen.graph.edit import mark_posts
from feedgen.ingest.events import ADULT, DELETED, INACTIVE, NO_UNAUTHENTICATED, OPTED_OUT, REPLY, VIDEO
from feedgen.rank.kernel import MAX_EXCLUDED, room
from feedgen.rank.listing import ListRules
from feedgen.rank.paging import BadCursor, Cursors, Snapshots
from feedgen.rank.seen import NO_TASTE, Opinion
from tests.feeds.town import AUTHORS, FIRST_DAY, NEWCOMER, NOW_US, PEOPLE, READER, Town, ask, did, make_services, u32

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


async def read_all(feed: ForYou | PopularFeed, first: Ask) -> list[str]:
    """All pages to the end."""
    found: list[str] = []
    cursor = None
    for _ in range(50):
        page = await feed.page(Ask(first.reader_did, first.person, first.limit, cursor, first.languages, first.now_us))
        found += uris(page)
        cursor = page.cursor
        if cursor is None:
            return found
    raise AssertionError("paging does not end")


async def test_a_reader_gets_their_own_taste(services: FeedServices, shared_town: Town) -> None:
    page = await ForYou(services).page(ask(limit=20))
    assert len(page.items) == 20
    assert [shared_town.taste_of(uri) for uri in uris(page)] == [0] * 20
    assert all(item.context and item.context.startswith("likes ") for item in page.items)


async def test_until_today_is_read_lists_are_as_of_the_day_before() -> None:
    """After a restart late in the evening all that was liked lately is in the log of today."""
    town = Town()
    services, late_us = make_services(town), NOW_US + 30 * US_PER_DAY
    try:
        services.refresh(late_us)
        for asked in (ask(now_us=late_us), ask(NEWCOMER, now_us=late_us)):
            assert not (await ForYou(services).page(asked)).items
        town.view().unread_day = FIRST_DAY + 2
        services.refresh(late_us)
        page = await ForYou(services).page(ask(now_us=late_us))
        assert len(page.items) == 30 and all("likes" in (item.context or "") for item in page.items)
        assert (await ForYou(services).page(ask(NEWCOMER, now_us=late_us))).items
    finally:
        services.pool.close()


async def test_never_own_nor_liked_posts(services: FeedServices, shared_town: Town) -> None:
    liked = set(shared_town.view().likes_of(READER, 1000)[0].tolist())
    assert len(liked) > 10
    found = {shared_town.posts[shared_town.index(uri)] for uri in await read_all(ForYou(services), ask())}
    assert not found & liked


async def test_pages_neither_repeat_nor_skip(services: FeedServices) -> None:
    whole = uris(await ForYou(services).page(ask(limit=100)))
    found = await read_all(ForYou(services), ask(limit=7))
    assert len(found) == len(set(found))
    assert found[:100] == whole


async def test_paging_goes_on_without_repeats_after_a_restart(services: FeedServices) -> None:
    feed = ForYou(services)
    first = await feed.page(ask(limit=10))
    services.snapshots = Snapshots()
    second = await feed.page(ask(limit=10, cursor=first.cursor, now_us=NOW_US + MINUTE_US))
    assert len(second.items) == 10
    assert not set(uris(first)) & set(uris(second))


async def test_an_expired_cursor_goes_on(services: FeedServices) -> None:
    feed = ForYou(services)
    first = await feed.page(ask(limit=10))
    later = NOW_US + 11 * MINUTE_US
    second = await feed.page(ask(limit=10, cursor=first.cursor, now_us=later))
    third = await feed.page(ask(limit=10, cursor=second.cursor, now_us=later))
    assert len({*uris(first), *uris(second), *uris(third)}) == 30


async def test_another_readers_cursor_gives_ones_own_list(services: FeedServices, shared_town: Town) -> None:
    feed = ForYou(services)
    others = await feed.page(ask(person=1, limit=10))
    page = await feed.page(ask(limit=10, cursor=others.cursor))
    assert {shared_town.taste_of(uri) for uri in uris(page)} == {0}


@pytest.mark.parametrize("cursor", ["", "x", "A" * 44, "=" * 200, "é", "AQ\n=="])
async def test_garbage_is_refused(services: FeedServices, cursor: str) -> None:
    with pytest.raises(BadCursor):
        await ForYou(services).page(ask(cursor=cursor))


async def test_a_cursor_of_another_key_is_refused(services: FeedServices) -> None:
    page = await ForYou(services).page(ask(limit=5))
    services.cursors = Cursors(b"x" * 32)
    with pytest.raises(BadCursor):
        await ForYou(services).page(ask(cursor=page.cursor))


async def test_what_was_scrolled_past_sinks() -> None:
    services = make_services(Town(posts=300))  # fewer than a list holds
    services.rules = ListRules(author_max=100)  # else the unseen posts of an author use up their places
    feed = ForYou(services)
    first = await feed.page(ask(limit=10))
    await feed.page(ask(limit=10, cursor=first.cursor))
    again = await feed.page(ask(limit=30, now_us=NOW_US + MINUTE_US))
    assert not set(uris(first)) & set(uris(again))
    everything = await read_all(feed, ask(limit=50, now_us=NOW_US + MINUTE_US))
    assert set(uris(first)) <= set(everything)
    services.pool.close()


async def test_served_but_not_scrolled_past_stays(services: FeedServices) -> None:
    feed = ForYou(services)
    first = await feed.page(ask(limit=10))
    assert uris(await feed.page(ask(limit=10, now_us=NOW_US + US_PER_S))) == uris(first)


async def test_a_peek_is_neither_served_nor_seen(services: FeedServices) -> None:
    await ForYou(services).page(ask(limit=1, peek=True))
    assert services.readers.get(reader_key(did(READER))) is None


async def test_show_less_acts_on_the_next_page(services: FeedServices, shared_town: Town) -> None:
    feed = ForYou(services)
    first = uris(await feed.page(ask(limit=30)))
    post = shared_town.posts[shared_town.index(first[0])]
    author = shared_town.view().author(post)
    state = services.readers.edit(reader_key(did(READER)))
    assert state.judge(shared_town.view(), [(post, True)], NOW_US)
    second = uris(await feed.page(ask(limit=30)))
    assert first[0] not in second
    other = next(p for p in shared_town.posts if p != post and shared_town.view().author(p) == author)
    state.judge(shared_town.view(), [(other, True)], NOW_US)
    everything = await read_all(feed, ask(limit=50))
    assert did(author or 0) not in {uri.split("/")[2] for uri in everything}


async def test_a_newcomer_gets_a_full_popular_page_that_says_so(services: FeedServices) -> None:
    page = await ForYou(services).page(ask(person=NEWCOMER))
    assert len(page.items) == 30
    assert {item.context for item in page.items} == {"popular, no likes yet"}


async def test_a_newcomer_who_follows_gets_what_these_like(services: FeedServices, shared_town: Town) -> None:
    nothing = u32([])
    shared_town.fetched_by_did[did(NEWCOMER)] = Fetched(nothing, np.empty(0, np.int64), u32(list(range(1, 60, 2))))
    page = await ForYou(services).page(ask(person=NEWCOMER))
    shared_town.fetched_by_did.clear()
    assert [shared_town.taste_of(uri) for uri in uris(page)] == [1] * 30
    assert {item.context for item in page.items} == {"follows"}


async def test_older_likes_from_the_repository_are_seeds(services: FeedServices, shared_town: Town) -> None:
    posts = u32(shared_town.posts[1:200:2])
    times = np.full(posts.size, NOW_US - 1, np.int64)
    shared_town.fetched_by_did[did(NEWCOMER)] = Fetched(posts, times, u32([]))
    page = await ForYou(services).page(ask(person=NEWCOMER, limit=10))
    shared_town.fetched_by_did.clear()
    assert [shared_town.taste_of(uri) for uri in uris(page)] == [1] * 10


async def test_follows_speak_the_louder_the_fewer_likes_there_are(services: FeedServices, shared_town: Town) -> None:
    shares = []
    services.rules = ListRules(author_gap=2, author_page_max=30, spread=1)  # else others come in between
    for likes in (1, 20, 45, 60):
        posts = u32(shared_town.posts[0 : 2 * likes : 2])
        follows = u32(list(range(1, 60, 2)))
        shared_town.fetched_by_did[did(NEWCOMER)] = Fetched(posts, np.full(likes, NOW_US - 1, np.int64), follows)
        page = await ForYou(services).page(ask(person=NEWCOMER, now_us=NOW_US + likes))
        shares.append(sum(shared_town.taste_of(uri) for uri in uris(page)) / len(page.items))
        assert {item.context == "follows" for item in page.items if item.context != "popular"} >= {likes == 1}
    shared_town.fetched_by_did.clear()
    assert shares[0] == 1.0 and shares[-1] == 0.0
    assert shares == sorted(shares, reverse=True) and len(set(shares)) > 2


async def test_a_reader_who_saw_everything_still_gets_a_page() -> None:
    town = Town(posts=300)
    services = make_services(town)
    first = await ForYou(services).page(ask(limit=30))
    services.readers.edit(reader_key(did(READER))).saw(town.posts, NOW_US)
    again = await ForYou(services).page(ask(limit=30, now_us=NOW_US + US_PER_S))
    assert uris(again) == uris(first)
    services.pool.close()


async def test_what_the_settings_allow_is_popular_too() -> None:
    town = Town(posts=200)
    services = make_services(town)
    first = await ForYou(services).page(ask(person=None))
    answer, adult = (town.posts[town.index(uri)] for uri in uris(first)[:2])
    for post, flag in ((answer, REPLY), (adult, ADULT)):
        mark_posts(town.view().arrays, int(town.view().arrays.slot_row[post >> 24]), u32([post]), flag, True)
    wanted = {town.uri(answer), town.uri(adult)}
    for rules, shown in ((ListRules(), set()), (ListRules(replies=True, adult=True), wanted)):
        services.rules, services.snapshots = rules, Snapshots()
        services.refresh(NOW_US)
        assert wanted & {*uris(await ForYou(services).page(ask(person=None, limit=100)))} == shown
    services.pool.close()


@pytest.mark.parametrize("kind", [ForYou, VideosForYou, PopularFeed])
def test_contexts_are_short_and_plain(services: FeedServices, kind: type[ForYou | PopularFeed]) -> None:
    feed = kind(services)
    said = {feed.context(code) for code in range(203)}
    assert all(one and len(one) <= 30 and one.isascii() and "|" not in one for one in said)


async def test_videos_do_not_starve_where_they_are_rare() -> None:
    town = Town(video_every=30)
    services = make_services(town)
    found = await read_all(VideosForYou(services), ask())
    liked = set(town.view().likes_of(READER, 1000)[0].tolist())
    videos = {town.uri(post) for i, post in enumerate(town.posts) if i % 30 == 0 and post not in liked}
    assert set(found) == videos and len(videos) > 10
    services.pool.close()


async def test_videos_are_all_videos_and_plenty(services: FeedServices, shared_town: Town) -> None:
    page = await VideosForYou(services).page(ask(limit=50))
    assert len(page.items) == 50
    for uri in uris(page):
        facts = shared_town.view().post(shared_town.posts[shared_town.index(uri)])
        assert facts is not None
        assert facts.flags & VIDEO


async def test_posts_deleted_while_paging_are_left_out() -> None:
    town = Town(posts=200)
    services = make_services(town)
    feed = ForYou(services)
    first = await feed.page(ask(limit=5))
    expected = uris(await feed.page(ask(limit=10, cursor=first.cursor)))
    gone = town.posts[town.index(expected[3])]
    mark_posts(town.view().arrays, int(town.view().arrays.slot_row[gone >> 24]), u32([gone]), DELETED, True)
    page = await feed.page(ask(limit=10, cursor=first.cursor))
    assert len(page.items) == 10
    assert uris(page)[:3] + uris(page)[3:9] == expected[:3] + expected[4:]
    services.pool.close()


@pytest.mark.parametrize("kind", [ForYou, PopularFeed])
async def test_show_less_counts_on_the_next_page_of_the_list_that_is_being_read(
    services: FeedServices, shared_town: Town, kind: type[ForYou] | type[PopularFeed]
) -> None:
    feed, view = kind(services), shared_town.view()
    first = await feed.page(ask(limit=10))
    rest = uris(await feed.page(ask(limit=40, cursor=first.cursor)))
    author = next(uri.split("/")[2] for uri in rest if uri.split("/")[2] not in {one.split("/")[2] for one in rest[:3]})
    state = services.readers.edit(reader_key(did(READER)))
    theirs = [shared_town.posts[shared_town.index(uri)] for uri in rest if uri.split("/")[2] == author]
    unwanted = shared_town.posts[shared_town.index(rest[1])]
    for post in [*(theirs * 2)[:2], unwanted]:  # two on one author hide them
        facts = view.post(post)
        assert facts is not None
        state.opinions.append(Opinion(post, facts.author, facts.about, NOW_US // US_PER_S, less=True))
    state.opinions[1].post = NO_POST - 1  # a post that is gone by now
    page = await feed.page(ask(limit=40, cursor=first.cursor))
    assert len(page.items) == 40 and page.items[0].uri == rest[0]
    assert rest[1] not in uris(page) and author not in {uri.split("/")[2] for uri in uris(page)}
    other = await feed.page(ask(limit=10, person=2))
    again = uris(await feed.page(ask(limit=40, cursor=other.cursor, person=2)))
    assert kind is ForYou or rest[1] in again  # a shared list is whole for everybody else


async def test_authors_who_must_not_be_shown() -> None:
    town = Town(posts=200)
    services = make_services(town)
    page = await ForYou(services).page(ask(limit=3))
    one, two, three = (town.view().author(town.posts[town.index(uri)]) or 0 for uri in uris(page))
    flags = town.world.people.flags
    flags[one] |= INACTIVE
    flags[two] |= OPTED_OUT
    flags[three] |= NO_UNAUTHENTICATED
    authors = {uri.split("/")[2] for uri in await read_all(ForYou(services), ask(now_us=NOW_US + US_PER_S))}
    assert not {did(one), did(two)} & authors
    assert did(three) in authors
    public = {uri.split("/")[2] for uri in await read_all(PopularFeed(services), ask(person=None))}
    assert not {did(one), did(two), did(three)} & public
    services.pool.close()


async def test_who_opts_out_is_gone_from_the_list_that_is_being_read() -> None:
    """But for those who follow them."""
    town = Town(posts=200)
    services = make_services(town)
    first = await ForYou(services).page(ask(limit=2))
    rest = uris(await ForYou(services).page(ask(limit=30, cursor=first.cursor)))
    authors = list(dict.fromkeys(uri.split("/")[2] for uri in rest))
    numbers = {did(person): person for person in range(PEOPLE + AUTHORS)}
    one, followed = (numbers[author] for author in authors[:2])
    town.world.people.flags[[one, followed]] |= OPTED_OUT
    town.fetched_by_did[did(READER)] = Fetched(u32([]), np.empty(0, np.int64), u32([followed]))
    page = await ForYou(services).page(ask(limit=30, cursor=first.cursor))
    shown = {uri.split("/")[2] for uri in uris(page)}
    assert did(one) not in shown and did(followed) in shown
    services.pool.close()


async def test_logged_out_readers_share_one_list_in_their_language(services: FeedServices, shared_town: Town) -> None:
    page = await ForYou(services).page(ask(person=None, languages=("de",)))
    again = await ForYou(services).page(ask(person=None, languages=("de",), now_us=NOW_US + US_PER_S))
    assert page.req_id == again.req_id
    assert {shared_town.index(uri) % 7 < 3 for uri in uris(page)} == {True}
    assert page.languages == ("de",)
    assert len(services.readers) == 0


@pytest.mark.parametrize("cheap", [False, True])
def test_much_that_must_not_come_takes_no_candidates_place(services: FeedServices, cheap: bool) -> None:
    """In the small memory of a cheap ranking, what was served before left no room for anything else."""
    feed, formula = ForYou(services), services.formula(cheap)
    few = feed.draw(ask(), Known(NO_TASTE), formula)
    skip = np.arange(10_000_000, 10_000_000 + 2 * room(formula.n), dtype=np.uint32)
    many = feed.draw(ask(), Known(NO_TASTE, skip=skip), formula)
    assert many.query.excluded.size == MAX_EXCLUDED
    assert few.ranked.posts.size > 0 and many.ranked.posts.tolist() == few.ranked.posts.tolist()


def test_the_newest_likes_are_excluded_first() -> None:
    liked, hidden, skip = (np.arange(n, n + 6000, dtype=np.uint32) for n in (0, 10_000, 20_000))
    excluded = excluded_posts(liked, hidden[:10], skip)
    assert excluded.size == MAX_EXCLUDED
    assert excluded[: MAX_EXCLUDED // 2 + 10].tolist() == [*liked[: MAX_EXCLUDED // 2], *hidden[:10]]
