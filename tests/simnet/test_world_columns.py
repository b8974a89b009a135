"""The world's memory against lists, sets and dictionaries."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feedgen.simnet.columns import Keys, Rings, Table

NUMBERS = st.lists(st.integers(0, 60), max_size=20)


@given(st.lists(st.tuples(NUMBERS, st.integers(0, 40)), max_size=12))
def test_keys_are_a_set(steps: list[tuple[list[int], int]]) -> None:
    keys, model = Keys(), set[int]()
    for added, floor in steps:
        new = sorted(set(added) - model)
        keys.add(np.array(new, np.int64))
        model.update(new)
        if floor > 30:
            keys.drop_below(floor)
            model = {key for key in model if key >= floor}
        asked = np.arange(-2, 70)
        assert keys.contains(asked).tolist() == [key in model for key in asked.tolist()]
    assert len(keys) == len(model)


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1000)), max_size=15), max_size=8))
def test_rings_keep_the_newest(batches: list[list[tuple[int, int]]]) -> None:
    rings, model = Rings(4, 5), [list[int]() for _ in range(4)]
    for batch in batches:
        rings.add(np.array([key for key, _ in batch], np.int64), np.array([value for _, value in batch], np.int64))
        for key, value in batch:
            model[key].append(value)
        for key in range(4):
            newest = model[key][-5:][::-1]
            depth = max(len(newest), 1)
            picked = rings.pick(np.full(7, key), np.arange(7.0))
            assert picked.tolist() == [newest[back % depth] if newest else -1 for back in range(7)]


@given(st.lists(st.integers(0, 900), max_size=8))
def test_tables_only_grow(lengths: list[int]) -> None:
    table, model = Table(a=np.int64, b=np.dtype((np.float32, 2))), list[int]()
    for n in lengths:
        rows = table.add(n, a=np.arange(n))
        assert (rows.start, rows.stop) == (len(model), len(model) + n)
        model += range(n)
        assert table["a"].tolist() == model
        assert table["b"].shape == (len(model), 2)
        assert not table["b"].any()
