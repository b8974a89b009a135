"""An experiment among readers whose truth is known, through all that it passes in the service."""

from __future__ import annotations

from scripts.benchmarks import experiment


def test_a_better_preset_is_found_and_an_equal_one_is_not_told_from_the_first() -> None:
    params = experiment.PARAMETERS | {
        "people": 800,
        "days": 2.0,
        "pages": 1,
        "control": "few seeds",
        "effect": 25.0,
        "deals": 60,
    }
    found = {figure.name.removeprefix("experiment."): figure for figure in experiment.run(params)}
    assert found["better_change"].value > 0 and ": better;" in found["better_change"].note
    assert ": no difference found;" in found["same_change"].note
    assert found["found_without_difference"].value < 15
