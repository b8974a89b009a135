"""What everybody likes just now, in the reader's languages: what a list is filled up from."""

from __future__ import annotations

from typing import Final

import numpy as np

from feedgen.core.ids import US_PER_DAY
from feedgen.feeds.sources.source import PostSource, Rows, Scene, constant
from feedgen.rank.request import R_COUNT, R_TIME
from feedgen.rank.rows import rows_of

POPULAR, NO_LIKES_YET = 0, 1
MOST: Final = 20_000  # posts of a tag that are looked at, the newest
HALF_US: Final = US_PER_DAY / 2  # of a tag's posts: it has fewer than everybody's


class Popular(PostSource):
    name = "popular"
    codes = range(POPULAR, NO_LIKES_YET + 1)

    def rows(self, scene: Scene) -> Rows:
        if scene.only is None:
            return Rows(scene.popular, constant(scene.popular, POPULAR if scene.likes else NO_LIKES_YET))
        ints = rows_of(scene.view, scene.newest(MOST))
        age_us = np.maximum(scene.query.now_us - ints[:, R_TIME], 0)
        scores = ints[:, R_COUNT] * 0.5 ** (age_us / HALF_US)
        best = np.argsort(-scores, kind="stable")
        return Rows(ints[best], constant(ints, POPULAR), scores[best])

    def context(self, code: int) -> str:
        return "popular" if code == POPULAR else "popular, no likes yet"

    def words(self, code: int) -> str:
        return self.context(code)
