"""Statistics held against what they promise: tables, coverage, and the errors that a test may make."""

from __future__ import annotations

import numpy as np
import pytest

from feedgen.feeds.trials import F64, Comparison, Interval, Sums, compare, interval, student, sums_of


def readers(rng: np.random.Generator, n: int, rate: float = 0.05) -> tuple[F64, F64]:
    """Posts seen and liked by readers who differ much, as readers do."""
    seen = rng.geometric(1 / 40, n)
    chance = np.minimum(1, rate * rng.gamma(0.5, 2.0, n))
    return seen.astype(float), rng.binomial(seen, chance).astype(float)


@pytest.mark.parametrize(
    ("p", "freedom", "table"),
    [(0.975, 4, 2.776), (0.975, 9, 2.262), (0.975, 30, 2.042), (0.975, 1000, 1.962), (0.95, 6, 1.943)],
)
def test_quantiles_are_those_of_the_tables(p: float, freedom: int, table: float) -> None:
    assert student(p, freedom) == pytest.approx(table, rel=0.01)


def test_sums_add_up() -> None:
    rng = np.random.default_rng(1)
    x, y = readers(rng, 100)
    whole, parts = sums_of(x, y), sums_of(x[:30], y[:30]) + sums_of(x[30:], y[30:])
    assert parts == pytest.approx(whole)
    assert whole.rate == pytest.approx(y.sum() / x.sum())


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    truth = sums_of(*readers(rng, 400_000)).rate
    held = 0
    for _ in range(500):
        found = interval(sums_of(*readers(rng, 200)), per=1000)
        assert found is not None
        held += found.low <= 1000 * truth <= found.high
    assert 0.90 < held / 500 < 0.98


def test_few_readers_tell_nothing() -> None:
    x, y = np.full(50, 30.0), np.zeros(50)
    assert interval(sums_of(x, y)) is None
    y[:4] = 3
    assert interval(sums_of(x, y)) is None
    assert compare((x, y), (x, y + 1), 0.1) is None
    y[4] = 1
    assert interval(sums_of(x, y)) is not None
    assert interval(Sums()) is None


def test_equal_groups_are_found_different_as_rarely_as_p_says() -> None:
    rng = np.random.default_rng(3)
    found = [compare(readers(rng, 60), readers(rng, 120), 0.1, seed=i) for i in range(200)]
    below = [sum(one.p < limit for one in found if one) / 200 for limit in (0.05, 0.5)]
    assert below[0] < 0.09 and 0.40 < below[1] < 0.60


def test_with_as_many_readers_as_it_asks_for_a_difference_is_found() -> None:
    rng = np.random.default_rng(4)
    first = compare(readers(rng, 2000), readers(rng, 2000), effect=0.3)
    assert first is not None
    each = first.needed // 2
    found = [compare(readers(rng, each), readers(rng, each, rate=0.065), effect=0.3) for _ in range(60)]
    assert 0.6 < sum(one is not None and one.p < 0.05 for one in found) / 60 < 0.95  # 80% by the sample size
    assert sum(one is not None and one.change.low <= 0.3 <= one.change.high for one in found) > 50


def test_several_comparisons_share_one_error() -> None:
    rng = np.random.default_rng(5)
    pair = readers(rng, 300), readers(rng, 300, rate=0.07)
    alone, one_of_three = compare(*pair, 0.1), compare(*pair, 0.1, comparisons=3)
    assert alone is not None and one_of_three is not None
    assert one_of_three.p == pytest.approx(min(1, 3 * alone.p)) and compare(*pair, 0.1) == alone


@pytest.mark.parametrize(
    ("p", "change", "missing", "verdict"),
    [
        (0.04, 0.2, 0, "better"),
        (0.04, -0.2, 0, "worse"),
        (0.06, 0.2, 0, "no difference found"),
        (0.04, 0.2, 10, "too early to say"),
        (0.0005, 0.2, 10, "better"),
    ],
)
def test_what_is_said_of_it(p: float, change: float, missing: int, verdict: str) -> None:
    found = Comparison(Interval(change, 0, 1), p, 4999, needed=100, readers=100 - missing)
    assert (found.missing, found.verdict) == (missing, verdict)
