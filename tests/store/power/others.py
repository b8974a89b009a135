"""Scenes that are more than a stream of events: retention, a new format, a backup, and what readers ask for.

Each knows how to prepare its folder, what happens while the power is cut, and what a start afterwards must find.
"""

from __future__ import annotations

import asyncio
import shutil
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from feedgen.core.ids import rkey_to_int
from feedgen.feeds.contract import reader_key
from feedgen.graph.archive import Archive
from feedgen.ingest.events import Event
from feedgen.rank.seen import ReaderState
from feedgen.simnet.server import Simnet
from feedgen.store.backup import backup, restore
from feedgen.store.reader import DayReader
from feedgen.store.stats import collect
from feedgen.store.verify import verify
from feedgen.store.viewers import Viewers
from tests.graph.network import DAY_US, Feeder, Model
from tests.inside import running
from tests.store.power.after import go_on, model_of
from tests.store.power.story import story

PREVIOUS: Final = Path(__file__).parents[1] / "previous.tar.xz"
KEPT_DAYS: Final = 2
BATCH: Final = 12
RETENTION: Final = story(8, 300, step_us=1_300_000_000)  # four and a half days
BACKUP: Final = story(9, 260, step_us=500_000_000)
PREPARED: Final = 150
Mark = Callable[[str], None]


class Short(Feeder):
    """Keeps two days."""

    def _open(self) -> None:
        self.archive = Archive(self.folder, retention_days=KEPT_DAYS)
        self.archive.graph.wait()

    def check(self) -> None:
        """Of the kept days all ratings are there, under the right names; of the others no file is."""
        self.settle()  # a day that is being sealed leaves afterwards
        self.archive.days.tend(self.day, (self.day + 1) * DAY_US)
        days = self.archive.writer.days()
        assert days and days[0] > days[-1] - KEPT_DAYS
        found = []
        for day in days:
            path = self.archive.folder.day_path(day)
            assert path is not None
            with DayReader(path) as reader:
                rows = reader.ratings(keys=True)
            columns = (rows.actor.tolist(), rows.kind.tolist(), rows.key.tolist())
            found += [(self._did(actor), kind, key) for actor, kind, key in zip(*columns, strict=True)]
        ratings = self.model.ratings.items()
        wanted = [(who, kind, rkey_to_int(rkey)) for (who, kind, rkey), (_, day) in ratings if day >= days[0]]
        assert sorted(found) == sorted(wanted)
        names = {path.name[:10] for path in self.archive.folder.days_path.iterdir() if path.name[0] == "2"}
        assert len(names) == len(days)


def prepare(folder: Path, events: Sequence[Event], kind: type[Feeder] = Feeder) -> None:
    feeder = kind(folder)
    feeder.tell(*events)
    feeder.settle()
    feeder.close()


def play_retention(folder: Path, mark: Mark) -> None:
    feeder = Short(folder)
    for at in range(PREPARED, len(RETENTION), BATCH):
        feeder.tell(*RETENTION[at : at + BATCH])
    feeder.settle()
    feeder.close()


def check_retention(disk: Path, marks: list[str], settle: bool) -> None:
    go_on(disk, RETENTION, _RETENTION_MODEL, settle, Short)


_RETENTION_MODEL: Final[Model] = model_of(RETENTION)


def prepare_migration(folder: Path) -> None:
    with tarfile.open(PREVIOUS) as packed:
        packed.extractall(folder.parent, filter="data")
    (folder.parent / "data").rename(folder)


async def _open_readers(folder: Path) -> int:
    async with await Viewers.open(folder) as viewers:
        return len(await viewers._rows("SELECT reader FROM readers"))


def play_migration(folder: Path, mark: Mark) -> None:
    archive = Archive(folder, retention_days=120)
    mark(f"readers {asyncio.run(_open_readers(folder))}")
    archive.graph.wait()
    archive.close()


def check_migration(disk: Path, marks: list[str], settle: bool) -> None:
    Archive(disk, retention_days=120).close()
    assert asyncio.run(_open_readers(disk)) == 3
    found = collect(disk)
    assert (len(found.days), found.ratings, found.people) == (2, 505, 59)
    assert verify(disk) == []


def prepare_backup(folder: Path) -> None:
    prepare(folder / "store", BACKUP[:PREPARED])
    backup(folder / "store", folder / "backup")


def play_backup(folder: Path, mark: Mark) -> None:
    """Events, a backup, events, another."""
    feeder = Feeder(folder / "store")
    for at in range(PREPARED, len(BACKUP), BATCH):
        feeder.tell(*BACKUP[at : at + BATCH])
        if at // BATCH % 4 == 0:
            backup(folder / "store", folder / "backup")
            mark(f"backed up {at}")
    feeder.close()


def check_backup(disk: Path, marks: list[str], settle: bool) -> None:
    """A backup that was cut off leaves the one before it, or is whole; and the next one is good."""
    restore(disk / "backup", disk / "restored")
    _assert_sound(disk / "restored")
    shutil.rmtree(disk / "restored")
    go_on(disk / "store", BACKUP, _BACKUP_MODEL, settle)
    backup(disk / "store", disk / "backup")
    restore(disk / "backup", disk / "restored")
    _assert_sound(disk / "restored")


def _assert_sound(data: Path) -> None:
    """It opens, and everybody in it has a name. (A past day is copied once, so unlikes since may be missing.)"""
    with Archive(data) as archive:
        archive.writer.sweep()
        for day in archive.writer.days():
            path = archive.folder.day_path(day)
            assert path is not None
            with DayReader(path) as reader:
                assert all(archive.names.did(person) for person in set(reader.ratings().actor.tolist()))
    assert verify(data) == []


_BACKUP_MODEL: Final[Model] = model_of(BACKUP)


def play_readers(folder: Path, mark: Mark) -> None:
    asyncio.run(_ask_for_less(folder, mark))


async def _ask_for_less(folder: Path, mark: Mark) -> None:
    async with (
        Simnet.start(people=40, history_days=0.3, per_person_day=40.0, live_rate=30.0) as sim,
        running(sim, folder) as inside,
    ):
        for reader in sim.readers(3):
            for post in await inside.posts(reader, limit=4):
                await inside.tell(reader, "requestLess", [post])
                mark(f"less {sim.people.did(reader)} {post}")


def check_readers(disk: Path, marks: list[str], settle: bool) -> None:
    _assert_sound(disk / "data")
    asyncio.run(_find_less(disk / "data", marks))


async def _find_less(data: Path, marks: list[str]) -> None:
    with Archive(data) as archive:
        async with await Viewers.open(data) as viewers:
            for words in (mark.split() for mark in marks if mark.startswith("less")):
                packed = await viewers.reader(reader_key(words[1]))
                assert packed is not None, "nothing is known of a reader who asked for less"
                less = [archive.library.uri(one.post) for one in ReaderState.unpack(packed).opinions if one.less]
                assert words[2] in less


Prepare = Callable[[Path], None]
Play = Callable[[Path, Mark], None]
Check = Callable[[Path, list[str], bool], None]
OTHERS: Final[dict[str, tuple[Prepare, Play, Check]]] = {
    "retention": (lambda folder: prepare(folder, RETENTION[:PREPARED], Short), play_retention, check_retention),
    "migration": (prepare_migration, play_migration, check_migration),
    "backup": (prepare_backup, play_backup, check_backup),
    "readers": (lambda folder: folder.mkdir(), play_readers, check_readers),
}
