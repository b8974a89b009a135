"""A conditional logit: which of the posts of a list will be liked, as a softmax over the list.

Fitted by Newton's method with a prior at the formula: with few rows the weights stay at zero, which is the formula's
own order. `einsum` instead of `@`: a BLAS library would take all threads, and other sums with each number of them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from feedgen.graph.access import I64
from feedgen.rank.features import FEATURES, SCORE
from feedgen.rank.numeric import F64

PRIOR: Final = 10.0  # lists that the prior counts for
STEPS: Final = 30
ENOUGH: Final = 1e-7  # a step so small is the last


class Rows(NamedTuple):
    """Of many lists, one after the other."""

    x: F64
    weights: F64  # how many rows of its list each stands for
    labels: F64  # of each list they add up to how much it counts
    starts: I64  # of lists, without the end


def softmax(rows: Rows, margins: F64) -> F64:
    """What each row would be liked, of all that its list counts."""
    sizes = np.diff(np.append(rows.starts, len(margins)))
    top = np.repeat(np.maximum.reduceat(margins, rows.starts), sizes)
    raised = rows.weights * np.exp(margins - top)
    counts = np.add.reduceat(rows.labels, rows.starts) / np.add.reduceat(raised, rows.starts)
    chances: F64 = raised * np.repeat(counts, sizes)
    return chances


def _newton(rows: Rows, x: F64, start: F64, prior: F64) -> F64:
    """The weights of some columns; `prior` draws each to where it starts."""
    beta, counts = start.copy(), np.add.reduceat(rows.labels, rows.starts)[:, None]
    for _ in range(STEPS):
        chances = softmax(rows, np.einsum("ij,j", x, beta))
        gradient = np.einsum("ij,i", x, chances - rows.labels) + prior * (beta - start)
        weighted = x * chances[:, None]
        means = np.add.reduceat(weighted, rows.starts)
        hessian = np.einsum("ij,ik", x, weighted) - np.einsum("ij,ik", means, means / counts) + np.diag(prior)
        step = np.linalg.solve(hessian, gradient)
        size = float(np.abs(step).max())
        beta -= step * min(1.0, 2.0 / max(size, 1e-12))  # far from the optimum a whole step may leap over it
        if size < ENOUGH:
            break
    return beta


def fit(rows: Rows, prior: float = PRIOR) -> tuple[float, F64]:
    """(scale, weights by feature): margins are scale x (formula's log score + weights x features)."""
    sizes = np.diff(np.append(rows.starts, len(rows.x)))
    counts = np.add.reduceat(rows.weights, rows.starts)
    means = np.add.reduceat(rows.x * rows.weights[:, None], rows.starts) / counts[:, None]
    x = rows.x - np.repeat(means, sizes, axis=0)
    spreads = np.sqrt((x**2 * rows.weights[:, None]).sum(0) / rows.weights.sum())
    spreads[spreads == 0] = 1.0
    x /= spreads
    scale = _newton(rows, x[:, SCORE : SCORE + 1], np.ones(1), np.full(1, 1e-3))[0]
    scale = max(scale, 1e-2)
    start = np.zeros(FEATURES)
    start[SCORE] = scale
    beta = _newton(rows, x, start, np.full(FEATURES, prior)) - start
    weights: F64 = beta / spreads * (spreads[SCORE] / scale)
    return float(scale / spreads[SCORE]), weights
