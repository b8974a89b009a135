"""Pieces of an open day's log, decoded so that one record can be found among many. All of it can be thrown away."""

from __future__ import annotations

from typing import Any, Final, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from feedgen.store import rows as r
from feedgen.store.rows import U64, Bool, Records

LONGEST_TAIL: Final = 4_096  # identities that are sorted anew at each question after they grew

T = TypeVar("T", bound=np.generic)


class Found(NamedTuple):
    """A rating: the commit, its place there (with WIDE_AT: among the wide ones), and what was rated."""

    n: int
    at: int
    post: int


class Growing(Generic[T]):
    """An array that grows at its end without being copied each time."""

    def __init__(self, dtype: DTypeLike) -> None:
        self._held: NDArray[T] = np.empty(0, dtype)
        self._count = 0

    @property
    def all(self) -> NDArray[T]:
        return self._held[: self._count]

    def append(self, more: NDArray[Any]) -> None:
        end = self._count + len(more)
        if end > len(self._held):
            held: NDArray[T] = np.empty(max(end, 2 * len(self._held), 64), self._held.dtype)
            held[: self._count] = self.all
            self._held = held
        self._held[self._count : end] = more
        self._count = end


class Identities:
    """A growing set of 64-bit identities: mostly sorted; a short tail is sorted again when it grew."""

    def __init__(self) -> None:
        self._sorted = np.empty(0, np.uint64)
        self._tail = np.empty(0, np.uint64)
        self._new: list[U64] = []

    def add(self, ids: U64) -> None:
        self._new.append(ids)

    def has(self, wanted: U64) -> Bool:
        if self._new:
            self._tail = np.sort(np.concatenate([self._tail, *self._new]))
            self._new = []
            if len(self._tail) > max(LONGEST_TAIL, len(self._sorted) // 8):
                self._sorted = np.sort(np.concatenate([self._sorted, self._tail]))
                self._tail = np.empty(0, np.uint64)
        return _within(wanted, self._sorted) | _within(wanted, self._tail)


class WideRatings:
    """The ratings whose keys lie about their time, with the places where they stand."""

    def __init__(self) -> None:
        self._records: Growing[np.void] = Growing(r.LOG_WIDE)
        self._row: Growing[np.int64] = Growing(np.int64)
        self._at: Growing[np.int64] = Growing(np.int64)
        self.ids = Identities()

    def append(self, n: int, records: Records) -> None:
        if len(records):
            self.ids.add(identities(records["actor"], records["kind"], records["key"]))
            self._records.append(records)
            self._row.append(np.full(len(records), n))
            self._at.append(np.arange(len(records)) | r.WIDE_AT)

    def find(self, actor: int, kind: int, key: int) -> list[Found]:
        """All records of this name, removed or not."""
        if not self.ids.has(identities(np.array([actor]), kind, np.array([key])))[0]:
            return []
        held = self._records.all
        hits = np.flatnonzero((held["key"] == key) & (held["actor"] == actor) & (held["kind"] == kind)).tolist()
        return [Found(int(self._row.all[i]), int(self._at.all[i]), int(held["post"][i])) for i in hits]


def identities(actor: Any, kind: Any, key: Any) -> U64:
    """64 bits for (who, what, key). Two different ones meet about never; whoever needs certainty looks closely."""
    who = actor.astype(np.uint64) << np.uint64(1) | np.asarray(kind).astype(np.uint64)
    mixed = key.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + who
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    result: U64 = mixed ^ mixed >> np.uint64(32)
    return result


def _within(wanted: U64, ordered: U64) -> Bool:
    if not len(ordered):
        return np.zeros(len(wanted), np.bool_)
    at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    found: Bool = ordered[at] == wanted
    return found
