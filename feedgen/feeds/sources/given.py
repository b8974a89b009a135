"""Posts that a feed's own function names, with the weights that it gives."""

from __future__ import annotations

import numpy as np

from feedgen.feeds.sources.source import PostSource, Rows, Scene, constant
from feedgen.rank.request import R_POST
from feedgen.rank.rows import rows_of


class Given(PostSource):
    name = "given"
    codes = range(234, 235)

    def rows(self, scene: Scene) -> Rows:
        weights = dict(scene.given)
        ints = rows_of(scene.view, np.array(sorted(weights, key=lambda post: -weights[post]), np.uint32))
        scores = np.array([weights[post] for post in ints[:, R_POST].tolist()], np.float64)
        return Rows(ints, constant(ints, self.codes.start), scores)

    def context(self, code: int) -> str:
        return "named by the feed"

    def words(self, code: int) -> str:
        return "named by the feed"
