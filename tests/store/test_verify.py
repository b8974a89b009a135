"""`verify` finds damage, says where, and what to do; `stats` counts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from feedgen.store import stats, verify
from feedgen.store.folder import Folder
from feedgen.store.sqlite import fetch
from tests.store.world import FIRST_DAY, Recorder, make_events

SEALED, LOG = "days/2026-11-20.db", "days/2026-11-21.open.db"
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("verify") / "data"
    recorder = Recorder(path)
    recorder.run(make_events(9, 900, days=2))
    recorder.writer.seal(FIRST_DAY)
    recorder.close()
    return path


def sql(name: str, *statements: str) -> Damage:
    def damage(path: Path) -> None:
        db = apsw.Connection(str(path / name))
        for statement in statements:
            before = db.total_changes()
            db.execute(statement)
            assert db.total_changes() > before, statement
        db.close()

    return damage


def at(name: str, offset: float, data: bytes) -> Damage:
    """Overwrite bytes; a fraction is a share of the file."""

    def damage(path: Path) -> None:
        content = bytearray((path / name).read_bytes())
        place = int(offset * len(content)) if 0 < offset < 1 else int(offset)
        content[place : place + len(data)] = data
        (path / name).write_bytes(content)

    return damage


def flip_in_blob(name: str, table: str, column: str) -> Damage:
    """One bit of a blob, written past SQLite: its own check can't see it."""

    def damage(path: Path) -> None:
        db = apsw.Connection(str(path / name))
        row = db.execute(f"SELECT rowid FROM {table} WHERE length({column}) > 20 LIMIT 1").fetchall()[0][0]
        with db.blob_open("main", table, column, int(str(row)), True) as blob:
            first = blob.read(12)
            blob.seek(11)
            blob.write(bytes([first[11] ^ 4]))
        db.close()

    return damage


def cut(name: str, share: float) -> Damage:
    def damage(path: Path) -> None:
        content = (path / name).read_bytes()
        (path / name).write_bytes(content[: int(len(content) * share)])

    return damage


def with_crc(name: str, table: str, key: str, column: str, change: Callable[[bytes], bytes]) -> Damage:
    """Change a blob and mend the row's checksum: what a mistake in a program would leave."""

    def damage(path: Path) -> None:
        from feedgen.store import rows as r

        blobs = r.PERSON_BLOBS if table == "people" else r.LOG_BLOBS
        db = apsw.Connection(str(path / name))
        longest = f"SELECT {key}, {', '.join(blobs)} FROM {table} ORDER BY length({column}) DESC LIMIT 1"
        number, *held = fetch(db, longest)[0]
        i = list(blobs).index(column)
        held[i] = change(held[i])

        db.execute(f"UPDATE {table} SET {column} = ?, crc = ? WHERE {key} = ?", (held[i], r.crc(held), number))
        db.close()

    return damage


def move(source: str, target: str) -> Damage:
    return lambda path: (path / source).rename(path / target)


DAMAGES: dict[str, tuple[Damage, str]] = {
    "names.db is missing": (lambda p: (p / "names.db").unlink(), "is missing"),
    "names.db is cut off": (cut("names.db", 0.5), "SQLite says|malformed|can't|damaged"),
    "a person is missing": (sql("names.db", "DELETE FROM people WHERE n = 3"), "numbers up to"),
    "two people have one DID": (
        sql("names.db", "UPDATE people SET did = (SELECT did FROM people WHERE n = 5) WHERE n = 4"),
        "has 2 numbers",
    ),
    "a DID is nonsense": (sql("names.db", "UPDATE people SET did = 'x' WHERE n = 4"), "as a DID"),
    "a gone person has a DID": (sql("names.db", "UPDATE people SET flags = 2 WHERE n = 4"), "still has a DID"),
    "a nameless person is not gone": (
        sql("names.db", "UPDATE people SET did = NULL WHERE n = 4 AND flags & 2 = 0"),
        "not marked",
    ),
    "names.idx has a flipped bit": (at("names.idx", 0.4, b"\xa5\x5a"), "sums are wrong"),
    "names.idx is cut off": (cut("names.idx", 0.8), "cut off"),
    "names.idx is foreign": (
        sql("names.db", "UPDATE meta SET value = value + 1 WHERE name = 'index_stamp'"),
        "another names.db",
    ),
    "a sealed day's pages are torn": (at(SEALED, 4096, bytes(4096)), "SQLite says|damaged|can't"),
    "a sealed day is cut off": (cut(SEALED, 0.6), "SQLite says|damaged|can't"),
    "a bit flipped in a person's row": (flip_in_blob(SEALED, "people", "ratings"), "checksum"),
    "a person's row ends early": (with_crc(SEALED, "people", "person", "ratings", lambda b: b[:-3]), "cut off"),
    "a rating stands twice": (with_crc(SEALED, "people", "person", "ratings", lambda b: b + b[:11]), "twice"),
    "a post's number is used twice": (
        with_crc(SEALED, "people", "person", "posts", lambda b: b + b[:20]),
        "one number",
    ),
    "a sealed day forgot its end": (sql(SEALED, "DELETE FROM meta WHERE name = 'last_n'"), "last"),
    "rows of an unknown person": (
        sql(SEALED, "UPDATE people SET person = 99999 WHERE person = (SELECT max(person) FROM people)"),
        "does not know",
    ),
    "a log's row has a flipped bit": (flip_in_blob(LOG, "log", "ratings"), "checksum"),
    "a log's row ends early": (with_crc(LOG, "log", "n", "posts", lambda b: b[:-1]), "cut off"),
    "a log's count is wrong": (
        sql(LOG, "UPDATE log SET near = near + 1 WHERE n = (SELECT max(n) - 1 FROM log)"),
        "counts",
    ),
    "a commit is missing": (
        sql(LOG, "DELETE FROM log WHERE n = (SELECT n FROM log ORDER BY n LIMIT 1 OFFSET 1)"),
        "not there",
    ),
    "an odd key's text is wrong": (sql(SEALED, "UPDATE odd_keys SET text = 'other'"), "hash"),
    "an odd key's text is missing": (sql(SEALED, "DELETE FROM odd_keys"), "odd key"),
    "a day has another's name": (move(SEALED, "days/2026-11-19.db"), "its name says"),
    "two days share a slot": (lambda p: shutil.copy(p / LOG, p / "days/2027-08-04.open.db"), "slot"),
    "a log lies beside its sealed day": (
        lambda p: shutil.copy(p / LOG, p / "days/2026-11-20.open.db"),
        "log of a sealed day",
    ),
    "a write-ahead log without its file": (
        lambda p: (p / "days/2026-11-01.db-wal").write_bytes(b"x"),
        "not there",
    ),
    "the format is from the future": (lambda p: (p / "format").write_text("9\n"), "format 9"),
}


def test_a_sound_folder_is_sound(sound: Path) -> None:
    steps: list[tuple[int, int]] = []
    assert verify.verify(sound, lambda done, total, text: steps.append((done, total))) == []
    assert steps[0][0] == 0 and steps[-1][0] == steps[-1][1] and steps == sorted(steps)
    assert len(DAMAGES) >= 20


@pytest.mark.parametrize("name", DAMAGES)
def test_finds(name: str, sound: Path, tmp_path: Path) -> None:
    damage, words = DAMAGES[name]
    path = tmp_path / "data"
    shutil.copytree(sound, path)
    damage(path)
    problems = verify.verify(path)
    assert problems, name
    import re

    assert any(re.search(words, problem.what) for problem in problems), problems
    assert all(problem.advice for problem in problems)


def test_other_checks_are_asked(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def check(folder: Folder):  # type: ignore[no-untyped-def]
        yield verify.Problem(folder.path / "days/x.idx", "is foreign", verify.DERIVED)

    assert verify.main(sound, (check,)) == 1
    assert "x.idx: is foreign" in capsys.readouterr().out
    assert verify.main(sound) == 0


def test_stats_count_what_is_there(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from feedgen.store.reader import DayReader

    found = stats.collect(sound)
    for day, name in zip(found.days, (SEALED, LOG), strict=False):
        with DayReader(sound / name) as reader:
            # The holes that a deleted account leaves in a log still take room there.
            held = len(reader.ratings())
            assert day.ratings == held if reader.sealed else day.ratings >= held > 0, name
    assert found.people > 40 and found.total_bytes > 10_000
    assert stats.main(sound) == 0
    out = capsys.readouterr().out
    assert "2026-11-20  sealed" in out and "bytes a rating" in out
    assert stats.main(sound / "nowhere") == 1


def test_beside_a_running_feedgen_only_what_is_over_is_looked_at(sound: Path, tmp_path: Path) -> None:
    for name, finds in ((LOG, []), (SEALED, [SEALED])):
        path = tmp_path / Path(name).name
        shutil.copytree(sound, path)
        flip_in_blob(name, "log" if name == LOG else "people", "ratings")(path)
        (path / "names.idx").write_bytes(b"being written")
        assert [str(problem.path.relative_to(path)) for problem in verify.verify(path, beside=True)] == finds
        assert verify.verify(path) != []
