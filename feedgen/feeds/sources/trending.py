"""What rises now: the likes of the last hour, less the more there were before.

score = likes of the last hour / (all likes + 10) ^ 0.5
"""

from __future__ import annotations

from typing import Final

import numpy as np

from feedgen.core.ids import US_PER_S
from feedgen.feeds.sources.source import PostSource, Rows, Scene, constant
from feedgen.rank.request import R_COUNT, R_POST
from feedgen.rank.rows import likes_since, rows_of

RECENT_US: Final = 3_600 * US_PER_S
LEAST: Final = 2  # likes of the last hour
MOST: Final = 2_000  # of a tag's posts that are looked at, the newest


class Trending(PostSource):
    name = "trending"
    codes = range(233, 234)

    def rows(self, scene: Scene) -> Rows:
        now_us = scene.query.now_us
        ints = scene.popular if scene.only is None else rows_of(scene.view, scene.newest(MOST))
        recent = likes_since(scene.view, ints[:, R_POST].astype(np.uint32), now_us - RECENT_US, now_us)
        scores = recent / np.sqrt(ints[:, R_COUNT] + 10.0)
        rising = np.flatnonzero(recent >= LEAST)
        best = rising[np.argsort(-scores[rising], kind="stable")]
        return Rows(ints[best], constant(ints[best], self.codes.start), scores[best])

    def context(self, code: int) -> str:
        return "trending"

    def words(self, code: int) -> str:
        return "trending"
