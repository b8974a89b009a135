"""Pages that were served, and what came of them: what later versions can learn from. Part of `viewers.db`.

A page is one row, its posts are five bytes each: the number, and a code for where the post came from, in the words of
the feed that made the list. What came of it is one row for each call of the reader's app, six bytes an event. Both
bear the list (its reqId), the reader as 64 bits of a hash, and their time in microseconds as key, so that what is too
old is the beginning of the table.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np

from feedgen.core.ids import US_PER_DAY
from feedgen.store.awaited import Value

KEPT_US: Final = 90 * US_PER_DAY
MAX_BYTES: Final = 8 << 30  # of the file: beyond, the oldest go before their time
ROWS_AT_ONCE: Final = 200
PRUNED_AT_ONCE: Final = 2_000  # rows: nobody waits long behind it
MAX_KINDS: Final = 10_000
NO_CODE: Final = 255  # the app did not say where the post came from

POST: Final = np.dtype([("post", "<u4"), ("code", "u1")])
EVENT: Final = np.dtype([("post", "<u4"), ("event", "u1"), ("code", "u1")])

# What a reader can do with a post, by number. Only ever added to.
EVENTS: Final = (
    "interactionSeen",
    "interactionLike",
    "interactionRepost",
    "interactionReply",
    "interactionQuote",
    "requestLess",
    "requestMore",
    "interactionShare",
    "clickthroughItem",
    "clickthroughAuthor",
    "clickthroughReposter",
    "clickthroughEmbed",
)
EVENT_NUMBERS: Final = {name: number for number, name in enumerate(EVENTS)}

STEP: Final = """
    CREATE TABLE kinds (kind INTEGER PRIMARY KEY, feed TEXT NOT NULL, preset TEXT NOT NULL, UNIQUE (feed, preset));
    CREATE TABLE pages (
        at_us INTEGER PRIMARY KEY,
        reader INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        age_us INTEGER NOT NULL,
        position INTEGER NOT NULL,
        posts BLOB NOT NULL
    );
    CREATE INDEX pages_by_reader ON pages (reader);
    CREATE TABLE outcomes (
        at_us INTEGER PRIMARY KEY, reader INTEGER NOT NULL, age_us INTEGER, events BLOB NOT NULL
    );
    CREATE INDEX outcomes_by_reader ON outcomes (reader);
    CREATE TABLE erasures (did TEXT PRIMARY KEY, asked_s INTEGER NOT NULL) WITHOUT ROWID;
"""
# Which arm of which experiment a page was made for, as `experiment/arm`.
STEP_ARMS: Final = """
    CREATE TABLE kinds_with_arms (
        kind INTEGER PRIMARY KEY, feed TEXT NOT NULL, preset TEXT NOT NULL, arm TEXT NOT NULL,
        UNIQUE (feed, preset, arm)
    );
    INSERT INTO kinds_with_arms SELECT kind, feed, preset, '' FROM kinds;
    DROP TABLE kinds;
    ALTER TABLE kinds_with_arms RENAME TO kinds;
"""


class ShownPage(NamedTuple):
    """A page as it was sent. `list_us` is when its list was made, which is the list's id in `reqId`."""

    at_us: int
    reader: int
    feed: str
    preset: str
    list_us: int
    position: int  # of the first post in the list
    posts: list[int]
    codes: list[int]
    arm: str = ""  # `experiment/arm`


class Outcome(NamedTuple):
    """What a reader's app told in one call of posts from one list; `list_us` is None when it did not say which."""

    at_us: int
    reader: int
    list_us: int | None
    posts: list[int]
    events: list[int]
    codes: list[int]


class Sql(Protocol):
    async def __call__(self, sql: str, *values: Value) -> None: ...


class Pages:
    """Through the connection of `viewers.db`, which is `rows` and `do`."""

    def __init__(self, rows: Callable[..., Awaitable[list[sqlite3.Row]]], do: Sql) -> None:
        self._rows, self._do = rows, do
        self._kinds: dict[tuple[str, str, str], int] = {}

    async def put(self, pages: Sequence[ShownPage], outcomes: Sequence[Outcome]) -> None:
        """The same row twice is one row, so that what failed halfway can be tried again."""
        for at in range(0, len(pages), ROWS_AT_ONCE):
            some = pages[at : at + ROWS_AT_ONCE]
            values: list[Value] = []
            for page in some:
                kind = await self._kind(page.feed, page.preset, page.arm)
                values += (page.at_us, signed(page.reader), kind, page.at_us - page.list_us, page.position)
                values.append(_packed(POST, page.posts, page.codes))
            rows = ", ".join(["(?, ?, ?, ?, ?, ?)"] * len(some))
            await self._do(f"INSERT OR IGNORE INTO pages VALUES {rows}", *values)
        for at in range(0, len(outcomes), ROWS_AT_ONCE):
            told = outcomes[at : at + ROWS_AT_ONCE]
            values = []
            for one in told:
                age_us = None if one.list_us is None else one.at_us - one.list_us
                values += (one.at_us, signed(one.reader), age_us, _packed(EVENT, one.posts, one.events, one.codes))
            rows = ", ".join(["(?, ?, ?, ?)"] * len(told))
            await self._do(f"INSERT OR IGNORE INTO outcomes VALUES {rows}", *values)

    async def _kind(self, *names: str) -> int:
        """The number of (feed, preset, arm)."""
        feed, preset, arm = names
        if (feed, preset, arm) not in self._kinds:
            await self._do("INSERT OR IGNORE INTO kinds (feed, preset, arm) VALUES (?, ?, ?)", feed, preset, arm)
            for row in await self._rows("SELECT feed, preset, arm, kind FROM kinds LIMIT ?", MAX_KINDS):
                self._kinds[row[0], row[1], row[2]] = row[3]
        return self._kinds[feed, preset, arm]

    async def pages_of(self, reader: int) -> list[ShownPage]:
        """All pages of a reader, oldest first."""
        rows = await self._rows(
            "SELECT at_us, feed, preset, age_us, position, posts, arm FROM pages JOIN kinds USING (kind)"
            " WHERE reader = ? ORDER BY at_us",
            signed(reader),
        )
        made = []
        for at_us, feed, preset, age_us, position, blob, arm in rows:
            posts, codes = _unpacked(POST, blob)
            made.append(ShownPage(at_us, reader, feed, preset, at_us - age_us, position, posts, codes, arm))
        return made

    async def outcomes_of(self, reader: int) -> list[Outcome]:
        rows = await self._rows(
            "SELECT at_us, age_us, events FROM outcomes WHERE reader = ? ORDER BY at_us", signed(reader)
        )
        made = []
        for at_us, age_us, blob in rows:
            made.append(Outcome(at_us, reader, None if age_us is None else at_us - age_us, *_unpacked(EVENT, blob)))
        return made

    async def readers_since(self, us: int) -> int:
        """How many got a page since then; who is logged out is nobody."""
        rows = await self._rows("SELECT count(DISTINCT reader) FROM pages WHERE at_us >= ? AND reader != 0", us)
        return int(rows[0][0])

    async def forget(self, reader: int) -> None:
        await self._do("DELETE FROM pages WHERE reader = ?", signed(reader))
        await self._do("DELETE FROM outcomes WHERE reader = ?", signed(reader))

    async def forget_all(self) -> None:
        await self._do("DELETE FROM pages")
        await self._do("DELETE FROM outcomes")

    async def prune(self, before_us: int, max_bytes: int = MAX_BYTES) -> bool:
        """Some of what is too old, and of the oldest while the file is too large. Whether there is more of it."""
        more = False
        for table in ("pages", "outcomes"):
            oldest = f"SELECT at_us FROM {table} ORDER BY at_us LIMIT {PRUNED_AT_ONCE}"
            await self._do(f"DELETE FROM {table} WHERE at_us < ? AND at_us IN ({oldest})", before_us)
            if await self.used_bytes() > max_bytes:
                await self._do(f"DELETE FROM {table} WHERE at_us IN ({oldest})")
            left = (await self._rows(f"SELECT min(at_us) FROM {table}"))[0][0]
            more |= left is not None and (left < before_us or await self.used_bytes() > max_bytes)
        return more

    async def used_bytes(self) -> int:
        """Of the whole file, without what is free in it."""
        rows = await self._rows(
            "SELECT (pages.page_count - free.freelist_count) * size.page_size"
            " FROM pragma_page_count AS pages, pragma_freelist_count AS free, pragma_page_size AS size"
        )
        return int(rows[0][0])

    # Who is to be forgotten by a process that runs beside the one that asks

    async def ask_to_forget(self, did: str, asked_s: int) -> None:
        await self._do("INSERT OR REPLACE INTO erasures VALUES (?, ?)", did, asked_s)

    async def to_forget(self) -> list[str]:
        return [str(row[0]) for row in await self._rows("SELECT did FROM erasures LIMIT 1000")]

    async def forgotten(self, did: str) -> None:
        await self._do("DELETE FROM erasures WHERE did = ?", did)


def _packed(dtype: np.dtype[np.void], *columns: Sequence[int]) -> bytes:
    made = np.empty(len(columns[0]), dtype)
    assert dtype.names is not None
    for name, column in zip(dtype.names, columns, strict=True):
        made[name] = column
    return made.tobytes()


def _unpacked(dtype: np.dtype[np.void], blob: bytes) -> list[list[int]]:
    """The columns; a blob that is cut short gives what is whole."""
    made = np.frombuffer(blob, dtype, len(blob) // dtype.itemsize)
    assert dtype.names is not None
    return [made[name].tolist() for name in dtype.names]


def signed(key: int) -> int:
    """64 bits as SQLite has them."""
    return key - (1 << 64) if key >= 1 << 63 else key
