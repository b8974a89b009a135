"""People are drawn and ranked for at a moment; what they like afterwards labels the rows, and nothing else does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.ingest.events import SPAMMY
from feedgen.learn.examples import FIRST, MIN_LIKES, OTHERS, draw, horizon_us, label, look
from feedgen.rank.features import features
from feedgen.rank.kernel import rank
from feedgen.rank.params import DEFAULT
from feedgen.rank.request import R_POST, request
from tests.learn.made import a_block
from tests.rank.world import World

DAY = 20_400
NOON_US = DAY * US_PER_DAY + US_PER_DAY // 2
PEOPLE, POSTS = 30, 60
F = replace(DEFAULT, pace_hours=2.0).formula()


def a_world() -> tuple[World, list[int]]:
    """Thirty people who like half of sixty posts each."""
    chance, world = np.random.default_rng(8), World(DAY, 1)
    posts = [world.post(100 + i, NOON_US - 7200 * US_PER_S + i * US_PER_S) for i in range(POSTS)]
    rated = [
        (person, posts[i], NOON_US - int(chance.integers(1, 5000)) * US_PER_S)
        for person in range(PEOPLE)
        for i in chance.choice(POSTS, POSTS // 3, replace=False).tolist()
    ]
    world.rate(sorted(rated, key=lambda one: one[2]))
    return world, posts


def test_people_are_drawn_who_are_active_and_have_a_past() -> None:
    world, posts = a_world()
    world.rate((PEOPLE, post, NOON_US) for post in posts[: MIN_LIKES - 1])
    world.people.flags[3] |= SPAMMY
    drawn = draw(world.view, PEOPLE + 1, NOON_US, 100, np.random.default_rng(1))
    assert sorted(drawn.tolist()) == [person for person in range(PEOPLE) if person != 3]
    again = draw(world.view, PEOPLE + 1, NOON_US, 100, np.random.default_rng(1))
    assert drawn.tolist() == again.tolist()
    assert draw(world.view, PEOPLE + 1, NOON_US, 7, np.random.default_rng(1)).size == 7
    assert not draw(world.view, PEOPLE + 1, NOON_US + 2 * US_PER_DAY, 7, np.random.default_rng(1)).size


def test_rows_are_those_of_a_readers_list_and_labels_what_was_liked_within_the_horizon() -> None:
    world, _ = a_world()
    people = draw(world.view, PEOPLE + 1, NOON_US, 6, np.random.default_rng(2))
    moment = look(world.view, F, NOON_US, people)
    assert moment.until_us - moment.time_us == horizon_us(F.n.pace_us) == 7200 * US_PER_S
    lists = {}
    for i, person in enumerate(people.tolist()):
        liked, times = world.view.likes_of(person, 500)
        q = request(NOON_US, reader=person, seeds=liked, seed_times=times, excluded=liked)
        ranked = rank(world.view, F, q)
        rows = slice(*moment.starts[i : i + 2].tolist())
        lists[person] = moment.posts[rows].tolist()
        assert lists[person] == ranked.ints[:, R_POST].tolist()
        assert (moment.x[rows] == features(world.view, F, q, ranked).astype(np.float16)).all()
    first, second, third, *_ = people.tolist()
    world.rate(
        [
            (first, lists[first][0], NOON_US + 60 * US_PER_S),
            (first, lists[first][5], NOON_US + 7000 * US_PER_S),
            (second, lists[second][2], NOON_US + 7300 * US_PER_S),  # after the horizon
        ]
    )
    block = label(world.view, moment)
    assert block.requests == 1, "those who liked nothing that they were ranked tell nothing"
    assert np.flatnonzero(block.labels).tolist() == [0, 5]
    assert block.rows == len(lists[first])
    assert third not in (first, second)


def test_nothing_says_whose_rows_they_were() -> None:
    world, _ = a_world()
    moment = look(world.view, F, NOON_US, draw(world.view, PEOPLE + 1, NOON_US, 6, np.random.default_rng(2)))
    assert not {"people", "posts"} & set(label(world.view, moment).__slots__)


def test_nobody_active_is_no_example() -> None:
    world, _ = a_world()
    moment = look(world.view, F, NOON_US, np.empty(0, np.uint32))
    assert label(world.view, moment).requests == 0


def test_a_thinned_block_stands_for_the_whole() -> None:
    block = a_block(1, requests=30, rows=200)
    thin = block.thin()
    again = block.thin()
    assert thin.thinned and thin.thin() is thin and (thin.x == again.x).all() and (thin.weights == again.weights).all()
    assert thin.labels.sum() == block.labels.sum(), "all that was liked is kept"
    for i in range(thin.requests):
        rows = slice(*thin.starts[i : i + 2].tolist())
        whole = block.labels[slice(*block.starts[i : i + 2].tolist())]
        liked_late = int(whole[FIRST:].sum())
        assert thin.labels[rows].size == FIRST + OTHERS + liked_late
        assert thin.weights[rows].sum() == pytest.approx(200), "and each row stands for as many as it was drawn from"
