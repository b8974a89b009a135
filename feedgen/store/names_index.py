"""names.idx: the table of names as it was in memory, so that a start need not read names.db. Derived; its checksums
tell whether it is whole, its stamp whether it was made of this names.db.
"""

from __future__ import annotations

import os
import secrets
import struct
import threading
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import apsw
import numpy as np

from feedgen.core.jit import njit
from feedgen.store.rows import U32, U64
from feedgen.store.sqlite import fetch
from feedgen.store.uris import PLC, VALID, pack_dids

_MAGIC: Final = b"FGNAMES1"
_HEADER: Final = struct.Struct("<8sQQQQQQ")  # magic, stamp, people, slots, seed, sum of rows, sum of slots
_CHUNK: Final = 100_000
_PART: Final = 1 << 17  # words written at a time


class IndexDraft:
    """An index on its way to the disk, in a thread of its own. Rows and slots may change meanwhile: people who are
    erased are listed in `erased` and taken out in the end, and slots of people who came later are ignored when it is
    read.
    """

    def __init__(self, path: Path, rows: U64, slots: U32, seed: int) -> None:
        self.people, self.stamp, self.sums = len(rows), secrets.randbits(62) + 1, (0, 0)
        self.erased: list[int] = []
        self._path, self._rows, self._slots, self._seed = path, rows, slots, seed
        self._draft = draft_of(path)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="names-index", daemon=True)
        self._thread.start()

    def done(self) -> bool:
        return not self._thread.is_alive()

    def put_in_place(self) -> None:
        """Waits for the end. What went wrong is raised here."""
        self._thread.join()
        try:
            if self._failure is not None:
                raise self._failure
            self.sums = blank_rows(self._draft, self.erased, self.people, self.sums)
            self._draft.replace(self._path)
        except OSError:
            self._draft.unlink(missing_ok=True)
            raise

    def _run(self) -> None:
        try:
            with self._draft.open("wb") as file:
                file.write(bytes(_HEADER.size))
                self.sums = _write(file, self._rows.reshape(-1)), _write(file, self._slots)
                file.seek(0)
                file.write(_HEADER.pack(_MAGIC, self.stamp, self.people, len(self._slots), self._seed, *self.sums))
                file.flush()
                os.fsync(file.fileno())
        except BaseException as failure:
            self._failure = failure


def draft_of(path: Path) -> Path:
    return path.with_suffix(".draft")


def _write(file: IO[bytes], values: U64 | U32) -> int:
    """The sum of what was written."""
    total = 0
    for first in range(0, len(values), _PART):
        part = values[first : first + _PART].copy()
        total += _sum(part, first)
        file.write(part.tobytes())
    return total % (1 << 64)


def blank_rows(path: Path, people: list[int], held: int, sums: tuple[int, int]) -> tuple[int, int]:
    """Take erased people out of an index of so many, and out of its sum."""
    people = [n for n in people if n < held]
    if not people:
        return sums
    row_sum, slot_sum = sums
    with path.open("r+b") as file:
        for n in people:
            file.seek(_HEADER.size + 16 * n)
            row = np.frombuffer(file.read(16), np.uint64)
            row_sum = (row_sum - _sum(row, 2 * n)) % (1 << 64)
            file.seek(_HEADER.size + 16 * n)
            file.write(bytes(16))
        file.seek(_HEADER.size - 16)
        file.write(struct.pack("<QQ", row_sum, slot_sum))
    return row_sum, slot_sum


class _Index(NamedTuple):
    people: int
    seed: int
    rows: U64
    slots: U32
    sums: tuple[int, int]


def read_index(path: Path, stamp: int, stored: int) -> _Index | str:
    """What names.idx holds, or why it can't be used."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return f"can't be read: {error.strerror}"
    if len(data) < _HEADER.size or data[:8] != _MAGIC:
        return "is not an index of names"
    _, its_stamp, count, size, seed, row_sum, slot_sum = _HEADER.unpack_from(data)
    if its_stamp != stamp or count > stored:
        return "belongs to another names.db"
    if len(data) != _HEADER.size + 16 * count + 4 * size or not size or size & (size - 1):
        return "is cut off"
    rows = np.frombuffer(data, np.uint64, 2 * count, _HEADER.size)
    slots = np.frombuffer(data, np.uint32, size, _HEADER.size + 16 * count)
    if (_sum(rows), _sum(slots)) != (row_sum, slot_sum):
        return "is damaged: its sums are wrong"
    return _Index(count, seed, rows.reshape(-1, 2), slots, (row_sum, slot_sum))


def check_index(path: Path, db: apsw.Connection) -> str:
    """What is wrong with names.idx, seen from names.db, or nothing. For `verify`. A missing one is made by the next
    start: backups leave it out."""
    if not path.exists():
        return ""
    stamp = fetch(db, "SELECT value FROM meta WHERE name = 'index_stamp'")
    if not stamp:
        return "belongs to another names.db"
    stored = fetch(db, "SELECT coalesce(max(n) + 1, 0) FROM people")[0][0]
    index = read_index(path, int(stamp[0][0]), stored)
    if isinstance(index, str):
        return index
    for first in range(0, index.people, _CHUNK):
        dids = fetch(
            db, "SELECT did FROM people WHERE n >= ? AND n < ? ORDER BY n", (first, min(first + _CHUNK, index.people))
        )
        packed = pack_dids([did or "" for (did,) in dids])
        rows = index.rows[first : first + _CHUNK]
        valid = np.where(packed.form == PLC, packed.low | np.uint64(VALID), np.uint64(0))
        there = rows[: len(valid), 1] != 0  # blank ones are read from names.db: erased, or given again since
        wrong = (rows[:, 1] != valid) | (rows[:, 0] != packed.high) if len(rows) == len(valid) else ~there
        if len(rows) != len(valid) or (wrong & there).any():
            return "says something else than names.db"
    return ""


def _sum(values: U64 | U32, first: int = 0) -> int:
    """A sum over (index, value): one element can be taken out of it again."""
    return int(_sum_of(values.astype(np.uint64, copy=False), first))


@njit
def _sum_of(values: U64, first: int) -> Any:
    total = np.uint64(0)
    for i in range(len(values)):
        total += (np.uint64(i + first) * np.uint64(0x9E3779B97F4A7C15) | np.uint64(1)) * values[i]
    return total
