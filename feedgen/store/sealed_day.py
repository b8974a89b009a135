"""A past day: one row a person with all that they did, packed. Changed seldom, by unlikes, deletions and vanished
accounts.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

import apsw
import numpy as np
from pyroaring import BitMap

from feedgen.core.errors import StoreError
from feedgen.core.ids import NO_PERSON
from feedgen.ingest.batch import Cursor
from feedgen.store import rows as r
from feedgen.store.decoded import identities
from feedgen.store.rows import I64, U32, Bool, PostRows, RatingRows, Records
from feedgen.store.sqlite import checkpoint, close, fetch, fold, open_writer, spoken
from feedgen.store.tags import write_tags

PEOPLE_AT_ONCE: Final = 1_000  # whose rows are looked into in one go
_PARTS: Final = r.PERSON_BLOBS


class SealedDay:
    sealed: Final = True

    def __init__(self, path: Path, day: int, vfs: str = "") -> None:
        self.path, self.day = path, day
        self._db = open_writer(path, vfs, cache_kb=256)
        try:
            with spoken(path):
                meta: dict[str, Any] = dict(fetch(self._db, "SELECT name, value FROM meta"))
        except BaseException:
            self._db.close()
            raise
        if meta.get("day") != day or meta.get("form") != "sealed":
            self._db.close()
            raise StoreError(f"{path} holds another day than its name says", "give it its right name back")
        self.last_n = int(meta.get("last_n", 0))
        self.high_us = int(meta.get("high_us", 0))
        self._cursor_n = int(meta.get("cursor_n", 0))
        self.version = self._version = int(meta.get("changes", 0))  # grows with every commit that changes anything
        self._cursor = (
            Cursor(str(meta["host"]), int(str(meta["seq"])), int(str(meta["time_us"])))
            if meta.get("host") is not None
            else None
        )

    def close(self, fold: bool = True) -> None:
        close(self._db, fold)

    def fold(self) -> None:
        """The file is whole without a write-ahead log, or StoreFull is raised."""
        fold(self._db)

    def cursor(self) -> tuple[int, Cursor] | None:
        return (self._cursor_n, self._cursor) if self._cursor else None

    # --- changes, until `commit` or `rollback`

    def put_posts(self, rows: PostRows) -> None:
        """Posts that this day numbered, and whose records came later."""
        ticks = r.ticks_of(self.day, rows.time_us)
        for i in range(len(rows)):
            number, author = int(rows.post[i]), int(rows.author[i])
            held = self._part(author, "posts")
            kept = held[_numbers(held) != number & 0xFF_FFFF]
            new = np.zeros(1, r.OWN_POST)
            new["n0"], new["n1"] = number & 0xFFFF, number >> 16 & 0xFF
            new["key"], new["tick"], new["flags"] = rows.key[i], ticks[i], rows.flags[i]
            new["language"], new["about"] = rows.language[i], rows.about[i]
            self._put(author, "posts", np.concatenate([kept, new]))

    def add_odd_keys(self, keys: list[tuple[int, int, str]]) -> None:
        if keys:
            with self._change():
                self._db.executemany(
                    "INSERT OR IGNORE INTO odd_keys VALUES (?, ?, ?)",
                    [(key, person, text) for person, key, text in keys],
                )

    def add_tags(self, hits: Mapping[str, BitMap]) -> None:
        """Posts that match patterns of feeds, beside those that are known."""
        if hits:
            with spoken(self.path), self._change():
                write_tags(self._db, hits)

    def remove_post(self, post: int, author: int) -> None:
        held = self._part(author, "posts")
        mine = _numbers(held) == post & 0xFF_FFFF
        if mine.any():
            self._put(author, "posts", held[~mine])

    def remove_rating(self, n: int, actor: int, kind: int, key: int, near: bool) -> list[int]:
        """The posts whose ratings these were: more than one if a repository used a key again with another subject."""
        posts: list[int] = []
        for name in ("ratings", "wide") if near else ("wide",):
            held = self._part(actor, name)
            mine = self._matches(held, name, kind, key)
            if mine.any():
                posts += held["post"][mine].tolist()
                self._put(actor, name, held[~mine])
        return posts

    def remove_follow(self, n: int, actor: int, key: int) -> list[int]:
        """The people who are no longer followed."""
        held = self._part(actor, "follows")
        mine = held["key"] == key
        if mine.any():
            self._put(actor, "follows", held[~mine])
        subjects: list[int] = held["subject"][mine].tolist()
        return subjects

    def erase(self, people: Iterable[int]) -> None:
        """Delete the rows of these people, in one transaction of its own. What was changed before is committed with it
        or before it, never undone.
        """
        self.commit()
        who = [(n,) for n in people]
        with self._change():
            before = self._db.total_changes()
            self._db.executemany("DELETE FROM people WHERE person = ?", who)
            self._db.executemany("DELETE FROM odd_keys WHERE person = ?", who)
            erased = self._db.total_changes() - before
            strays = self._noted_strays()
            if strays is not None and np.isin(strays, who).any():
                self._note_strays(strays[~np.isin(strays, who)])
                erased += 1
        if erased:
            self.commit()
            checkpoint(self._db, truncate=True)
        else:
            self.rollback()

    def rollback(self) -> None:
        if self._db.in_transaction:
            with spoken(self.path):
                self._db.execute("ROLLBACK")
            self._version = self.version

    def commit(self) -> None:
        if self._db.in_transaction:
            with spoken(self.path):
                self._db.execute("COMMIT")
            self.version = self._version

    # --- looking for records

    def find_rating(self, n: int, actor: int, kind: int, key: int, near: bool = True) -> int | None:
        for name in ("ratings", "wide") if near else ("wide",):
            held = self._part(actor, name)
            mine = self._matches(held, name, kind, key)
            if mine.any():
                return int(held["post"][mine][0])
        return None

    def records_of(self, actor: int, ratings: bool) -> Iterator[tuple[int, int]]:
        """(kind, key) of all that is recorded of one person."""
        near, wide = self._part(actor, "ratings"), self._part(actor, "wide")
        yield from zip(r.kinds(near).tolist(), r.full_keys(self.day, near).tolist(), strict=True)
        yield from zip(wide["kind"].tolist(), wide["key"].tolist(), strict=True)
        for name, kind in (("posts", r.POST_RECORD), ("follows", r.FOLLOW_RECORD)):
            yield from ((kind, key) for key in self._part(actor, name)["key"].tolist())

    def strays(self) -> U32:
        """Who has records whose keys claim another day. Days that were sealed before this was noted are looked through
        once.
        """
        with spoken(self.path):
            people = self._noted_strays()
            if people is None:
                people = self._look_for_strays()
                if not self._db.in_transaction:
                    with contextlib.suppress(apsw.FullError, apsw.IOError, apsw.ReadOnlyError):
                        self._note_strays(people)
        return people

    def have_ratings(self, n: int, rows: RatingRows, out: Bool) -> None:
        """Mark the rows that this day already holds; many at once."""
        asked = np.flatnonzero(~out)
        wanted = identities(rows.actor[asked], rows.kind[asked], rows.key[asked])
        for some in self._people_of(rows.actor[asked]):
            (who, near), (whose, wide) = self._parts(some, "ratings"), self._parts(some, "wide")
            held = [
                identities(who, r.kinds(near), r.full_keys(self.day, near)),
                identities(whose, wide["kind"], wide["key"]),
            ]
            out[asked] |= np.isin(wanted, np.concatenate(held))

    def have_follows(self, n: int, actor: U32, key: I64, out: Bool) -> None:
        """The same for follows."""
        asked = np.flatnonzero(~out)
        wanted = identities(actor[asked], 0, key[asked])
        for some in self._people_of(actor[asked]):
            who, held = self._parts(some, "follows")
            out[asked] |= np.isin(wanted, identities(who, 0, held["key"]))

    def has_other_rating(self, n: int, actor: int, post: int) -> bool:
        return any(bool((self._part(actor, name)["post"] == post).any()) for name in ("ratings", "wide"))

    def has_other_follow(self, n: int, actor: int, subject: int) -> bool:
        return bool((self._part(actor, "follows")["subject"] == subject).any())

    # --- inside

    def _matches(self, held: Records, name: str, kind: int, key: int) -> Bool:
        if name == "wide":
            mine: Bool = (held["key"] == key) & (held["kind"] == kind)
        else:
            mine = (r.full_keys(self.day, held) == key) & (r.kinds(held) == kind)
        return mine

    def _part(self, person: int, name: str) -> Records:
        with spoken(self.path):
            rows: list[Any] = self._db.execute(f"SELECT {name} FROM people WHERE person = ?", (person,)).fetchall()
        held: Records = np.frombuffer((rows[0][0] if rows else None) or b"", _PARTS[name])
        return held

    def _noted_strays(self) -> U32 | None:
        noted = fetch(self._db, "SELECT value FROM meta WHERE name = 'strays'")
        return np.frombuffer(noted[0][0], np.uint32) if noted else None

    def _look_for_strays(self) -> U32:
        found = [np.empty(0, np.uint32)]
        for name in ("wide", "follows"):
            for person, blob in self._db.execute(f"SELECT person, {name} FROM people WHERE {name} IS NOT NULL"):
                if r.astray(self.day, np.frombuffer(blob, _PARTS[name])["key"]).any():
                    found.append(np.array([person], np.uint32))
        return np.unique(np.concatenate(found))

    def _note_strays(self, people: U32) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta VALUES ('strays', ?)", (people.tobytes(),))

    def _people_of(self, actor: U32) -> Iterator[list[int]]:
        """These people, some at a time."""
        people = np.unique(actor).tolist()
        return (people[at : at + PEOPLE_AT_ONCE] for at in range(0, len(people), PEOPLE_AT_ONCE))

    def _parts(self, people: list[int], name: str) -> tuple[U32, Records]:
        """(whose, what) of many people."""
        sql = f"SELECT person, {name} FROM people WHERE {name} IS NOT NULL AND person IN ({','.join(map(str, people))})"
        with spoken(self.path):
            rows = fetch(self._db, sql)
        held: Records = np.frombuffer(b"".join([blob for _, blob in rows]), _PARTS[name])
        sizes = [len(blob) // _PARTS[name].itemsize for _, blob in rows]
        return np.repeat(np.array([person for person, _ in rows], np.uint32), sizes), held

    def _put(self, person: int, name: str, records: Records) -> None:
        if person == NO_PERSON:
            return
        with self._change():
            rows = fetch(self._db, f"SELECT crc, {', '.join(_PARTS)} FROM people WHERE person = ?", (person,))
            held: list[bytes | None] = list(rows[0][1:]) if rows else [None] * len(_PARTS)
            crc, blobs = rows[0][0] if rows else r.crc(held), list(held)
            blobs[list(_PARTS).index(name)] = records.tobytes() or None
            if any(blobs):
                values = (person, r.crc_after(crc, held, blobs), *blobs)
                self._db.execute("INSERT OR REPLACE INTO people VALUES (?, ?, ?, ?, ?, ?)", values)
            else:
                self._db.execute("DELETE FROM people WHERE person = ?", (person,))

    def _change(self) -> AbstractContextManager[None]:
        """Within a transaction that stays open until the batch commits; its first change is counted."""
        if not self._db.in_transaction:
            with spoken(self.path):
                self._db.execute("BEGIN IMMEDIATE")
                self._version = self.version + 1
                self._db.execute("INSERT OR REPLACE INTO meta VALUES ('changes', ?)", (self._version,))
        return spoken(self.path)


def _numbers(held: Records) -> Any:
    return held["n0"].astype(np.uint32) | held["n1"].astype(np.uint32) << 16
