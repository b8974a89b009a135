"""`viewers.db`: what we know of the people who read our feeds: who their accounts say they are, what they saw and want
less of, what their repositories told, which pages they got and what came of them (pages.py); and small notes.

This file belongs to aiosqlite (Python's own SQLite) and to no other library in this process: two SQLite libraries on
one file drop each other's locks.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

import aiosqlite
import msgspec

from feedgen.core.errors import StoreError
from feedgen.store import pages
from feedgen.store.awaited import Awaited
from feedgen.store.pages import Pages

FILE_NAME: Final = "viewers.db"
NUMBERS_NOTE: Final = "numbers"
MAX_ACCOUNTS: Final = 500_000
PRUNE_EVERY: Final = 1_000  # writes between two looks at how many accounts there are
MAX_READERS: Final = 5_000_000
MAX_FETCHED: Final = 100_000
LOOKUPS_AT_ONCE: Final = 200
STATES_AT_ONCE: Final = 300  # three variables each
READER_SLICES: Final = 256  # readers' keys are hashes: pruning goes slice by slice, so that nobody waits for it

K = TypeVar("K", str, int)

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
    # Readers by 64 bits of a hash of their DID. No index by day: it would be written at every change.
    """
    CREATE TABLE readers (reader INTEGER PRIMARY KEY, day INTEGER NOT NULL, state BLOB NOT NULL);
    CREATE TABLE fetched (reader INTEGER PRIMARY KEY, fetched_s INTEGER NOT NULL, told BLOB NOT NULL);
    CREATE INDEX fetched_by_age ON fetched (fetched_s);
    """,
    pages.STEP,
    pages.STEP_ARMS,
    # What readers wish of their feed, as JSON.
    "CREATE TABLE wishes (reader INTEGER PRIMARY KEY, told BLOB NOT NULL);",
    # Rows of `readers` whose state could not be decoded. Kept for repair; dropped with the reader or after 90 days.
    """
    CREATE TABLE damaged_readers (reader INTEGER NOT NULL, day INTEGER NOT NULL, state BLOB NOT NULL,
        PRIMARY KEY (reader, state)) WITHOUT ROWID;
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


class _Lookups(Generic[K]):
    """Rows by key, as many as are wanted just now in one turn of the database's thread.

    A turn costs far more than a query, above all when other threads keep the interpreter busy: under load, hundreds of
    readers are looked up with a few turns.
    """

    def __init__(self, ask: Callable[[list[K]], Awaitable[dict[K, sqlite3.Row]]]) -> None:
        self._ask: Callable[[list[K]], Awaitable[dict[K, sqlite3.Row]]] = ask
        self._wanted: dict[K, asyncio.Future[sqlite3.Row | None]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def get(self, key: K) -> sqlite3.Row | None:
        found = self._wanted.get(key)
        if found is None:
            found = self._wanted[key] = asyncio.get_running_loop().create_future()
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask_all())
        # Who gives up must not take the answer from the others.
        return await asyncio.shield(found)

    async def _ask_all(self) -> None:
        try:
            while self._wanted:
                some = {key: self._wanted.pop(key) for key in list(self._wanted)[:LOOKUPS_AT_ONCE]}
                await self._ask_some(some)
        finally:
            self._asking = None

    async def _ask_some(self, some: dict[K, asyncio.Future[sqlite3.Row | None]]) -> None:
        try:
            rows = await self._ask(list(some))
        except StoreError as error:
            for found in some.values():
                found.set_exception(error)
                found.exception()  # whoever wanted it may be gone
        else:
            for key, found in some.items():
                found.set_result(rows.get(key))


class Viewers(Awaited):
    """What is known of the people who read our feeds."""

    file_name = FILE_NAME
    steps = _STEPS

    def __init__(self, db: aiosqlite.Connection) -> None:
        super().__init__(db)
        self._writes = 0
        self.pages = Pages(self._rows, self._do)
        self._accounts: _Lookups[str] = _Lookups(self._find_accounts)
        self._readers: _Lookups[int] = _Lookups(self._find_readers)
        self._fetched: _Lookups[int] = _Lookups(self._find_fetched)

    # Accounts

    async def account(self, did: str) -> Account | None:
        row = await self._accounts.get(did)
        return Account(*row) if row is not None else None

    async def _find_accounts(self, dids: list[str]) -> dict[str, sqlite3.Row]:
        sql = f"SELECT did, key_kind, key, pds, handle, fetched_s FROM accounts WHERE did IN ({_places(dids)})"
        return {row[0]: row for row in await self._rows(sql, *dids)}

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

    # Readers: packed states, as rank.seen makes them

    async def reader(self, reader: int) -> bytes | None:
        row = await self._readers.get(pages.signed(reader))
        return bytes(row[1]) if row is not None else None

    async def _find_readers(self, keys: list[int]) -> dict[int, sqlite3.Row]:
        sql = f"SELECT reader, state FROM readers WHERE reader IN ({_places(keys)})"
        return {row[0]: row for row in await self._rows(sql, *keys)}

    async def set_aside(self, reader: int) -> None:
        """Copy a state that can't be decoded, so that the next one doesn't overwrite it."""
        await self._do(
            "INSERT OR IGNORE INTO damaged_readers SELECT * FROM readers WHERE reader = ?", pages.signed(reader)
        )

    async def damaged(self, reader: int) -> list[bytes]:
        sql = "SELECT state FROM damaged_readers WHERE reader = ?"
        return [bytes(row[0]) for row in await self._rows(sql, pages.signed(reader))]

    async def put_readers(self, states: Sequence[tuple[int, bytes]], day: int) -> None:
        """Some hundreds in one statement: other statements of this connection can't come in between."""
        for at in range(0, len(states), STATES_AT_ONCE):
            some = states[at : at + STATES_AT_ONCE]
            values = [value for reader, state in some for value in (pages.signed(reader), day, state)]
            await self._do(f"INSERT OR REPLACE INTO readers VALUES {', '.join(['(?, ?, ?)'] * len(some))}", *values)

    async def forget_reader(self, reader: int) -> None:
        await self._do("DELETE FROM readers WHERE reader = ?", pages.signed(reader))
        await self._do("DELETE FROM damaged_readers WHERE reader = ?", pages.signed(reader))

    async def prune_readers(self, slice_: int, before_day: int, keep: int = MAX_READERS) -> None:
        """One slice of all: those not seen since that day, and the longest unseen when there are too many."""
        width = (1 << 64) // READER_SLICES
        low = slice_ % READER_SLICES * width - (1 << 63)
        high = low + width - 1
        for table in ("readers", "damaged_readers"):
            await self._do(f"DELETE FROM {table} WHERE reader BETWEEN ? AND ? AND day < ?", low, high, before_day)
        await self._do(
            "DELETE FROM readers WHERE reader IN (SELECT reader FROM readers WHERE reader BETWEEN ? AND ?"
            " ORDER BY day DESC LIMIT -1 OFFSET ?)",
            *(low, high, keep // READER_SLICES),
        )

    async def count_readers(self) -> int:
        row = await self._row("SELECT count(*) FROM readers")
        return int(row[0]) if row is not None else 0

    # What readers' repositories told

    async def fetched(self, reader: int) -> tuple[int, bytes] | None:
        """(when, what)."""
        row = await self._fetched.get(pages.signed(reader))
        return (int(row[1]), bytes(row[2])) if row is not None else None

    async def _find_fetched(self, keys: list[int]) -> dict[int, sqlite3.Row]:
        sql = f"SELECT reader, fetched_s, told FROM fetched WHERE reader IN ({_places(keys)})"
        return {row[0]: row for row in await self._rows(sql, *keys)}

    async def put_fetched(self, reader: int, fetched_s: int, told: bytes) -> None:
        await self._do("INSERT OR REPLACE INTO fetched VALUES (?, ?, ?)", pages.signed(reader), fetched_s, told)

    async def forget_fetched(self, reader: int) -> None:
        await self._do("DELETE FROM fetched WHERE reader = ?", pages.signed(reader))

    async def prune_fetched(self, before_s: int, keep: int = MAX_FETCHED) -> None:
        await self._do("DELETE FROM fetched WHERE fetched_s < ?", before_s)
        await self._do(
            "DELETE FROM fetched WHERE reader IN"
            " (SELECT reader FROM fetched ORDER BY fetched_s DESC LIMIT -1 OFFSET ?)",
            keep,
        )

    async def numbered_by(self, identity: int) -> None:
        """Posts and people are numbers of one names.db. Beside another one, what is made of them is worth nothing."""
        value = identity.to_bytes(8, "big")
        if await self.note(NUMBERS_NOTE) != value:
            await self._do("DELETE FROM readers")
            await self._do("DELETE FROM damaged_readers")
            await self._do("DELETE FROM fetched")
            await self.pages.forget_all()
            await self.put_note(NUMBERS_NOTE, value)

    # What readers wish of their feed

    async def wishes(self) -> list[tuple[int, bytes]]:
        """Of all."""
        rows = await self._rows("SELECT reader, told FROM wishes")
        return [(int(reader) % (1 << 64), bytes(told)) for reader, told in rows]

    async def put_wishes(self, reader: int, told: bytes) -> None:
        await self._do("INSERT OR REPLACE INTO wishes VALUES (?, ?)", pages.signed(reader), told)
        await self.sync()

    async def forget_wishes(self, reader: int) -> None:
        await self._do("DELETE FROM wishes WHERE reader = ?", pages.signed(reader))
        await self.sync()

    # Notes

    async def note(self, name: str) -> bytes | None:
        row = await self._row("SELECT value FROM notes WHERE name = ?", name)
        return bytes(row[0]) if row is not None else None

    async def put_note(self, name: str, value: bytes) -> None:
        await self._do("INSERT OR REPLACE INTO notes VALUES (?, ?)", name, value)
        await self.sync()

    async def secret(self, name: str) -> bytes:
        """A key that outlives the process; made when it is first asked for."""
        key = await self.note(name)
        if key is None:
            key = secrets.token_bytes(32)
            await self.put_note(name, key)
        return key

    async def forget_note(self, name: str) -> None:
        await self._do("DELETE FROM notes WHERE name = ?", name)

    # SQL

    async def _row(self, sql: str, *values: str | int) -> sqlite3.Row | None:
        rows = await self._rows(sql, *values)
        return rows[0] if rows else None


def _places(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))
