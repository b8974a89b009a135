"""Which posts match which pattern of a feed: a bitmap a pattern, beside the arrays.

Changed by the ingest thread, asked by any: each call is one under the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pyroaring import BitMap


class Tags:
    def __init__(self) -> None:
        self._posts: dict[str, BitMap] = {}

    def add(self, hits: Iterable[tuple[str, int]]) -> None:
        """(pattern, post); what is known already changes nothing."""
        for pattern, post in hits:
            self._posts.setdefault(pattern, BitMap()).add(post)

    def join(self, hits: Mapping[str, BitMap]) -> None:
        """The same, many at once."""
        for pattern, posts in hits.items():
            self._posts.setdefault(pattern, BitMap()).update(posts)

    def posts(self, patterns: Iterable[str]) -> BitMap:
        """A copy: the posts that match any of these."""
        found = [self._posts[pattern] for pattern in patterns if pattern in self._posts]
        return BitMap.union(*found) if found else BitMap()

    def drop_day(self, day: int) -> None:
        """Its numbers will mean other posts."""
        slot = day % 256
        for posts in list(self._posts.values()):
            posts.remove_range(slot << 24, slot + 1 << 24)
