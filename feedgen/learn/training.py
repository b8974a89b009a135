"""From examples to a model that may serve, or the reason why none may.

The newest fifth of the rankings is for testing and is never trained on. A model serves only if it beats the formula
there by two standard errors, and it serves as it was tested. Otherwise the old one does, if it still beats the formula,
or else the formula. One thread and no chance: the same examples give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from feedgen.learn.examples import Block
from feedgen.learn.files import held_out
from feedgen.learn.linear import Rows, fit
from feedgen.learn.model import FORMULA, Model
from feedgen.learn.trees import boost
from feedgen.rank.features import LEAST, SCORE
from feedgen.rank.numeric import F64
from feedgen.rank.scorer import NO_TREES, Scorer, rescore

MIN_ROWS: Final = 10_000  # for a linear model
MIN_TREE_ROWS: Final = 100_000  # for trees: with fewer they are worse than the linear model alone
MIN_TESTED: Final = 50  # rankings
ERRORS: Final = 2.0  # standard errors that a gain must have
SEEN: Final = 0.001  # features are kept within what all but so many of the rows had, at either end
HALF_LIFE: Final = 0.5  # of what a list counts, in all lists: the network changes
NDCG_AT: Final = 20
_DISCOUNTS: Final = 1 / np.log2(np.arange(NDCG_AT) + 2)


class Gain(NamedTuple):
    """In NDCG@20 over the formula, with its standard error."""

    gain: float
    error: float
    lists: int

    @property
    def is_certain(self) -> bool:
        return self.lists >= MIN_TESTED and self.gain > 0 and self.gain >= ERRORS * self.error


class Report(msgspec.Struct, kw_only=True):
    """What came of a training, for people."""

    serving: str = FORMULA  # which kind of model
    words: str = ""  # why that
    rows: int = 0
    requests: int = 0
    tested: int = 0
    gain: float = 0.0  # of the model that was trained, served or not
    error: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    at_us: int = 0


def train(blocks: Sequence[Block], old: Model | None) -> tuple[Model | None, Report]:
    """The model that is to serve from now on, None for the formula, and what to say of it."""
    testing = [block for block in held_out(blocks) if not block.thinned]
    first_us = min((block.time_us for block in testing), default=0)
    training = [block.thin() for block in blocks if block.until_us <= first_us]
    report = Report(
        rows=sum(block.rows for block in training),
        requests=sum(block.requests for block in training),
        tested=sum(block.requests for block in testing),
    )
    if report.rows < MIN_ROWS or report.tested < MIN_TESTED:
        report.words = f"{report.rows:,} of {MIN_ROWS:,} rows, {report.tested} of {MIN_TESTED} lists to test with"
        report.serving = FORMULA if old is None else old.kind
        return old, report
    made = fitted(training)
    gain = measure(made.scorer(), testing)
    report.gain, report.error = gain.gain, gain.error
    if gain.is_certain:
        report.serving, report.words = made.kind, f"it beats the formula by {_told(gain)}"
        return msgspec.structs.replace(made, gain=gain.gain, error=gain.error), report
    if old is not None and old.key == made.key and (of_old := measure(old.scorer(), testing)).is_certain:
        report.serving = old.kind
        report.words = f"the new model is no clear gain ({_told(gain)}); the old one still is ({_told(of_old)})"
        return old, report
    report.words = f"the new model is no clear gain over the formula ({_told(gain)})"
    return None, report


def _told(gain: Gain) -> str:
    return f"{gain.gain:+.4f} +- {gain.error:.4f} NDCG@20 on {gain.lists:,} lists"


def fitted(training: Sequence[Block]) -> Model:
    """A model of these examples, not tested."""
    rows = rows_of(training)
    scale, weights = fit(rows)
    lows, highs = np.quantile(rows.x, [SEEN, 1 - SEEN], axis=0)
    lows[SCORE], highs[SCORE] = math.log(LEAST), 0.0  # all that it can be
    trees = NO_TREES
    if len(rows.x) >= MIN_TREE_ROWS:
        x = np.clip(rows.x, lows, highs)
        trees = boost(rows._replace(x=x), scale * (x[:, SCORE] + np.einsum("ij,j", x, weights)), scale)
    return Model(
        key=training[-1].key,
        weights=tuple(weights.tolist()),
        lows=tuple(lows.tolist()),
        highs=tuple(highs.tolist()),
        tree_features=tuple(trees.features.tolist()),
        tree_thresholds=tuple(trees.thresholds.tolist()),
        tree_values=tuple(trees.values.tolist()),
        rows=len(rows.x),
        requests=rows.starts.size,
        until_us=training[-1].until_us,
    )


def rows_of(blocks: Sequence[Block]) -> Rows:
    """All rankings as one. What was liked in one adds up to 1 for the newest, and to less for older ones."""
    sizes = np.concatenate([np.diff(block.starts) for block in blocks])
    starts = np.cumsum(sizes) - sizes
    labels = np.concatenate([block.labels for block in blocks]).astype(np.float64)
    counts = np.exp2((np.arange(starts.size) - starts.size) / (starts.size * HALF_LIFE))
    return Rows(
        np.concatenate([block.x for block in blocks]).astype(np.float64),
        np.concatenate([block.weights for block in blocks]).astype(np.float64),
        labels * np.repeat(counts / np.add.reduceat(labels, starts), sizes),
        starts,
    )


def ndcg(scores: F64, labels: F64) -> float:
    """Of the best of one list, the rest of which holds all that could be found."""
    hits = labels[np.argsort(-scores, kind="stable")[:NDCG_AT]]
    best = _DISCOUNTS[: min(int(labels.sum()), NDCG_AT)].sum()
    return float((hits * _DISCOUNTS[: hits.size]).sum() / best)


def measure(scorer: Scorer, blocks: Sequence[Block]) -> Gain:
    """A scorer against the formula, list by list."""
    gains = list[float]()
    for block in blocks:
        for start, end in zip(block.starts[:-1].tolist(), block.starts[1:].tolist(), strict=True):
            x, labels = block.x[start:end].astype(np.float64), block.labels[start:end].astype(np.float64)
            scores = x[:, SCORE] + np.log(rescore(scorer, x).factors)
            gains.append(ndcg(scores, labels) - ndcg(x[:, SCORE], labels))
    if len(gains) < 2:
        return Gain(0.0, math.inf, len(gains))
    return Gain(float(np.mean(gains)), float(np.std(gains, ddof=1) / math.sqrt(len(gains))), len(gains))
