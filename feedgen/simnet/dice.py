"""How chance is drawn for many at once."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import US_PER_S
from feedgen.simnet.step import Step

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

MAX_LAG_US: Final = 20 * US_PER_S  # between a client's clock and the network's


def pick(rng: np.random.Generator, sums: F64, n: int) -> I64:
    """n indices, each in proportion to its share of the running sums."""
    picked: I64 = np.searchsorted(sums, rng.random(n) * sums[-1], side="right")
    return np.minimum(picked, np.int64(len(sums) - 1))


def choose(rng: np.random.Generator, sums: F64) -> I64:
    """One column of each row of running sums."""
    chosen: I64 = (rng.random(len(sums))[:, None] * sums[:, -1:] > sums).sum(axis=1)
    return np.minimum(chosen, np.int64(sums.shape[1] - 1))


def times_in(rng: np.random.Generator, done: Step, n: int) -> I64:
    return np.sort(rng.integers(done.start_us, done.end_us, n))


def client_lags(rng: np.random.Generator, n: int) -> I64:
    """How much earlier the client says it was."""
    return np.minimum(np.exp(rng.normal(np.log(400_000), 0.8, n)), MAX_LAG_US).astype(np.int64)


def in_sorted(keys: I64, asked: I64) -> NDArray[np.bool_]:
    at = np.minimum(np.searchsorted(keys, asked), max(len(keys) - 1, 0))
    found: NDArray[np.bool_] = keys[at] == asked if len(keys) else np.zeros(len(asked), np.bool_)
    return found
