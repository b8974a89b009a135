"""A learned order of the best posts: half of the formula's say stays, whatever was learned.

    m      = r + sum of weight x feature (+ trees);  r = log of the formula's score
    score  = formula x exp( (k m - r) / 2 ),  both about their means;  k = at most 1, so that m spreads no wider than r

A post that only the tail of the co-likers likes never comes nearer than the formula has it, whatever was learned: it is
what many accounts that agree a little could bring about. Features are kept within what training saw, so that no count,
however large, counts for more than it was tested with.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from feedgen.core.jit import inline, njit
from feedgen.core.parameters import table
from feedgen.graph.view import View
from feedgen.rank.features import HEAD, SCORE, features
from feedgen.rank.numeric import F64, I32
from feedgen.rank.params import Formula
from feedgen.rank.request import R_LEARNED, R_POST, R_SCORE, Ranked, Request

DEPTH: Final = 4  # of a tree
SPLITS: Final = (1 << DEPTH) - 1
VOUCHED: Final = 0.5  # of a post's sum, what the head must say besides its first to bring it nearer than the formula
NODES: Final = (1 << DEPTH + 1) - 1


class Trees(NamedTuple):
    """Complete binary trees, one after the other: node i leads to 2i + 1, and to 2i + 2 above the threshold."""

    features: I32  # `SPLITS` a tree
    thresholds: F64
    values: F64  # `NODES` a tree: the mean of what lies below; leaves are the last


Key = tuple[float, ...]

NO_TREES: Final = Trees(np.empty(0, np.int32), np.empty(0), np.empty(0))


class Scorer(NamedTuple):
    key: Key  # of the formula whose lists it learned from
    weights: F64  # by feature
    lows: F64  # what training saw, by feature
    highs: F64
    trees: Trees = NO_TREES

    def fits(self, f: Formula) -> bool:
        """Whether a list is made as those that it learned from."""
        return key_of(f) == self.key


class Rescored(NamedTuple):
    """The factors of the first rows, and what made them."""

    factors: F64
    x: F64  # features, within bounds
    k: float
    held: F64  # how far each row was held back, as a logarithm: 0 or less


def key_of(f: Formula) -> Key:
    """The parameters, at whatever pace: `Numbers` begins with them."""
    values: Key = tuple(cast(Any, f.n))[: len(table())]
    return values


@inline
def _hold_back(x: F64, final: F64) -> None:
    """What the head does not vouch for stands no nearer than the formula has it: rows are in the formula's order."""
    rows = final.size
    order, placed = np.argsort(-final, kind="mergesort"), np.zeros(rows, np.uint8)
    first, least = 0, np.inf
    for place in range(rows):
        while placed[order[first]]:
            first += 1
        at = first
        while placed[order[at]] or (order[at] > place and x[order[at], HEAD] < VOUCHED):
            at += 1
        row = order[at]
        placed[row] = 1
        least = min(least, final[row])
        final[row] = least


@njit
def _score(x: F64, weights: F64, lows: F64, highs: F64, t: Trees, factors: F64, held: F64) -> float:
    """Puts features within bounds, fills `factors`, and how far each was held back; returns k."""
    rows, columns = x.shape
    r_mean, m_mean = 0.0, 0.0
    r, m = np.empty(rows), np.zeros(rows)
    for i in range(rows):
        for j in range(columns):
            x[i, j] = min(max(x[i, j], lows[j]), highs[j])
            m[i] += weights[j] * x[i, j]
        r[i] = x[i, SCORE]
        m[i] += r[i]
    for tree in range(t.features.size // SPLITS):
        for i in range(rows):
            node = 0
            while node < SPLITS:
                at = tree * SPLITS + node
                node = 2 * node + 1 + (x[i, t.features[at]] > t.thresholds[at])
            m[i] += t.values[tree * NODES + node]
    for i in range(rows):
        r_mean += r[i] / rows
        m_mean += m[i] / rows
    r_spread, m_spread = 0.0, 0.0
    for i in range(rows):
        r_spread += (r[i] - r_mean) ** 2
        m_spread += (m[i] - m_mean) ** 2
    k = math.sqrt(r_spread / m_spread) if m_spread > r_spread else 1.0
    for i in range(rows):
        m[i] = r[i] + (k * (m[i] - m_mean) - (r[i] - r_mean)) / 2
    held[:] = m
    _hold_back(x, m)
    for i in range(rows):
        factors[i], held[i] = math.exp(m[i] - r[i]), m[i] - held[i]
    return k


def rescore(scorer: Scorer, x: F64) -> Rescored:
    factors, held, x = np.empty(len(x)), np.empty(len(x)), x.copy()
    k = _score(x, scorer.weights, scorer.lows, scorer.highs, scorer.trees, factors, held)
    return Rescored(factors, x, k, held)


def parts_of(scorer: Scorer, rescored: Rescored) -> F64:
    """What each feature adds to the logarithm of each row's factor; together they are that logarithm."""
    x, k = rescored.x, rescored.k
    parts: F64 = scorer.weights * x + _tree_parts(x, scorer.trees)
    parts[:, SCORE] += x[:, SCORE]
    parts = k * (parts - parts.mean(0))
    parts[:, SCORE] -= x[:, SCORE] - x[:, SCORE].mean()
    parts /= 2
    parts[:, HEAD] += rescored.held
    return parts


def _tree_parts(x: F64, t: Trees) -> F64:
    """Each split moves a row from the mean of a node to that of its child: what the split's feature adds."""
    parts, rows = np.zeros_like(x), np.arange(len(x))
    for tree in range(t.features.size // SPLITS):
        nodes = np.zeros(len(x), np.int64)
        for _ in range(DEPTH):
            splits = t.features[tree * SPLITS + nodes]
            below = 2 * nodes + 1 + (x[rows, splits] > t.thresholds[tree * SPLITS + nodes])
            values = t.values[tree * NODES :]
            parts[rows, splits] += values[below] - values[nodes]
            nodes = below
    return parts


def reorder(ranked: Ranked, factors: F64) -> Ranked:
    """The ranking with what was learned as one more term of the score, best first again."""
    floats = ranked.floats.copy()
    n = len(factors)
    floats[:n, R_LEARNED] = factors
    floats[:n, R_SCORE] *= factors
    order: NDArray[np.intp] = np.lexsort((ranked.ints[:, R_POST], -floats[:, R_SCORE]))
    return ranked._replace(ints=ranked.ints[order], floats=floats[order])


def rescored(view: View, f: Formula, q: Request, ranked: Ranked, scorer: Scorer | None) -> Rescored | None:
    """What a scorer makes of the ranking that this thread just made; None if it is for lists of another kind."""
    if scorer is None or not len(ranked.ints) or not scorer.fits(f):
        return None
    return rescore(scorer, features(view, f, q, ranked))


def learned(view: View, f: Formula, q: Request, ranked: Ranked, scorer: Scorer | None) -> Ranked:
    """The ranking that this thread just made, reordered if there is a scorer for lists of this kind."""
    found = rescored(view, f, q, ranked, scorer)
    return ranked if found is None else reorder(ranked, found.factors)
