"""What counts of readers tell, and how sure that is. Readers are the independent unit: what one reader does with a
hundred posts is one observation, not a hundred. Pure arithmetic.

Rates are ratios of sums (likes of all readers by posts seen by all readers). Their error is that of the linearised
ratio, y - R x for each reader, with Student's t.

Two groups are compared by a permutation test: readers were dealt out at random, so if it made no difference, any other
deal would have been as likely, and p is the share of deals that differ as much. It supposes nothing of how likes are
spread (most readers like nothing, a few like hundreds), and needs no tables. The statistic is the difference by its
error, so that it also holds where one group scatters more than the other.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

CONFIDENCE: Final = 0.95
POWER: Final = 0.8  # of finding the difference that is looked for, once enough readers came
EARLY_P: Final = 0.001  # before that, only this counts (Haybittle and Peto), so that one may look every day
MIN_READERS: Final = 5  # who did it: with fewer, nobody can say how sure a rate is
PERMUTATIONS: Final = (999, 4999)
MAX_DRAWS: Final = 100_000_000  # readers times permutations
_NORMAL: Final = NormalDist()


class Interval(NamedTuple):
    value: float
    low: float
    high: float


class Sums(NamedTuple):
    """Of pairs (x, y), one a reader: all that rates and their errors need. They add up."""

    n: int = 0
    x: float = 0.0
    y: float = 0.0
    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0
    did: int = 0  # readers with any y

    def __add__(self, other: tuple[object, ...]) -> Sums:
        assert isinstance(other, Sums)
        return Sums(*(a + b for a, b in zip(self, other, strict=True)))  # type: ignore[arg-type]

    @property
    def rate(self) -> float:
        return self.y / self.x if self.x else 0.0

    @property
    def error(self) -> float:
        """The standard error of the rate."""
        if self.n < 2 or not self.x:
            return math.inf
        rate = self.rate
        squares = max(0.0, self.yy - 2 * rate * self.xy + rate * rate * self.xx)
        return math.sqrt(self.n / (self.n - 1) * squares) / self.x


def sums_of(x: F64, y: F64) -> Sums:
    return Sums(
        n=x.size,
        x=float(x.sum()),
        y=float(y.sum()),
        xx=float(x @ x),
        xy=float(x @ y),
        yy=float(y @ y),
        did=int((y > 0).sum()),
    )


def interval(sums: Sums, per: float = 1.0) -> Interval | None:
    """The rate, `per` so many x; None when too few readers did it."""
    if sums.did < MIN_READERS:
        return None
    half = student((1 + CONFIDENCE) / 2, sums.n - 1) * sums.error
    return Interval(per * sums.rate, per * max(0.0, sums.rate - half), per * (sums.rate + half))


def student(p: float, freedom: int) -> float:
    """Quantile of Student's t by its expansion around the normal one; off by less than 1% from 4 degrees on."""
    z = _NORMAL.inv_cdf(p)
    terms = (z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return sum(term / float(freedom) ** i for i, term in enumerate(terms))


class Comparison(NamedTuple):
    """Of a group with the one it is measured by. `change` is relative: 0.1 is 10% more."""

    change: Interval
    p: float
    permutations: int
    needed: int  # readers of both, to find a difference of the wanted size
    readers: int

    @property
    def missing(self) -> int:
        return max(0, self.needed - self.readers)

    @property
    def verdict(self) -> str:
        if self.missing and self.p >= EARLY_P:
            return "too early to say"
        if self.p >= 1 - CONFIDENCE:
            return "no difference found"
        return "better" if self.change.value > 0 else "worse"


def compare(
    one: tuple[F64, F64], other: tuple[F64, F64], effect: float, comparisons: int = 1, seed: int = 1
) -> Comparison | None:
    """`other` beside `one`, each (x, y) by reader; None when there is nothing to compare yet. `effect` is the smallest
    relative change worth finding. With several `comparisons`, p is theirs together (Bonferroni).
    """
    a, b = sums_of(*one), sums_of(*other)
    if min(a.did, b.did) < MIN_READERS:
        return None
    error = math.hypot(a.error, b.error)
    half = student((1 + CONFIDENCE) / 2, min(a.n, b.n) - 1) * error
    difference = b.rate - a.rate
    change = Interval(*(value / a.rate for value in (difference, difference - half, difference + half)))
    p, permutations = _permuted(one, other, seed)
    z = _NORMAL.inv_cdf((1 + CONFIDENCE) / 2) + _NORMAL.inv_cdf(POWER)
    needed = math.ceil((a.n + b.n) * (z * error / (effect * a.rate)) ** 2)
    return Comparison(change, min(1.0, p * comparisons), permutations, needed, a.n + b.n)


def _permuted(one: tuple[F64, F64], other: tuple[F64, F64], seed: int) -> tuple[float, int]:
    """(p, how many permutations it was found with)."""
    x, y = (np.concatenate(pair) for pair in zip(one, other, strict=True))
    rows = np.stack([x, y, x * x, x * y, y * y], axis=1)
    n, of_one, all_ = x.size, one[0].size, rows.sum(axis=0)
    permutations = int(np.clip(MAX_DRAWS // n, *PERMUTATIONS))
    rng = np.random.default_rng(seed)
    drawn = np.stack([rows[rng.permutation(n)[:of_one]].sum(axis=0) for _ in range(permutations)])
    observed = abs(_statistic(rows[:of_one].sum(axis=0)[None], all_, of_one, n)[0])
    extreme = int((np.abs(_statistic(drawn, all_, of_one, n)) >= observed * (1 - 1e-12)).sum())
    return (extreme + 1) / (permutations + 1), permutations


def _statistic(group: F64, all_: F64, of_group: int, n: int) -> F64:
    """The difference of both rates by its error, for each row of sums of the first group."""
    a, b = group, all_ - group
    rates, variances = [], []
    for sums, count in ((a, of_group), (b, n - of_group)):
        x, y, xx, xy, yy = sums.T
        rate = y / x
        rates.append(rate)
        variances.append(count / (count - 1) * np.maximum(0, yy - 2 * rate * xy + rate * rate * xx) / (x * x))
    found: F64 = (rates[1] - rates[0]) / np.sqrt(variances[0] + variances[1])
    return found
