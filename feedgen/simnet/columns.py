"""Growing tables of numpy columns, and a growing set of numbers: the memory of the made-up world."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

I64 = NDArray[np.int64]

_FIRST: Final = 1024


class Table:
    """Rows are only added. A column is read as `table["name"]`: a view of the rows that exist."""

    def __init__(self, **columns: DTypeLike) -> None:
        self.n = 0
        self._columns: dict[str, NDArray[Any]] = {name: np.zeros(_FIRST, dtype) for name, dtype in columns.items()}

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._columns[name][: self.n]

    def add(self, rows: int, **values: Any) -> slice:
        """Append rows; a column that is not named gets zeros. Returns where they are."""
        first, self.n = self.n, self.n + rows
        for name, column in self._columns.items():
            if len(column) < self.n:
                more = max(self.n - len(column), len(column))
                column = np.concatenate((column, np.zeros((more, *column.shape[1:]), column.dtype)))
                self._columns[name] = column
            column[first : self.n] = values.get(name, 0)
        return slice(first, self.n)


class Keys:
    """A set of int64, in sorted runs whose lengths double: adding and asking stay cheap however many there are."""

    def __init__(self) -> None:
        self._runs: list[I64] = []

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def add(self, keys: I64) -> None:
        run = np.sort(keys)
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate((self._runs.pop(), run)), kind="stable")
        self._runs.append(run)

    def contains(self, keys: I64) -> NDArray[np.bool_]:
        found = np.zeros(len(keys), np.bool_)
        for run in self._runs:
            if len(run):
                at = np.searchsorted(run, keys)
                found |= run[np.minimum(at, len(run) - 1)] == keys
        return found

    def drop_below(self, key: int) -> None:
        self._runs = [run[np.searchsorted(run, key) :] for run in self._runs]


class Rings:
    """The newest few numbers of each key: a matrix and a counter."""

    def __init__(self, keys: int, depth: int) -> None:
        self.depth = depth
        self.values = np.full((keys, depth), -1, np.int64)
        self.counts = np.zeros(keys, np.int64)

    def add(self, keys: I64, values: I64) -> None:
        """In order of time. Of one key's many, the newest win, as they must."""
        if not len(keys):
            return
        order = np.argsort(keys, kind="stable")
        sorted_keys = keys[order]
        starts = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]])
        lengths = np.diff(np.r_[starts, len(keys)])
        nth = np.arange(len(keys)) - np.repeat(starts, lengths)
        # numpy's assignment with repeated indices keeps the last one, which is the newest.
        self.values[sorted_keys, (self.counts[sorted_keys] + nth) % self.depth] = values[order]
        self.counts[sorted_keys[starts]] += lengths

    def pick(self, keys: I64, back: NDArray[np.float64]) -> I64:
        """The value `back` places before the newest (wrapped into what is there), -1 where there is none."""
        have = np.minimum(self.counts[keys], self.depth)
        step = np.mod(back.astype(np.int64), np.maximum(have, 1))
        picked: I64 = self.values[keys, (self.counts[keys] - 1 - step) % self.depth]
        return np.where(have > 0, picked, -1)
