"""The ranking's parameters as a page shows them, and as its address says them: a preset, and what differs from it.

An address has `a=foryou&a.window=4` for the first setting and `b=...` for the one beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from feedgen.core.parameters import ALIKE, LIKES, NOW, POST, WORK, table
from feedgen.rank.params import PRESETS, RankParams

SERVED: Final = "served"
MAX_NOTES: Final = 10  # on what an address says that means nothing
MOST: Final = {"edges": 4_000_000.0}  # of the sliders; a list must not take seconds
ABOUT_PRESETS: Final = {
    SERVED: "as this feed is served now",
    "default": "the best that we measured",
    "foryou": "the formula as published by the best known peer",
    "cheap": "a tenth of the work, for busy moments",
}
GROUPS: Final = {
    group: tuple(one.name for one in table() if one.group == group) for group in (NOW, POST, LIKES, ALIKE, WORK)
}


class Setting(NamedTuple):
    """`changes` are what differs from the preset; `notes` say what of the address was not taken as it stands."""

    preset: str
    changes: dict[str, float]
    params: RankParams
    notes: tuple[str, ...] = ()

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
    known, notes = presets(served), list[str]()
    asked = query.get(column, "")
    name = asked if asked in known else SERVED
    if asked and asked not in known:
        notes.append(f"there is no preset {shortened(asked)}")
    names = {f"{column}.{entry.name}" for entry in table()}
    notes += [f"there is no {shortened(key)}" for key in query if key.startswith(f"{column}.") and key not in names]
    base, changes = known[name], dict[str, float]()
    if query.get(f"was.{column}", name) == name:  # a form sends all numbers; of another preset they mean nothing
        for entry in table():
            text = query.get(f"{column}.{entry.name}")
            given = _number(text)
            if given is None:
                if text:
                    notes.append(f"{column}.{entry.name} is no number")
                continue
            value = min(max(given, entry.low), MOST.get(entry.name, entry.high))
            if value != given:
                notes.append(f"{column}.{entry.name} counts as {value:g}")
            value = round(value) if entry.whole else value
            if not math.isclose(value, getattr(base, entry.name)):
                changes[entry.name] = value
    merged: dict[str, Any] = changes
    params = replace(base, **merged)
    if params.edges > MOST["edges"]:
        params = replace(params, edges=int(MOST["edges"]))
    return Setting(name, changes, params, tuple(notes[:MAX_NOTES]))


def sliders(settings: Mapping[str, Setting], served: RankParams) -> dict[str, list[Slider]]:
    """By group, in the order of the page."""
    known, groups = presets(served), dict[str, list[Slider]]()
    for group in GROUPS:
        groups[group] = [
            Slider(
                name=one.name,
                title=one.name.replace("_", " ").capitalize(),
                letter=one.letter,
                meaning=one.meaning,
                effect=one.effect,
                unit="" if one.unit in ("share", "power") else one.unit,
                low=one.low,
                high=MOST.get(one.name, one.high),
                step=1 if one.whole else 0.01,
                presets=" ".join(f"{getattr(params, one.name):g}" for params in known.values()),
                values={column: getattr(each.params, one.name) for column, each in settings.items()},
                changed=any(one.name in each.changes for each in settings.values()),
            )
            for one in table()
            if one.group == group
        ]
    return groups


def address(path: str, **query: str) -> str:
    return f"{path}?{urlencode(query)}" if query else path


def shortened(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
