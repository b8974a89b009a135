"""What an address says of the ranking, and what a page says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from feedgen.core.parameters import table
from feedgen.rank.params import DEFAULT, FORYOU, PRESETS
from feedgen.web.tuning import GROUPS, MAX_NOTES, MOST, SERVED, presets, setting, sliders

SERVED_HERE = replace(DEFAULT, seeds=321)


def test_every_parameter_is_in_one_group() -> None:
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(entry.name for entry in table())


def test_an_address_without_anything_is_what_is_served() -> None:
    found = setting({}, "a", SERVED_HERE)
    assert (found.preset, found.changes, found.params) == (SERVED, {}, SERVED_HERE)
    assert found.query() == {}


def test_a_setting_goes_into_an_address_and_comes_back() -> None:
    query = {"a": "foryou", "a.window": "4", "a.seeds": "100.4", "b": "cheap", "who": "x"}
    a, b = setting(query, "a", SERVED_HERE), setting(query, "b", SERVED_HERE)
    assert a.params == replace(FORYOU, window=4.0, seeds=100) and b.params == PRESETS["cheap"]
    assert setting(a.query("b"), "b", SERVED_HERE) == a
    assert a.query() == {"a": "foryou", "a.window": "4", "a.seeds": "100"} and b.query("b") == {"b": "cheap"}


@pytest.mark.parametrize("text", ["", "nan", "inf", "-inf", "1e999", "x", "0x10", "1_000" * 9, "٣"])
def test_what_is_no_number_counts_as_nothing_or_as_the_nearest(text: str) -> None:
    for entry in table():
        params = setting({f"a.{entry.name}": text}, "a", DEFAULT).params
        assert entry.low <= getattr(params, entry.name) <= entry.high


def test_out_of_range_is_the_nearest_and_work_stays_bounded() -> None:
    for entry in table():
        for text, bound in (("-1e9", entry.low), ("1e9", MOST.get(entry.name, entry.high))):
            assert getattr(setting({f"a.{entry.name}": text}, "a", DEFAULT).params, entry.name) == bound
    wild = replace(DEFAULT, edges=50_000_000)  # an operator may, but not strangers
    assert setting({}, "a", wild).params.edges == MOST["edges"]


def test_what_is_not_taken_as_it_stands_is_noted() -> None:
    query = {"a": "best", "a.window": "soon", "a.seeds": "1e9", "a.wnidow": "4", "b.other": "1", "who": "x"}
    notes = setting(query, "a", DEFAULT).notes
    assert notes[:2] == ("there is no preset best", "there is no a.wnidow") and "a.window is no number" in notes
    assert any(note.startswith("a.seeds counts as ") for note in notes) and len(notes) == 4
    assert setting({"a": "foryou", "a.window": "4"}, "a", DEFAULT).notes == ()
    many = {f"a.{n}{'x' * 100}": "1" for n in range(50)}
    assert len(setting(many, "a", DEFAULT).notes) == MAX_NOTES


def test_a_form_of_another_preset_sends_numbers_that_mean_nothing() -> None:
    query = {"a": "foryou", "was.a": "default", "a.window": "8"}
    assert setting(query, "a", DEFAULT).params == FORYOU
    assert setting(query | {"was.a": "foryou"}, "a", DEFAULT).params == replace(FORYOU, window=8.0)


def test_sliders_tell_all_presets() -> None:
    settings = {"a": setting({"a.window": "3"}, "a", SERVED_HERE), "b": setting({"b": "foryou"}, "b", SERVED_HERE)}
    found = {one.name: one for group in sliders(settings, SERVED_HERE).values() for one in group}
    assert found["window"].values == {"a": 3.0, "b": 12.0} and found["window"].changed
    assert not found["seeds"].changed
    assert found["seeds"].presets.split() == [f"{params.seeds:g}" for params in presets(SERVED_HERE).values()]
    assert found["seeds"].presets.startswith("321 ")
