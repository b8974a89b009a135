"""People do what the truth says, and who reads only their likes can learn it."""

from __future__ import annotations

import numpy as np
import pytest

from feedgen.simnet.truth import Boredom
from feedgen.simnet.world import World

START_US = 1_790_000_000_000_000
DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def world() -> World:
    world = World(13, 900, START_US, events_per_person_day=45)
    for _ in world.events(START_US + 2 * DAY_US):
        pass
    return world


def test_asking_one_by_one_or_at_once_is_the_same(world: World) -> None:
    posts = world.posts_since(world.now_us - DAY_US)[:50]
    uris = world.post_uris(posts)
    at_once = world.like_chances(4, uris)
    assert at_once.tolist() == world.like_chances(4, posts.tolist()).tolist()
    assert at_once.tolist() == [world.like_chance(4, uri) for uri in uris]
    assert ((at_once >= 0) & (at_once < 1)).all()
    assert np.isnan(world.like_chances(4, ["at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/3jzfcijpj2z2a"]))[
        0
    ]
    with pytest.raises(KeyError):
        world.like_chance(4, "at://nothing")


def test_nobody_likes_their_own(world: World) -> None:
    own = np.flatnonzero(world.post_column("author") == 3)
    assert len(own)
    assert (world.like_chances(3, own.tolist()) == 0).all()


def test_who_is_said_to_like_more_does(world: World) -> None:
    """Among pairs that could have met, the share of likes grows with the chance."""
    rng = np.random.default_rng(1)
    posts = world.posts_since(START_US + DAY_US)
    who = rng.integers(0, world.n_people, 60_000)
    what = rng.choice(posts, 60_000)
    chances = world.truth.chances(who, what)
    liked = {i: set(world.liked(i).tolist()) for i in range(world.n_people)}
    did = np.array([post in liked[person] for person, post in zip(who.tolist(), what.tolist(), strict=True)])
    shares = [
        did[(chances >= low) & (chances < high)].mean()
        for low, high in ((0, 0.02), (0.02, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1.0))
    ]
    assert shares == sorted(shares)
    assert shares[-1] > 10 * shares[0]


def test_the_throw_is_as_often_below_the_chance_as_the_chance_says(world: World) -> None:
    rng = np.random.default_rng(2)
    who = rng.integers(0, world.n_people, 200_000)
    what = rng.choice(world.posts_since(START_US), 200_000)
    chances = world.truth.chances(who, what)
    below = world.truth.throws(who, what) < chances
    for low, high in ((0.1, 0.3), (0.3, 0.5), (0.5, 0.8)):
        rows = (chances >= low) & (chances < high)
        assert below[rows].mean() == pytest.approx(chances[rows].mean(), abs=0.03)


def test_every_like_is_one_that_the_throw_allows(world: World) -> None:
    for person in world.sample_readers(10):
        posts = world.liked(person)
        people = np.full(len(posts), person)
        assert (world.truth.throws(people, posts) < world.truth.chances(people, posts)).all()


def test_neighbours_know_more_than_popularity(world: World) -> None:
    """The simplest user-based neighbours, against what is popular, against the best there could be."""
    candidates = world.posts_since(world.now_us - DAY_US)
    candidates = candidates[world.post_column("parent")[candidates] < 0]
    n_posts = len(world.post_column("us"))
    likes = [world.liked(i) for i in range(world.n_people)]
    actors = np.repeat(np.arange(world.n_people), [len(posts) for posts in likes])
    posts = np.concatenate(likes)
    popularity = np.bincount(posts, minlength=n_posts)
    totals = np.maximum(np.bincount(actors, minlength=world.n_people), 1)
    best = neighbours = popular = chance = 0.0
    for reader in world.sample_readers(20):
        seeds = np.zeros(n_posts, np.bool_)
        seeds[likes[reader]] = True
        shared = np.bincount(actors[seeds[posts]], minlength=world.n_people) / np.sqrt(totals)
        shared[reader] = 0
        scores = np.bincount(posts, weights=shared[actors], minlength=n_posts)
        fresh = candidates[~seeds[candidates]]
        truth = world.like_chances(reader, fresh.tolist())
        best += np.sort(truth)[::-1][:30].sum()
        neighbours += truth[np.argsort(-scores[fresh], kind="stable")[:30]].sum()
        popular += truth[np.argsort(-popularity[fresh], kind="stable")[:30]].sum()
        chance += 30 * truth.mean()
    assert neighbours > 1.6 * popular
    assert popular > 1.5 * chance
    assert best > 1.2 * neighbours  # there is something left to win


def test_who_reads_more_of_the_same_likes_it_less(world: World) -> None:
    posts = world.posts_since(world.now_us - DAY_US)
    tired, never = Boredom(0.9, 0.5), Boredom(1.0, 1.0)
    chances = world.like_chances(4, posts.tolist())
    best = posts[np.argsort(-chances, kind="stable")[:30]]
    assert world.truth.page_value(4, best, never) == pytest.approx(float(np.sort(chances)[::-1][:30].sum()))
    assert world.truth.best_page(4, posts, 30, never) == best.tolist()
    assert world.truth.page_value(4, best, tired) < 0.8 * world.truth.page_value(4, best, never)
    page = world.truth.best_page(4, posts, 30, tired)
    assert world.truth.page_value(4, page, tired) > world.truth.page_value(4, best, tired)
    assert len(set(world.post_column("topic")[page].tolist())) > len(set(world.post_column("topic")[best].tolist()))
    twice = [int(best[0]), int(best[0])]
    assert world.truth.page_value(4, twice, tired) == pytest.approx(1.45 * float(chances.max()))
