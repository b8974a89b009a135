"""What is told of a post is what was reckoned: the terms' product is the score, and the score the oracle's."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import HealthCheck, given, settings

from feedgen.core.ids import NO_POST
from feedgen.rank.params import RankParams
from feedgen.rank.request import Request
from feedgen.rank.why import absent, explain
from tests.rank.oracle import Oracle
from tests.rank.test_kernel import cases
from tests.rank.world import World


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(cases())
def test_the_terms_make_the_oracles_score(case: tuple[World, RankParams, Request]) -> None:
    world, params, q = case
    f = params.formula()
    expected = Oracle(world.view, f, q).rank()
    for place, (post, score) in enumerate(expected, 1):
        why = explain(world.view, f, q, post)
        assert why is not None
        assert (why.place, why.of, why.score) == (place, len(expected), score)
        assert math.isclose(math.prod(why.terms.values()), score, rel_tol=1e-12)
        assert why.people > 0 and why.age_us >= 0
    best = {post for post, _ in expected}
    for post in np.unique(q.seeds).tolist():
        if post not in best:
            assert explain(world.view, f, q, post) is None and absent(world.view, q, post)
    assert absent(world.view, q, NO_POST) == "the post is not known here"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(cases())
def test_shared_likes_are_those_of_people_who_led_there(case: tuple[World, RankParams, Request]) -> None:
    world, params, q = case
    f, view = params.formula(), world.view
    for post, _ in Oracle(view, f, q).rank()[:5]:
        why = explain(view, f, q, post)
        assert why is not None
        likers = view.likers_of(post, 1000)[0]
        for seed, people in why.seeds:
            assert seed in q.seeds
            assert 0 < people <= len(np.intersect1d(view.likers_of(seed, 1000)[0], likers))
        assert [n for _, n in why.seeds] == sorted((n for _, n in why.seeds), reverse=True)
