"""Changes that must reach more than what is shown now: what is being built, and what older Views still see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from feedgen.graph.access import Arrays
from feedgen.graph.live import Layer, LiveDay
from feedgen.graph.sealed import SealedDay

MAX_MISSED: Final = 200_000  # changes while something is built; beyond, the build starts again

Day = LiveDay | SealedDay


class Change(NamedTuple):
    """`do(arrays, row, whether the counts know the edge)`; `concerns(arrays, row)`: False if it would change nothing.
    Changes of posts concern no layer below a day.
    """

    do: Callable[[Arrays, int, bool], int | None]
    concerns: Callable[[Arrays, int], bool]
    of_edges: bool


@dataclass(slots=True)
class Missed:
    """What changed in a day while something took long to be built of it."""

    edges_only: bool
    spoiled: bool = False
    changes: list[Change] = field(default_factory=list)

    def note(self, change: Change) -> None:
        if self.edges_only and not change.of_edges:
            return
        if len(self.changes) >= MAX_MISSED:
            self.changes.clear()
            self.spoiled = True
        self.changes.append(change)


@dataclass(slots=True)
class Retired:
    """A day, or some layers of it, that was replaced. Older Views may still see it, so removals reach it, too."""

    day: int
    parts: tuple[Day, ...] | tuple[Layer, ...]
    arrays: Arrays
    row: int

    def apply(self, change: Change) -> None:
        whole = isinstance(self.parts[0], Day)
        if whole or change.of_edges:
            if isinstance(self.parts[0], SealedDay) and not change.concerns(self.arrays, self.row):
                return
            with writing(self.parts[0]):
                change.do(self.arrays, self.row, False)

    def close(self) -> None:
        for part in self.parts:
            if isinstance(part, SealedDay):
                part.close()


@contextmanager
def writing(part: Day | Layer) -> Iterator[None]:
    """Around every change to what may be mapped from a file."""
    if isinstance(part, SealedDay):
        part.before_change()
        try:
            yield
        finally:
            part.after_change()
    else:
        yield
