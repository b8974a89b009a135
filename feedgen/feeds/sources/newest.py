"""The newest posts, of all or of those that match a feed's tags. Only their order counts."""

from __future__ import annotations

from typing import Final

from feedgen.feeds.sources.source import PostSource, Rows, Scene, constant
from feedgen.rank.rows import rows_of

MOST: Final = 5_000


class Newest(PostSource):
    name = "newest"
    codes = range(232, 233)

    def rows(self, scene: Scene) -> Rows:
        ints = rows_of(scene.view, scene.newest(MOST))
        return Rows(ints, constant(ints, self.codes.start))

    def context(self, code: int) -> str:
        return "newest"

    def words(self, code: int) -> str:
        return "newest"
