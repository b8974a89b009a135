"""A day of the store as the arrays want it: the one place where rows on disk become sources for `Graph`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np

from feedgen.graph.access import I64, U8, U16, U32
from feedgen.ingest.events import GONE
from feedgen.store.reader import DayReader
from feedgen.store.rows import Bool, Posts


class HasFlags(Protocol):
    """Names, or what is left of them when only flags matter."""

    @property
    def flags(self) -> U8: ...


class TruthDay:
    """A `DaySource` over a day's file. Each call opens the file anew, so it may be sealed or changed between calls.

    Rows of people who are gone stay in the truth for a while after their DID; they are left out here.
    """

    def __init__(self, day: int, path: Path, sealed: bool, names: HasFlags) -> None:
        self.day, self.path, self.sealed, self._names = day, path, sealed, names

    def version(self) -> int:
        with DayReader(self.path) as reader:
            return reader.version

    def ratings(self) -> tuple[U32, U32, U16]:
        with DayReader(self.path) as reader:
            rows = reader.ratings()
        keep = self._there(rows.actor)
        actor, post, tick = rows.actor, rows.post, rows.tick
        if keep is not None:
            actor, post, tick = actor[keep], post[keep], tick[keep]
        if not self.sealed:
            return actor, post, tick
        # A sealed day is kept by person; the arrays want the order of witnessing, which is known to a tick.
        order = np.argsort(tick, kind="stable")
        return actor[order], post[order], tick[order]

    def rating_pieces(self) -> Iterator[tuple[U32, U32, U16]]:
        """The same, a piece at a time."""
        if self.sealed:
            yield self.ratings()
            return
        with DayReader(self.path) as reader:
            yield from reader.rating_pieces(self._names.flags, GONE)

    def repost_pieces(self) -> Iterator[tuple[U32, U32, U16, I64]]:
        with DayReader(self.path) as reader:
            for rows in reader.repost_pieces():
                keep = self._there(rows.actor)
                which = slice(None) if keep is None else keep
                yield rows.actor[which], rows.post[which], rows.tick[which], rows.key[which]

    def posts(self) -> tuple[U32, U32, I64, U16, U16, U8, U32]:
        with DayReader(self.path) as reader:
            rows = reader.posts() if self.sealed else reader.open_posts(self._names.flags, GONE)
        keep = self._there(rows.author) if self.sealed else None
        if keep is not None:
            rows = Posts(*(getattr(rows, name)[keep] for name in Posts.__slots__))
        return rows.post, rows.author, rows.key, rows.tick, rows.flags, rows.language, rows.about

    def follows(self) -> tuple[U32, U32]:
        with DayReader(self.path) as reader:
            rows = reader.follows()
        keep = self._there(rows.actor)
        return (rows.actor, rows.subject) if keep is None else (rows.actor[keep], rows.subject[keep])

    def _there(self, people: U32) -> Bool | None:
        """Which rows are of people who are not gone; None: all are."""
        flags = self._names.flags
        if not (flags & GONE).any():
            return None
        # A number that is not in the table is damage, and the arrays' business.
        keep: Bool = flags[np.minimum(people, len(flags) - 1)] & GONE == 0
        return None if keep.all() else keep
