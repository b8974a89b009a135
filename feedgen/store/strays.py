"""On which sealed days a person has records whose keys claim another day.

Such a record can be on any day, and almost nobody has one: without this, whatever is deleted and not found would be
looked for on ninety days, each time.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from feedgen.store.rows import U32, Bool


class Strays:
    """By person, so that one search answers for all days. It may name a day too many, after removals."""

    def __init__(self) -> None:
        self._people: dict[int, U32] = {}
        self._joined: tuple[U32, NDArray[np.int32]] | None = None

    def put(self, day: int, people: U32) -> None:
        self._people[day] = people
        self._joined = None

    def drop(self, day: int) -> None:
        self._people.pop(day, None)
        self._joined = None

    def __contains__(self, day: int) -> bool:
        return day in self._people

    def days_of(self, person: int) -> list[int]:
        """The newest first."""
        people, days = self._by_person()
        first, last = np.searchsorted(people, [person, person + 1])
        return sorted(days[first:last].tolist(), reverse=True)

    def among(self, people: U32) -> Bool:
        """Who of these has any."""
        return np.isin(people, self._by_person()[0])

    def _by_person(self) -> tuple[U32, NDArray[np.int32]]:
        if self._joined is None:
            days = [np.full(len(people), day, np.int32) for day, people in self._people.items()]
            people = np.concatenate([np.empty(0, np.uint32), *self._people.values()])
            order = np.argsort(people, kind="stable")
            self._joined = people[order], np.concatenate([np.empty(0, np.int32), *days])[order]
        return self._joined
