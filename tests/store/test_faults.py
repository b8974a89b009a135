"""A disk that is full or broken: ingest is told, nothing is half-written, and the same batch goes through later."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from feedgen.core.errors import StoreError, StoreFull
from feedgen.core.ids import US_PER_DAY
from tests.store.faulty import FaultyVfs, unique_name
from tests.store.world import FIRST_DAY, Recorder, _fitting, dump, expected, make_events

EVENTS = 800

# apsw tells the interpreter of a refused write even where SQLite itself shrugs it off (a checkpoint can wait).
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("kind", ["full", "write", "sync"])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_same_batch_goes_through_when_the_disk_recovers(kind: str, seed: int, tmp_path: Path) -> None:
    vfs = FaultyVfs(unique_name())
    rng = random.Random(seed)
    recorder = Recorder(tmp_path / "data", vfs=vfs.name)
    events = todo = make_events(seed, EVENTS)
    refused = 0
    day = -1
    while todo:
        today = todo[0].time_us // US_PER_DAY
        if today != day and day >= 0:
            recorder.writer.begin(today)
            recorder.writer.seal(day)
        day = today
        part = _fitting(todo, today, 30)
        if rng.random() < 0.4:
            vfs.fail, vfs.after = kind, rng.randrange(12)
        for _ in range(3):
            try:
                recorder.apply(today, part)
                break
            except StoreFull:
                refused += 1
                assert vfs.failed
                if rng.random() < 0.7:
                    vfs.fail = ""
        else:
            vfs.fail = ""
            recorder.apply(today, part)
        vfs.fail = ""
        todo = todo[len(part) :]
    recorder.close()
    assert vfs.failed
    assert refused or kind == "sync"  # a checkpoint that can't sync leaves everything in the log
    assert dump(tmp_path / "data") == expected(events)


def test_a_seal_that_finds_no_room_leaves_the_day_as_it_was(tmp_path: Path) -> None:
    vfs = FaultyVfs(unique_name())
    recorder = Recorder(tmp_path / "data", vfs=vfs.name)
    events = make_events(3, EVENTS)
    recorder.run(events)
    writer = recorder.writer
    for _ in range(3):
        vfs.fail, vfs.after = "full", 2
        draft = writer.begin_seal(FIRST_DAY)
        with pytest.raises(StoreFull):
            draft.write()
        writer.abandon_seal(FIRST_DAY)
        vfs.fail = ""
    assert not writer.is_sealed(FIRST_DAY)
    writer.seal(FIRST_DAY)
    assert writer.is_sealed(FIRST_DAY)
    recorder.close()
    assert dump(tmp_path / "data") == expected(events)


def test_damage_is_named_with_what_to_do(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "data")
    recorder.run(make_events(4, 300))
    path = recorder.folder.open_path(FIRST_DAY)
    recorder.close()
    data = bytearray(path.read_bytes())
    data[:100] = bytes(100)
    path.write_bytes(data)
    with pytest.raises(StoreError, match="is damaged") as caught:
        Recorder(tmp_path / "data")
    assert "feedgen verify" in caught.value.hint
