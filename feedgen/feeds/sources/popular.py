"""What everybody likes just now, in the reader's languages: what a list is filled up from."""

from __future__ import annotations

from feedgen.feeds.sources.source import PostSource, Rows, Scene, constant

POPULAR, NO_LIKES_YET = 0, 1


class Popular(PostSource):
    name = "popular"
    codes = range(POPULAR, NO_LIKES_YET + 1)

    def rows(self, scene: Scene) -> Rows:
        return Rows(scene.popular, constant(scene.popular, POPULAR if scene.likes else NO_LIKES_YET))

    def context(self, code: int) -> str:
        return "popular" if code == POPULAR else "popular, no likes yet"

    def words(self, code: int) -> str:
        return self.context(code)
