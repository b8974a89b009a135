"""Benchmarks: `scripts/bench NAME` runs scripts/benchmarks/NAME.py.

A benchmark is a module with a docstring (its first line is shown), and

    PARAMETERS = {"events": 200_000}      # what `--set events=1000000` may change, with its default

    def run(params: Params) -> Iterable[Figure]:
        ...
        yield Figure("ingest.events_s", 61_000, "events/s")

Figures are printed as they come. A figure's name is unique over all benchmarks, and its unit is never left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Parameter = int | float | str | bool
Params = Mapping[str, Parameter]


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number; `note` is for the table only (what it was divided by, what it is to be compared with)."""

    name: str
    value: float
    unit: str
    note: str = ""
