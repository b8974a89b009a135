"""How the store opens its files: apsw only, WAL, and errors that speak to people.

names.db and the days' files must never be opened by Python's own sqlite3 in this process: two SQLite libraries drop
each other's locks.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import apsw

from feedgen.core.errors import StoreError, StoreFull

log = logging.getLogger(__name__)

BUSY_TIMEOUT_MS: Final = 10_000
PAGE_BYTES: Final = 4096
CHECKPOINT_PAGES: Final = 2_000  # 8 MB of write-ahead log, then it is moved into the file
WAL_LIMIT_BYTES: Final = 16 << 20

_FULL = (apsw.FullError, apsw.IOError, apsw.ReadOnlyError, apsw.BusyError, apsw.LockedError, apsw.CantOpenError)
_BROKEN = (apsw.CorruptError, apsw.NotADBError)


@contextmanager
def spoken(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the operating system into ours."""
    try:
        yield
    except (*_FULL, OSError) as error:
        raise StoreFull(
            f"can't write {path}: {error}", "free some room or look at the disk; nothing was half-written"
        ) from error
    except _BROKEN as error:
        raise StoreError(
            f"{path} is damaged: {error}",
            "run `feedgen verify`; bring this file back from a backup, or move it away to go on without that day",
        ) from error


def open_writer(
    path: Path, vfs: str = "", *, cache_kb: int = 2_000, secure_delete: bool = True, durable: bool = True
) -> apsw.Connection:
    """A connection that may write; one per file, used by one thread. `durable`: a commit is synced before it returns.
    Otherwise a power cut may take back the newest commits of this file (never one from among them), until
    `sync_commits`.
    """
    with spoken(path):
        connection = apsw.Connection(str(path), vfs=vfs or None)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        connection.execute(f"PRAGMA cache_size=-{cache_kb}")
        connection.execute(f"PRAGMA journal_size_limit={WAL_LIMIT_BYTES}")
        connection.execute(f"PRAGMA secure_delete={'ON' if secure_delete else 'OFF'}")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.set_wal_hook(_checkpoint_when_long)
        return connection


def open_reader(path: Path, vfs: str = "") -> apsw.Connection:
    """A connection that cannot write, whoever holds it."""
    with spoken(path):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs or None)
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
        connection.execute("PRAGMA query_only=ON")
        connection.execute("PRAGMA cache_size=-2000")
        return connection


def fetch(connection: apsw.Connection, sql: str, values: Sequence[Any] = ()) -> list[Any]:
    """All rows, typed as whatever the caller knows them to be."""
    return connection.execute(sql, values).fetchall()


def checkpoint(connection: apsw.Connection, truncate: bool = False) -> bool:
    """Move the write-ahead log into the file. False if the disk would not: the log keeps everything, and the next try
    may do.
    """
    try:
        mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if truncate else apsw.SQLITE_CHECKPOINT_PASSIVE
        connection.wal_checkpoint("main", mode)
    except _FULL as error:
        log.warning("can't checkpoint %s: %s", connection.db_filename("main"), error)
        return False
    return True


def close(connection: apsw.Connection, fold: bool = True) -> None:
    """With `fold` the write-ahead log is moved into the file; what the disk refuses to move stays in the log."""
    if fold:
        checkpoint(connection, truncate=True)
    with suppress(*_FULL):
        connection.close()


def fold(connection: apsw.Connection) -> None:
    """Move all of the write-ahead log into the file, or raise StoreFull: the file is whole without its log then."""
    path = Path(connection.db_filename("main"))
    with spoken(path):
        connection.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_TRUNCATE)
        if (log_path := _log_of(path)).exists() and log_path.stat().st_size:
            raise apsw.BusyError(f"{log_path.name} is still in use")


def sync_commits(path: Path) -> None:
    """Make durable all that was committed to a database. Any thread may call it, and in either SQLite library's case:
    neither locks the write-ahead log's own file, so opening and closing it here drops no lock.
    """
    with spoken(path):
        try:
            sync_file(_log_of(path))
        except FileNotFoundError:
            return  # it was moved into the file, which is synced then
        sync_file(path.parent)


def sync_file(path: Path) -> None:
    """A file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def _checkpoint_when_long(connection: apsw.Connection, name: str, pages: int) -> int:
    if pages >= CHECKPOINT_PAGES:
        checkpoint(connection)
    return apsw.SQLITE_OK
