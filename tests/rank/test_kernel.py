"""The kernel agrees with the oracle to the last place, and does what the formula promises."""

from __future__ import annotations

import os
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.graph.access import LARGEST_BLOCK, MOST_DATED, U32
from feedgen.ingest.events import GONE, INACTIVE, KNOWN, QUOTE, REPLY, SPAMMY, VIDEO
from feedgen.rank.kernel import MAX_ROOM, make_scratch, rank, rank_posts, scratch_for
from feedgen.rank.params import CHEAP, DEFAULT, FORYOU, RankParams
from feedgen.rank.request import RESULT_FLOATS, RESULT_INTS, Request, request
from tests.rank.oracle import Oracle
from tests.rank.world import World

FIRST_DAY = 20_400
START_US = FIRST_DAY * US_PER_DAY
HOUR_US = 3600 * US_PER_S
DAYS = 4
END_US = START_US + DAYS * US_PER_DAY

PEOPLE = 12
GRAPHS = int(os.environ.get("FEEDGEN_GRAPHS", "200"))  # that are compared; more take long
people = st.integers(0, PEOPLE - 1)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, int, list[int]]:
    """(world, now, posts). Few people, posts and distinct moments: ties, repeats and full tables are what goes wrong.

    One seed makes the bulk: drawn one by one, graphs are nearly always too thin to lead anywhere."""
    chance = Random(draw(st.integers(0, 2**32)))
    world = World(FIRST_DAY, DAYS)
    flags = [KNOWN, KNOWN, KNOWN, KNOWN, KNOWN | REPLY, KNOWN | QUOTE, KNOWN | VIDEO, 0]
    born = sorted(START_US + chance.randrange(DAYS * 24 - 1) * HOUR_US for _ in range(draw(st.integers(8, 40))))
    posts = [world.post(chance.randrange(PEOPLE), at_us, chance.choice(flags)) for at_us in born]
    rated = []
    for _ in range(draw(st.sampled_from([20, 100, 250]))):
        i = chance.randrange(len(posts))
        at_us = born[i] + chance.randrange(60) * chance.choice((60, 1800, 3600)) * US_PER_S
        rated.append((chance.randrange(PEOPLE), posts[i], min(at_us, END_US - 1)))
    rated.sort(key=lambda r: r[2])
    for i in chance.sample(range(len(rated)), chance.choice((0, len(rated) // 4))):
        rated[i] = rated[i][0], rated[i][1], rated[i][2] // US_PER_DAY * US_PER_DAY  # dated: it keeps its place
    world.rate(rated)
    for rating in chance.sample(rated, len(rated) // draw(st.sampled_from([3, 10, 1000]))):
        world.unrate(*rating)
    for _ in range(chance.randrange(3)):
        world.people.flags[chance.randrange(PEOPLE)] |= chance.choice([INACTIVE, GONE, SPAMMY])
    return world, draw(st.sampled_from([END_US - 1, END_US - 30 * HOUR_US, END_US - 5 * HOUR_US])), posts


powers = st.sampled_from([0.0, 0.3, 0.5, 1.0, 1.25, 1.5])


@st.composite
def formulas(draw: st.DrawFn) -> RankParams:
    base = draw(st.sampled_from([DEFAULT, FORYOU, CHEAP]))
    return replace(
        base,
        seeds=draw(st.integers(1, 8)),
        seed_likers=draw(st.integers(1, 10)),
        seed_newest=draw(st.sampled_from([0.1, 1.0])),
        seed_popularity=draw(powers),
        seed_cap=draw(st.sampled_from([1.0, 1.5, 100.0])),
        late_hours=draw(st.sampled_from([72, 24, 5, 0])),
        late_factor=draw(st.sampled_from([0.0, 0.5, 1.0])),
        shared_power=draw(st.sampled_from([0.7, 1.0, 1.25, 1.5])),
        ratings_power=draw(powers),
        ratings_floor=draw(st.sampled_from([0.0, 2.0])),
        ratings_max=draw(st.sampled_from([1000, 1000, 10])),
        colikers=draw(st.integers(1, 10)),
        coliker_share=draw(st.sampled_from([0.1, 0.3, 1.0])),
        head=draw(st.sampled_from([1, 2, 3, 50])),
        tail=draw(st.sampled_from([0.0, 0.5, 1.0])),
        tail_base=draw(st.sampled_from([0.0, 0.5, 2.0])),
        coliker_likes=draw(st.integers(1, 12)),
        window=draw(st.sampled_from([16.0, 5.0, 1.0])),
        like_half_life=draw(st.sampled_from([0.0, 0.5])),
        age_half_life=draw(st.sampled_from([0.0, 1.0])),
        paths_power=draw(powers),
        popularity_power=draw(powers),
        velocity_power=draw(st.sampled_from([0.0, 0.1, 1.0])),
        velocity_likers=draw(st.integers(1, 8)),
        finalists=draw(st.integers(1, 30)),
        edges=draw(st.sampled_from([100, 130, 200, 10_000])),
    )


def u32(values: list[int]) -> U32:
    return np.array(values, np.uint32)


@st.composite
def cases(draw: st.DrawFn) -> tuple[World, RankParams, Request]:
    world, now_us, posts = draw(worlds())
    params = draw(formulas())
    reader = draw(people)
    seeds, times = world.view.likes_of(reader, params.seeds)
    some = st.lists(st.sampled_from(posts), max_size=3, unique=True)
    less = draw(some)
    given_people = draw(st.lists(people, max_size=4))
    authors = sorted(draw(st.sets(people, max_size=2)))
    return (
        world,
        params,
        request(
            now_us,
            reader=reader,
            seeds=seeds,
            seed_times=times,
            seed_factors=np.array(
                draw(st.lists(st.sampled_from([1.0, 1.0, 0.0, 2.0]), min_size=len(seeds), max_size=len(seeds)))
            ),
            seed_listed=draw(st.booleans()),
            less=u32(less),
            less_factors=np.array([draw(st.sampled_from([0.25, 1.0])) for _ in less]),
            people=u32(given_people),
            people_weights=np.array([draw(st.sampled_from([0.5, 1.0])) for _ in given_people]),
            people_share=draw(st.sampled_from([0.0, 0.3, 0.9])),
            excluded=u32(draw(some)),
            authors=u32(authors),
            author_factors=np.array([draw(st.sampled_from([0.0, 0.5, 2.0])) for _ in authors]),
            require=draw(st.sampled_from([KNOWN, KNOWN, KNOWN | VIDEO])),
            forbid=draw(st.sampled_from([0, REPLY])),
            early=draw(st.booleans()),
        ),
    )


@settings(max_examples=GRAPHS, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(cases())
def test_agrees_with_the_oracle_to_the_last_place(case: tuple[World, RankParams, Request]) -> None:
    world, params, q = case
    f = params.formula()
    found = rank(world.view, f, q)
    expected = Oracle(world.view, f, q)
    assert list(zip(found.posts.tolist(), found.scores.tolist(), strict=True)) == expected.rank()
    assert found.edges == expected.visited
    event(f"posts: {min(len(found.posts), 6)}")


@pytest.mark.parametrize("dated", ["none", "the reader's", "the co-liker's of the seed", "the co-liker's of the post"])
def test_an_old_rating_is_a_seed_and_nobody_is_a_coliker_by_it(dated: str) -> None:
    reader, coliker, now_us = 1, 2, START_US + DAYS * US_PER_DAY - 1
    world, midnight_us = World(FIRST_DAY, DAYS), now_us // US_PER_DAY * US_PER_DAY
    liked, other = (world.post(50 + i, START_US + HOUR_US) for i in range(2))
    later = {"the reader's": 3 * HOUR_US, "the co-liker's of the seed": HOUR_US, "the co-liker's of the post": HOUR_US}
    ratings = {
        "the reader's": (reader, liked),
        "the co-liker's of the seed": (coliker, liked),
        "the co-liker's of the post": (coliker, other),
    }
    rated = [(*rating, midnight_us + later[name] * (name != dated)) for name, rating in ratings.items()]
    world.rate(sorted(rated, key=lambda rating: rating[2]))
    seeds, times = world.view.likes_of(reader, 5)
    assert seeds.tolist() == [liked]
    q = request(now_us, reader=reader, seeds=seeds, seed_times=times, excluded=seeds)
    found = rank(world.view, replace(DEFAULT, window=100.0).formula(), q).posts.tolist()
    assert found == ([] if dated.startswith("the co-liker's") else [other])


@pytest.mark.parametrize("more", [0, 1])
def test_many_old_ratings_hide_what_came_before_them(more: int) -> None:
    """So that a list of the open day costs no more for them than MOST_DATED steps."""
    world, seen_us = World(FIRST_DAY, 1), START_US + HOUR_US
    post = world.post(50, seen_us)
    world.rate([(1, post, seen_us)])
    most = MOST_DATED + LARGEST_BLOCK if more else MOST_DATED - 1  # whether to go on is asked once a block
    world.rate((100 + i, post, START_US) for i in range(most))
    world.rate([(2, post, seen_us + HOUR_US)])
    people, _ = world.view.likers_of(post, 9, dated=False)
    assert people.tolist() == ([2] if more else [2, 1])


def crowded() -> tuple[World, Request]:
    """Fifty people, each of whom likes thirty of sixty posts."""
    world, chance = World(FIRST_DAY, DAYS), Random(3)
    posts = [world.post(50 + i, START_US + i * HOUR_US, KNOWN) for i in range(60)]
    rated = [
        (person, posts[i], START_US + (i + 1) * HOUR_US) for person in range(50) for i in chance.sample(range(60), 30)
    ]
    world.rate(sorted(rated, key=lambda r: r[2]))
    seeds, times = world.view.likes_of(7, 500)
    return world, request(END_US - 1, reader=7, seeds=seeds, seed_times=times, excluded=seeds)


def test_working_memory_is_bounded_however_large_the_budget() -> None:
    largest = replace(FORYOU, edges=50_000_000, colikers=20_000, coliker_likes=2000)
    assert scratch_for(largest.formula()).edges.size == MAX_ROOM


def test_what_finds_no_room_is_left_out() -> None:
    world, q = crowded()
    f = replace(DEFAULT, window=100.0).formula()
    ints, floats = np.empty((f.n.finalists, RESULT_INTS), np.int64), np.empty((f.n.finalists, RESULT_FLOATS))
    order, done, kept = np.empty(f.n.finalists, np.int32), np.zeros(5, np.int64), []
    for size in (16, 64, 256, 4096):
        kept.append(rank_posts(world.view.arrays, f, q, make_scratch(size), ints, floats, order, done))
    assert kept[0] <= kept[1] <= kept[2] <= kept[3] == len(rank(world.view, f, q).posts) > 10
    assert kept[0] < kept[3]
