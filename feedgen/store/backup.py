"""Copies of the data folder, made while it is in use, and brought back.

    DIR/manifest.json     what is here: bytes and a checksum a file
    DIR/feedgen.toml      the settings, when they came from a file
    DIR/data/...          the same files as in the data folder, without what is derived

Everything is copied by SQLite itself, inside one read transaction a file. The newest day comes first, because its
cursor stands for what is in the others; names.db comes last, so that every person in a day has a name. A past day is
copied once. Accounts that were deleted since are erased from it after a restore: names.db knows them.

A backup that is interrupted leaves the one before it: what replaces a file lies beside it (`.NAME.new`) until all is
there. Then the manifest says so, and only then are files replaced; a restore in between takes the newer ones.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Final

import apsw
import click
import msgspec

from feedgen.core.errors import StoreError
from feedgen.store.folder import DayFile, Folder, day_number
from feedgen.store.sqlite import fetch, open_reader, spoken, sync_file
from feedgen.store.viewers import FILE_NAME as VIEWERS

VERSION: Final = 1
MANIFEST: Final = "manifest.json"
SETTINGS: Final = "feedgen.toml"
DATA: Final = "data"
DONE: Final = "backed-up"  # in the data folder: when it last was
STEP_PAGES: Final = 4096
READ_BYTES: Final = 1 << 20
LOOK_AGAIN_S: Final = 0.2
LOOKS: Final = 3  # a day may be sealed, or dropped, while we copy

Progress = Callable[[int, int, str], None]


class Copy(msgspec.Struct, frozen=True):
    bytes: int
    blake2b: str


class Manifest(msgspec.Struct):
    version: int = VERSION
    format: int = 0
    finished_s: int = 0  # 0: never was
    files: dict[str, Copy] = msgspec.field(default_factory=dict)  # what a restore brings back
    coming: dict[str, Copy] = msgspec.field(default_factory=dict)  # what a backup that goes on has copied so far


class Result(msgspec.Struct):
    copied: int = 0
    kept: int = 0
    dropped: int = 0
    bytes_copied: int = 0


def _nothing(done: int, total: int, name: str) -> None: ...


def backup(source: Path, target: Path, settings: Path | None = None, progress: Progress = _nothing) -> Result:
    """Brings `target` up to date. What was there stays whole until its newer copy is verified."""
    folder = Folder(source, lock=False)
    if target.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(target.resolve()):
        raise StoreError(f"{target} and {source} lie in one another", "give the backup a folder of its own")
    job = _Job(folder, target, progress)
    with spoken(target):
        try:
            job.run(settings)
        except OSError as error:
            words = f"the backup in {target} failed: {error.strerror}"
            raise StoreError(words, "the older copies are whole") from error
    return job.result


def last_backup_s(folder: Path) -> int | None:
    """When this data folder was last backed up; None: never, or not said."""
    try:
        return int((folder / DONE).read_text())
    except (OSError, ValueError):
        return None


class _Job:
    def __init__(self, folder: Folder, target: Path, progress: Progress) -> None:
        self.folder, self.target, self._progress = folder, target, progress
        self.result = Result()
        self._manifest = _read_manifest(target) if (target / MANIFEST).exists() else Manifest()
        self._format = self._manifest.format
        self._done = self._total = 0

    def run(self, settings: Path | None) -> None:
        (self.target / DATA / "days").mkdir(parents=True, exist_ok=True)
        os.chmod(self.target, 0o700)  # it holds who reads what
        self._total = len(self.folder.days()) + 2
        self._replace()  # as the backup before this one would have
        self._format = int((self.folder.path / "format").read_text())
        if settings is not None:
            self._make(SETTINGS, settings, _copy_plain)
        self._make(f"{DATA}/format", self.folder.path / "format", _copy_plain)
        if (self.folder.path / VIEWERS).exists():
            self._copy(VIEWERS, _copy_viewers)
        self._copy_days()
        self._copy("names.db", _copy_day)  # last, so that everybody in a day has a name
        gone = self._gone()
        coming = {name: made for name, made in self._manifest.coming.items() if name not in gone}
        files = {name: made for name, made in self._manifest.files.items() if name not in gone}
        self._manifest = Manifest(VERSION, self._format, int(time.time()), {**files, **coming}, coming)
        self._save()  # from here on, the newer backup is the one that counts
        self._replace()
        for name in gone:
            for path in (self.target / name, _draft_of(self.target / name)):
                path.unlink(missing_ok=True)
            self.result.dropped += 1
        with contextlib.suppress(OSError):  # who backs up may not be allowed to write there
            (self.folder.path / DONE).write_text(f"{self._manifest.finished_s}\n")

    def _copy_days(self) -> None:
        """Listed again when one was sealed, or left the window, under our hands."""
        for look in range(LOOKS):
            try:
                for file in reversed(self.folder.days()):  # the cursor first: what it stands for is in the others
                    self._copy_one_day(file)
                return
            except StoreError:
                if look == LOOKS - 1:
                    raise
                time.sleep(LOOK_AGAIN_S)

    def _copy_one_day(self, file: DayFile) -> None:
        name = f"days/{file.path.name}"
        known = {**self._manifest.files, **self._manifest.coming}
        if file.sealed and f"{DATA}/{name}" in known and (self.target / DATA / name).exists():
            self.result.kept += 1
            self._tell(name)
        else:
            self._copy(name, _copy_day)

    def _copy(self, name: str, copy: Callable[[Path, Path], None]) -> None:
        made = self._make(f"{DATA}/{name}", self.folder.path / name, copy)
        self.result.copied += 1
        self.result.bytes_copied += made.bytes
        self._save()
        self._tell(name)

    def _make(self, name: str, source: Path, copy: Callable[[Path, Path], None]) -> Copy:
        """A verified copy: beside the older one, or in place where there is none."""
        path = self.target / name
        draft = _draft_of(path)
        draft.unlink(missing_ok=True)
        self._manifest.coming.pop(name, None)
        try:
            copy(source, draft)
            made = _checksum(draft)
            if name not in self._manifest.files:
                os.replace(draft, path)
            sync_file(path.parent)  # before the manifest that speaks of it
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        self._manifest.coming[name] = made
        return made

    def _replace(self) -> None:
        """The files that the manifest speaks of take the places of older ones."""
        for name, made in self._manifest.coming.items():
            if self._manifest.files.get(name) == made and _draft_of(self.target / name).exists():
                os.replace(_draft_of(self.target / name), self.target / name)
                sync_file((self.target / name).parent)
        if all(self._manifest.files.get(name) == made for name, made in self._manifest.coming.items()):
            self._manifest.coming.clear()
            self._save()

    def _tell(self, name: str) -> None:
        self._done += 1
        self._progress(min(self._done, self._total), self._total, name)

    def _gone(self) -> list[str]:
        """What the folder let go of: logs of days that are sealed now, and days older than all that it keeps."""
        days = self.folder.days()
        kept = {f"{DATA}/days/{file.path.name}" for file in days}
        gone = []
        known = {**self._manifest.files, **self._manifest.coming}
        for name in [name for name in known if name.startswith(f"{DATA}/days/")]:
            day = day_number(Path(name).name[:10])
            if name not in kept and days and (day < days[0].day or any(file.day == day for file in days)):
                gone.append(name)
        return gone

    def _save(self) -> None:
        draft = self.target / f".{MANIFEST}.new"
        with draft.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(self._manifest)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, self.target / MANIFEST)
        sync_file(self.target)


def restore(source: Path, target: Path, progress: Progress = _nothing) -> int:
    """Makes the data folder `target` from a backup; how many files. Nothing is overwritten, nothing half-made stays."""
    manifest = _read_manifest(source)
    if not manifest.finished_s:
        raise StoreError(f"the backup in {source} was never finished", "run `feedgen backup` again, or use another one")
    if target.exists() and any(target.iterdir()):
        raise StoreError(f"{target} is not empty", "move it away, or name another folder with --set store.dir=...")
    names = sorted(name for name in manifest.files if name.startswith(f"{DATA}/"))
    draft = target.with_name(f".{target.name}.restoring")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        for i, name in enumerate(names):
            path = draft / name.removeprefix(f"{DATA}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = (each for each in (source / name, _draft_of(source / name)) if each.exists())
            if all(_copied_file(each, path) != manifest.files[name] for each in kept):
                raise StoreError(f"{source / name} is missing or damaged", "use another backup; nothing was changed")
            progress(i + 1, len(names), name.removeprefix(f"{DATA}/"))
        if (draft / "names.db").exists():
            _erase_again(draft / "names.db")
        for path in (draft / "days", draft):
            if path.exists():
                sync_file(path)
        if target.exists():
            target.rmdir()
        os.replace(draft, target)
        sync_file(target.parent)
    except OSError as error:
        raise StoreError(
            f"can't restore to {target}: {error.strerror}", "look at its disk, owner and rights"
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return len(names)


def _erase_again(names: Path) -> None:
    """A copied day is older than the deletions since: at the next start they are done again, in all days."""
    with spoken(names), closing(apsw.Connection(str(names))) as db:
        db.execute("INSERT OR IGNORE INTO erasing(n) SELECT n FROM people WHERE did IS NULL")


def _copy_day(source: Path, target: Path) -> None:
    """names.db, or a day: they belong to apsw."""
    with spoken(source), closing(open_reader(source)) as old, closing(apsw.Connection(str(target))) as new:
        old.execute("BEGIN")
        fetch(old, "SELECT count(*) FROM sqlite_schema")  # from here on, one moment is seen
        with new.backup("main", old, "main") as copy:
            while not copy.done:
                copy.step(STEP_PAGES)
        old.execute("COMMIT")
        new.execute("PRAGMA journal_mode=DELETE")
        answer = fetch(new, "PRAGMA quick_check(1)")[0][0]
    _verified(source, answer, target)


def _copy_viewers(source: Path, target: Path) -> None:
    """viewers.db belongs to Python's own SQLite."""
    try:
        with (
            closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
            new.execute("PRAGMA journal_mode=DELETE")
            answer = new.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise StoreError(f"can't copy {source}: {error}", "look at the disk, and run `feedgen verify`") from error
    _verified(source, answer, target)


def _verified(source: Path, answer: object, target: Path) -> None:
    if answer != "ok":
        raise StoreError(f"{source} is damaged: {answer}", "run `feedgen verify`; the older copy is kept")
    os.chmod(target, 0o600)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _copy_plain(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    os.chmod(target, 0o600)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _copied_file(source: Path, target: Path) -> Copy:
    _copy_plain(source, target)
    return _checksum(target)


def _draft_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _checksum(path: Path) -> Copy:
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            digest.update(piece)
    return Copy(path.stat().st_size, digest.hexdigest())


def _read_manifest(folder: Path) -> Manifest:
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError) as error:
        words = f"{folder} holds no backup that can be read: {error}"
        raise StoreError(words, "name the folder of a backup") from error
    if manifest.version != VERSION:
        raise StoreError(f"the backup in {folder} was made by a newer feedgen", "update feedgen")
    if any(".." in Path(name).parts or Path(name).is_absolute() for name in manifest.files):
        raise StoreError(f"{folder / MANIFEST} names files outside of the backup", "don't use this backup")
    return manifest


def main_backup(source: Path, target: Path, settings: Path | None) -> int:
    """The command."""
    result = backup(source, target, settings, _bar)
    click.echo(
        f"{target}: {result.copied} files copied ({result.bytes_copied / 1e6:,.1f} MB), {result.kept} days were there "
        f"already, {result.dropped} dropped; all verified"
    )
    return 0


def main_restore(source: Path, target: Path) -> int:
    """The command."""
    click.echo(f"{target}: {restore(source, target, _bar)} files, all as they were backed up")
    if (source / SETTINGS).exists():
        click.echo(f"The settings of then are in {source / SETTINGS}.")
    return 0


def _bar(done: int, total: int, name: str) -> None:
    if sys.stderr.isatty():
        width = 30 * done // total
        click.echo(f"\r[{'#' * width}{'.' * (30 - width)}] {name:<28}", err=True, nl=done == total)
