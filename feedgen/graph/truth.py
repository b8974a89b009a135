"""A day of the store as the arrays want it: the one place where rows on disk become sources for `Graph`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from feedgen.graph.access import I64, U8, U16, U32
from feedgen.store.reader import DayReader


class TruthDay:
    """A `DaySource` over a day's file. Each call opens the file anew, so it may be sealed or changed between calls."""

    def __init__(self, day: int, path: Path, sealed: bool) -> None:
        self.day, self.path, self.sealed = day, path, sealed

    def ratings(self) -> tuple[U32, U32, U16]:
        with DayReader(self.path) as reader:
            rows = reader.ratings()
        if not self.sealed:
            return rows.actor, rows.post, rows.tick
        # A sealed day is kept by person; the arrays want the order of witnessing, which is known to a tick.
        order = np.argsort(rows.tick, kind="stable")
        return rows.actor[order], rows.post[order], rows.tick[order]

    def posts(self) -> tuple[U32, U32, I64, U16, U16, U8, U32]:
        with DayReader(self.path) as reader:
            rows = reader.posts()
        return rows.post, rows.author, rows.key, rows.tick, rows.flags, rows.language, rows.about

    def follows(self) -> tuple[U32, U32]:
        with DayReader(self.path) as reader:
            rows = reader.follows()
        return rows.actor, rows.subject
