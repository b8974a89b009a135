"""What a scorer looks at and does, against slow and obvious Python."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from feedgen.rank.features import (
    AGE,
    BEST,
    FAST,
    FEATURES,
    HEAD,
    LEAST,
    LIKES,
    PATHS,
    RANK,
    SCORE,
    SLOW,
    SUM,
    SUM_FAST,
    SUM_PLAIN,
    SUM_SHARED,
    SUM_SLOW,
    features,
)
from feedgen.rank.kernel import rank
from feedgen.rank.numeric import F64
from feedgen.rank.params import DEFAULT, Formula, RankParams, decay_tables
from feedgen.rank.request import R_BEST, R_COUNT, R_LEARNED, R_PATHS, R_POST, R_RAW, R_SCORE, R_TIME, Request
from feedgen.rank.scorer import DEPTH, NODES, SPLITS, VOUCHED, Key, Scorer, Trees, key_of, learned, parts_of, rescore
from feedgen.rank.why import explain
from tests.rank.oracle import Oracle
from tests.rank.test_kernel import cases, crowded
from tests.rank.world import World

SLOWLY = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
COARSE = 0.03  # ages are taken in steps of a 32nd of a halving, of logarithms that are not quite straight


def relative(sums: dict[int, float], posts: list[int]) -> list[float]:
    most = max(sums.get(post, 0.0) for post in posts)
    return [math.log(max(sums.get(post, 0.0) / most, LEAST)) for post in posts]


def other_sums(world: World, f: Formula, q: Request, like: float | None, e: float, b: float) -> dict[int, float]:
    """The sums of the oracle, of people weighed otherwise, or with likes that fade otherwise."""
    oracle = Oracle(world.view, f, q)
    oracle.ask_given_people()
    oracle.ask_seeds()
    people = list[tuple[int, float]]()
    for person, w in oracle.choose_colikers():
        ratings = max(float(world.people.ratings[person]) + f.n.ratings_floor, 1.0)
        if e and w > 0:
            liked = (w * ratings**f.n.ratings_power) ** (1 / f.n.shared_power)
            w = liked**e / ratings ** (f.n.ratings_power if b < 0 else b)
        people.append((person, max(w, 0.0)))
    if like is not None and f.n.like_half_life:
        oracle.f = f._replace(like=decay_tables(round(like * f.n.pace_us)))
    return {post: raw for post, (raw, _) in oracle.ask_colikers(people).items()}


@SLOWLY
@given(cases())
def test_features_are_what_they_are_called(case: tuple[World, RankParams, Request]) -> None:
    world, params, q = case
    f = params.formula()
    ranked = rank(world.view, f, q)
    x = features(world.view, f, q, ranked)
    assert x.shape == (len(ranked.ints), FEATURES) and np.isfinite(x).all()
    if not len(x):
        return
    posts = ranked.posts.tolist()
    for column, like, e, b in ((SUM_SLOW, SLOW, 0, 0), (SUM_PLAIN, None, 1, -1), (SUM_SHARED, None, 1.5, 0.5)):
        sums = other_sums(world, f, q, like, e, b)
        exact = 1e-9 if column != SUM_SLOW else COARSE
        assert x[:, column] == pytest.approx(relative(sums, posts), abs=exact)
    halvings = f.n.like_half_life / FAST / 32 + 1  # what a coarse step is of the fast half-life
    fast = relative(other_sums(world, f, q, FAST, 0, 0), posts)
    assert (np.abs(x[:, SUM_FAST] - fast) < halvings * math.log(2) * 2).all()
    assert x[:, SCORE] == pytest.approx(relative(dict(zip(posts, ranked.scores.tolist(), strict=True)), posts))
    assert x[:, SUM].max() == 0.0
    for i, row in enumerate(ranked.ints.tolist()):
        assert x[i, LIKES] == pytest.approx(math.log(max(row[R_COUNT], 1)))
        assert x[i, PATHS] == pytest.approx(math.log(row[R_PATHS]))
        assert x[i, AGE] == pytest.approx(math.log(1 + max(q.now_us - row[R_TIME], 0) / f.n.pace_us))
        assert x[i, RANK] == pytest.approx(math.log(i + 1))
        assert x[i, BEST] == pytest.approx(ranked.floats[i, R_BEST] / ranked.floats[i, R_RAW])


def trees(chance: np.random.Generator, count: int) -> Trees:
    """Whose inner values are the means of two children, as training has them."""
    values = np.empty((count, NODES))
    values[:, SPLITS:] = chance.normal(size=(count, NODES - SPLITS))
    for node in range(SPLITS - 1, -1, -1):
        values[:, node] = values[:, [2 * node + 1, 2 * node + 2]].mean(1)
    splits = chance.integers(0, FEATURES, count * SPLITS).astype(np.int32)
    return Trees(splits, chance.normal(size=count * SPLITS), values.ravel())


def a_scorer(chance: np.random.Generator, key: Key = (), of_trees: int = 5) -> Scorer:
    lows, highs = np.full(FEATURES, -2.0), np.full(FEATURES, 2.0)
    lows[SCORE], highs[SCORE] = math.log(LEAST), 0.0
    return Scorer(key, chance.normal(size=FEATURES), lows, highs, trees(chance, of_trees))


def plainly(scorer: Scorer, x: F64) -> list[float]:
    """The factors, row by row."""
    r, m = list[float](), list[float]()
    for row in x.tolist():
        kept = [min(max(v, lo), hi) for v, lo, hi in zip(row, scorer.lows, scorer.highs, strict=True)]
        total = kept[SCORE] + sum(w * v for w, v in zip(scorer.weights.tolist(), kept, strict=True))
        for tree in range(len(scorer.trees.features) // SPLITS):
            node = 0
            for _ in range(DEPTH):
                at = tree * SPLITS + node
                node = 2 * node + (2 if kept[scorer.trees.features[at]] > scorer.trees.thresholds[at] else 1)
            total += scorer.trees.values[tree * NODES + node]
        r.append(kept[SCORE])
        m.append(total)
    r_mean, m_mean = sum(r) / len(r), sum(m) / len(m)
    r_spread, m_spread = sum((v - r_mean) ** 2 for v in r), sum((v - m_mean) ** 2 for v in m)
    k = math.sqrt(r_spread / m_spread) if m_spread > r_spread else 1.0
    final = [a + (k * (b - m_mean) - (a - r_mean)) / 2 for a, b in zip(r, m, strict=True)]
    vouched = np.clip(x[:, HEAD], scorer.lows[HEAD], scorer.highs[HEAD]) >= VOUCHED
    left, least = set(range(len(final))), math.inf
    for place in range(len(final)):
        may = [row for row in left if vouched[row] or row <= place]
        row = max(may, key=lambda row: (final[row], -row))
        final[row] = least = min(least, final[row])
        left.remove(row)
    return [math.exp(b - a) for a, b in zip(r, final, strict=True)]


@pytest.mark.parametrize("of_trees", [0, 10])
def test_what_is_said_of_a_thousand_posts_adds_up_to_what_was_done(of_trees: int) -> None:
    chance, posts = np.random.default_rng(of_trees), 0
    while posts < 1000:
        x = chance.normal(size=(int(chance.integers(1, 301)), FEATURES)) * 3
        x[:, SCORE] = -np.sort(chance.exponential(size=len(x)))
        scorer = a_scorer(chance, of_trees=of_trees)
        found = rescore(scorer, x)
        assert found.factors == pytest.approx(plainly(scorer, x), rel=1e-9)
        assert parts_of(scorer, found).sum(1) == pytest.approx(np.log(found.factors), abs=1e-9)
        assert (found.held <= 1e-12).all()
        posts += len(x)


def test_the_formula_keeps_half_of_the_say_whatever_was_learned() -> None:
    chance = np.random.default_rng(3)
    for size in (1e-3, 1.0, 1e6):
        x = chance.normal(size=(300, FEATURES))
        x[:, SCORE], x[:, HEAD] = -np.sort(chance.exponential(size=300)), 1.0
        scorer = a_scorer(chance)._replace(weights=chance.normal(size=FEATURES) * size)
        said = np.log(rescore(scorer, x).factors) + x[:, SCORE] / 2  # what is not the formula's half
        assert said.std() <= x[:, SCORE].std() / 2 * (1 + 1e-9)
    nothing = Scorer((), np.zeros(FEATURES), *a_scorer(chance)[2:4])
    assert rescore(nothing, x).factors == pytest.approx(np.ones(300), abs=1e-12)


def test_what_only_the_tail_likes_comes_no_nearer_than_the_formula_has_it() -> None:
    chance, moved = np.random.default_rng(6), 0
    for _ in range(20):
        x = chance.normal(size=(200, FEATURES))
        x[:, SCORE], x[:, HEAD] = -np.sort(chance.exponential(size=200)), chance.integers(0, 2, 200)
        found = rescore(a_scorer(chance), x)
        final = x[:, SCORE] + np.log(found.factors)
        places = np.empty(200, int)
        places[np.lexsort((np.arange(200), -np.round(final, 9)))] = np.arange(200)
        of_tail = x[:, HEAD] < VOUCHED
        nearer = [int((final > final[row] + 1e-9).sum()) < row for row in np.flatnonzero(of_tail).tolist()]
        ties = [int((np.abs(final - final[row]) <= 1e-9).sum()) for row in np.flatnonzero(of_tail).tolist()]
        assert not any(is_nearer and n == 1 for is_nearer, n in zip(nearer, ties, strict=True))
        moved += int((places[~of_tail] < np.flatnonzero(~of_tail)).sum())
    assert moved > 100, "what the head vouches for does"


def test_what_is_larger_than_training_saw_counts_no_more_than_that() -> None:
    chance = np.random.default_rng(4)
    x, scorer = chance.normal(size=(50, FEATURES)), a_scorer(chance)
    x[:, SCORE] = -np.sort(chance.exponential(size=50))
    x[7, SUM_SLOW] = scorer.highs[SUM_SLOW]
    found = rescore(scorer, x).factors
    x[7, SUM_SLOW] = 1e12
    assert (rescore(scorer, x).factors == found).all()


def test_a_list_is_the_same_posts_in_another_order_and_why_adds_up() -> None:
    world, q = crowded()
    f = replace(DEFAULT, window=100.0).formula()
    plain = rank(world.view, f, q)
    scorer = a_scorer(np.random.default_rng(5), key_of(f))
    found = learned(world.view, f, q, rank(world.view, f, q), scorer)
    assert sorted(found.posts.tolist()) == sorted(plain.posts.tolist()) and len(plain.posts) > 10
    assert found.posts.tolist() != plain.posts.tolist()
    assert (np.diff(found.scores) <= 0).all()
    assert (found.floats[:, R_LEARNED] != 1.0).any()
    for place, post in enumerate(found.posts.tolist(), 1):
        why = explain(world.view, f, q, post, scorer)
        assert why is not None and why.place == place
        assert why.score == found.floats[place - 1, R_SCORE]
        assert math.prod(why.terms.values()) == pytest.approx(why.score, rel=1e-12)
        factor = why.terms["learned from everybody's likes"]
        assert sum(why.learned.values()) == pytest.approx(math.log2(factor), abs=1e-9)


def test_lists_that_are_made_otherwise_are_left_as_they_are() -> None:
    world, q = crowded()
    f = DEFAULT.formula()
    scorer = a_scorer(np.random.default_rng(5), key_of(replace(DEFAULT, colikers=999).formula()))
    ranked = rank(world.view, f, q)
    assert learned(world.view, f, q, ranked, scorer) is ranked
    assert learned(world.view, f, q, ranked, None) is ranked
    assert key_of(DEFAULT.formula(10**9)) == key_of(DEFAULT.formula(10**10))  # at any pace
    nothing = rank(world.view, f, q._replace(seeds=q.seeds[:0], seed_times=q.seed_times[:0]))
    assert not learned(world.view, f, q, nothing, scorer._replace(key=key_of(f))).ints[:, R_POST].size
