"""The formula, and the presets of its parameters.

    seeds     the reader's newest `seeds` ratings;  w(p) = rank curve x likes(p)^-a, at most `seed_cap` times the mean
    co-liker  W(v) = [ sum of w over shared seeds (x late_factor if v came after them) ]^e / (ratings(v) + floor)^b
    post      head, rest = sums over the `head` best co-likers, and over all others, of W(v) x 0.5^(since v liked it /
              like_half_life);  most = tail x head + tail_base x mean W of the head
              raw = head + rest x most / (rest + most);  n = how many they were, of the rest as large a part as counted
    score     raw x n^c x 0.5^(age / age_half_life) x likes^-d x velocity^g,  less what "show less" paths bring

Half-lives are multiples of L, the median age of a post when it is liked: a network that lives faster is ranked faster.
`RankParams` is what people set (core/parameters.py says which parameter is which letter); `Formula` is the same with
every multiple of L made a time: what the kernel takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedgen.core.errors import SettingsError
from feedgen.core.ids import US_PER_S
from feedgen.core.parameters import Numbers, Parameters, numbers_of, table

HOUR_US: Final = 3600 * US_PER_S
DEFAULT_PACE_US: Final = 6 * HOUR_US  # L until enough likes were heard
MAX_LIST: Final = 500  # posts in one ranked list
VELOCITY_HALVINGS: Final = 16  # a rating that lost half its weight so often is not looked at for the velocity
DECAY_SHIFT: Final = 20  # ages are counted in 2^20 us, about a second
DECAY_SLOTS: Final = 400 * 322  # 400 days in steps of 2^28 us: more than an edge can be old


@dataclass(frozen=True, slots=True, kw_only=True)
class RankParams(Parameters):
    """All parameters of one list."""

    def formula(self, pace_us: int = DEFAULT_PACE_US) -> Formula:
        """These parameters at the network's pace L."""
        return _formula(self, round(self.pace_hours * HOUR_US) or quantised(pace_us))


class Decay(NamedTuple):
    """0.5^(age / half-life) = coarse[age >> 8] x fine[age & 255], the age in units of 2^20 us."""

    coarse: NDArray[np.float64]
    fine: NDArray[np.float64]


class Formula(NamedTuple):
    """What the kernel takes: numbers and tables (made with `math.pow`: the same bits on every machine)."""

    n: Numbers
    paths: NDArray[np.float64]  # n^c by n
    like: Decay
    velocity: Decay
    age: Decay


def quantised(pace_us: int) -> int:
    """L to the nearest sixteenth of an octave: small drifts must neither change lists nor rebuild tables."""
    return round(2 ** (round(math.log2(max(pace_us, US_PER_S)) * 16) / 16))


@lru_cache(maxsize=24)
def decay_tables(half_life_us: int) -> Decay:
    """A half-life of 0 never decays. Kept, because formulas with a few changed parameters share them: a megabyte
    each."""
    coarse, fine = np.ones(DECAY_SLOTS), np.ones(256)
    if half_life_us:
        unit = (1 << DECAY_SHIFT) / half_life_us
        # Past a thousand halvings the product is nothing, and denormal numbers are slow.
        n = min(DECAY_SLOTS, int(1000 / (unit * 256)) + 1)
        coarse[n:] = 0.0
        coarse[:n] = [math.pow(0.5, i * 256 * unit) for i in range(n)]
        fine[:] = [math.pow(0.5, i * unit) for i in range(256)]
    return Decay(coarse, fine)


@lru_cache(maxsize=24)
def _formula(p: RankParams, pace_us: int) -> Formula:
    numbers = numbers_of(
        p,
        round(p.seed_days * 24 * HOUR_US),
        round(p.late_hours * HOUR_US),
        round(p.window * pace_us),
        round(VELOCITY_HALVINGS * p.velocity_half_life * pace_us),
        pace_us,
    )
    return Formula(
        n=numbers,
        paths=np.array([0.0] + [math.pow(n, p.paths_power) for n in range(1, p.colikers + 1)]),
        like=decay_tables(round(p.like_half_life * pace_us)),
        velocity=decay_tables(round(p.velocity_half_life * pace_us)),
        age=decay_tables(round(p.age_half_life * pace_us)),
    )


DEFAULT: Final = RankParams()

# The published formula of the best known peer. What it leaves open (how many people are asked) is set generously.
_PUBLISHED: Final[dict[str, Any]] = {one.name: one.foryou for one in table() if one.foryou is not None}
FORYOU: Final = replace(DEFAULT, **_PUBLISHED)


def cheaper(p: RankParams) -> RankParams:
    """The same taste for at least ten times less work: for when requests start to queue."""
    caps: dict[str, Any] = {one.name: min(getattr(p, one.name), one.cheap) for one in table() if one.cheap is not None}
    return replace(p, **caps)


CHEAP: Final = cheaper(DEFAULT)

PRESETS: Final[dict[str, RankParams]] = {"default": DEFAULT, "foryou": FORYOU, "cheap": CHEAP}


def preset(name: str, **changes: float) -> RankParams:
    """A preset by name, with changes; an unknown name or value raises `SettingsError`."""
    if name not in PRESETS:
        raise SettingsError(f"rank.preset: {name!r} is not known", f"known: {', '.join(sorted(PRESETS))}")
    names = {one.name for one in table()}
    for key in changes:
        if key not in names:
            raise SettingsError(f"rank.{key}: there is no such parameter", f"known: {', '.join(sorted(names))}")
    merged: dict[str, Any] = changes
    return replace(PRESETS[name], **merged)
