"""The SQL that people use says the same as the program's reader, in both forms of a day."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from feedgen.core.ids import POST_NSID, int_to_tid
from feedgen.store.names import Names
from feedgen.store.reader import DayReader
from feedgen.store.views import write_open_sql
from tests.store.world import FIRST_DAY, Recorder, make_events


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("views") / "data"
    recorder = Recorder(path)
    recorder.run(make_events(7, 600, days=2))
    recorder.writer.seal(FIRST_DAY)
    recorder.close()
    return path


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """With Python's own SQLite, on a copy: two libraries must not meet on one file in one process."""
    copy = path.with_suffix(".copy")
    shutil.copy(path, copy)
    connection = sqlite3.connect(copy)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()
        copy.unlink()


@pytest.mark.parametrize("name", ["2026-11-20.db", "2026-11-21.open.db"])
def test_views_say_what_the_reader_says(name: str, folder: Path) -> None:
    path = folder / "days" / name
    with DayReader(path) as reader:
        assert reader.sealed == ("open" not in name)
        r = reader.ratings(keys=True)
        columns = (r.actor.tolist(), r.post.tolist(), r.kind.tolist(), r.key.tolist(), r.tick.tolist())
        ratings = sorted(zip(*columns, strict=True))
        p = reader.posts()
        posts = sorted(
            zip(*(getattr(p, c).tolist() for c in ("post", "author", "key", "flags", "language")), strict=True)
        )
        f = reader.follows()
        follows = sorted(zip(f.actor.tolist(), f.subject.tolist(), f.key.tolist(), strict=True))
        odd = {key: reader.odd_key_text(key) for key in r.key.tolist() if key < 0}
    assert len(ratings) > 50 and len(posts) > 20 and len(follows) > 3 and odd
    sql = "SELECT person, post, kind = 'repost', key, tick FROM ratings_view"
    assert sorted(ask(path, sql)) == ratings
    assert sorted(ask(path, "SELECT post, author, key, flags, language FROM posts_view")) == posts
    assert sorted(ask(path, "SELECT person, subject, key FROM follows_view")) == follows
    for key, rkey in ask(path, "SELECT key, rkey FROM ratings_view"):
        assert rkey == (int_to_tid(key) if key >= 0 else odd[key])


def test_witnessed_times_are_spelled_out(folder: Path) -> None:
    sql = "SELECT min(witnessed), max(witnessed) FROM ratings_view WHERE tick = 32768 OR tick < 800"
    (low, high) = ask(folder / "days/2026-11-20.db", sql)[0]
    assert low.startswith("2026-11-20 0") and high.startswith("2026-11-20 ")


@pytest.mark.needs("sqlite3")
@pytest.mark.parametrize("name", ["2026-11-20.db", "2026-11-21.open.db"])
def test_dids_and_at_uris_in_the_real_shell(name: str, folder: Path) -> None:
    days = folder / "days"
    write_open_sql(days)
    lines = subprocess.run(
        ["sqlite3", "-readonly", "-init", "open.sql", name, "SELECT who, kind, uri, subject FROM likes", ".quit"],
        cwd=days, capture_output=True, text=True, timeout=60, check=True,
    ).stdout.splitlines()  # fmt: skip
    with DayReader(days / name) as reader:
        assert len(lines) == len(reader.ratings())
        own = sum(1 for n in reader.ratings().post.tolist() if n >> 24 == reader.slot)
    from feedgen.store.folder import Folder

    with Folder(folder) as opened:
        names = Names(opened)
        dids = {names.did(n) for n in range(names.count)}
        names.close()
    spelled = 0
    for line in lines:
        who, kind, uri, subject = line.split("|")
        assert who in dids and kind in ("like", "repost")
        assert uri.startswith(f"at://{who}/app.bsky.feed.{kind}/")
        if subject:
            assert subject.startswith("at://did:") and f"/{POST_NSID}/" in subject
            spelled += 1
    assert 0 < spelled <= own
