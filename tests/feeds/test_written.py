"""Feeds as operators write them: what their code says, and the duties that it can't forget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from feedgen import Posts, feed, tag
from feedgen.core.errors import SettingsError
from feedgen.core.ids import US_PER_S
from feedgen.feeds.contract import reader_key
from feedgen.feeds.guard import Guard
from feedgen.feeds.services import FeedServices
from feedgen.feeds.toml import definitions_in
from feedgen.feeds.write import DEFINITION, MAX_GIVEN, Ask, Definition
from feedgen.feeds.written import WrittenFeed
from feedgen.ingest.events import VIDEO
from tests.feeds.town import NOW_US, READER, Town, ask, did, make_services

CATS = tag("cats", hashtags=["cats"], words=["my cat"])
GAME = tag("game", words=["game"])
town = Town()
town.tags.add([("#cats", post) for post in town.posts[::3]] + [("wgame", post) for post in town.posts[::6]])
CAT_POSTS = {uri for uri in town.uris(__import__("numpy").array(town.posts[::3], "uint32"))}


@pytest.fixture
def services() -> Iterator[FeedServices]:
    made = make_services(town)
    yield made
    made.pool.close()


def written(
    services: FeedServices, make: Callable[[Ask], Any], guard: Guard | None = None, name: str = "mine", **options: Any
) -> WrittenFeed:
    feed(name, title="Mine", about="A feed.", **options)(make)
    return WrittenFeed(services, getattr(make, DEFINITION), guard or Guard())


def from_toml(services: FeedServices, text: str) -> WrittenFeed:
    import tomllib

    definitions, _ = definitions_in(tomllib.loads(text), "x.toml", text)
    return WrittenFeed(services, definitions[0], Guard())


async def uris(feed: WrittenFeed, person: int | None = READER, now_us: int = NOW_US, limit: int = 100) -> list[str]:
    return [item.uri for item in (await feed.page(ask(person, limit=limit, now_us=now_us))).items]


def index(uri: str) -> int:
    return town.index(uri)


async def test_colikers_only_of_a_tag_and_a_share_of_the_newest(services: FeedServices) -> None:
    found = await uris(written(services, lambda ask: ask.colikers().only(CATS) + ask.newest(CATS).share(0.2)), limit=50)
    assert len(found) == 50 and set(found) <= CAT_POSTS
    tastes = [town.taste_of(uri) for uri in found]
    assert 5 <= sum(tastes) <= 15  # of a fifth, half are of the other taste
    page = await written(services, lambda ask: ask.colikers().only(CATS)).page(ask(limit=20))
    assert {town.taste_of(item.uri) for item in page.items} == {0}
    assert all(item.context and item.context.startswith("likes ") for item in page.items)


async def test_newest_are_in_the_order_of_time(services: FeedServices) -> None:
    found = await uris(written(services, lambda ask: ask.newest(CATS)), person=None)
    times = [town.posts[index(uri)] for uri in found]
    assert set(found) <= CAT_POSTS and sum(a > b for a, b in pairwise(times)) > 0.8 * len(times)


async def test_popular_trending_and_filters(services: FeedServices) -> None:
    for make in (lambda ask: ask.popular(CATS), lambda ask: ask.popular(CATS).without(GAME)):
        assert set(await uris(written(services, make))) <= CAT_POSTS
    without = await uris(written(services, lambda ask: ask.newest(CATS).without(GAME)))
    assert without and not {index(uri) % 6 for uri in without} & {0}
    videos = await uris(written(services, lambda ask: ask.colikers().media("video"), video=True))
    assert videos and all(services.library.view().post_flags([town.posts[index(uri)]])[0] & VIDEO for uri in videos)
    german = await uris(written(services, lambda ask: ask.newest().languages("de")))
    assert german and all(index(uri) % 7 < 3 for uri in german)
    liked = await uris(written(services, lambda ask: ask.newest().at_least(likes=9)))
    view = services.library.view()
    assert liked and all(view.post(town.posts[index(uri)]).count >= 9 for uri in liked)  # type: ignore[union-attr]
    recent = await uris(written(services, lambda ask: ask.hours(ask.newest(), 3)))
    assert recent and all(view.post_time_us(town.posts[index(uri)]) >= NOW_US - 3 * 3600 * US_PER_S for uri in recent)  # type: ignore[operator]
    assert await uris(written(services, lambda ask: ask.trending() + ask.popular()))


async def test_duties_are_done_whatever_the_code_says(services: FeedServices) -> None:
    """Own and liked posts, "show less", hidden posts, and what was seen."""
    view = services.library.view()
    liked = view.likes_of(READER, 1000)[0].tolist()
    everything = [uri for uri in town.uris(__import__("numpy").array(town.posts, "uint32")) if uri]
    feed_of_all = written(services, lambda ask: everything)
    first = await uris(feed_of_all, limit=20)
    assert first and not {town.posts[index(uri)] for uri in first} & set(liked)
    author = view.author(town.posts[index(first[0])])
    state = services.readers.edit(reader_key(did(READER)))
    state.judge(view, [(town.posts[index(first[0])], True)], NOW_US)
    again = await uris(feed_of_all, now_us=NOW_US + US_PER_S, limit=100)
    assert again and first[0] not in again
    assert author is not None


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda ask: None, "TypeError"),
        (lambda ask: "at://x", "TypeError"),
        (lambda ask: 1 / 0, "ZeroDivisionError"),
        (lambda ask: ["at://x"] * (MAX_GIVEN + 1), "at most"),
        (lambda ask: ("x" * 1000 for _ in iter(int, 1)), "at most"),  # endless
        (lambda ask: [("at://x", float("nan"))], "at-uri"),
        (lambda ask: [7], "at-uri"),
        (lambda ask: ask.colikers().share(2), "share"),
        (lambda ask: ask.newest().media("audio"), "media"),
        (lambda ask: exit(3), "SystemExit"),
    ],
)  # fmt: skip
async def test_what_goes_wrong_in_the_code_falls_back_and_is_told(
    services: FeedServices, make: Callable[[Ask], Any], why: str
) -> None:
    broken = written(services, make)
    assert len(await uris(broken, limit=10)) == 10
    assert why in broken.trouble


async def test_posts_that_are_unknown_or_may_not_be_shown_are_left_out(services: FeedServices) -> None:
    good = town.uri(town.posts[7])
    named = ["at://did:plc:x/app.bsky.feed.post/3k", "nonsense", f"at://{did(3)}/app.bsky.graph.list/3k", good]
    page = await written(services, lambda ask: named).page(ask(None))
    assert [item.uri for item in page.items] == [good]


async def test_code_that_does_not_return_is_stopped_then_off_until_it_is_loaded_again(services: FeedServices) -> None:
    calls = []

    def endless(ask: Ask) -> Posts:
        calls.append(ask)
        while True:
            try:
                while True:
                    pass
            except Exception:  # it does not catch what ends it
                continue

    guard = Guard(limit_s=0.05, grace_s=5.0)
    slow = written(services, endless, guard)
    for second in range(5):
        assert len(await uris(slow, limit=10, now_us=NOW_US + second * US_PER_S)) == 10
    assert len(calls) == 3 and not guard.hanging and "off until" in slow.trouble
    quick = written(services, lambda ask: ask.newest(), guard, name="quick")
    assert await uris(quick) and not quick.trouble  # its thread is whole
    guard.forgive()
    await uris(slow, now_us=NOW_US + 9 * US_PER_S)
    assert len(calls) == 4
    guard.close()


def test_at_most_two_threads_hang() -> None:
    guard, calls = Guard(limit_s=0.02, grace_s=0.02), []

    def definition(name: str) -> Definition:
        return Definition(name=name, title="T", about="A", make=lambda ask: ask.newest())

    def sleep() -> None:
        calls.append(1)
        time.sleep(1.0)  # in C: no exception reaches it

    for name in ("a", "a", "b", "c"):
        with pytest.raises(TimeoutError):
            guard.run(definition(name), sleep)
    assert guard.hanging == ["a", "b"] and len(calls) == 2
    assert (
        guard.run(Definition(name="t", title="", about="", make=lambda ask: ask.newest(), code=False), lambda: 7) == 7
    )


async def test_a_pinned_post_stands_first_and_who_is_logged_out_may_get_it_alone(services: FeedServices) -> None:
    pinned = town.uri(town.posts[5])
    assert pinned is not None
    page = await written(services, lambda ask: ask.newest(), pinned=pinned).page(ask(limit=10))
    assert page.items[0].uri == pinned and page.items[0].pin and [i.uri for i in page.items].count(pinned) == 1
    explain = written(services, lambda ask: ask.newest(), pinned=pinned, logged_out="explain")
    assert await uris(explain, person=None) == [pinned]
    assert await uris(written(services, lambda ask: ask.newest(), logged_out="deny"), person=None) == []


async def test_a_table_says_the_same_as_code(services: FeedServices) -> None:
    text = """
    [feed.mine]
    title = "Cats"
    any = { hashtags = ["cats"] }
    not = { words = ["game"], labels = ["porn"], authors = ["did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"] }
    languages = ["en"]
    likes = 2
    """
    found = await uris(from_toml(services, text))
    assert found and set(found) <= CAT_POSTS
    assert not any(index(uri) % 6 == 0 or index(uri) % 7 < 3 for uri in found)
    for order in ("popular", "for-you", "one-each", "trending"):
        made = await uris(from_toml(services, f"{text}order = '{order}'"))
        assert set(made) <= CAT_POSTS
        authors = [uri.split("/")[2] for uri in made]
        assert order != "one-each" or (authors and len(set(authors)) == len(authors))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('order = "best"', "newest, popular"), ('media = "audio"', "images"), ("hours = 0", "2880"),
        ("likes = -1", "0 or"),
        ("colour = 1", "colour"), ('languages = ["xx-unknown-yy"]', "codes"), ('not = { authors = ["me"] }', "DID"),
        ('any = { words = ["(a+)+$"] }', "regular"), ("any = {}", "empty"), ('logged_out = "maybe"', "serve"),
        ('pinned = "https://bsky.app"', "post"), ('logged_out = "explain"', "explain"), ('title = ""', "title"),
        ("likes = 'many'", "int"),
    ],
)  # fmt: skip
def test_a_wrong_table_says_where_and_what_is_allowed(line: str, why: str) -> None:
    import tomllib

    title = "" if line.startswith("title") else 'title = "T"'
    text = f'# a feed\n[feed.mine]\nabout = "A"\n{title}\n{line}\n'
    with pytest.raises(SettingsError) as wrong:
        definitions_in(tomllib.loads(text), "x.toml", text)
    assert why in str(wrong.value) and wrong.value.line == 2  # type: ignore[attr-defined]
