"""The newest of what people like the reader like: written within the last 45 minutes."""

from __future__ import annotations

from feedgen.feeds.sources.source import Needs, PostSource, Rows, Scene, constant
from feedgen.rank.request import R_TIME

FRESH_US = 45 * 60 * 1_000_000


class Fresh(PostSource):
    name = "fresh"
    codes = range(230, 231)
    needs = Needs.RANKED

    def rows(self, scene: Scene) -> Rows:
        new = scene.ranked.ints[:, R_TIME] >= scene.query.now_us - FRESH_US
        ints = scene.ranked.ints[new]
        return Rows(ints, constant(ints, self.codes.start), scene.ranked.scores[new])

    def context(self, code: int) -> str:
        return "likes, fresh"

    def words(self, code: int) -> str:
        return "fresh"
