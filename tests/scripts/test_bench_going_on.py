"""The measurement of an event's cost in a folder that is filled goes on where it was, twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.benchmarks import going_on

SMALL = {"ratings": 250_000, "events": 3_000, "warm_up": 1_000, "steady_s": 1.0}


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    for _ in range(2):
        found = {figure.name: figure.value for figure in going_on.run({**SMALL, "folder": str(tmp_path)})}
        assert found["going_on.ratings"] >= 250_000
        assert found["going_on.cpu_us_per_event"] > 0 and found["going_on.steady_cpu_us_per_event"] > 0


def test_a_flood_that_is_over_is_said(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="events left"):
        list(going_on.run({**SMALL, "folder": str(tmp_path), "events": 10_000_000}))
