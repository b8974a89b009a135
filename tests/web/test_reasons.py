"""The arithmetic of the why page, against the oracle, and how a preview leaves no trace."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from random import Random

import numpy as np
import pytest

from feedgen.feeds.contract import reader_key
from feedgen.feeds.for_you import ForYou
from feedgen.feeds.preview import MOST_NAMED, Led, Preview, Subject, without_seed
from feedgen.feeds.services import FeedServices
from feedgen.ingest.events import GONE, INACTIVE, NO_UNAUTHENTICATED, OPTED_OUT, PERSON_HIDDEN
from feedgen.rank.left_out import RULES
from feedgen.rank.params import PRESETS, RankParams
from feedgen.rank.why import explain
from feedgen.web.reasons import WIDTH, bars
from tests.feeds.town import NEWCOMER, NOW_US, READER, Town, ask, did, make_services
from tests.rank.oracle import Oracle

POSTS = 1000
Make = Callable[[Town], tuple[FeedServices, Preview]]


@pytest.fixture
def services_of() -> Iterator[Make]:
    services = []

    def make(town: Town) -> tuple[FeedServices, Preview]:
        services.append(make_services(town))
        return services[-1], Preview(services[-1], ForYou(services[-1]))

    yield make
    for one in services:
        one.pool.close()


def test_a_thousand_posts_of_the_why_page_against_the_oracle(services_of: Make) -> None:
    """Score, place, terms, the bars' sum, and the places without a like are the oracle's."""
    chance, checked, moved = Random(7), 0, 0
    town = Town(seed=3)
    services, preview = services_of(town)
    while checked < POSTS:
        person = chance.randrange(120)
        params = chance.choice([*PRESETS.values(), RankParams(window=20, age_half_life=1.5, popularity_power=0.3)])
        subject = preview.reader(did(person), private=False, now_us=NOW_US)
        f = params.formula(services.pace.pace_us)
        view = town.view()
        query, _, _ = preview.question(view, f, subject, NOW_US)
        expected = Oracle(view, f, query).rank()
        for place, (post, score) in chance.sample(list(enumerate(expected, 1)), min(40, len(expected))):
            why = explain(view, f, query, post)
            assert why is not None and (why.place, why.of, why.score) == (place, len(expected), score)
            *terms, total = bars(why)
            assert math.prod(bar.value for bar in terms) == pytest.approx(score, rel=1e-12)
            assert sum(bar.doublings for bar in terms) == pytest.approx(total.doublings, abs=1e-9)
            mean = sum(math.log2(other) for _, other in expected) / len(expected)
            assert total.doublings == pytest.approx(math.log2(score) - mean, abs=1e-9)
            assert all(bar.x >= 0 and bar.x + bar.width <= 2 * WIDTH + 1 for bar in (*terms, total))
            checked += 1
        if expected:
            post = expected[0][0]
            reasons = preview.why(subject, params, post, NOW_US)
            assert not isinstance(reasons, str)
            for change in reasons.changes[:1]:
                less = Oracle(view, f, without_seed(query, preview.post(change.seed))).rank()
                place = next((i for i, (other, _) in enumerate(less, 1) if other == post), None)
                assert change.place == place
                moved += place != 1
    assert checked >= POSTS and moved > 0


def test_places_without_a_term(services_of: Make) -> None:
    town = Town(seed=5)
    services, preview = services_of(town)
    subject = preview.reader(did(READER), private=False, now_us=NOW_US)
    params = PRESETS["default"]
    f = params.formula(services.pace.pace_us)
    query, _, _ = preview.question(town.view(), f, subject, NOW_US)
    told = {post: explain(town.view(), f, query, post) for post, _ in Oracle(town.view(), f, query).rank()}
    for term in ("popularity", "likes just now"):
        rest = {
            post: math.prod(value for name, value in why.terms.items() if name != term)
            for post, why in told.items()
            if why is not None
        }
        order = sorted(rest, key=lambda post: (-rest[post], post))
        places = [told[post].without[term] for post in order]  # type: ignore[union-attr]
        assert places == sorted(places) and places[0] == 1
        assert sum(a != b for a, b in zip(places, range(1, len(places) + 1), strict=True)) <= len(places) * 0.02


def test_who_led_to_a_post_is_who_was_counted_but_for_those_never_named(services_of: Make) -> None:
    town = Town(seed=5)
    _, preview = services_of(town)
    # All are of the head: of others, who agree a little, only a share is counted.
    subject, params = preview.reader(did(READER), private=False, now_us=NOW_US), RankParams(head=1000, window=1)
    flags, people = town.view().arrays.person_flags, set[str]()
    for placed in preview.listing(subject, params, 20, NOW_US):
        if not placed.people:
            continue
        told = preview.led(subject, params, placed.post, NOW_US)
        assert isinstance(told, Led) and len(told.people) == min(placed.people, MOST_NAMED)
        assert len(told.people) + told.unnamed == placed.people and did(READER) not in told.people
        likers = {did(one) for one in town.view().likers_of(placed.post, 1000)[0].tolist()}
        assert set(told.people) <= likers and len(set(told.people)) == len(told.people)
        people |= set(told.people)
        for flag in (INACTIVE, GONE, NO_UNAUTHENTICATED, OPTED_OUT, PERSON_HIDDEN):
            first = next(one for one in range(120) if did(one) == told.people[0])
            before = flags[first]
            flags[first] |= flag
            without = preview.led(subject, params, placed.post, NOW_US)
            flags[first] = before
            assert not isinstance(without, Led) or told.people[0] not in without.people
    assert len(people) > 10
    own = next(post for post in town.posts if READER in town.view().likers_of(post, 1000)[0])
    assert preview.led(subject, params, own, NOW_US) == "the reader liked it already, or wants less of it"


def test_those_most_like_the_reader_are_named_first(services_of: Make) -> None:
    town = Town(seed=5)
    _, preview = services_of(town)
    subject = preview.reader(did(READER), private=False, now_us=NOW_US)
    plain = RankParams()
    query, _, _ = preview.question(town.view(), plain.formula(0), subject, NOW_US)
    placed = max(preview.listing(subject, plain, 30, NOW_US), key=lambda one: one.people)
    told = preview.led(subject, plain, placed.post, NOW_US)
    assert isinstance(told, Led) and len(told.people) > 3
    oracle = Oracle(town.view(), plain.formula(0), query)
    oracle.ask_given_people()
    oracle.ask_seeds()
    likers = set(town.view().likers_of(placed.post, 1000)[0].tolist())
    expected = [did(one) for one, weight in oracle.choose_colikers() if weight > 0 and one in likers]
    assert told.people == expected[:MOST_NAMED]


async def test_a_preview_is_the_list_that_is_served_and_leaves_no_trace(services_of: Make) -> None:
    town = Town()
    services, preview = services_of(town)
    subject = preview.reader(did(READER), private=False, now_us=NOW_US)
    placed = preview.listing(subject, services.recipe.params, 30, NOW_US)
    preview.left_out(subject, services.recipe.params, 50, NOW_US)
    preview.why(subject, services.recipe.params, placed[0].post, NOW_US)
    assert len(services.readers) == 0 and not services.readers.changed
    page = await ForYou(services).page(ask(READER, limit=30))
    assert [one.uri for one in placed] == [item.uri for item in page.items]
    assert [one.context for one in placed] == [item.context for item in page.items]


async def test_what_a_reader_saw_counts_for_the_operator_alone(services_of: Make) -> None:
    town = Town()
    services, preview = services_of(town)
    feed = ForYou(services)
    first = await feed.page(ask(READER, limit=30))
    seen = [preview.post(item.uri) for item in first.items]
    services.readers.edit(reader_key(did(READER))).saw(seen, NOW_US)
    public = preview.reader(did(READER), private=False, now_us=NOW_US)
    private = preview.reader(did(READER), private=True, now_us=NOW_US)
    params = services.recipe.params
    assert [one.post for one in preview.listing(public, params, 30, NOW_US)] == seen
    assert not {one.post for one in preview.listing(private, params, 30, NOW_US)} & set(seen)
    rules = {one.rule for one in preview.left_out(private, params, 50, NOW_US)[1]}
    assert "seen" in rules and rules <= set(RULES)
    assert "seen" not in {one.rule for one in preview.left_out(public, params, 50, NOW_US)[1]}


def test_tastes_are_apart_and_make_lists(services_of: Make) -> None:
    town = Town()
    services, preview = services_of(town)
    tastes = preview.tastes()
    assert len(tastes) >= 2
    evens = [town.posts.index(taste.post) % 2 for taste in tastes]
    assert set(evens) == {0, 1}  # the town's two tastes
    for taste, even in zip(tastes, evens, strict=True):
        placed = preview.listing(Subject(post=taste.post), services.recipe.params, 10, NOW_US)
        assert len(placed) == 10
        assert np.mean([town.posts.index(one.post) % 2 == even for one in placed]) > 0.9


def test_a_newcomer_gets_what_is_popular(services_of: Make) -> None:
    town = Town()
    services, preview = services_of(town)
    subject = preview.reader(did(NEWCOMER), private=False, now_us=NOW_US)
    placed = preview.listing(subject, services.recipe.params, 10, NOW_US)
    assert len(placed) == 10 and preview.likes(subject, NOW_US) == 0
    assert {one.context for one in placed} == {"popular, no likes yet"}
