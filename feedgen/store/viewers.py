"""`viewers.db`: what we know of the people who read our feeds. So far who their accounts say they are, and small notes.

This file belongs to aiosqlite (Python's own SQLite) and to no other library in this process: two SQLite libraries on
one file drop each other's locks.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Final

import aiosqlite
import msgspec

from feedgen.core.errors import StoreError, StoreFull

FILE_NAME: Final = "viewers.db"
MAX_ACCOUNTS: Final = 500_000
PRUNE_EVERY: Final = 1_000  # writes between two looks at how many accounts there are
BUSY_TIMEOUT_MS: Final = 5_000

# Step n brings a file of version n to n + 1. Steps are only ever added.
_STEPS: Final = (
    """
    CREATE TABLE accounts (
        did TEXT PRIMARY KEY,
        key_kind TEXT NOT NULL,
        key TEXT NOT NULL,
        pds TEXT NOT NULL,
        handle TEXT NOT NULL,
        fetched_s INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX accounts_by_age ON accounts (fetched_s);
    CREATE TABLE notes (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    """,
)


class Account(msgspec.Struct, frozen=True):
    """What a DID document says, as far as we care. `pds` and `handle` are empty when it says nothing usable."""

    did: str
    key_kind: str
    key: str
    pds: str
    handle: str
    fetched_s: int


class Viewers:
    """Open, use, close; all calls are awaited, none touches the event loop's thread for long."""

    def __init__(self, db: aiosqlite.Connection) -> None:
        self._db = db
        self._writes = 0

    @classmethod
    async def open(cls, folder: Path) -> Viewers:
        path = folder / FILE_NAME
        db: aiosqlite.Connection | None = None
        try:
            db = await aiosqlite.connect(path, isolation_level=None)
            await db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            await db.execute("PRAGMA journal_mode = WAL")
            await db.execute("PRAGMA synchronous = NORMAL")
            await _migrate(db)
        except BaseException as error:
            if db is not None:
                await db.close()
            if isinstance(error, aiosqlite.Error):
                hint = "Is the folder writable, and the file not damaged?"
                raise StoreError(f"Can't use {path}: {error}", hint) from error
            raise
        return cls(db)

    async def close(self) -> None:
        await self._db.close()

    async def __aenter__(self) -> Viewers:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # Accounts

    async def account(self, did: str) -> Account | None:
        row = await self._row("SELECT did, key_kind, key, pds, handle, fetched_s FROM accounts WHERE did = ?", did)
        return Account(*row) if row is not None else None

    async def put_account(self, account: Account) -> None:
        await self._do("INSERT OR REPLACE INTO accounts VALUES (?, ?, ?, ?, ?, ?)", *msgspec.structs.astuple(account))
        self._writes += 1
        if self._writes % PRUNE_EVERY == 0:
            await self.prune_accounts()

    async def mark_account_stale(self, did: str) -> None:
        """If we know it at all, it is to be looked up again."""
        await self._do("UPDATE accounts SET fetched_s = 0 WHERE did = ? AND fetched_s > 0", did)

    async def forget_account(self, did: str) -> None:
        await self._do("DELETE FROM accounts WHERE did = ?", did)

    async def prune_accounts(self, keep: int = MAX_ACCOUNTS) -> None:
        """Those that were looked up longest ago go first; they can be had again."""
        await self._do(
            "DELETE FROM accounts WHERE did IN (SELECT did FROM accounts ORDER BY fetched_s DESC LIMIT -1 OFFSET ?)",
            keep,
        )

    async def count_accounts(self) -> int:
        row = await self._row("SELECT count(*) FROM accounts")
        return int(row[0]) if row is not None else 0

    # Notes

    async def note(self, name: str) -> bytes | None:
        row = await self._row("SELECT value FROM notes WHERE name = ?", name)
        return bytes(row[0]) if row is not None else None

    async def put_note(self, name: str, value: bytes) -> None:
        await self._do("INSERT OR REPLACE INTO notes VALUES (?, ?)", name, value)

    async def forget_note(self, name: str) -> None:
        await self._do("DELETE FROM notes WHERE name = ?", name)

    # SQL

    async def _row(self, sql: str, *values: str | int) -> sqlite3.Row | None:
        try:
            async with self._db.execute(sql, values) as cursor:
                return await cursor.fetchone()
        except (aiosqlite.Error, ValueError) as error:  # ValueError: it is closed
            raise StoreError(f"Can't read {FILE_NAME}: {error}") from error

    async def _do(self, sql: str, *values: str | int | bytes) -> None:
        """One statement, one transaction."""
        try:
            await (await self._db.execute(sql, values)).close()
        except aiosqlite.OperationalError as error:
            raise StoreFull(f"Can't write {FILE_NAME}: {error}", "Is the disk full?") from error
        except (aiosqlite.Error, ValueError) as error:
            raise StoreError(f"Can't write {FILE_NAME}: {error}") from error


async def _migrate(db: aiosqlite.Connection) -> None:
    cursor = await db.execute("PRAGMA user_version")
    row = await cursor.fetchone()
    await cursor.close()
    version = int(row[0]) if row is not None else 0
    if version > len(_STEPS):
        raise StoreError(
            f"{FILE_NAME} was written by a newer version (its format is {version}, ours {len(_STEPS)})",
            "Go back to that version, or restore the backup from before the upgrade.",
        )
    for step in range(version, len(_STEPS)):
        await db.executescript(f"BEGIN IMMEDIATE; {_STEPS[step]} PRAGMA user_version = {step + 1}; COMMIT;")
