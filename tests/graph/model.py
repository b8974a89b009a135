"""A slow and obvious graph: what the arrays must equal, and a day of truth in memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from feedgen.core.ids import NO_PERSON, NO_POST
from feedgen.graph.access import I64, U8, U16, U32
from feedgen.ingest.events import DELETED


@dataclass
class MemoryDay:
    """A `DaySource` that holds rows in lists, and takes removals as a day's file does."""

    day: int
    sealed: bool = False
    rated: list[tuple[int, int, int]] = field(default_factory=list)
    rows: dict[int, tuple[int, int, int, int, int, int]] = field(default_factory=dict)
    followed: list[tuple[int, int]] = field(default_factory=list)

    def version(self) -> int:
        return 0

    def ratings(self) -> tuple[U32, U32, U16]:
        columns = np.array(self.rated, np.int64).reshape(-1, 3)
        return columns[:, 0].astype(np.uint32), columns[:, 1].astype(np.uint32), columns[:, 2].astype(np.uint16)

    def posts(self) -> tuple[U32, U32, I64, U16, U16, U8, U32]:
        items = sorted(self.rows.items())
        columns = [[n, *row] for n, row in items]
        dtypes = (np.uint32, np.uint32, np.int64, np.uint16, np.uint16, np.uint8, np.uint32)
        return tuple(np.array([row[i] for row in columns], dtype) for i, dtype in enumerate(dtypes))  # type: ignore[return-value]

    def follows(self) -> tuple[U32, U32]:
        columns = np.array(self.followed, np.int64).reshape(-1, 2)
        return columns[:, 0].astype(np.uint32), columns[:, 1].astype(np.uint32)

    def remove_rating(self, actor: int, post: int) -> None:
        self.rated = [row for row in self.rated if row[:2] != (actor, post)]

    def remove_follow(self, actor: int, subject: int) -> None:
        self.followed = [row for row in self.followed if row != (actor, subject)]

    def erase_person(self, person: int) -> None:
        self.rated = [row for row in self.rated if row[0] != person]
        self.followed = [row for row in self.followed if row[0] != person]
        for n, row in self.rows.items():
            if row[0] == person:
                self.rows[n] = (NO_PERSON, 0, 0, DELETED, 0, NO_POST)

    def likers(self, post: int) -> list[tuple[int, int]]:
        """(person, tick), newest first, each person at the first of equal ratings."""
        return _first_of_equals([(a, t) for a, p, t in self.rated if p == post])

    def likes(self, person: int) -> list[tuple[int, int]]:
        return _first_of_equals([(p, t) for a, p, t in self.rated if a == person])

    def follows_of(self, person: int) -> list[int]:
        return [who for who, _ in _first_of_equals([(s, 0) for a, s in self.followed if a == person])]


def _first_of_equals(rows: list[tuple[int, int]]) -> list[tuple[int, int]]:
    first: dict[int, int] = {}
    for who, tick in rows:
        first.setdefault(who, tick)
    return list(first.items())[::-1]
