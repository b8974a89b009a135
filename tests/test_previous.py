"""A data folder that an earlier version wrote (tests/store/previous.tar.xz, 33 kB) opens whole; a later one is refused.

It was made in November 2026 by the version before pages, experiments and moderation were remembered: a sealed day, an
open one, three readers. A version that changes a format adds a folder of its own here; this one stays.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tarfile
from pathlib import Path

import pytest

from feedgen.store.stats import collect
from feedgen.store.verify import verify
from feedgen.store.viewers import Viewers
from tests.process import Feedgen

PREVIOUS = Path(__file__).parent / "store" / "previous.tar.xz"
SILENCE = "ws://127.0.0.1:9"


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    with tarfile.open(PREVIOUS) as packed:
        packed.extractall(tmp_path, filter="data")
    return tmp_path / "data"


def started(previous: Path) -> Feedgen:
    return Feedgen(previous.parent, jetstream__urls=SILENCE, store__retention_days=120)


def readers_format(folder: Path) -> int:
    with sqlite3.connect(folder / "viewers.db") as db:
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
    db.close()
    return version


def digests(folder: Path) -> dict[str, str]:
    """Of everything but the lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


async def test_all_of_it_is_there_and_served(previous: Path) -> None:
    assert readers_format(previous) == 2 < len(Viewers.steps)
    assert verify(previous) == []
    with started(previous) as service:
        service.said("answering", 400)
        assert service.health()["store"]["people"] == 59
        assert service.page(feed="popular").status_code == 200
        assert service.stop()[0] == 0
    found = collect(previous)
    assert (len(found.days), found.ratings, found.people) == (2, 505, 59)
    assert verify(previous) == []
    assert readers_format(previous) == len(Viewers.steps)
    async with await Viewers.open(previous) as viewers:
        assert await viewers.count_readers() == 3 and await viewers.count_accounts() == 3


@pytest.mark.parametrize("file", ["format", "viewers.db"])
def test_what_a_later_version_wrote_is_refused_with_words_and_left_alone(previous: Path, file: str) -> None:
    if file == "format":
        (previous / "format").write_text("99\n")
    else:
        with sqlite3.connect(previous / "viewers.db") as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
    before = digests(previous)
    with started(previous) as service:
        assert service.process.wait(400) == 1
        service.wait_for(lambda: "newer" in str(service.log), "the words")
        assert "Traceback" not in str(service.log)
    after = digests(previous)
    assert {name: after.get(name) for name in before} == before
