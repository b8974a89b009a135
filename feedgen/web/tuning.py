"""The ranking's parameters as a page shows them, and as its address says them: a preset, and what differs from it.

An address has `a=foryou&a.window=4` for the first setting and `b=...` for the one beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from feedgen.rank.params import PRESETS, RankParams, describe

SERVED: Final = "served"
MOST: Final = {"edges": 4_000_000.0}  # of the sliders; a list must not take seconds
ABOUT_PRESETS: Final = {
    SERVED: "as this feed is served now",
    "default": "the best that we measured",
    "foryou": "the formula as published by the best known peer",
    "cheap": "a tenth of the work, for busy moments",
}
GROUPS: Final[dict[str, tuple[str, ...]]] = {
    "What they like now": ("coliker_likes", "window", "like_half_life", "paths_power", "less_weight"),
    "The post itself": (
        "popularity_power",
        "age_half_life",
        "velocity_power",
        "velocity_half_life",
        "velocity_likers",
    ),
    "The reader's likes": ("seeds", "seed_days", "seed_newest", "seed_oldest", "seed_popularity", "seed_cap"),
    "Who counts as alike": (
        "colikers",
        "seed_likers",
        "shared_power",
        "ratings_power",
        "ratings_floor",
        "ratings_max",
        "coliker_share",
        "head",
        "tail",
        "tail_base",
        "late_hours",
        "late_factor",
    ),
    "How much work": ("finalists", "edges", "pace_hours"),
}


class Setting(NamedTuple):
    """`changes` are what differs from the preset."""

    preset: str
    changes: dict[str, float]
    params: RankParams

    def query(self, column: str = "a") -> dict[str, str]:
        """As an address says it."""
        found = {} if self.preset == SERVED and column == "a" else {column: self.preset}
        return found | {f"{column}.{name}": f"{value:g}" for name, value in self.changes.items()}


@dataclass(frozen=True, slots=True)
class Slider:
    name: str
    title: str
    letter: str
    meaning: str
    effect: str
    unit: str
    low: float
    high: float
    step: float
    presets: str  # the values of all presets, in their order
    values: dict[str, float]  # by column
    changed: bool


def presets(served: RankParams) -> dict[str, RankParams]:
    return {SERVED: served} | PRESETS


def setting(query: Mapping[str, str], column: str, served: RankParams) -> Setting:
    """What an address says; what is malformed or out of range counts as the nearest that is not."""
    known = presets(served)
    name = query.get(column, "")
    name = name if name in known else SERVED
    base, changes = known[name], dict[str, float]()
    if query.get(f"was.{column}", name) == name:  # a form sends all numbers; of another preset they mean nothing
        for entry in describe():
            value = _number(query.get(f"{column}.{entry.name}"))
            if value is None:
                continue
            value = min(max(value, entry.low), MOST.get(entry.name, entry.high))
            value = round(value) if entry.whole else value
            if not math.isclose(value, getattr(base, entry.name)):
                changes[entry.name] = value
    merged: dict[str, Any] = changes
    params = replace(base, **merged)
    if params.edges > MOST["edges"]:
        params = replace(params, edges=int(MOST["edges"]))
    return Setting(name, changes, params)


def sliders(settings: Mapping[str, Setting], served: RankParams) -> dict[str, list[Slider]]:
    """By group, in the order of the page."""
    entries, known = {entry.name: entry for entry in describe()}, presets(served)
    groups = dict[str, list[Slider]]()
    for group, names in GROUPS.items():
        groups[group] = [
            Slider(
                name=name,
                title=name.replace("_", " ").capitalize(),
                letter=entries[name].letter if len(entries[name].letter) == 1 else "",
                meaning=entries[name].meaning,
                effect=entries[name].effect,
                unit=entries[name].unit,
                low=entries[name].low,
                high=MOST.get(name, entries[name].high),
                step=1 if entries[name].whole else 0.01,
                presets=" ".join(f"{getattr(params, name):g}" for params in known.values()),
                values={column: getattr(one.params, name) for column, one in settings.items()},
                changed=any(name in one.changes for one in settings.values()),
            )
            for name in names
        ]
    return groups


def address(path: str, **query: str) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
