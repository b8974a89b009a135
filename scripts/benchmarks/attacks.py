"""What strangers, and one stray like, do to lists on a made-up network: with the formula's bounds, and without.

Some hundred accounts push the posts of one author. Each first does something to look like a friend of everybody:

    everything  likes the whole day's posts, thousands of them
    at once     likes popular posts soon after they came, and the author's within seconds
    patiently   the same, but the author's minutes later, as a person would

They know which posts will be popular, which no real attacker does. `attacks.*_unbounded` is the formula without head
and tail (`params.py`), the plain name is what is served, `*_caught` that after a look for spammers: the share of
readers who get a pushed post among their first 30. `*_scorer` is that with a scorer trained on the attacked network,
attackers among those whom it learned from, and `*_scorer_caught` after the look; it serves here even where the guard
rails would not let it. A stray like is one more of a post that the reader would hardly
like, at this moment, by readers with a hundred seeds: how many of their first 30 posts are then others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.core.parameters import MAX_COLIKERS
from feedgen.graph.access import I64, U32
from feedgen.ingest.events import SPAMMY
from feedgen.learn.training import fitted
from feedgen.rank.kernel import rank
from feedgen.rank.params import DEFAULT, HOUR_US, RankParams
from feedgen.rank.request import Request, request
from feedgen.rank.scorer import Scorer, learned
from feedgen.rank.spam import Spammers
from feedgen.simnet.world import World
from scripts.benchmarks import Figure, Params
from scripts.benchmarks._made_up import MadeUp
from scripts.benchmarks.replay import Pupil

PARAMETERS = {
    "people": 1200,
    "readers": 60,
    "seed": 7,
    "camouflage": 40,  # likes of each account for popular posts
    "popular": 300,  # out of so many of the most liked
    "strays": 3,  # for each reader and kind
}
WAYS: Final = ("everything", "at once", "patiently")
ACCOUNTS: Final = (5, 20, 50, 100, 200, 500)
START_US: Final = 20_400 * US_PER_DAY
TODAY_US: Final = START_US + 2 * US_PER_DAY
PUSHED: Final = 8  # posts of one author
FIRST: Final = 30
EXAMPLES_OF: Final = 150  # people drawn each time
LEARNED_US: Final = 30 * HOUR_US  # before now
LEARN_EVERY_US: Final = 3 * HOUR_US
SEEDS: Final = 100
UNBOUNDED: Final = replace(DEFAULT, head=MAX_COLIKERS)
STRAYS: Final = {"rare": (2, 5), "known": (15, 40)}  # likes of the stray post: from, to


class Reach(NamedTuple):
    """Shares of readers who meet a pushed post, and of all places in their first 30 that pushed posts take."""

    unbounded: float
    served: float
    caught: float
    places_unbounded: float
    places: float
    scorer: float
    scorer_caught: float
    rows: int  # that the scorer learned from


def run(params: Params) -> Iterable[Figure]:
    world = made_up_day(int(params["people"]), int(params["seed"]))
    readers = int(params["readers"])
    for way in WAYS:
        for accounts in ACCOUNTS if way == "patiently" else ACCOUNTS[-1:]:
            found = reach(world, way, accounts, readers, int(params["camouflage"]), int(params["popular"]))
            name = f"attacks.{way.replace(' ', '_')}_{accounts}"
            yield Figure(f"{name}_unbounded", found.unbounded, "share", f"{found.places_unbounded:.1%} of places")
            yield Figure(name, found.served, "share", f"{found.places:.1%} of places")
            yield Figure(f"{name}_caught", found.caught, "share")
            yield Figure(f"{name}_scorer", found.scorer, "share", f"trained on {found.rows:,} rows")
            yield Figure(f"{name}_scorer_caught", found.scorer_caught, "share")
    yield from _strays(world, readers, int(params["strays"]))


def made_up_day(people: int, seed: int) -> World:
    """A day of a made-up network, and what happened while it warmed up."""
    world = World(seed, people, TODAY_US, events_per_person_day=60)
    for _ in world.events(TODAY_US + US_PER_DAY - US_PER_S):
        pass
    return world


# --- accounts that work together


def reach(world: World, way: str, accounts: int, readers: int, camouflage: int = 40, popular: int = 300) -> Reach:
    boss = _pushed_posts(world)
    made_up, pupil = MadeUp(world), Pupil(EXAMPLES_OF)
    people, f = world.n_people + accounts, DEFAULT.formula()
    stops = list(range(world.now_us - LEARNED_US, world.now_us, LEARN_EVERY_US))
    try:
        attack = _collude(world, boss, way, accounts, camouflage, popular)
        made_up.add(*attack, stops, lambda now_us: pupil.turn(made_up.graph.view(), people, f, now_us))
        blocks = [block.thin() for block in pupil.blocks]
        scorer = fitted(blocks).scorer()
        pushed = set(made_up.number_of[boss].tolist())
        unbounded, places_unbounded = _met(made_up, pushed, UNBOUNDED, readers)
        served, places = _met(made_up, pushed, DEFAULT, readers)
        scored, _ = _met(made_up, pushed, DEFAULT, readers, scorer)
        made_up.graph.set_spammers(Spammers().look(made_up.graph.view(), world.now_us))
        flagged = np.flatnonzero(made_up.graph.view().arrays.person_flags[: world.n_people + accounts] & SPAMMY)
        assert (flagged >= world.n_people).all(), "somebody honest was taken for a spammer"
        caught, _ = _met(made_up, pushed, DEFAULT, readers)
        scorer_caught, _ = _met(made_up, pushed, DEFAULT, readers, scorer)
        rows = sum(block.rows for block in blocks)
        return Reach(unbounded, served, caught, places_unbounded, places, scored, scorer_caught, rows)
    finally:
        made_up.close()


def _pushed_posts(world: World) -> NDArray[np.intp]:
    """The newest posts of who wrote the most today."""
    authors, us = world.post_column("author"), world.post_column("us")
    plain = (world.post_column("parent") < 0) & (us > world.now_us - 20 * HOUR_US) & (us < world.now_us - HOUR_US)
    busiest = int(np.bincount(authors[plain], minlength=world.n_people).argmax())
    return np.flatnonzero(plain & (authors == busiest))[-PUSHED:]


def _collude(
    world: World, boss: NDArray[np.intp], way: str, accounts: int, camouflage: int, popular: int
) -> tuple[U32, I64, I64]:
    """(who, which post, when) of all that they like."""
    chance, us, likes = np.random.default_rng(3), world.post_column("us"), world.post_column("likes")
    today = np.flatnonzero(us >= TODAY_US)
    loved = today[np.argsort(-likes[today], kind="stable")[:popular]]
    who, what, when = [], [], []
    for account in range(accounts):
        if way == "everything":
            others, boss_after_s = chance.choice(today, min(3200, today.size), replace=False), 300
        else:
            others = chance.choice(loved, min(camouflage, loved.size), replace=False)
            boss_after_s = 3 if way == "at once" else 300 + account
        posts = np.concatenate([others, boss])
        who.append(np.full(posts.size, world.n_people + account, np.uint32))
        what.append(posts)
        when.append(us[posts] + np.where(np.isin(posts, boss), boss_after_s, 120) * US_PER_S)
    return np.concatenate(who), np.concatenate(what), np.concatenate(when)


def _met(
    made_up: MadeUp, pushed: set[int], params: RankParams, readers: int, scorer: Scorer | None = None
) -> tuple[float, float]:
    view, world = made_up.graph.view(), made_up.world
    met = []
    for reader in world.sample_readers(readers, min_likes=20):
        seeds, times = view.likes_of(reader, 500)
        q = request(world.now_us, reader=reader, seeds=seeds, seed_times=times, excluded=seeds)
        met.append(len(pushed & set(_first(made_up, params, q, scorer))))
    return float(np.mean(np.array(met) > 0)), float(np.mean(met)) / FIRST


def _first(made_up: MadeUp, params: RankParams, q: Request, scorer: Scorer | None = None) -> list[int]:
    view, f = made_up.graph.view(), params.formula()
    posts: list[int] = learned(view, f, q, rank(view, f, q), scorer).posts[:FIRST].tolist()
    return posts


# --- one stray like


def _strays(world: World, readers: int, each: int) -> Iterator[Figure]:
    made_up = MadeUp(world)
    try:
        made_up.add()
        for kind in STRAYS:
            changed = changed_by_a_stray(made_up, kind, readers, each)
            note = f"of {FIRST}, {SEEDS} seeds, {changed.size} strays"
            yield Figure(f"attacks.stray_{kind}_mean", float(changed.mean()), "posts", note)
            yield Figure(f"attacks.stray_{kind}_max", float(changed.max()), "posts")
            for least in range(1, 7):
                share = float(np.mean(changed >= least))
                yield Figure(f"attacks.stray_{kind}_{least}_or_more", share, "share")
    finally:
        made_up.close()


def changed_by_a_stray(made_up: MadeUp, kind: str, readers: int, each: int) -> I64:
    """By reader and stray: how many of the first 30 posts were not there before."""
    world, view, chance = made_up.world, made_up.graph.view(), np.random.default_rng(4)
    likes, us = world.post_column("likes"), world.post_column("us")
    least, most = STRAYS[kind]
    fresh = (us > world.now_us - 20 * HOUR_US) & (us < world.now_us - HOUR_US) & (world.post_column("parent") < 0)
    pool = np.flatnonzero(fresh & (likes >= least) & (likes < most))
    busy = [r for r in world.sample_readers(8 * readers, min_likes=SEEDS) if view.likes_of(r, SEEDS)[0].size == SEEDS]
    changed = []
    for reader in busy[:readers]:
        liking = world.like_chances(reader, pool.tolist())
        for row in chance.choice(pool[liking <= np.quantile(liking, 0.2)], each):
            changed.append(_changed(made_up, reader, int(made_up.number_of[row])))
    return np.array(changed, np.int64)


def _changed(made_up: MadeUp, reader: int, stray: int) -> int:
    view, now_us = made_up.graph.view(), made_up.world.now_us
    seeds, times = view.likes_of(reader, SEEDS)
    excluded = np.append(view.likes_of(reader, 3000)[0], np.uint32(stray))
    before = request(now_us, reader=reader, seeds=seeds, seed_times=times, excluded=excluded)
    after = request(
        now_us,
        reader=reader,
        seeds=np.insert(seeds, 0, np.uint32(stray)),
        seed_times=np.insert(times, 0, now_us),
        seed_listed=np.insert(np.ones(SEEDS, np.uint8), 0, 0),
        excluded=excluded,
    )
    return len(set(_first(made_up, DEFAULT, after)) - set(_first(made_up, DEFAULT, before)))
