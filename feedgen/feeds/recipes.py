"""How a reader's lists are made: the operator's way, or that of the arm of an experiment which the reader is dealt to.

A reader's arm is a keyed hash of their DID and the experiment's name: the same at every visit and after a restart,
another deal for every experiment, and nobody without the key can tell or choose it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from feedgen.rank.params import PRESETS, Formula, RankParams, cheaper


@dataclass(frozen=True, slots=True)
class Recipe:
    """`preset` and `cheap_preset` are what the parameters are called; `arm` is `experiment/arm`, empty outside of
    experiments.
    """

    params: RankParams
    arm: str = ""
    cheap: RankParams = field(init=False)
    preset: str = field(init=False)
    cheap_preset: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cheap", cheaper(self.params))
        object.__setattr__(self, "preset", _name_of(self.params) or "own")
        object.__setattr__(self, "cheap_preset", _name_of(self.cheap) or f"{self.preset}, cheap")

    def formula(self, cheap: bool, pace_us: int) -> Formula:
        return (self.cheap if cheap else self.params).formula(pace_us)

    def called(self, cheap: bool) -> str:
        return self.cheap_preset if cheap else self.preset


def _name_of(params: RankParams) -> str | None:
    return next((name for name, known in PRESETS.items() if known == params), None)


class Share(NamedTuple):
    """One arm: its readers in percent of all, and how their lists are made."""

    percent: float
    recipe: Recipe


class Experiment:
    def __init__(self, name: str, arms: Sequence[Share], key: bytes) -> None:
        self._name, self._arms, self._key = name, tuple(arms), key

    def recipe(self, reader_did: str) -> Recipe | None:
        """That of the reader's arm; None for readers who are in none."""
        text = f"{self._name}\0{reader_did}".encode()
        drawn = int.from_bytes(hashlib.blake2b(text, digest_size=8, key=self._key).digest(), "big")
        left = drawn / 2**64 * 100
        for percent, recipe in self._arms:
            left -= percent
            if left < 0:
                return recipe
        return None
