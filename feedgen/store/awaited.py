"""A database that is awaited: one small file, changed by one statement at a time, its format counted up by steps.

What stands on it (`viewers.db`, `moderation.db`) belongs to aiosqlite, which is Python's own SQLite, and to no other
library in this process.
"""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

import aiosqlite

from feedgen.core.errors import StoreError, StoreFull
from feedgen.store.grouped import Grouped
from feedgen.store.sqlite import sync_commits

BUSY_TIMEOUT_MS: Final = 5_000

Value = str | int | bytes | None


class Awaited:
    """Open, use, close; all calls are awaited, none touches the event loop's thread for long. What must survive a power
    cut is followed by `sync`.
    """

    file_name: ClassVar[str]
    steps: ClassVar[tuple[str, ...]]  # step n brings a file of version n to n + 1; steps are only ever added

    def __init__(self, db: aiosqlite.Connection) -> None:
        self._db = db
        self._sync: Grouped

    @classmethod
    async def open(cls, folder: Path) -> Self:
        path = folder / cls.file_name
        db = aiosqlite.connect(path, isolation_level=None)
        try:
            await db
            await db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            await db.execute("PRAGMA journal_mode = WAL")
            await db.execute("PRAGMA synchronous = NORMAL")
            await cls._migrate(db)
        except BaseException as error:
            await db.close()
            # One that never opened stops by itself, and its thread speaks to this loop once more: wait for its end.
            await asyncio.to_thread(db._thread.join)
            if isinstance(error, aiosqlite.Error):
                hint = "Is the folder writable, and the file not damaged?"
                raise StoreError(f"Can't use {path}: {error}", hint) from error
            raise
        opened = cls(db)
        opened._sync = Grouped(partial(sync_commits, path))
        return opened

    async def close(self) -> None:
        await self._db.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def sync(self) -> None:
        """What was written before survives a power cut when this returns. One sync serves all who wait for it."""
        await self._sync()

    async def changed_by_others(self) -> int:
        """Another number whenever another connection, of another process, changed the file."""
        return int((await self._rows("PRAGMA data_version"))[0][0])

    async def _rows(self, sql: str, *values: Value) -> list[sqlite3.Row]:
        """In one turn of the database's thread."""
        try:
            return list(await self._db.execute_fetchall(sql, values))
        except (aiosqlite.Error, ValueError) as error:  # ValueError: it is closed
            raise StoreError(f"Can't read {self.file_name}: {error}") from error

    async def _do(self, sql: str, *values: Value) -> None:
        """One statement, one transaction."""
        try:
            await self._db.execute_fetchall(sql, values)
        except aiosqlite.OperationalError as error:
            raise StoreFull(f"Can't write {self.file_name}: {error}", "Is the disk full?") from error
        except (aiosqlite.Error, ValueError) as error:
            raise StoreError(f"Can't write {self.file_name}: {error}") from error

    @classmethod
    async def _migrate(cls, db: aiosqlite.Connection) -> None:
        cursor = await db.execute("PRAGMA user_version")
        row = await cursor.fetchone()
        await cursor.close()
        version, ours = int(row[0]) if row is not None else 0, len(cls.steps)
        if version > ours:
            raise StoreError(
                f"{cls.file_name} was written by a newer version (its format is {version}, ours {ours})",
                "Go back to that version, or restore the backup from before the upgrade.",
            )
        for step in range(version, ours):
            await db.executescript(f"BEGIN IMMEDIATE; {cls.steps[step]} PRAGMA user_version = {step + 1}; COMMIT;")
