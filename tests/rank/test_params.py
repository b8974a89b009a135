"""Parameters: documented, bounded, and the same bits everywhere."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.core import jit, parameters
from feedgen.core.errors import SettingsError
from feedgen.core.parameters import table
from feedgen.rank.params import CHEAP, DEFAULT, FORYOU, HOUR_US, PRESETS, RankParams, decay_tables, preset, quantised


def test_every_parameter_is_described() -> None:
    entries = list(table())
    assert [e.name for e in entries] == [f.name for f in fields(RankParams)]
    for e in entries:
        assert e.low <= e.default <= e.high, e.name
        assert len(e.meaning) > 15, e.name
        assert len(e.effect) > 10, e.name


@pytest.mark.parametrize("name", [f.name for f in fields(RankParams)])
def test_out_of_range_is_an_error_that_names_the_parameter(name: str) -> None:
    entry = next(e for e in table() if e.name == name)
    for wrong in (entry.low - 1, entry.high + 1, float("nan"), "5", True, None):
        with pytest.raises(SettingsError, match=name):
            RankParams(**{name: wrong})  # type: ignore[arg-type]


def test_presets_and_changes() -> None:
    assert preset("default") == DEFAULT
    assert preset("default", seeds=7).seeds == 7
    with pytest.raises(SettingsError, match="preset"):
        preset("best")
    with pytest.raises(SettingsError, match="no such"):
        preset("default", sedes=7)
    assert set(PRESETS) == {"default", "foryou", "cheap"}


def test_the_published_formula_is_in_hours_not_in_multiples_of_l() -> None:
    assert FORYOU.formula(HOUR_US).n.pace_us == FORYOU.formula(50 * HOUR_US).n.pace_us == 6 * HOUR_US


def test_cheap_may_visit_a_tenth_of_the_edges() -> None:
    for one in (CHEAP.seeds * CHEAP.seed_likers, CHEAP.colikers * CHEAP.coliker_likes, CHEAP.edges):
        assert one * 8 <= max(DEFAULT.seeds * DEFAULT.seed_likers, DEFAULT.edges)


@given(st.integers(HOUR_US // 60, 100 * HOUR_US), st.integers(0, 3000 * HOUR_US))
def test_decay_halves_every_half_life(half_life_us: int, age_us: int) -> None:
    t = decay_tables(half_life_us)
    age = age_us >> 20
    found = float(t.coarse[age >> 8] * t.fine[age & 255])
    expected = math.pow(0.5, (age << 20) / half_life_us)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-290)


def test_no_half_life_never_decays() -> None:
    t = decay_tables(0)
    assert set(t.coarse.tolist()) == set(t.fine.tolist()) == {1.0}


@given(st.integers(2_000_000, 10**13))
def test_pace_is_rounded_to_a_sixteenth_of_an_octave(pace_us: int) -> None:
    assert 0.97 < quantised(pace_us) / pace_us < 1.03
    assert quantised(quantised(pace_us)) == quantised(pace_us)


def test_compiled_code_that_takes_the_numbers_is_compiled_again_when_a_row_changes() -> None:
    """A row that moves changes no type, so only the hash of the table tells old machine code from new."""
    folder = Path(parameters.__file__).parents[1]
    users = [path for path in (folder / "rank").glob("*.py") if re.search(r": (Formula|Numbers)\b", path.read_text())]
    kernels = [path for path in users if jit.MARKS[0] in path.read_bytes()]
    assert len(kernels) >= 4
    for path in kernels:
        assert Path(parameters.__file__) in jit.sources_of(path), path
