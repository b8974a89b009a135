"""When a sealed day last named each person: a byte a number, in `names.seen`. Derived: if it is lost, all count as
named today, and numbers are given back later.

A number may be given back when no kept day names it, and has not for so long that no reader's state and no backup does.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from feedgen.store.rows import U8, U32
from feedgen.store.sqlite import spoken, sync_file

REMEMBERED_DAYS: Final = 90  # readers' opinions name people by number for eleven weeks
_HEADER: Final = struct.Struct("<8sQQI")  # magic, day, people, checksum
_MAGIC: Final = b"FGSEEN01"


class Seen(NamedTuple):
    day: int  # the newest that was noted
    by_person: U8  # the day modulo 256; retention and REMEMBERED_DAYS together are fewer


def note_day(path: Path, day: int, named: U32, people: int, sealed: Iterable[int]) -> U8:
    """A day that is being sealed names these people, out of so many. When each was last named. `sealed` are the other
    sealed days: one that was never noted might have named anybody.
    """
    held = read_seen(path)
    if held is None or day < held.day or any(held.day < other < day for other in sealed):
        day = max(day, held.day if held is not None else 0)
        seen = np.full(people, day % 256, np.uint8)
    else:
        seen = np.full(people, day % 256, np.uint8)  # people who came since
        seen[: len(held.by_person)] = held.by_person[:people]
        seen[named[named < people]] = day % 256
    data = seen.tobytes()
    draft = path.with_name(f"{path.name}.new")
    with spoken(draft):
        draft.write_bytes(_HEADER.pack(_MAGIC, day, people, zlib.crc32(data)) + data)
        sync_file(draft)
        draft.replace(path)
        sync_file(path.parent)
    return seen


def idle(seen: U8, day: int, retention_days: int) -> U32:
    """People who were not named for long enough. An age beyond 255 days seems shorter, which only costs time."""
    age = np.uint8(day % 256) - seen
    return np.flatnonzero(age >= retention_days + REMEMBERED_DAYS).astype(np.uint32)


def read_seen(path: Path) -> Seen | None:
    """None if it can't be used."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if len(data) < _HEADER.size:
        return None
    magic, day, people, checksum = _HEADER.unpack_from(data)
    rest = data[_HEADER.size :]
    if magic != _MAGIC or len(rest) != people or zlib.crc32(rest) != checksum:
        return None
    return Seen(day, np.frombuffer(rest, np.uint8))
