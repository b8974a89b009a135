"""`moderation.db`: what others said of posts and accounts. Labels that count here, how far each labeler was heard, and
whom the operator blocked.

This file belongs to aiosqlite (Python's own SQLite) and to no other library in this process.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import aiosqlite

from feedgen.core.errors import StoreError
from feedgen.ingest.labels import Label
from feedgen.store.awaited import Awaited

FILE_NAME: Final = "moderation.db"
MAX_LABELS: Final = 20_000_000
MAX_BLOCKS: Final = 100_000
ROWS_AT_ONCE: Final = 500

T = TypeVar("T")

_STEPS: Final = (
    """
    CREATE TABLE labels (
        subject TEXT NOT NULL, val TEXT NOT NULL, source TEXT NOT NULL, until_s INTEGER NOT NULL,
        PRIMARY KEY (subject, val, source)
    ) WITHOUT ROWID;
    CREATE INDEX labels_by_end ON labels (until_s) WHERE until_s > 0;
    CREATE TABLE streams (stream TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
    CREATE TABLE blocks (subject TEXT PRIMARY KEY, since_s INTEGER NOT NULL) WITHOUT ROWID;
    """,
    # A label's source begins with the labeler's address from here on: all of them are heard again.
    "DELETE FROM labels; DELETE FROM streams;",
)


class Kept(NamedTuple):
    subject: str
    val: str


class Moderation(Awaited):
    """What others said, by subject: the DID of an account or the at-uri of a post."""

    file_name = FILE_NAME
    steps = _STEPS

    def __init__(self, db: aiosqlite.Connection) -> None:
        super().__init__(db)
        self.full = False

    # Labels

    async def put(self, stream: str, labels: Iterable[Label], seq: int, now_s: int) -> set[str]:
        """Keep what these labels come to, then how far the stream was heard. The subjects that were touched."""
        last = {(one.subject, one.val, one.source): one for one in labels}
        gone = [key for key, one in last.items() if one.negated or 0 < one.until_s <= now_s]
        new = [(*key, one.until_s) for key, one in last.items() if key not in set(gone)]
        for keys in _pieces(gone):
            places = ", ".join(["(?, ?, ?)"] * len(keys))
            await self._do(
                f"DELETE FROM labels WHERE (subject, val, source) IN (VALUES {places})",
                *(value for key in keys for value in key),
            )
        if new and not await self._is_full():
            for rows in _pieces(new):
                places = ", ".join(["(?, ?, ?, ?)"] * len(rows))
                await self._do(
                    f"INSERT OR REPLACE INTO labels VALUES {places}", *(value for row in rows for value in row)
                )
        await self._do("INSERT OR REPLACE INTO streams VALUES (?, ?)", stream, seq)
        return {key[0] for key in last}

    async def _is_full(self) -> bool:
        """By the size of the file, which is known at once; a label takes some 250 bytes, all told."""
        rows = await self._rows("PRAGMA page_count")
        self.full = int(rows[0][0]) * 4096 > MAX_LABELS * 250
        return self.full

    async def seq(self, stream: str) -> int | None:
        rows = await self._rows("SELECT seq FROM streams WHERE stream = ?", stream)
        return int(rows[0][0]) if rows else None

    async def streams(self) -> list[str]:
        return [str(row[0]) for row in await self._rows("SELECT stream FROM streams ORDER BY stream")]

    async def forget_labeler(self, url: str) -> None:
        """Everything that was heard from this address: sources and streams begin with it and a blank."""
        between = f"{url} ", f"{url}!"
        await self._do("DELETE FROM labels WHERE source >= ? AND source < ?", *between)
        await self._do("DELETE FROM streams WHERE stream >= ? AND stream < ?", *between)

    async def values_of(self, subjects: Sequence[str]) -> dict[str, list[str]]:
        """The labels on each of these; nothing for those that have none."""
        found: dict[str, list[str]] = {}
        for some in _pieces(list(subjects)):
            places = ", ".join("?" * len(some))
            for subject, val in await self._rows(f"SELECT subject, val FROM labels WHERE subject IN ({places})", *some):
                found.setdefault(str(subject), []).append(str(val))
        return found

    async def after(self, subject: str, limit: int) -> list[Kept]:
        """Labels in order of their subjects, from the one after this."""
        rows = await self._rows(
            "SELECT subject, val FROM labels WHERE subject > ? ORDER BY subject LIMIT ?", subject, limit
        )
        return [Kept(*row) for row in rows]

    async def expire(self, now_s: int) -> set[str]:
        """Labels that have ended go; whose they were."""
        rows = await self._rows("SELECT subject FROM labels WHERE until_s > 0 AND until_s <= ?", now_s)
        if rows:
            await self._do("DELETE FROM labels WHERE until_s > 0 AND until_s <= ?", now_s)
        return {str(row[0]) for row in rows}

    async def forget(self, subjects: Sequence[str]) -> None:
        """Labels of posts that left the window, or of accounts that are gone."""
        for some in _pieces(list(subjects)):
            await self._do(f"DELETE FROM labels WHERE subject IN ({', '.join('?' * len(some))})", *some)

    async def forget_account(self, did: str) -> None:
        """All labels on a deleted account and its posts. That it was blocked is the operator's to forget."""
        await self._do("DELETE FROM labels WHERE subject = ?", did)
        await self._do("DELETE FROM labels WHERE subject > ? AND subject < ?", f"at://{did}/", f"at://{did}0")

    async def count(self) -> int:
        return int((await self._rows("SELECT count(*) FROM labels"))[0][0])

    # Blocks

    async def block(self, subject: str, now_s: int) -> None:
        if len(await self.blocks()) >= MAX_BLOCKS:
            raise StoreError("The list of blocks is full.", f"It holds {MAX_BLOCKS}.")
        await self._do("INSERT OR IGNORE INTO blocks VALUES (?, ?)", subject, now_s)
        await self.sync()

    async def unblock(self, subject: str) -> bool:
        """Whether it was blocked."""
        blocked = subject in await self.blocks()
        await self._do("DELETE FROM blocks WHERE subject = ?", subject)
        await self.sync()
        return blocked

    async def blocks(self) -> list[str]:
        return [str(row[0]) for row in await self._rows("SELECT subject FROM blocks ORDER BY since_s, subject")]


def _pieces(items: list[T]) -> Iterable[list[T]]:
    return (items[at : at + ROWS_AT_ONCE] for at in range(0, len(items), ROWS_AT_ONCE))


def read_all(folder: Path) -> tuple[list[str], list[Kept]]:
    """(blocks, labels), for a command: reads only, and may run beside the service. Nothing where there is no file."""
    path = folder / FILE_NAME
    if not path.exists():
        return [], []
    try:
        db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            blocks = [str(row[0]) for row in db.execute("SELECT subject FROM blocks")]
            return blocks, [Kept(str(row[0]), str(row[1])) for row in db.execute("SELECT subject, val FROM labels")]
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StoreError(f"Can't read {path}: {error}", "Is the file damaged? Restore it from a backup.") from error
