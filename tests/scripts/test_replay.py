"""The adapter for evaluations: a log of likes goes through the code that serves."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.benchmarks.replay import Recommender

START_S = 1_270_000_000
DAY_S = 86_400


def log(days: float, events: int = 3000, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Even users like even items."""
    chance = np.random.default_rng(seed)
    user = chance.integers(0, 60, events)
    item = (np.arange(events) * 400 // events // 2 + chance.integers(0, 30, events)) * 2 + user % 2
    ts = START_S + np.sort(chance.integers(0, round(days * DAY_S), events))
    return user, item, ts


@pytest.mark.parametrize("days", [3, 300])
def test_tastes_are_told_apart_however_long_the_log(days: int) -> None:
    user, item, ts = log(days)
    r, half = Recommender(), 1500
    r.ingest(user[:half], item[:half], ts[:half])
    r.ingest(user[half:], item[half:], ts[half:])
    for who in range(6):
        found = r.recommend(who, int(ts[-1]) + 1, 10)
        assert len(found) == len(set(found)) == 10
        assert {x % 2 for x in found} == {who % 2}
        assert not set(found) & set(item[user == who].tolist())


def test_nothing_is_known_of_the_future_or_of_strangers() -> None:
    user, item, ts = log(2)
    r = Recommender()
    r.ingest(user, item, ts)
    assert r.recommend(999, int(ts[-1]), 10) == []
    assert r.recommend(1, int(ts[0]), 10) == []
    r.ingest(user[:0], item[:0], ts[:0])


def test_the_same_log_gives_the_same_lists() -> None:
    lists = []
    for _ in range(2):
        r = Recommender()
        r.ingest(*log(4))
        lists.append([r.recommend(who, START_S + 4 * DAY_S, 50) for who in range(10)])
    assert lists[0] == lists[1]
