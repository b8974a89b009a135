"""Blocks of examples that are made up, with or without something to learn."""

from __future__ import annotations

import numpy as np

from feedgen.core.ids import US_PER_DAY
from feedgen.learn.examples import Block
from feedgen.rank.features import AGE, FEATURES, HEAD, LIKES, RANK, SCORE
from feedgen.rank.params import DEFAULT
from feedgen.rank.scorer import key_of

HOUR_US = US_PER_DAY // 24
FIRST_US = 20_400 * US_PER_DAY
KEY = key_of(DEFAULT.formula())


def a_block(
    n: int, requests: int = 40, rows: int = 80, age: float = 0.0, both: float = 0.0, key: tuple[float, ...] = KEY
) -> Block:
    """The nth hour. What is liked follows the formula's score, `age` times as much the age of posts, and `both` times
    as much whether age and likes are large or small together."""
    chance = np.random.default_rng(n)
    x = chance.normal(size=(requests * rows, FEATURES))
    scores = -np.sort(chance.exponential(2.0, size=(requests, rows)), axis=1)
    x[:, SCORE] = (scores - scores[:, :1]).ravel()
    x[:, HEAD] = 1.0  # nothing is held back
    x[:, RANK] = np.tile(np.log(np.arange(rows) + 1), requests)
    together = np.sign(x[:, AGE] * x[:, LIKES])
    drawn = (x[:, SCORE] + age * x[:, AGE] + both * together + chance.gumbel(size=len(x))).reshape(requests, rows)
    labels = np.zeros((requests, rows), np.uint8)
    for _ in range(3):
        best = drawn.argmax(1)
        labels[np.arange(requests), best] = 1
        drawn[np.arange(requests), best] = -np.inf
    at_us = FIRST_US + n * HOUR_US
    return Block(
        key,
        at_us,
        at_us + HOUR_US,
        np.arange(requests + 1) * rows,
        x.astype(np.float16),
        np.ones(len(x), np.float32),
        labels.ravel(),
        False,
    )


def blocks(n: int, **more: float) -> list[Block]:
    return [a_block(i, **more) for i in range(n)]  # type: ignore[arg-type]
