"""New posts of authors whom the reader likes: at least two of their posts are among the reader's likes."""

from __future__ import annotations

from typing import Final

import numpy as np

from feedgen.feeds.sources.source import Needs, PostSource, Rows, Scene, constant
from feedgen.rank.request import R_AUTHOR

LEAST: Final = 2


class KnownAuthors(PostSource):
    name = "known-authors"
    codes = range(231, 232)
    needs = Needs.RANKED | Needs.LIKES

    def rows(self, scene: Scene) -> Rows:
        authors, counts = np.unique(scene.view.names_of(scene.query.seeds)[0], return_counts=True)
        of_them = np.isin(scene.ranked.ints[:, R_AUTHOR], authors[counts >= LEAST])
        ints = scene.ranked.ints[of_them]
        return Rows(ints, constant(ints, self.codes.start), scene.ranked.scores[of_them])

    def context(self, code: int) -> str:
        return "likes, known author"

    def words(self, code: int) -> str:
        return "known author"
