"""The data folder: where the files are, who may use it, and which format it has.

    data/format                     the format's number
    data/lock                       held by the one process that may write
    data/names.db, names.idx        DID <-> number, and the table made from it
    data/names.seen                 when each number was last named by a sealed day
    data/days/2026-11-20.open.db    a day that is still being written: a log
    data/days/2026-11-20.db         a day that is sealed: one row a person

A sealed day is a new file with another name, never a replacement under the same one: SQLite's write-ahead log belongs
to a name.
"""

from __future__ import annotations

import datetime
import fcntl
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple

from feedgen.core.errors import StoreError
from feedgen.store import crash
from feedgen.store.sqlite import open_writer, spoken, sync_file
from feedgen.store.views import write_open_sql

FORMAT: Final = 1
# MIGRATIONS[i] turns format i + 1 into i + 2. A step must be repeatable: a crash may come before its number is written.
MIGRATIONS: Final[tuple[Callable[[Path], None], ...]] = ()

_DAY_FILE = re.compile(r"(\d{4}-\d\d-\d\d)(\.open)?\.db")
_EPOCH: Final = datetime.date(1970, 1, 1)


class DayFile(NamedTuple):
    day: int
    sealed: bool
    path: Path


def day_name(day: int) -> str:
    """2026-11-20 for its number."""
    return (_EPOCH + datetime.timedelta(days=day)).isoformat()


def day_number(name: str) -> int:
    return (datetime.date.fromisoformat(name) - _EPOCH).days


class Folder:
    """Opening makes it if need be, locks it, and brings it to this format. `lock=False`: for those who only read."""

    def __init__(
        self,
        path: Path | str,
        *,
        vfs: str = "",
        lock: bool = True,
        migrations: tuple[Callable[[Path], None], ...] = MIGRATIONS,
    ) -> None:
        self.path = Path(path)
        self.vfs = vfs
        self.days_path = self.path / "days"
        self.names_path = self.path / "names.db"
        self.index_path = self.path / "names.idx"
        self.seen_path = self.path / "names.seen"
        self._lock: int | None = None
        if not lock:
            self._check_readable(len(migrations) + 1)
            return
        try:
            _make_folder(self.days_path)
            self._take_lock()
            self._migrate(migrations)
            self._tidy()
            write_open_sql(self.days_path)
        except OSError as error:
            self.close()
            raise StoreError(
                f"can't use the data folder {self.path}: {error.strerror}", "check its owner and rights, and its disk"
            ) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open_path(self, day: int) -> Path:
        return self.days_path / f"{day_name(day)}.open.db"

    def sealed_path(self, day: int) -> Path:
        return self.days_path / f"{day_name(day)}.db"

    def day_path(self, day: int) -> Path | None:
        """The file that holds the truth about a day, if we keep that day."""
        for path in (self.sealed_path(day), self.open_path(day)):
            if path.exists():
                return path
        return None

    def days(self) -> list[DayFile]:
        """All days we keep, oldest first. While a seal is being finished both files exist: the sealed one counts."""
        found: dict[int, DayFile] = {}
        for entry in self.days_path.iterdir():
            match = _DAY_FILE.fullmatch(entry.name)
            if match is None:
                continue
            try:
                day = day_number(match[1])
            except ValueError:  # 2026-13-40.db: not ours
                continue
            sealed = match[2] is None
            if sealed or day not in found:
                found[day] = DayFile(day, sealed, entry)
        return [found[day] for day in sorted(found)]

    def sync(self) -> None:
        """Make created, renamed and unlinked names of days durable."""
        with spoken(self.days_path):
            sync_file(self.days_path)

    def _take_lock(self) -> None:
        self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 20, 0).decode("ascii", "replace").strip()
            self.close()
            raise StoreError(
                f"another process (pid {holder or 'unknown'}) already uses {self.path}",
                "stop it first, or give this one another folder",
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _version(self) -> int | None:
        """None for a folder that nothing was written to yet."""
        path = self.path / "format"
        text = path.read_text().strip() if path.exists() else ""
        if text:
            if not text.isdecimal():
                raise StoreError(f"{path} says {text!r} instead of a number", "bring the folder back from a backup")
            return int(text)
        if not self.names_path.exists():
            return None
        # The stamp is missing or empty (a crash at the very first start, or a careless copy): names.db knows it too.
        with spoken(self.names_path):
            connection = open_writer(self.names_path, self.vfs)
            try:
                version = int(connection.pragma("user_version"))
            finally:
                connection.close()
        return version or None

    def _check_readable(self, newest: int) -> None:
        version = self._version() if self.path.exists() else None
        if version is None:
            raise StoreError(
                f"there is no data folder at {self.path}", "check the `data` setting, or start feedgen once"
            )
        if version != newest:
            raise StoreError(
                f"{self.path} has format {version}, this program reads {newest}", "start feedgen once, or update it"
            )

    def _migrate(self, migrations: tuple[Callable[[Path], None], ...]) -> None:
        newest = len(migrations) + 1
        version = self._version()
        if version is None:
            self._stamp(newest)
            return
        if version > newest:
            raise StoreError(
                f"{self.path} was written by a newer feedgen (format {version}; this one knows up to {newest})",
                "update feedgen, or use another folder",
            )
        while version < newest:
            migrations[version - 1](self.path)
            crash.point("while_migrating")
            version += 1
            self._stamp(version)

    def _stamp(self, version: int) -> None:
        draft = self.path / "format.new"
        with draft.open("w") as file:
            file.write(f"{version}\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path / "format")
        sync_file(self.path)
        if self.names_path.exists():
            connection = open_writer(self.names_path, self.vfs)
            connection.pragma("user_version", version)
            connection.close()

    def _tidy(self) -> None:
        """Finish what a crash left half done: drafts of seals, logs of days that are sealed, trash of dropped days."""
        for draft in list(self.days_path.glob("*.draft*")):
            draft.unlink()
        for file in self.days():
            if file.sealed:
                remove_database(self.open_path(file.day))
        for rest in [*self.days_path.glob("*.db-wal"), *self.days_path.glob("*.db-shm")]:
            if not rest.with_name(rest.name[:-4]).exists():
                rest.unlink()


def _make_folder(path: Path) -> None:
    """With its parents, durably."""
    if not path.exists():
        _make_folder(path.parent)
        path.mkdir(exist_ok=True)
        sync_file(path.parent)


def remove_database(path: Path) -> None:
    """Unlink a database. Its main file first: a log without its file is rubbish, a file without its log a lie."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
