"""An arm of an experiment as one line of settings: `fresher 20% preset=foryou age_half_life=1.5`."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

ARM: Final = '"NAME SHARE%" and what differs, like "fresher 20% age_half_life=1.5" or "published 50% preset=foryou"'
MAX_NAME: Final = 24

_ARM: Final = re.compile(r"([a-z0-9][a-z0-9-]*) ([0-9]+(?:\.[0-9]+)?)%((?: [a-z_]+=\S+)*)")


class Arm(NamedTuple):
    """`share` in percent; `preset` is empty for that of [rank]; `changes` are texts, by parameter."""

    name: str
    share: float
    preset: str
    changes: dict[str, str]


def parse_arm(text: str) -> Arm | None:
    found = _ARM.fullmatch(" ".join(text.split()))
    if found is None or len(found[1]) > MAX_NAME or not 0 < float(found[2]) <= 100:
        return None
    pairs = [pair.partition("=") for pair in found[3].split()]
    changes = {name: value for name, _, value in pairs}
    return Arm(found[1], float(found[2]), changes.pop("preset", ""), changes) if len(changes) == len(pairs) else None


def check_arm(text: str) -> str:
    return "" if parse_arm(text) is not None else ARM
