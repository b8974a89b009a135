"""`figures.db`: how the process fared over an hour, a day and a month, and its last warnings.

Three rings of rows, a minute, ten minutes and an hour wide. A sample is added to the newest row of each, and a row that
is too old is written over by the one that comes to its place: the file stops growing by itself. Samples add up, so a
row that was begun before a restart is gone on with after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from feedgen.store.awaited import Awaited

FILE_NAME: Final = "figures.db"
MAX_WARNINGS: Final = 200
MAX_WORDS: Final = 500  # characters of a warning


class Ring(NamedTuple):
    step_s: int
    rows: int


MINUTES: Final = Ring(60, 180)
TENS: Final = Ring(600, 288)
HOURS: Final = Ring(3600, 24 * 40)
RINGS: Final = (MINUTES, TENS, HOURS)

_STEPS: Final = (
    """
    CREATE TABLE samples (
        step_s INTEGER NOT NULL, place INTEGER NOT NULL, at_s INTEGER NOT NULL, sample TEXT NOT NULL,
        PRIMARY KEY (step_s, place)
    ) WITHOUT ROWID;
    CREATE TABLE warnings (
        n INTEGER PRIMARY KEY, at_s INTEGER NOT NULL, level TEXT NOT NULL, place TEXT NOT NULL, words TEXT NOT NULL
    );
    """,
)


class Sample(msgspec.Struct):
    """What was read for some seconds from `at_s` on. How a figure adds up is the field that it stands in."""

    at_s: int
    seconds: float = 0.0
    sums: dict[str, float] = {}
    peaks: dict[str, float] = {}
    lasts: dict[str, float] = {}
    times: dict[str, list[float]] = {}  # how many took how long: a count for each of telemetry.BUCKETS_S, then of all

    def rate(self, name: str) -> float:
        """A second."""
        return self.sums.get(name, 0.0) / self.seconds if self.seconds else 0.0


def added(one: Sample, other: Sample) -> Sample:
    """Both as one; `other` is the later one."""
    made = Sample(one.at_s, one.seconds + other.seconds)
    made.sums = {name: one.sums.get(name, 0.0) + other.sums.get(name, 0.0) for name in one.sums | other.sums}
    made.peaks = {
        name: max(sample.peaks[name] for sample in (one, other) if name in sample.peaks)
        for name in one.peaks | other.peaks
    }
    made.lasts = one.lasts | other.lasts
    made.times = one.times | other.times
    for name in one.times.keys() & other.times.keys():
        made.times[name] = [a + b for a, b in zip(one.times[name], other.times[name], strict=True)]
    return made


class Warned(NamedTuple):
    at_s: int
    level: str
    place: str
    words: str


class Figures(Awaited):
    """Written by one process; anybody may read."""

    file_name = FILE_NAME
    steps = _STEPS

    async def add(self, sample: Sample) -> None:
        for ring in RINGS:
            start_s = sample.at_s - sample.at_s % ring.step_s
            place = start_s // ring.step_s % ring.rows
            rows = await self._rows(
                "SELECT sample FROM samples WHERE step_s = ? AND place = ? AND at_s = ?", ring.step_s, place, start_s
            )
            begun = msgspec.json.decode(rows[0][0], type=Sample) if rows else Sample(start_s)
            told = msgspec.json.encode(added(begun, sample)).decode()
            await self._do("INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?)", ring.step_s, place, start_s, told)

    async def since(self, ring: Ring, from_s: int) -> list[Sample]:
        """Oldest first. A row that can't be read is left out: it is a minute's figures, and nothing hangs on them."""
        rows = await self._rows(
            "SELECT sample FROM samples WHERE step_s = ? AND at_s >= ? ORDER BY at_s", ring.step_s, from_s
        )
        found = []
        for row in rows:
            try:
                found.append(msgspec.json.decode(row[0], type=Sample))
            except msgspec.MsgspecError:
                continue
        return found

    async def warn(self, warnings: Sequence[Warned]) -> None:
        for one in warnings[-MAX_WARNINGS:]:
            await self._do(
                "INSERT INTO warnings (at_s, level, place, words) VALUES (?, ?, ?, ?)",
                *(one.at_s, one.level, one.place, one.words[:MAX_WORDS]),
            )
        if warnings:
            await self._do("DELETE FROM warnings WHERE n <= (SELECT max(n) FROM warnings) - ?", MAX_WARNINGS)

    async def warnings(self, limit: int = MAX_WARNINGS) -> list[Warned]:
        """Newest first."""
        rows = await self._rows("SELECT at_s, level, place, words FROM warnings ORDER BY n DESC LIMIT ?", limit)
        return [Warned(*row) for row in rows]
