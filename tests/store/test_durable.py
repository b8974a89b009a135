"""What a power cut, a full disk and a failing sync leave of the store."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from feedgen.core.errors import StoreFull
from feedgen.core.ids import US_PER_DAY
from feedgen.store.folder import Folder
from feedgen.store.names import Names
from feedgen.store.open_day import POSTS_RESERVED, OpenDay
from feedgen.store.verify import Problem, verify
from feedgen.store.writer import Writer
from tests.graph.network import Feeder, uri
from tests.graph.test_recorder import KEY, STEPS, A, B, C, D, batch, tale
from tests.store.faulty import FaultyVfs, unique_name
from tests.store.synced import SyncedDisk
from tests.store.world import FIRST_DAY, Recorder, dump, expected, make_events

CUTS = int(os.environ.get("FEEDGEN_SYNC_CUTS", "4"))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncedDisk]:
    disk = SyncedDisk(monkeypatch)
    yield disk
    disk.unregister()


def told_again(folder: Path) -> None:
    """The stream is heard from where the folder is, and then all is as if nothing had happened."""
    feed = Feeder(folder, erase_after_us=3_000_000)
    try:
        cursor = feed.archive.recorder.cursor()
        done, high_us = (cursor.seq if cursor else 0), feed.archive.recorder.high_water_us()
        feed.model.high_us = feed.archive.recorder.high_water_us()
        for events in tale(feed, STEPS):
            for event in events:
                if event.seq < done:
                    feed.model.apply(event, event.time_us // US_PER_DAY)
            again = [event for event in events if event.seq >= done]
            if again:
                feed.tell(*again, replayed=again[0].time_us <= high_us + 120_000_000)
        feed.settle()
        feed.check_truth()
        feed.reopen()
        feed.check()
    finally:
        feed.close()


def test_a_power_cut_takes_nothing_and_gives_nothing_to_others(disk: SyncedDisk, tmp_path: Path) -> None:
    """Whichever files kept what was not synced."""
    rng = random.Random(11)
    cut_after = sorted(rng.sample(range(STEPS), CUTS)) if CUTS <= STEPS else list(range(STEPS))
    cuts: list[Path] = []
    feed = Feeder(tmp_path / "data", erase_after_us=3_000_000)
    for step, events in enumerate(tale(feed, STEPS)):
        feed.tell(*events)
        feed.archive.days.tend(feed.day, feed.now_us)
        if step in cut_after:
            cuts += [
                disk.cut(tmp_path / "data", tmp_path / f"cut{step}-{i}", rng) for i in range(max(1, CUTS // STEPS))
            ]
    feed.close()
    for cut in cuts:
        told_again(cut)


def test_a_day_that_begins_leaves_nothing_of_the_last_one_behind(disk: SyncedDisk, tmp_path: Path) -> None:
    """The new day's cursor stands for all of the day before."""
    recorder = Recorder(tmp_path / "data")
    events = make_events(21, 300, days=2)
    recorder.run(events)
    for lose in (0.0, 1.0):
        cut = tmp_path / f"cut{lose}"
        disk.cut(tmp_path / "data", cut, random.Random(1), lose)
        if lose:  # but what was written to the new day arrived
            for path in (tmp_path / "data/days").glob("2026-11-21*"):
                (cut / "days" / path.name).write_bytes(path.read_bytes())
        assert dump(cut) == expected(events)
    recorder.close()


def test_numbers_of_posts_that_a_power_cut_took_are_not_given_again(disk: SyncedDisk, tmp_path: Path) -> None:
    """Other files may hold them."""
    feed = Feeder(tmp_path / "data")
    feed.tell(feed.post("did:plc:" + "a" * 24))
    cut = disk.cut(tmp_path / "data", tmp_path / "cut", random.Random(1), 1.0)
    feed.close()
    again = Feeder(cut)
    assert again.archive.recorder.cursor() is None
    again.tell(again.post("did:plc:" + "b" * 24))
    view = again.archive.library.view()
    assert int(view.find_posts([again.archive.names.find("did:plc:" + "b" * 24)], [0])[0]) > 0
    assert again.archive.graph.next_posts(0) & 0xFF_FFFF == 1 + POSTS_RESERVED + 1
    again.reopen()  # a regular end takes nothing
    again.tell(again.post("did:plc:" + "c" * 24))
    assert again.archive.graph.next_posts(0) & 0xFF_FFFF == 1 + POSTS_RESERVED + 2
    again.check()
    again.close()


def test_commits_about_people_whom_names_lost_are_taken_back(tmp_path: Path) -> None:
    """Where syncing does nothing, or a folder of the first release lost power."""
    recorder = Recorder(tmp_path / "data")
    events = make_events(22, 400, days=2)
    recorder.run(events)
    recorder.close()
    db = apsw.Connection(str(tmp_path / "data/names.db"))
    db.execute("DELETE FROM people WHERE n >= 20")
    db.close()
    folder = Folder(tmp_path / "data")
    names = Names(folder)
    writer = Writer(folder, names)
    cursor = writer.cursor()
    assert names.count == 20 and (cursor is None or cursor.seq < events[-1].seq)
    writer.close()
    names.close()
    folder.close()
    recorder = Recorder(tmp_path / "data")
    recorder.run(events)
    recorder.close()
    assert dump(tmp_path / "data") == expected(events)


@pytest.mark.parametrize("kind", ["full", "write", "sync"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_seal_that_can_not_be_finished_loses_no_deletion(kind: str, tmp_path: Path) -> None:
    """Whichever call fails: the log stays, or the sealed day is whole."""
    vfs = FaultyVfs(unique_name())
    after, refused, events = 0, 0, make_events(23, 260, days=2)
    recorder = Recorder(tmp_path / "before")
    recorder.run(events[:-70])
    recorder.close()
    while True:
        path = tmp_path / f"{kind}{after}"
        shutil.copytree(tmp_path / "before", path)
        recorder = Recorder(path, vfs=vfs.name, erase_after_us=1 << 60)
        writer = recorder.writer
        draft = writer.begin_seal(FIRST_DAY)
        draft.write()
        recorder.run(events)  # unlikes, and accounts that go
        writer.sweep()
        vfs.fail, vfs.after = kind, after
        try:
            writer.finish_seal(draft)
            failed = False
        except StoreFull:
            failed, refused = True, refused + 1
            writer.abandon_seal(FIRST_DAY)
        vfs.fail = ""
        recorder.close()
        assert not failed or not Folder(path, lock=False).days()[0].sealed
        assert dump(path) == expected(events)
        if not failed and vfs.after >= 0:
            break
        after += 1
    assert refused


def test_an_open_day_and_its_reserved_numbers(tmp_path: Path) -> None:
    day = OpenDay(tmp_path / "2026-11-20.open.db", FIRST_DAY)
    day.reserve_posts(5)
    day.close(fold=False)  # as if killed
    day = OpenDay(tmp_path / "2026-11-20.open.db", FIRST_DAY)
    assert day.first_post == 5 + POSTS_RESERVED
    day.close()
    day = OpenDay(tmp_path / "2026-11-20.open.db", FIRST_DAY)
    assert day.first_post == 5 + POSTS_RESERVED  # nobody knows which of them were given
    day.reserve_posts(POSTS_RESERVED + 10)
    day.close()
    day = OpenDay(tmp_path / "2026-11-20.open.db", FIRST_DAY)
    assert day.first_post == 10 + POSTS_RESERVED
    day.close()


def test_what_rotted_in_a_log_is_not_signed_when_the_day_is_sealed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(tmp_path / "data", erase_after_us=1 << 60)
    recorder.run(make_events(24, 300, days=2))
    assert verify(tmp_path / "data", beside=True) == []
    db = recorder.writer._day(FIRST_DAY)._db
    n, blob = db.execute("SELECT n, ratings FROM log WHERE ratings IS NOT NULL").fetchall()[3]
    rotten = bytearray(blob)
    rotten[4] ^= 1  # somebody's like is of another post now
    db.execute("UPDATE log SET ratings = ? WHERE n = ?", (bytes(rotten), n))
    actors = {int.from_bytes(blob[at : at + 4], "little") for at in range(0, len(blob), 15)}
    recorder.writer.sweep()
    recorder.writer.seal(FIRST_DAY)
    assert "damaged commits (1, the first is" in caplog.text and "feedgen verify" in caplog.text
    assert named(verify(tmp_path / "data", beside=True)) >= actors
    held = recorder.writer._day(FIRST_DAY)
    [(person, posts)] = held._db.execute(  # a change of such a row does not sign it either
        f"SELECT person, posts FROM people WHERE posts IS NOT NULL AND person IN ({','.join(map(str, actors))}) LIMIT 1"
    ).fetchall()
    held.remove_post(posts[0] | posts[1] << 8 | posts[2] << 16, person)
    held.commit()
    assert person in named(verify(tmp_path / "data", beside=True))
    recorder.close()


def named(problems: list[Problem]) -> set[int]:
    """People whose rows are damaged."""
    found = [re.fullmatch(r"the row of person (\d+) is damaged.*", problem.what) for problem in problems]
    return {int(match[1]) for match in found if match}


def test_an_error_after_the_commit_is_no_reason_to_apply_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the arrays were not told is told before the next batch."""
    feed = Feeder(tmp_path / "data")
    feed.tell(feed.post(A, KEY), feed.rating(B, uri(A, KEY), KEY), feed.rating(C, uri(A, KEY), KEY))
    feed.now_us += US_PER_DAY
    feed.tell(feed.post(A))
    feed.settle()
    writer, left = feed.archive.writer, 2
    has_other_rating = writer.has_other_rating

    def refuses(day: int, actor: int, post: int) -> bool:
        nonlocal left
        if left:
            left -= 1
            raise StoreFull("a bad sector")
        return has_other_rating(day, actor, post)

    monkeypatch.setattr(writer, "has_other_rating", refuses)
    feed.tell(feed.rating(D, uri(A, KEY)), feed.delete(B, KEY), feed.rating(B, uri(B, KEY)))
    cursor = feed.archive.recorder.cursor()
    assert cursor is not None and cursor.seq == feed.seq
    later = feed.rating(C, uri(B, KEY))
    with pytest.raises(StoreFull):  # ingest waits with this batch
        feed.archive.recorder.apply(batch(later))
    assert feed.archive.recorder.cursor() == cursor and not left
    feed.tell(later)
    feed.check()
    feed.reopen()
    feed.check()
    feed.close()
