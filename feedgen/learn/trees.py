"""Boosted trees on top of the linear model: what a sum of features can't say, such as "old, but still rising".

Each tree is complete, four splits deep, and fitted to what is left of the softmax's error within each list. Features
are sorted into a few dozen bins first, so a split is found by adding up. One thread; sums run in the order of the rows.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from feedgen.core.jit import inline, njit
from feedgen.graph.access import I64, U8
from feedgen.learn.linear import Rows, softmax
from feedgen.rank.features import FEATURES
from feedgen.rank.numeric import F64, I32
from feedgen.rank.scorer import DEPTH, NODES, SPLITS, Trees

COUNT: Final = 60
RATE: Final = 0.08  # of each tree's own correction
BINS: Final = 48
CALM: Final = 8.0  # likes that every node has besides its own: little is believed of few
LEAST_GAIN: Final = 1e-9


@inline
def _best_split(sums: F64, total: F64) -> tuple[int, int, float]:
    """(feature, last bin that goes left, gain) of a node; `sums` are gradient and curvature by feature and bin."""
    best, feature, last = LEAST_GAIN, -1, 0
    whole = total[0] ** 2 / (total[1] + CALM)
    for j in range(sums.shape[0]):
        g, h = 0.0, 0.0
        for b in range(sums.shape[1] - 1):
            g += sums[j, b, 0]
            h += sums[j, b, 1]
            if h <= 0.0 or total[1] - h <= 0.0:
                continue
            gain = g**2 / (h + CALM) + (total[0] - g) ** 2 / (total[1] - h + CALM) - whole
            if gain > best:
                best, feature, last = gain, j, b
    return feature, last, best


@njit
def _grow(bins: U8, gradient: F64, curvature: F64, splits: I32, lasts: I64, values: F64, nodes: I64) -> None:
    """One tree, level by level; `nodes` end as each row's leaf."""
    rows, columns = bins.shape
    nodes[:] = 0
    values[:] = 0.0
    for level in range(DEPTH + 1):
        first, width = (1 << level) - 1, 1 << level
        totals = np.zeros((width, 2))
        for i in range(rows):
            totals[nodes[i] - first, 0] += gradient[i]
            totals[nodes[i] - first, 1] += curvature[i]
        for node in range(width):
            values[first + node] = -totals[node, 0] / (totals[node, 1] + CALM)
        if level == DEPTH:
            return
        sums = np.zeros((width, columns, BINS, 2))
        for i in range(rows):
            of = sums[nodes[i] - first]
            for j in range(columns):
                of[j, bins[i, j], 0] += gradient[i]
                of[j, bins[i, j], 1] += curvature[i]
        for node in range(width):
            splits[first + node], lasts[first + node], _ = _best_split(sums[node], totals[node])
        for i in range(rows):
            node = nodes[i]
            feature = splits[node]
            nodes[i] = 2 * node + 1 + (feature >= 0 and bins[i, feature] > lasts[node])


def boost(rows: Rows, margins: F64, scale: float) -> Trees:
    """Trees whose values are to be added to a margin / `scale`."""
    edges = np.quantile(rows.x, np.linspace(0, 1, BINS + 1)[1:-1], axis=0)
    bins = np.empty(rows.x.shape, np.uint8)
    for j in range(FEATURES):
        bins[:, j] = np.searchsorted(edges[:, j], rows.x[:, j])
    made = Trees(np.zeros(COUNT * SPLITS, np.int32), np.full(COUNT * SPLITS, np.inf), np.zeros(COUNT * NODES))
    nodes, lasts, margins = np.empty(len(bins), np.int64), np.zeros(SPLITS, np.int64), margins.copy()
    for tree in range(COUNT):
        chances = softmax(rows, margins)
        splits, values = made.features[tree * SPLITS :][:SPLITS], made.values[tree * NODES :][:NODES]
        _grow(bins, chances - rows.labels, chances, splits, lasts, values, nodes)
        values *= RATE
        margins += values[nodes]
        thresholds = made.thresholds[tree * SPLITS :][:SPLITS]
        thresholds[splits >= 0] = edges[lasts, np.maximum(splits, 0)][splits >= 0]
        thresholds[splits < 0] = np.finfo(np.float64).max  # everybody goes left
        splits[splits < 0] = 0
        values /= scale
    return made


def warm() -> None:
    """Compiles on tiny arrays of the real types."""
    n = 2
    _grow(
        np.zeros((n, FEATURES), np.uint8),
        np.zeros(n),
        np.zeros(n),
        np.zeros(SPLITS, np.int32),
        np.zeros(SPLITS, np.int64),
        np.zeros(NODES),
        np.zeros(n, np.int64),
    )
