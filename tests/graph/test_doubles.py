"""Edges that are said more than once, against a plain count."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest

from feedgen.graph import doubles as module
from feedgen.graph.doubles import Doubles

NOT_ADDED = np.zeros(1, np.uint8)


def add(doubles: Doubles, actor: int, value: int, added: int = 0) -> None:
    doubles.add(np.array([actor], np.uint32), np.array([value], np.uint32), np.array([added], np.uint8))


def test_they_are_counted_wherever_they_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many times more than are kept beside the sorted ones, in any order, with people who go."""
    monkeypatch.setattr(module, "MAX_LATELY", 7)
    chance, doubles, more = Random(1), Doubles(), Counter[tuple[int, int]]()
    for _ in range(5_000):
        actor, value, dice = chance.randrange(20), chance.choice([0, 5, 0xFFFF_FFF0]), chance.random()
        if dice < 0.5:
            add(doubles, actor, value)
            more[actor, value] += 1
        elif dice < 0.99:
            assert doubles.take(actor, value) is (more[actor, value] > 0)
            more[actor, value] = max(0, more[actor, value] - 1)
        else:
            doubles.forget(actor)
            for pair in [pair for pair in more if pair[0] == actor]:
                del more[pair]
    assert len(doubles._pairs) > 20


def test_what_was_added_has_no_double() -> None:
    doubles = Doubles()
    add(doubles, 1, 2, added=1)
    assert doubles.take(1, 2) is False


def test_beyond_the_limit_an_edge_goes_with_its_first_record_and_nobody_looks_through_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_DOUBLES", 3)
    doubles, forgotten = Doubles(), module._forgotten.value()
    for value in range(4):
        add(doubles, 1, value)
    assert module._forgotten.value() == forgotten + 1
    assert [doubles.take(1, value) for value in range(4)] == [True, True, True, False]
    doubles.take_over(np.arange(5), np.ones(5, np.int64))
    assert [doubles.take(0, value) for value in range(5)] == [True, True, True, False, False]
