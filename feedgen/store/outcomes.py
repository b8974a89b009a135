"""Many readers' pages and what came of them, as columns: what learning and exports read of `viewers.db`.

Readers are taken a slice at a time. Their keys are hashes, so a slice is a random sample of them, and whoever stops
after some slices has looked at a fair share of all. Reads only, through Python's own SQLite, in any thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedgen.core.errors import StoreError
from feedgen.store.pages import EVENT, POST
from feedgen.store.viewers import FILE_NAME

PAGES_A_SLICE: Final = 20_000
MAX_SLICES: Final = 4096
NO_LIST: Final = -1  # the app did not say which list a post was in
SERVED: Final = "SELECT reader, at_us, at_us - age_us, kind, position, posts FROM pages"
TOLD: Final = f"SELECT reader, at_us, ifnull(at_us - age_us, {NO_LIST}), events FROM outcomes"

I64 = NDArray[np.int64]


class Kind(NamedTuple):
    feed: str
    preset: str
    arm: str


@dataclass(frozen=True, slots=True)
class Served:
    """A row for each post on each page."""

    reader: I64
    at_us: I64
    list_us: I64
    kind: I64
    position: I64  # in the list
    post: I64
    code: I64


@dataclass(frozen=True, slots=True)
class Told:
    """A row for each event."""

    reader: I64
    at_us: I64
    list_us: I64  # or NO_LIST
    post: I64
    event: I64
    code: I64


class Slice(NamedTuple):
    share: float  # of all readers: this slice and those before
    served: Served
    told: Told


class Pages:
    """Since a time, without those of one key: that which all who are logged out have in common is no reader."""

    def __init__(self, folder: Path, since_us: int, without: int = 0) -> None:
        self._path, self._since_us, self._without = folder / FILE_NAME, since_us, without
        rows = self._rows("SELECT kind, feed, preset, arm FROM kinds")
        self.kinds = {int(kind): Kind(*names) for kind, *names in rows}

    def slices(self, pages_a_slice: int = PAGES_A_SLICE) -> Iterator[Slice]:
        of_readers = "WHERE at_us >= ? AND reader <> ?"
        count = self._rows(f"SELECT count(*) FROM pages {of_readers}", self._since_us, self._without)[0][0]
        slices = min(MAX_SLICES, 1 + int(count) // pages_a_slice)
        for i in range(slices):
            bounds = [-(1 << 63) + (1 << 64) * j // slices for j in (i, i + 1)]
            yield Slice((i + 1) / slices, *self._slice(bounds[0], bounds[1] - 1))

    def _slice(self, low: int, high: int) -> tuple[Served, Told]:
        where = "WHERE reader BETWEEN ? AND ? AND at_us >= ? AND reader <> ?"
        given = (low, high, self._since_us, self._without)
        return _served(self._rows(f"{SERVED} {where}", *given)), _told(self._rows(f"{TOLD} {where}", *given))

    def served_in_order(self) -> Iterator[Served]:
        """Everybody's, oldest first, some pages at a time."""
        return map(_served, self._in_order(SERVED))

    def told_in_order(self) -> Iterator[Told]:
        return map(_told, self._in_order(TOLD))

    def _in_order(self, sql: str) -> Iterator[list[tuple[Any, ...]]]:
        since_us = self._since_us
        while rows := self._rows(f"{sql} WHERE at_us >= ? ORDER BY at_us LIMIT {PAGES_A_SLICE}", since_us):
            yield rows
            since_us = int(rows[-1][1]) + 1  # no two have the same time

    def _rows(self, sql: str, *values: int) -> list[tuple[Any, ...]]:
        try:
            with closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as db:
                return db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            hint = "Has this feedgen run once with this data folder?"
            raise StoreError(f"Can't read {self._path}: {error}", hint) from error


def _served(pages: list[tuple[Any, ...]]) -> Served:
    posts, of_page = _unpacked(POST, [row[5] for row in pages])
    first = np.searchsorted(of_page, np.arange(len(pages)))
    place = np.arange(of_page.size) - first[of_page]
    reader, at_us, list_us, kind, position = (column[of_page] for column in _columns(pages, 5))
    post, code = (posts[name].astype(np.int64) for name in ("post", "code"))
    return Served(reader, at_us, list_us, kind, position + place, post, code)


def _told(calls: list[tuple[Any, ...]]) -> Told:
    events, of_call = _unpacked(EVENT, [row[3] for row in calls])
    reader, at_us, list_us = (column[of_call] for column in _columns(calls, 3))
    post, event, code = (events[name].astype(np.int64) for name in ("post", "event", "code"))
    return Told(reader, at_us, list_us, post, event, code)


def _columns(rows: list[tuple[Any, ...]], n: int) -> list[I64]:
    return [np.array([row[i] for row in rows], np.int64) for i in range(n)]


def _unpacked(dtype: np.dtype[np.void], blobs: list[bytes]) -> tuple[NDArray[np.void], NDArray[np.intp]]:
    """All records, and the blob that each came from. Of a blob that is cut short, what is whole."""
    sizes = [len(blob) // dtype.itemsize for blob in blobs]
    whole = b"".join(blob[: size * dtype.itemsize] for blob, size in zip(blobs, sizes, strict=True))
    return np.frombuffer(whole, dtype), np.repeat(np.arange(len(blobs)), sizes)
