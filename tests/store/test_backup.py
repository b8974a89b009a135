"""Backups of a folder that is in use, brought back and judged by `verify`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import sqlite3
import threading
import time
from pathlib import Path

import apsw
import pytest

from feedgen.core.errors import StoreError
from feedgen.core.ids import US_PER_DAY
from feedgen.store import backup as backup_module
from feedgen.store import verify
from feedgen.store.backup import MANIFEST, backup, restore
from feedgen.store.folder import Folder
from feedgen.store.viewers import Viewers
from tests.store.world import FIRST_DAY, Recorder, dump, expected, make_events

SEALED, LOG = "days/2026-11-20.db", "days/2026-11-21.open.db"


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    db = apsw.Connection(str(path))
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


async def _note(folder: Path) -> None:
    async with await Viewers.open(folder) as viewers:
        await viewers.put_note("hello", b"you")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backup") / "data"
    recorder = Recorder(path)
    recorder.run(make_events(9, 900, days=2))
    recorder.writer.seal(FIRST_DAY)
    recorder.close()
    asyncio.run(_note(path))
    return path


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


def files(data: Path) -> int:
    """The days, viewers.db, names.db."""
    return len(list(data.glob("days/*.db"))) + 2


def sound(path: Path) -> bool:
    Recorder(path).close()  # a start makes what is derived
    problems = verify.verify(path)
    assert problems == []
    return not problems


def test_there_and_back(data: Path, tmp_path: Path) -> None:
    settings = tmp_path / "mine.toml"
    settings.write_text("[store]\n")
    told: list[tuple[int, int, str]] = []
    with Folder(data):  # somebody uses it
        result = backup(data, tmp_path / "kept", settings, lambda *where: told.append(where))
    assert (result.copied, result.kept, result.dropped) == (files(data), 0, 0)
    assert told[0][2] == "viewers.db" and told[-1] == (files(data), files(data), "names.db")
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "kept" / "feedgen.toml").read_text() == "[store]\n"
    assert not list((tmp_path / "kept").rglob("*-wal")) + list((tmp_path / "kept").rglob("*.new"))
    assert restore(tmp_path / "kept", tmp_path / "again") == files(data) + 1
    assert sound(tmp_path / "again")
    everything = {SEALED: "people ORDER BY person", LOG: "log", "names.db": "people"}
    for name, table in everything.items():
        sql = f"SELECT * FROM {table}"
        assert rows(data / name, sql) == rows(tmp_path / "again" / name, sql) != []
    viewers = sqlite3.connect(tmp_path / "again" / "viewers.db")
    assert viewers.execute("SELECT value FROM notes WHERE name = 'hello'").fetchone() == (b"you",)
    viewers.close()


def test_what_was_just_restored_is_sound_before_the_first_start(data: Path, tmp_path: Path) -> None:
    """names.idx is not backed up, and the next start makes it: that it is missing is no problem."""
    assert (data / "names.idx").exists() and rows(data / "names.db", "SELECT 1 FROM meta WHERE name = 'index_stamp'")
    backup(data, tmp_path / "kept")
    restore(tmp_path / "kept", tmp_path / "again")
    assert not (tmp_path / "again" / "names.idx").exists()
    assert verify.verify(tmp_path / "again") == []


def test_a_past_day_is_copied_once_and_left_when_it_leaves(data: Path, tmp_path: Path) -> None:
    backup(data, tmp_path / "kept")
    copy = tmp_path / "kept" / "data" / SEALED
    before = copy.stat().st_mtime_ns
    result = backup(data, tmp_path / "kept")
    assert (result.copied, result.kept) == (files(data) - 1, 1) and copy.stat().st_mtime_ns == before
    copy.unlink()  # somebody took it: it is copied again
    assert backup(data, tmp_path / "kept").copied == files(data) and copy.exists()
    (data / SEALED).unlink()
    assert backup(data, tmp_path / "kept").dropped == 1 and not copy.exists()
    restore(tmp_path / "kept", tmp_path / "again")


def test_while_it_is_written_to(tmp_path: Path) -> None:
    """Every copy that is made meanwhile is a whole one, and everybody in it has a name."""
    data = tmp_path / "data"
    recorder = Recorder(data)
    events = make_events(5, 4000, days=1)
    recorder.run(events[:200])
    over = threading.Event()
    failures: list[BaseException] = []

    def keep_backing_up() -> None:
        try:
            for i in range(100):
                backup(data, tmp_path / f"kept{i}")
                if over.is_set():
                    return
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=keep_backing_up)
    thread.start()
    for i in range(200, len(events), 100):
        recorder.run(events[i : i + 100])
        time.sleep(0.005)
    over.set()
    thread.join(60)
    recorder.close()
    assert not failures, failures
    made = sorted(tmp_path.glob("kept*"))
    assert made
    for path in made:
        restore(path, path / "again")
        assert sound(path / "again")


def test_over_midnight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day ends and is sealed while names are copied: everybody in it has a name, and nothing lies behind a cursor."""
    recorder = Recorder(tmp_path / "data")
    events = make_events(5, 900, days=2)
    first = [event for event in events if event.time_us < (FIRST_DAY + 1) * US_PER_DAY]
    recorder.run(first[:-200])
    copy, over = backup_module._copy_day, list[str]()

    def slowly(source: Path, target: Path) -> None:
        copy(source, target)
        if not over:  # after the first file, whichever it is
            over.append(source.name)
            recorder.run(events)
            recorder.writer.seal(FIRST_DAY)

    monkeypatch.setattr(backup_module, "_copy_day", slowly)
    backup(tmp_path / "data", tmp_path / "kept")
    recorder.close()
    restore(tmp_path / "kept", tmp_path / "again")
    assert over and sound(tmp_path / "again")
    recorder = Recorder(tmp_path / "again")
    recorder.run(events)
    recorder.close()
    assert dump(tmp_path / "again") == expected(events)


def test_who_was_deleted_since_is_erased_again(data: Path, tmp_path: Path) -> None:
    backup(data, tmp_path / "kept")
    recorder = Recorder(data)
    [(person, _)] = rows(data / "names.db", "SELECT n, did FROM people WHERE did IS NOT NULL LIMIT 1")
    recorder.close()
    db = apsw.Connection(str(data / "names.db"))
    db.execute("UPDATE people SET did = NULL, flags = flags | 1 WHERE n = ?", (person,))
    db.close()
    backup(data, tmp_path / "kept")
    restore(tmp_path / "kept", tmp_path / "again")
    assert (person,) in rows(tmp_path / "again" / "names.db", "SELECT n FROM erasing")


def test_a_backup_that_is_cut_off_leaves_the_one_before_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after each rename that it makes: a restore brings back the older state or the newer one, whole."""
    backup(data, tmp_path / "older")
    older = dump(data)
    recorder = Recorder(data)
    recorder.run([event for event in make_events(10, 1500, days=3) if event.time_us // US_PER_DAY == FIRST_DAY + 2])
    recorder.close()
    newer = dump(data)
    replace, calls, seen = os.replace, 0, []
    for at in range(20):
        target, restored = tmp_path / f"kept{at}", tmp_path / f"restored{at}"
        shutil.copytree(tmp_path / "older", target)

        def fail_once(source: Path, to: Path, at: int = at) -> None:
            nonlocal calls
            calls += 1
            if at % 2:
                replace(source, to)
            if calls == at // 2 + 1:
                raise OSError(errno.EIO, "Input/output error")
            if not at % 2:
                replace(source, to)

        with monkeypatch.context() as patch:
            calls = 0
            patch.setattr(os, "replace", fail_once)
            with contextlib.suppress(StoreError):
                backup(data, target)
        restore(target, restored)
        found = dump(restored)
        assert found in (older, newer)
        seen.append(found == newer)
        if at % 5 == 0:
            backup(data, target)
            shutil.rmtree(restored)
            restore(target, restored)
            assert dump(restored) == newer
            assert not list(target.rglob("*.new"))
    assert seen == sorted(seen) and not seen[0] and seen[-1]


def test_a_damaged_source_leaves_the_older_copy(data: Path, tmp_path: Path) -> None:
    backup(data, tmp_path / "kept")
    before = (tmp_path / "kept" / "data" / LOG).read_bytes()
    with (data / LOG).open("r+b") as file:
        file.write(b"\xff" * 4096)
    for rest in data.glob("days/*-wal"):
        rest.unlink()
    with pytest.raises(StoreError):
        backup(data, tmp_path / "kept")
    assert (tmp_path / "kept" / "data" / LOG).read_bytes() == before
    restore(tmp_path / "kept", tmp_path / "again")
    assert sound(tmp_path / "again")


def test_what_is_not_brought_back(data: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    backup(data, kept)
    with pytest.raises(StoreError, match="not empty"):
        restore(kept, data)
    with pytest.raises(StoreError, match="no backup"):
        restore(tmp_path, tmp_path / "again")
    content = bytearray((kept / "data" / SEALED).read_bytes())
    content[len(content) // 2] ^= 1
    (kept / "data" / SEALED).write_bytes(content)
    with pytest.raises(StoreError, match="missing or damaged"):
        restore(kept, tmp_path / "again")
    assert not (tmp_path / "again").exists() and not list(tmp_path.glob(".again*"))
    (kept / MANIFEST).write_text('{"version": 1, "files": {"data/../../x": {"bytes": 1, "blake2b": ""}}}')
    with pytest.raises(StoreError, match="outside"):
        restore(kept, tmp_path / "again")
    (kept / MANIFEST).write_text('{"version": 1}')
    with pytest.raises(StoreError, match="never finished"):
        restore(kept, tmp_path / "again")
    (kept / MANIFEST).write_text('{"version": 2}')
    with pytest.raises(StoreError, match="newer feedgen"):
        restore(kept, tmp_path / "again")


def test_not_into_itself(data: Path) -> None:
    with pytest.raises(StoreError, match="in one another"):
        backup(data, data / "kept")
    with pytest.raises(StoreError, match="no data folder"):
        backup(data / "nothing", data.parent / "kept")
