"""What strangers, and one stray like, can do to a list."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.ingest.events import SPAMMY
from feedgen.rank.kernel import rank, scratch_for
from feedgen.rank.params import DEFAULT, FORYOU, HOUR_US, RankParams
from feedgen.rank.request import R_BEST, R_RAW, request
from feedgen.simnet.world import World as Network
from scripts.benchmarks._made_up import MadeUp
from scripts.benchmarks.attacks import STRAYS, WAYS, changed_by_a_stray, made_up_day, reach
from tests.rank.world import World

START_US = 20_400 * US_PER_DAY
NOW_US = START_US + 3 * US_PER_DAY - 60 * US_PER_S
READER = 0
HONEST = 300
GROUPS = 3
SHILLS = range(1000, 1500)


def town(seed: int = 1) -> tuple[World, list[int], list[tuple[int, int, int]]]:
    """Three groups of people who like what is their group's. The reader is of group 0 and liked a hundred posts."""
    chance, world = Random(seed), World(20_400, 3)
    times = sorted(START_US + chance.randrange(70 * 3600) * US_PER_S for _ in range(1500))
    posts = [world.post(2000 + chance.randrange(200), at_us) for at_us in times]
    rated = []
    for i, at_us in enumerate(times):
        for _ in range(chance.randrange(3, 16)):
            person = 1 + chance.randrange(HONEST // GROUPS) * GROUPS + i % GROUPS
            rated.append((person, posts[i], at_us + chance.randrange(6 * 3600) * US_PER_S))
    mine = chance.sample([i for i in range(0, 1200, GROUPS)], 100)
    rated += [(READER, posts[i], times[i] + 7 * HOUR_US) for i in mine]
    return world, posts, [r for r in rated if r[2] < NOW_US]


def first_posts(world: World, params: RankParams, count: int = 30) -> list[int]:
    seeds, times = world.view.likes_of(READER, params.seeds)
    q = request(NOW_US, reader=READER, seeds=seeds, seed_times=times, excluded=seeds)
    found: list[int] = rank(world.view, params.formula(), q).posts[:count].tolist()
    return found


def test_one_stray_like_never_takes_over() -> None:
    changed = []
    for seed in range(4):
        world, posts, rated = town(seed)
        world.rate(sorted(rated, key=lambda r: r[2]))
        assert world.view.likes_of(READER, 500)[0].size == 100
        before = set(first_posts(world, DEFAULT))
        stray = posts[1201 + seed * 3]  # of another group, and liked this minute
        world.rate([(READER, stray, NOW_US)])
        after = first_posts(world, DEFAULT)
        changed.append(len(set(after) - before))
    assert max(changed) <= 6  # a fifth


def reach_of_shills(params: RankParams, ratings_each: int = 30) -> int:
    """At which place a post comes that 500 accounts push, who like what the reader likes before the reader does."""
    world, _posts, rated = town()
    liked = sorted({post for person, post, _ in rated if person == READER})
    born = {post: START_US for post in liked}
    chance = Random(5)
    for person, post, at_us in rated:
        born[post] = max(born.get(post, 0), at_us - 7 * HOUR_US) if person == READER else born.get(post, 0)
    pushed = world.post(1999, NOW_US - 600 * US_PER_S)
    for shill in SHILLS:
        rated += [(shill, post, born[post] + 3600 * US_PER_S) for post in chance.sample(liked, ratings_each - 1)]
        rated.append((shill, pushed, NOW_US - 300 * US_PER_S))
    world.rate(sorted(rated, key=lambda r: r[2]))
    found = first_posts(world, params, 1000)
    return found.index(pushed) if pushed in found else 1000


def test_marking_shills_as_spammers_ends_their_reach() -> None:
    assert reach_of_shills(DEFAULT) < 5  # they look just like friends, until they are found out
    world, _posts, rated = town()
    pushed = world.post(1999, NOW_US - 600 * US_PER_S)
    liked = [post for person, post, _ in rated if person == READER][:29]
    rated += [(shill, post, NOW_US - HOUR_US) for shill in SHILLS for post in liked]
    rated += [(shill, pushed, NOW_US - 300 * US_PER_S) for shill in SHILLS]
    world.rate(sorted(rated, key=lambda r: r[2]))
    world.people.flags[SHILLS.start : SHILLS.stop] |= SPAMMY
    assert pushed not in first_posts(world, DEFAULT, 1000)


def test_one_account_has_at_most_its_share() -> None:
    """Somebody who copies everything that the reader likes, and likes one thing more."""
    parts = []
    for share in (1.0, 0.005):
        world, _, rated = town()
        pushed = world.post(1999, NOW_US - 600 * US_PER_S)
        rated += [(SHILLS[0], post, at_us - 5 * US_PER_S) for person, post, at_us in rated if person == READER]
        rated.append((SHILLS[0], pushed, NOW_US - 300 * US_PER_S))
        world.rate(sorted(rated, key=lambda r: r[2]))
        seeds, times = world.view.likes_of(READER, 500)
        q = request(NOW_US, reader=READER, seeds=seeds, seed_times=times, excluded=seeds)
        found = rank(world.view, replace(DEFAULT, coliker_share=share).formula(), q)
        parts.append(float(found.floats[found.posts.tolist().index(pushed), R_BEST]))
    assert parts[1] < parts[0] / 3


@pytest.mark.parametrize("params", [DEFAULT, FORYOU])
def test_those_who_like_everything_are_not_asked(params: RankParams) -> None:
    world, posts, rated = town()
    pushed = world.post(1999, NOW_US - 600 * US_PER_S)
    robot = SHILLS[0]
    rated += [(robot, post, NOW_US - 300 * US_PER_S) for post in [*posts, pushed]]
    world.rate(sorted(rated, key=lambda r: r[2]))
    limited = replace(params, ratings_max=1000)
    assert int(world.arrays.person_ratings[robot]) > 1000
    assert pushed not in first_posts(world, limited, 3000)
    assert pushed in first_posts(world, replace(params, ratings_max=10_000), 3000)


def test_a_future_date_gains_nothing() -> None:
    """Times are those of the witness: a record key far ahead changes no score."""
    scores = []
    for key in (None, (NOW_US + 400 * US_PER_DAY) << 10):
        world, _posts, rated = town()
        post = world.post(1999, NOW_US - 2 * HOUR_US, key=key)
        rated += [(1 + 3 * i, post, NOW_US - HOUR_US) for i in range(5)]
        world.rate(sorted(rated, key=lambda r: r[2]))
        seeds, times = world.view.likes_of(READER, 500)
        found = rank(world.view, FORYOU.formula(), request(NOW_US, reader=READER, seeds=seeds, seed_times=times))
        scores.append(dict(zip(found.posts.tolist(), found.scores.tolist(), strict=True))[post])
    assert np.isclose(scores[0], scores[1], rtol=0, atol=0)


def test_what_is_wanted_less_takes_from_what_its_likers_like() -> None:
    """ "Show less" counts as negative paths: the posts of those who liked what is unwanted fall behind."""
    places = []
    for less in (False, True):
        world, _posts, rated = town()
        ours, theirs = (world.post(1990 + i, NOW_US - HOUR_US) for i in range(2))
        rated += [(1 + 3 * i, ours, NOW_US - 600 * US_PER_S) for i in range(20)]  # both of the reader's group
        rated += [(151 + 3 * i, theirs, NOW_US - 600 * US_PER_S) for i in range(20)]
        unwanted = [world.post(1995, NOW_US - 2 * HOUR_US + i) for i in range(10)]
        rated += [(151 + 3 * i, post, NOW_US - HOUR_US) for i in range(20) for post in unwanted]
        world.rate(sorted(rated, key=lambda r: r[2]))
        seeds, times = world.view.likes_of(READER, 500)
        wanted_less = np.array(unwanted if less else [], np.uint32)
        q = request(NOW_US, reader=READER, seeds=seeds, seed_times=times, excluded=seeds, less=wanted_less)
        found = rank(world.view, DEFAULT.formula(), q).posts.tolist()
        places.append(found.index(theirs) if theirs in found else 1000)
        assert ours in found[:10]
    assert places[0] < 10 < places[1]


# --- accounts that work together, and one stray like, on the made-up network


@pytest.fixture(scope="module")
def network() -> Network:
    return made_up_day(1200, seed=7)


@pytest.mark.parametrize("way", WAYS)
def test_five_hundred_colluding_accounts(network: Network, way: str) -> None:
    """Whoever hides like a person is not found out; then the bound on all but the best co-likers must hold."""
    found = reach(network, way, accounts=500, readers=40)
    assert found.unbounded > 0.3
    assert found.served < 0.15 and found.places < 0.01
    assert found.caught < 0.05


def test_fifty_colluding_accounts_take_few_places(network: Network) -> None:
    found = reach(network, "patiently", accounts=50, readers=40)
    assert found.places_unbounded > 0.1
    assert found.places < 0.03


@pytest.mark.parametrize("kind", STRAYS)
def test_a_stray_like_on_the_made_up_network(network: Network, kind: str) -> None:
    made_up = MadeUp(network)
    try:
        made_up.add()
        changed = changed_by_a_stray(made_up, kind, readers=15, each=2)
    finally:
        made_up.close()
    assert changed.size == 30
    assert changed.max() <= 6  # a fifth
    assert changed.mean() <= 1.5


def test_however_many_join_they_add_less_than_the_bound() -> None:
    """A post that the head does not like gets at most `tail_base` times the head's mean weight, from any number."""
    raws = []
    for accounts in (10, 100, 500):
        world, posts, rated = town()
        pushed = world.post(1999, NOW_US - 600 * US_PER_S)
        mine = [(post, at_us) for person, post, at_us in rated if person == READER]
        chance = Random(6)
        for account in SHILLS[:accounts]:
            rated += [(account, post, at_us - US_PER_S) for post, at_us in chance.sample(mine, 6)]
            rated += [(account, pushed, NOW_US - 300 * US_PER_S)]
            rated += [(account, post, NOW_US - 200 * US_PER_S) for post in chance.sample(posts[1200:], 60)]
        world.rate(sorted(rated, key=lambda r: r[2]))
        seeds, times = world.view.likes_of(READER, 500)
        q = request(NOW_US, reader=READER, seeds=seeds, seed_times=times, excluded=seeds)
        f = replace(DEFAULT, head=5, tail=1.0, tail_base=2.0).formula()
        found = rank(world.view, f, q)
        scratch = scratch_for(f)
        assert not set(scratch.asked[:5].tolist()) & set(SHILLS)
        raws.append(float(found.floats[found.posts.tolist().index(pushed), R_RAW]) / scratch.asked_weights[:5].mean())
    assert raws[0] < raws[1] < raws[2] < 2.0
