"""Edges that more than one record says: the edge stays while one of its records does.

Ten bytes each, because a busy day has hundreds of thousands: sorted columns, and a few that came lately beside them.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from feedgen.core.telemetry import Counter
from feedgen.graph.access import I64, U8, U16, U32

# Remembered; a real day has 3M, a like and a repost of the same post. An edge beyond them goes with the first of its
# records that is deleted, and comes back when the day is sealed: looking through the log each time would take seconds.
MAX_DOUBLES: Final = 1 << 23
MAX_LATELY: Final = 1 << 14  # not yet sorted in
_MOST: Final = 0xFFFF  # records of one edge


_forgotten = Counter(
    "feedgen_graph_doubles_forgotten_total",
    "Second records of a rating or follow that were not remembered, because the day had too many.",
)


class Doubles:
    """How many more records say the same as one that is in the arrays, by actor << 32 | value."""

    def __init__(self) -> None:
        self._pairs: I64 = np.empty(0, np.int64)
        self._more: U16 = np.empty(0, np.uint16)
        self._lately: dict[int, int] = {}

    def add(self, actors: U32, values: U32, added: U8) -> None:
        """Count those that were not added, since they were there."""
        at = np.flatnonzero(added == 0)
        for pair in (actors[at].astype(np.int64) << 32 | values[at]).tolist():
            i = self._place(pair)
            if i is not None:
                self._more[i] = min(int(self._more[i]) + 1, _MOST)
            elif pair in self._lately or len(self._pairs) + len(self._lately) < MAX_DOUBLES:
                self._lately[pair] = self._lately.get(pair, 0) + 1
            else:
                _forgotten.add()
        if len(self._lately) > MAX_LATELY:
            self._sort_in()

    def take(self, actor: int, value: int) -> bool:
        """One record is gone: whether another is left."""
        pair = actor << 32 | value
        i = self._place(pair)
        if i is not None and self._more[i]:
            self._more[i] -= 1
            return True
        more = self._lately.pop(pair, 0)
        if more > 1:
            self._lately[pair] = more - 1
        return more > 0

    def take_over(self, pairs: I64, more: I64) -> None:
        """Start with these, in order, each said so many times more."""
        if pairs.size > MAX_DOUBLES:
            _forgotten.add(pairs.size - MAX_DOUBLES)
            pairs, more = pairs[:MAX_DOUBLES], more[:MAX_DOUBLES]
        self._pairs, self._more = pairs.copy(), np.minimum(more, _MOST).astype(np.uint16)
        self._lately.clear()

    def forget(self, actor: int) -> None:
        first, last = np.searchsorted(self._pairs, [actor << 32, actor + 1 << 32])
        self._more[first:last] = 0
        for pair in [pair for pair in self._lately if pair >> 32 == actor]:
            del self._lately[pair]

    def all(self) -> dict[int, int]:
        """Those that are remembered."""
        kept = self._more > 0
        return dict(zip(self._pairs[kept].tolist(), self._more[kept].tolist(), strict=True)) | self._lately

    def _place(self, pair: int) -> int | None:
        i = int(np.searchsorted(self._pairs, pair))
        return i if i < len(self._pairs) and self._pairs[i] == pair else None

    def _sort_in(self) -> None:
        """Those that came lately join the others; whoever has no double any more goes."""
        kept = self._more > 0
        pairs = np.concatenate([self._pairs[kept], np.fromiter(self._lately.keys(), np.int64, len(self._lately))])
        more = np.minimum(np.fromiter(self._lately.values(), np.int64, len(self._lately)), _MOST).astype(np.uint16)
        more = np.concatenate([self._more[kept], more])
        order = np.argsort(pairs)
        self._pairs, self._more = pairs[order], more[order]
        self._lately.clear()
