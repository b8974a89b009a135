"""`feedgen verify` finds what is wrong with sidecars, and nothing where nothing is."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.graph.archive import Archive
from feedgen.graph.build import build
from feedgen.graph.check import check_sidecars
from feedgen.graph.layout import PAGE
from feedgen.ingest.batch import BatchBuilder
from feedgen.ingest.events import Event, decode
from feedgen.simnet import wire
from feedgen.simnet.world import World
from feedgen.store.folder import Folder
from feedgen.store.verify import verify

START_US = 20_700 * US_PER_DAY


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of a small network, the first one sealed, with removals before and after that."""
    path = tmp_path_factory.mktemp("lived") / "data"
    world = World(3, 60, START_US)
    with Archive(path) as archive:
        _live(archive, world, START_US + 3 * US_PER_DAY // 2)
        us = START_US + 3 * US_PER_DAY // 2
        while not archive.writer.is_sealed(START_US // US_PER_DAY):  # in the background, finished between batches
            us += 20 * US_PER_S
            _live(archive, world, us)
            time.sleep(0.05)  # or a machine with more to do would be in the next day before that
        archive.graph.wait()
        _live(archive, world, START_US + 2 * US_PER_DAY - 1)
    return path


def _live(archive: Archive, world: World, until_us: int) -> None:
    builder = BatchBuilder("sim")
    for event in world.events(until_us):
        frame = wire.v1(event)
        decoded = decode(frame) if frame is not None else None
        if isinstance(decoded, Event):
            day = decoded.time_us // US_PER_DAY
            if not builder.add(decoded, day):
                archive.recorder.apply(builder.take())
                builder.add(decoded, day)
    if builder.events:
        archive.recorder.apply(builder.take())


@pytest.fixture
def folder(lived: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "data"
    shutil.copytree(lived, copy)
    return copy


def problems(path: Path) -> list[str]:
    return [problem.what for problem in check_sidecars(Folder(path, lock=False))]


def sidecar(path: Path) -> Path:
    (found,) = (path / "days").glob("*.idx")
    return found


def test_nothing_is_wrong(folder: Path) -> None:
    assert problems(folder) == []
    assert verify(folder, more=(check_sidecars,)) == []


def test_a_missing_one_is_no_problem(folder: Path) -> None:
    sidecar(folder).unlink()
    assert problems(folder) == []


@pytest.mark.parametrize("where", [0.2, 0.4, 0.6, 0.8])
def test_a_flipped_bit(folder: Path, where: float) -> None:
    path = sidecar(folder)
    data = bytearray(path.read_bytes())
    at = 2 * PAGE + int((len(data) - 2 * PAGE) * where)
    while data[at] == 0:  # not in the padding between sections
        at += 1
    data[at] ^= 1
    path.write_bytes(data)
    assert any("checksum" in what for what in problems(folder))


def test_cut_short(folder: Path) -> None:
    path = sidecar(folder)
    path.write_bytes(path.read_bytes()[:-PAGE])
    assert len(problems(folder)) == 1


def test_of_another_folder(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with Archive(other):
        pass
    (other / "days").mkdir(exist_ok=True)
    for path in (folder / "days").iterdir():
        shutil.copy(path, other / "days")
    assert len(problems(other)) == 1


def test_of_no_day(folder: Path) -> None:
    path = sidecar(folder)
    shutil.copy(path, path.with_name("2020-01-01.idx"))
    assert problems(folder) == ["belongs to no day"]


def test_saying_something_else_with_right_checksums(folder: Path) -> None:
    """Built from rows that lack one rating."""
    with Archive(folder) as archive:
        day = next(day for day in archive.writer.days() if archive.writer.is_sealed(day))
        truth, identity = archive.truth(day), archive.names.identity
        whole = truth.ratings

        def ratings() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            actor, post, tick = whole()
            return actor[1:], post[1:], tick[1:]

        truth.ratings = ratings  # type: ignore[method-assign, assignment]
        draft = build(sidecar(folder), truth, identity)
    if draft is not None and Path(draft) != sidecar(folder):
        Path(draft).rename(sidecar(folder))
    (what,) = problems(folder)
    assert "something else than the rows" in what
