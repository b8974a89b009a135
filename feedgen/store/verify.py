"""`feedgen verify`: is a data folder what it should be, and what to do if not. Reads only. While feedgen runs, only
what it no longer writes can be looked at.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import click
import numpy as np

from feedgen.core.errors import FeedgenError
from feedgen.core.ids import NO_PERSON, NO_POST, is_did, is_rkey, rkey_to_int
from feedgen.ingest.events import GONE
from feedgen.store import rows as r
from feedgen.store.folder import DayFile, Folder, day_name
from feedgen.store.names_index import check_index
from feedgen.store.rows import Bool, Records
from feedgen.store.sqlite import fetch, open_reader

MAX_PROBLEMS_A_FILE: Final = 20
_ROWS: Final = 20_000

RESTORE_NAMES: Final = "bring names.db back from a backup that is not older than the days beside it"
RESTORE_OTHER: Final = "bring it back from a backup, or move it away: what was known of readers begins anew"
RESTORE_DAY: Final = "bring this day back from a backup, or move its file away to go on without that day"
DERIVED: Final = "delete it: it is made again from the truth at the next start"


class Problem(NamedTuple):
    path: Path
    what: str
    advice: str


Check = Callable[[Folder], Iterator[Problem]]
Progress = Callable[[int, int, str], None]
# Others that keep derived files beside ours add their check here; the command does it, so that nothing is imported
# upwards.


def verify(
    path: Path,
    progress: Progress = lambda done, total, text: None,
    more: tuple[Check, ...] = (),
    beside: bool = False,
) -> list[Problem]:
    """All that is wrong, in the order of the files. `beside` a running feedgen only what it no longer writes is looked
    at: names, then days that are sealed, whose people all had their numbers by then."""
    try:
        folder = Folder(path, lock=False)
    except FeedgenError as error:
        return [Problem(path, error.message, error.hint)]
    days = [file for file in folder.days() if file.sealed or not beside]
    more = () if beside else more
    total = 2 + len(days) + len(more)
    problems: list[Problem] = []
    progress(0, total, "names")
    people, found = _names(folder, with_index=not beside)
    problems += found
    for i, file in enumerate(days):
        progress(1 + i, total, day_name(file.day))
        problems += _few(file.path, _day(file, people), RESTORE_DAY)
    progress(1 + len(days), total, "folder")
    problems += _folder(folder, days) if not beside else []
    for i, check in enumerate(more):
        progress(2 + len(days) + i, total, "derived files")
        problems += check(folder)
    progress(total, total, "done")
    return problems


def glance(path: Path) -> list[Problem]:
    """What shows without reading every row, so that it is quick and may be done beside a running feedgen: does each
    file open, is it as long as it says, is the newest day what its name says."""
    folder = Folder(path, lock=False)
    problems = []
    for file in folder.days():
        problems += _few(
            file.path, _whole(file.path, "SELECT value FROM meta WHERE name = 'day'", file.day), RESTORE_DAY
        )
    if folder.names_path.exists() or folder.days():
        problems += _few(
            folder.names_path, _whole(folder.names_path, "SELECT 1 FROM people LIMIT 1", None), RESTORE_NAMES
        )
    for other in sorted(path.glob("*.db")):
        if other != folder.names_path:
            problems += _few(other, _whole(other, "SELECT 1 FROM sqlite_schema LIMIT 1", None), RESTORE_OTHER)
    return problems


def _whole(path: Path, question: str, answer: int | None) -> Iterator[str]:
    if not path.exists():
        yield "is missing"
        return
    with path.open("rb") as file:
        head = file.read(100)  # as SQLite's documentation has it
    page_bytes, pages = int.from_bytes(head[16:18], "big"), int.from_bytes(head[28:32], "big")
    needed = pages * (65536 if page_bytes == 1 else page_bytes)
    size, log = path.stat().st_size, path.with_name(f"{path.name}-wal")
    if head.startswith(b"SQLite format 3") and needed > size + (log.stat().st_size if log.exists() else 0):
        yield f"is cut off: {size} bytes of {needed}"
        return
    db = open_reader(path)
    try:
        found = fetch(db, question)
        if answer is not None and (not found or found[0][0] != answer):
            yield f"holds day {found[0][0] if found else None}, its name says {answer}"
    finally:
        db.close()


def main(path: Path, more: tuple[Check, ...] = (), beside: bool = False) -> int:
    """The command: a progress bar, then what was found. 0 if nothing."""
    bar = sys.stderr.isatty()

    def progress(done: int, total: int, text: str) -> None:
        if bar:
            width = 30 * done // total
            click.echo(f"\r[{'#' * width}{'.' * (30 - width)}] {text:<14}", err=True, nl=done == total)

    problems = verify(path, progress, more, beside)
    for problem in problems:
        click.echo(f"{problem.path}: {problem.what}\n  {problem.advice}")
    click.echo("nothing is wrong" if not problems else f"{len(problems)} problems")
    return 1 if problems else 0


class _People(NamedTuple):
    total: int
    gone: Bool
    erasing: set[int]


def _names(folder: Folder, with_index: bool) -> tuple[_People, list[Problem]]:
    path = folder.names_path
    people = _People(0, np.zeros(0, np.bool_), set())
    if not path.exists():
        return people, [Problem(path, "is missing", RESTORE_NAMES)] if folder.days() else []
    try:
        db = open_reader(path)
        try:
            db.execute("BEGIN")  # one moment for all questions
            broken = _sqlite_check(db)
            if broken:
                return people, [Problem(path, f"SQLite says: {broken}", RESTORE_NAMES)]
            people, what = _check_people(db, folder)
            index = check_index(folder.index_path, db) if with_index else ""
        finally:
            db.close()
    except (FeedgenError, apsw.Error) as error:
        return people, [Problem(path, str(error), RESTORE_NAMES)]
    problems = [Problem(path, text, RESTORE_NAMES) for text in what]
    return people, problems + ([Problem(folder.index_path, index, DERIVED)] if index else [])


def _check_people(db: apsw.Connection, folder: Folder) -> tuple[_People, list[str]]:
    what: list[str] = []
    count = fetch(db, "SELECT coalesce(max(n) + 1, 0) FROM people")[0][0]
    gone = np.zeros(count, np.bool_)
    version = fetch(db, "PRAGMA user_version")[0][0]
    stamped = (folder.path / "format").read_text().strip()
    if str(version) not in ("0", stamped):
        what.append(f"says format {version}, the folder says {stamped}")
    seen = fetch(db, "SELECT count(*) FROM people")[0][0]
    if seen != count:
        what.append(f"has {seen} people, but numbers up to {count}")
    for n, did, flags in db.execute("SELECT n, did, flags FROM people ORDER BY n"):
        if did is None:
            gone[n] = True
            if not int(str(flags)) & GONE:
                what.append(f"person {n} has no DID and is not marked as gone")
        elif int(str(flags)) & GONE:
            what.append(f"person {n} is gone and still has a DID")
        elif not is_did(str(did)):
            what.append(f"person {n} has {str(did)[:40]!r} as a DID")
        if len(what) >= MAX_PROBLEMS_A_FILE:
            break
    twice = fetch(db, "SELECT did, count(*) FROM people WHERE did IS NOT NULL GROUP BY did HAVING count(*) > 1 LIMIT 5")
    what += [f"{did} has {times} numbers" for did, times in twice]
    return _People(count, gone, {n for (n,) in fetch(db, "SELECT n FROM erasing")}), what


def _folder(folder: Folder, days: list[DayFile]) -> Iterator[Problem]:
    slots = Counter(file.day % 256 for file in days)
    for file in days:
        if slots[file.day % 256] > 1:
            yield Problem(file.path, "shares its slot with another day", "drop the older of the two")
    for file in days:
        if file.sealed and folder.open_path(file.day).exists():
            yield Problem(
                folder.open_path(file.day), "is the log of a sealed day", "start feedgen: it removes what a crash left"
            )
    for path in sorted(folder.days_path.iterdir()):
        if path.name.endswith(("-wal", "-shm")) and not path.with_name(path.name[:-4]).exists():
            yield Problem(
                path, "belongs to a database that is not there", "start feedgen: it removes what a crash left"
            )
        elif ".draft" in path.name:
            yield Problem(path, "is an unfinished seal", "start feedgen: it removes what a crash left")


def _few(path: Path, what: Iterator[str], advice: str) -> list[Problem]:
    problems: list[Problem] = []
    try:
        for text in what:
            problems.append(Problem(path, text, advice))
            if len(problems) >= MAX_PROBLEMS_A_FILE:
                problems.append(Problem(path, "and more", advice))
                break
    except (FeedgenError, apsw.Error, ValueError, TypeError) as error:
        problems.append(Problem(path, f"can't be read: {error}", advice))
    return problems


def _sqlite_check(db: apsw.Connection) -> str:
    answer = str(fetch(db, "PRAGMA integrity_check(1)")[0][0])
    return "" if answer == "ok" else answer.replace("\n", " ")


def _day(file: DayFile, people: _People) -> Iterator[str]:
    db = open_reader(file.path)
    try:
        broken = _sqlite_check(db)
        if broken:
            yield f"SQLite says: {broken}"
            return
        meta = dict(fetch(db, "SELECT name, value FROM meta"))
        if meta.get("day") != file.day:
            yield f"holds day {meta.get('day')}, its name says {file.day}"
        if meta.get("form") != ("sealed" if file.sealed else "log"):
            yield f"is in form {meta.get('form')!r}, its name says otherwise"
            return
        yield from _sealed(db, file, meta, people) if file.sealed else _open(db, file, people)
        for hashed, person, text in fetch(db, "SELECT hash, person, text FROM odd_keys"):
            if not is_rkey(text) or rkey_to_int(text) != hashed:
                yield f"the odd key {text[:40]!r} is not what its hash says"
            if person >= people.total:
                yield f"an odd key belongs to person {person}, whom names.db does not know"
    finally:
        db.close()


def _sealed(db: apsw.Connection, file: DayFile, meta: dict[str, Any], people: _People) -> Iterator[str]:
    if "last_n" not in meta or "high_us" not in meta:
        yield "does not say which commit was its last"
    seen: list[Any] = []
    odd = {key for (key,) in fetch(db, "SELECT DISTINCT hash FROM odd_keys")}
    rows: Iterator[Any] = db.execute(f"SELECT person, crc, {', '.join(r.PERSON_BLOBS)} FROM people ORDER BY person")
    for person, crc, *blobs in rows:
        who = f"person {person}"
        if r.crc(blobs) != crc:
            yield f"the row of {who} is damaged: its checksum is wrong"
            continue
        parts = dict(zip(r.PERSON_BLOBS, blobs, strict=True))
        bad = _sizes(parts, r.PERSON_BLOBS)
        if bad:
            yield f"the {bad} of {who} are cut off"
            continue
        yield from _known(np.array([person]), people, who)
        posts = np.frombuffer(parts["posts"] or b"", r.OWN_POST)
        seen.append(posts["n0"].astype(np.uint32) | posts["n1"].astype(np.uint32) << 16)
        wide = np.frombuffer(parts["wide"] or b"", r.WIDE)
        near = np.frombuffer(parts["ratings"] or b"", r.RATING)
        names = np.concatenate([r.full_keys(file.day, near) << 1 | r.kinds(near)])
        if len(np.unique(names)) != len(names):
            yield f"{who} has a rating twice"
        if (near["post"] == NO_POST).any() or (wide["post"] == NO_POST).any():
            yield f"{who} rated no post"
        missing = [k for k in wide["key"].tolist() if k < 0 and k not in odd]
        if missing:
            yield f"the text of an odd key of {who} is missing"
    numbers = np.concatenate(seen) if seen else np.empty(0, np.uint32)
    if len(np.unique(numbers)) != len(numbers):
        yield "two posts have one number"


def _open(db: apsw.Connection, file: DayFile, people: _People) -> Iterator[str]:
    odd = {key for (key,) in fetch(db, "SELECT DISTINCT hash FROM odd_keys")}
    last_high, first = 0, 0
    lengths: dict[int, tuple[int, int]] = {}
    names = ", ".join(r.LOG_BLOBS)
    while rows := fetch(
        db, f"SELECT n, high_us, near, crc, {names} FROM log WHERE n > ? ORDER BY n LIMIT {_ROWS}", (first,)
    ):
        for n, high_us, near, crc, *blobs in rows:
            first = n
            where = f"commit {n}"
            if r.crc(blobs) != crc:
                yield f"{where} is damaged: its checksum is wrong"
                continue
            parts = dict(zip(r.LOG_BLOBS, blobs, strict=True))
            bad = _sizes(parts, r.LOG_BLOBS)
            if bad:
                yield f"{where} has {bad} that are cut off"
                continue
            if high_us < last_high:
                yield f"{where} is older than the one before it"
            last_high = high_us
            records = {name: np.frombuffer(blob or b"", r.LOG_BLOBS[name]) for name, blob in parts.items()}
            lengths[n] = len(records["ratings"]), len(records["wide"])
            if near != len(records["ratings"]):
                yield f"{where} counts {near} ratings and has {len(records['ratings'])}"
            yield from _commit(where, records, file, people, lengths, odd)


def _commit(
    where: str,
    records: dict[str, Records],
    file: DayFile,
    people: _People,
    lengths: dict[int, tuple[int, int]],
    odd: set[int],
) -> Iterator[str]:
    for name in ("ratings", "wide", "follows", "far_follows"):
        yield from _known(records[name]["actor"], people, where)
    posts = records["posts"][records["posts"]["post"] != NO_POST]
    yield from _known(posts["author"], people, where)
    if (posts["post"] >> 24 != file.day % 256).any():
        yield f"{where} has a post with the number of another day"
    for n, at, _, _ in records["removed"].tolist():
        counts = lengths.get(n)
        if counts is None or at & (r.WIDE_AT - 1) >= counts[1 if at >= r.WIDE_AT else 0]:
            yield f"{where} removes a rating that is not there"
    if any(
        key < 0 and key not in odd for key in records["wide"]["key"][records["wide"]["actor"] != NO_PERSON].tolist()
    ):
        yield f"{where} has an odd key without its text"


def _sizes(parts: dict[str, Any], dtypes: dict[str, Any]) -> str:
    return next((name for name, blob in parts.items() if len(blob or b"") % dtypes[name].itemsize), "")


def _known(numbers: Any, people: _People, where: str) -> Iterator[str]:
    numbers = numbers[numbers != NO_PERSON]
    unknown = numbers[numbers >= people.total]
    if len(unknown):
        yield f"{where} is about person {unknown[0]}, whom names.db does not know"
    numbers = numbers[numbers < people.total]
    left = [n for n in np.unique(numbers[people.gone[numbers]]).tolist() if n not in people.erasing]
    if left:
        yield f"{where} still has rows of person {left[0]}, who is gone"
