"""Identifiers made by the thousand are those that `core.ids` and the standard library would make."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgen.core.ids import int_to_tid, is_plc
from feedgen.simnet import text

MOMENTS = st.lists(st.integers(0, 7_000_000_000_000_000), min_size=1, max_size=30)


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.integers(0, (1 << 63) - 1), min_size=1, max_size=30))
def test_tids(values: list[int]) -> None:
    assert text.tids(np.array(values, np.int64)) == [int_to_tid(value) for value in values]


@settings(deadline=None)
@given(MOMENTS)
def test_times(moments: list[int]) -> None:
    def iso(us: int) -> str:
        return f"{datetime.fromtimestamp(us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}.{us % 1_000_000:06d}"

    assert text.iso_ms(np.array(moments)) == [iso(us)[:-3] + "Z" for us in moments]
    assert [text.iso_us(us) for us in moments] == [iso(us) + "Z" for us in moments]


@settings(deadline=None)
@given(st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=30, unique=True))
def test_cids_are_distinct_and_stay(keys: list[int]) -> None:
    made = text.cids(np.array(keys, np.uint64))
    assert made == text.cids(np.array(keys, np.uint64))
    assert len(set(made)) == len(keys)
    assert {len(cid) for cid in made} == {59}


@given(st.integers(0, (1 << 63) - 1), st.integers(0, 10_000))
def test_one_die_or_many(value: int, salt: int) -> None:
    assert text.mix(np.array([value]), salt).tolist() == [text.mix1(value, salt)]
    assert 0 <= text.unit(text.mix(np.array([value]), salt))[0] < 1


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 30))
def test_dids(seed: int, index: int) -> None:
    assert is_plc(text.plc(seed, index))
