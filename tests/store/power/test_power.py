"""The power fails at any instant; afterwards a normal start finds everything that it may not lose.

A real process is recorded once for each scene; many disks are made from each recording (disk.py). FEEDGEN_POWER_CUTS
says how many in all.
"""

from __future__ import annotations

import os
import random
import shutil
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from feedgen.graph import sealed
from feedgen.graph.layout import STAMP_BYTES
from tests.store.power.disk import MARK, Disk, Record, cuts, read_recording
from tests.store.power.scenes import SCENES
from tests.store.power.shim import memory, run

CUTS: Final = int(os.environ.get("FEEDGEN_POWER_CUTS", "500"))
SEED: Final = int(os.environ.get("FEEDGEN_POWER_SEED", "1"))
SHARE: Final = {"power": 10, "killed": 50}  # each scene's share of the disks


@dataclass(frozen=True)
class Recording:
    base: Path  # before
    data: Path  # after
    records: list[Record]


class Recordings:
    """All scenes, played in one process when the first of them is asked for."""

    def __init__(self, room: Path) -> None:
        self.room = room
        self._made: dict[str, Recording] = {}

    def of(self, name: str) -> Recording:
        if not self._made:
            run("scenes", self.room, str(self.room), *SCENES)
            for scene in SCENES:
                room = self.room / scene
                self._made[scene] = Recording(room / "base", room / "data", read_recording(room / "log"))
        return self._made[name]


@pytest.fixture(scope="module")
def recordings() -> Iterator[Recordings]:
    with TemporaryDirectory(prefix="feedgen-power-", dir=memory()) as room:
        yield Recordings(Path(room).resolve())


@pytest.mark.needs("cc")
@pytest.mark.parametrize("name", SCENES)
def test_the_recording_leads_to_what_is_on_the_disk(name: str, recordings: Recordings, tmp_path: Path) -> None:
    """Otherwise the disks that are made of it would show nothing."""
    recording = recordings.of(name)
    disk = Disk(recording.base)
    for one in recording.records:
        disk.happen(one)
    disk.sync_all()
    disk.cut(random.Random(0), tmp_path)
    assert contents(tmp_path) == contents(recording.data)


def contents(path: Path) -> dict[str, bytes]:
    return {str(each.relative_to(path)): each.read_bytes() for each in path.rglob("*") if each.is_file()}


@pytest.mark.needs("cc")
@pytest.mark.parametrize("death", ["power", "killed"])
@pytest.mark.parametrize("name", SCENES)
def test_nothing_is_lost_or_falsified(
    name: str, death: str, recordings: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if death == "power":
        monkeypatch.setattr(sealed, "boot_id", lambda: b"after the cut".ljust(STAMP_BYTES))
    rng = random.Random(f"{SEED} {name}")
    recording, wrong, number = recordings.of(name), list[str](), 0
    wanted = max(2, CUTS // SHARE[death])
    for number, (at, disk) in enumerate(cuts(recording.records, recording.base, wanted, rng), 1):
        target = recordings.room / "disk"
        disk.cut(rng if death == "power" else None, target)
        marks = [one.text for one in recording.records[:at] if one.kind == MARK]
        try:
            SCENES[name].check(target, marks, number % 4 == 0)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            what = (
                f"{type(error).__name__}: {str(error)[:300]} at {Path(place.filename).name}:{place.lineno} {place.line}"
            )
            wrong.append(f"cut {number} before record {at}: {what}")
        shutil.rmtree(target)
    assert not wrong, f"{len(wrong)} of {number} disks are wrong:\n" + "\n".join(wrong[:10])
