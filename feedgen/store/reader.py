"""Reading a day's file, in either form, as columns. A reader cannot write; it sees what a call found committed.

The file may be open in another thread's or process's writer. Take a new reader after a day was sealed: its file has
another name then.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import apsw
import numpy as np
from pyroaring import BitMap

from feedgen.core.errors import StoreError
from feedgen.core.ids import NO_PERSON, REPOST
from feedgen.ingest.batch import Cursor
from feedgen.store import rows as r
from feedgen.store.pieces import posts_left, rating_columns
from feedgen.store.rows import I64, U8, U16, U32, FollowRows, Posts, Ratings, Records
from feedgen.store.sqlite import open_reader, spoken
from feedgen.store.tags import read_tags

log = logging.getLogger(__name__)

CHUNK_BYTES: Final = 14 << 20  # of blobs decoded in one piece: somewhat less than a million ratings
PEOPLE_CHUNK: Final = 20_000


class DayReader:
    def __init__(self, path: Path | str, vfs: str = "") -> None:
        self.path = Path(path)
        self._db = open_reader(self.path, vfs)
        try:
            self.day = int(self.meta("day", -1))
            self.sealed = self.meta("form", "") == "sealed"
        except BaseException:
            self._db.close()
            raise
        if self.day < 0:
            self._db.close()
            raise StoreError(f"{self.path} is not a day's file", "move it out of the data folder")

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> DayReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def slot(self) -> int:
        return self.day % 256

    @property
    def cursor(self) -> Cursor | None:
        """The newest cursor in this file."""
        if self.sealed:
            host = self.meta("host", None)
            return None if host is None else Cursor(host, int(self.meta("seq", 0)), int(self.meta("time_us", 0)))
        rows = self._all("SELECT host, seq, time_us FROM log WHERE host IS NOT NULL ORDER BY n DESC LIMIT 1")
        return Cursor(*rows[0]) if rows else None

    @property
    def cursor_n(self) -> int:
        """The number of the commit that the cursor came with; later ones may have changed this day from another."""
        if self.sealed:
            return int(self.meta("cursor_n", 0))
        return int(self._all("SELECT coalesce(max(n), 0) FROM log WHERE host IS NOT NULL")[0][0])

    @property
    def last_n(self) -> int:
        """The number of the newest commit in this file; 0 if there is none."""
        if self.sealed:
            return int(self.meta("last_n", 0))
        return int(self._all("SELECT coalesce(max(n), 0) FROM log")[0][0])

    @property
    def version(self) -> int:
        """Another one after every change, so that whoever derived something from this day can tell whether it is
        stale. A sealed day counts up from zero, an open one down from -1.
        """
        return int(self.meta("changes", 0)) if self.sealed else -1 - self.last_n - int(self.meta("erasures", 0))

    def meta(self, name: str, default: Any) -> Any:
        rows = self._all("SELECT value FROM meta WHERE name = ?", (name,))
        return rows[0][0] if rows else default

    def ratings(self, keys: bool = False) -> Ratings:
        parts = list(self._sealed_ratings(keys) if self.sealed else self._open_ratings(keys))
        return _joined(parts)

    def rating_pieces(self, flags: U8, gone: int) -> Iterator[tuple[U32, U32, U16]]:
        """(actors, posts, ticks) of an open day, in order of witnessing, a piece at a time; without people who have
        these flags.
        """
        removed = self._removed()
        for numbers, near, near_starts, wide, wide_starts in self._log_chunks():
            _apply_removals(near, wide, removed, numbers, near_starts, wide_starts)
            yield rating_columns(near, wide, flags, gone)

    def repost_pieces(self) -> Iterator[Ratings]:
        """Reposts with their keys, a piece at a time."""
        for rows in self._sealed_ratings(True) if self.sealed else self._open_ratings(True, REPOST):
            is_repost = rows.kind == REPOST
            yield Ratings(*(getattr(rows, name)[is_repost] for name in Ratings.__slots__))

    def open_posts(self, flags: U8, gone: int) -> Posts:
        """The posts of an open day by number; without those of people who have these flags."""
        removed = np.frombuffer(self._blob("removed_posts"), r.REMOVED_POST)["post"].copy()
        return posts_left(np.frombuffer(self._blob("posts"), r.POST), removed, flags, gone)

    def posts(self) -> Posts:
        if not self.sealed:
            return self.open_posts(np.empty(0, np.uint8), 0)
        people, blobs = self._people("posts")
        own = np.frombuffer(b"".join(blobs), r.OWN_POST)
        author = np.repeat(people, [len(b) // r.OWN_POST.itemsize for b in blobs])
        number: Any = own["n0"].astype(np.uint32) | own["n1"].astype(np.uint32) << 16 | np.uint32(self.slot << 24)
        columns = [own[name].copy() for name in ("key", "tick", "flags", "language", "about")]
        return Posts(number, author, *columns)

    def follows(self) -> FollowRows:
        if self.sealed:
            people, blobs = self._people("follows")
            own = np.frombuffer(b"".join(blobs), r.FOLLOW)
            actor = np.repeat(people, [len(b) // r.FOLLOW.itemsize for b in blobs])
            return FollowRows(actor, own["key"].copy(), own["subject"].copy())
        sql = (
            "SELECT n, NULL, NULL, NULL, follows, NULL, NULL, removed_follows, far_follows FROM log"
            " WHERE follows IS NOT NULL OR removed_follows IS NOT NULL OR far_follows IS NOT NULL ORDER BY n"
        )
        return _live_follows(self._all(sql))[0]

    def odd_key_text(self, key: int) -> str | None:
        rows = self._all("SELECT text FROM odd_keys WHERE hash = ? LIMIT 1", (key,))
        return rows[0][0] if rows else None

    def tags(self) -> dict[str, BitMap]:
        """The posts that match each pattern of a feed."""
        return read_tags(self._db, self.path, self.sealed)

    def odd_keys(self) -> list[tuple[int, int, str]]:
        """(hash, person, text) of all keys that are not TIDs."""
        return self._all("SELECT hash, person, text FROM odd_keys")

    # --- for sealing: an open day's log, by slices of people

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """What is read within sees one state of the file."""
        with spoken(self.path):
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            if self._db.in_transaction:  # SQLite ends it by itself when the disk fails
                self._db.execute("COMMIT")

    @property
    def high_us(self) -> int:
        if self.sealed:
            return int(self.meta("high_us", 0))
        rows = self._all("SELECT high_us FROM log ORDER BY n DESC LIMIT 1")
        return int(rows[0][0]) if rows else 0

    def log_sample(self, step: int) -> tuple[int, U32]:
        """How many near ratings there are, and the person of each `step`th."""
        count, sample = 0, []
        for _, near, _, _, _ in self._log_chunks():
            count += len(near)
            actors = near["actor"][::step]
            sample.append(actors[actors != NO_PERSON])
        return count, np.concatenate(sample) if sample else np.empty(0, np.uint32)

    def named(self) -> tuple[U32, U32]:
        """(everybody whom an open day's log names, whom damaged commits name): those whose checksum is wrong."""
        names, damaged, people = ", ".join(r.LOG_BLOBS), list[int](), [np.empty(0, np.uint32)]
        everybody = np.zeros(1 << 16, np.bool_)
        with spoken(self.path):
            rows: Iterator[Any] = self._db.execute(f"SELECT n, crc, {names} FROM log")
            for n, crc, *blobs in rows:
                of_row = r.people_of(blobs)
                if r.crc(blobs) != crc:
                    damaged.append(n)
                    people.append(of_row)
                    continue
                top = int(of_row.max(initial=0)) + 1
                if top > len(everybody):
                    everybody = np.concatenate([everybody, np.zeros(top, np.bool_)])
                everybody[of_row] = True
        if damaged:
            log.error(
                "%s has damaged commits (%d, the first is %d). Its people are sealed with wrong checksums: bring the "
                "day back from a backup, `feedgen verify` names them",
                *(self.path.name, len(damaged), damaged[0]),
            )
        doubtful = np.unique(np.concatenate(people))
        return np.union1d(np.flatnonzero(everybody).astype(np.uint32), doubtful), doubtful

    def log_records(self, low: int, high: int) -> tuple[Records, Records]:
        """LOG_RATING and LOG_WIDE records of the people from `low` to before `high`, without removed ones, in order of
        time.
        """
        removed = self._removed()
        all_near, all_wide = [], []
        for numbers, near, near_starts, wide, wide_starts in self._log_chunks():
            _apply_removals(near, wide, removed, numbers, near_starts, wide_starts)
            all_near.append(near[(near["actor"] >= low) & (near["actor"] < high)])
            all_wide.append(wide[(wide["actor"] >= low) & (wide["actor"] < high)])
        if not all_near:
            return np.empty(0, r.LOG_RATING), np.empty(0, r.LOG_WIDE)
        return np.concatenate(all_near), np.concatenate(all_wide)

    def _removed(self) -> Records:
        rows = self._all("SELECT removed FROM log WHERE removed IS NOT NULL")
        removed: Records = np.frombuffer(b"".join([row[0] for row in rows]), r.REMOVED)
        return removed

    def _all(self, sql: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with spoken(self.path):
            return self._db.execute(sql, values).fetchall()

    def _blob(self, column: str) -> bytearray:
        joined = bytearray()
        with spoken(self.path):
            for (blob,) in self._db.execute(f"SELECT {column} FROM log WHERE {column} IS NOT NULL ORDER BY n"):
                joined += blob
        return joined

    def _people(self, column: str) -> tuple[U32, list[bytes]]:
        rows = self._all(f"SELECT person, {column} FROM people WHERE {column} IS NOT NULL")
        return np.array([row[0] for row in rows], np.uint32), [row[1] for row in rows]

    def _open_ratings(self, keys: bool, kind: int | None = None) -> Iterator[Ratings]:
        """All, or those of one kind."""
        removed = self._removed()
        for numbers, near, near_starts, wide, wide_starts in self._log_chunks():
            _apply_removals(near, wide, removed, numbers, near_starts, wide_starts)
            if kind is not None:
                near, wide = near[r.kinds(near) == kind], wide[wide["kind"] == kind]
            yield r.decode_ratings(self.day, near, wide, keys)

    def _log_chunks(self) -> Iterator[tuple[I64, Records, I64, Records, I64]]:
        with spoken(self.path):
            cursor: apsw.Cursor = self._db.execute(
                "SELECT n, ratings, wide FROM log WHERE ratings IS NOT NULL OR wide IS NOT NULL ORDER BY n"
            )
            while True:
                numbers, near, wide, size = [], [], [], 0
                for n, a, b in cursor:
                    numbers.append(n)
                    near.append(a or b"")
                    wide.append(b or b"")
                    size += len(near[-1])
                    if size >= CHUNK_BYTES:
                        break
                if not numbers:
                    return
                yield (
                    np.array(numbers, np.int64),
                    np.frombuffer(bytearray().join(near), r.LOG_RATING),  # writable, to make holes in
                    _starts([len(b) // r.LOG_RATING.itemsize for b in near]),
                    np.frombuffer(bytearray().join(wide), r.LOG_WIDE),
                    _starts([len(b) // r.LOG_WIDE.itemsize for b in wide]),
                )

    def _sealed_ratings(self, keys: bool) -> Iterator[Ratings]:
        first = 0
        while True:  # in short transactions, so that a checkpoint need not wait for a long one
            rows = self._all(
                "SELECT person, ratings, wide FROM people WHERE person >= ? ORDER BY person LIMIT ?",
                (first, PEOPLE_CHUNK),
            )
            if not rows:
                return
            yield self._decode_people(rows, keys)
            first = rows[-1][0] + 1

    def _decode_people(self, rows: list[Any], keys: bool) -> Ratings:
        people = np.array([row[0] for row in rows], np.uint32)
        near_blobs, wide_blobs = [row[1] or b"" for row in rows], [row[2] or b"" for row in rows]
        near = np.frombuffer(b"".join(near_blobs), r.RATING)
        actor = np.repeat(people, [len(b) // r.RATING.itemsize for b in near_blobs])
        key = r.full_keys(self.day, near) if keys else np.empty(0, np.int64)
        part = Ratings(actor, near["post"].copy(), near["tick"].copy(), r.kinds(near), key)
        wide = np.frombuffer(b"".join(wide_blobs), r.WIDE)
        if not len(wide):
            return part
        far = Ratings(
            np.repeat(people, [len(b) // r.WIDE.itemsize for b in wide_blobs]),
            wide["post"],
            wide["tick"],
            wide["kind"],
            wide["key"] if keys else np.empty(0, np.int64),
        )
        return _joined([part, far])


def _joined(parts: list[Ratings]) -> Ratings:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Ratings()
    return Ratings(
        *(np.concatenate([getattr(p, name) for p in parts]) for name in ("actor", "post", "tick", "kind", "key"))
    )


def _starts(counts: list[int]) -> I64:
    starts = np.zeros(len(counts), np.int64)
    np.cumsum(counts[:-1], out=starts[1:])
    return starts


def _apply_removals(
    near: Records, wide: Records, removed: Records, numbers: I64, near_starts: I64, wide_starts: I64
) -> None:
    """Make holes of the ratings of these rows that were removed later."""
    if not len(removed) or not len(numbers):
        return
    row = np.searchsorted(numbers, removed["n"])
    here = (row < len(numbers)) & (numbers[np.minimum(row, len(numbers) - 1)] == removed["n"])
    row, removed = row[here], removed[here]
    far = removed["at"] >= r.WIDE_AT
    near["actor"][near_starts[row[~far]] + removed["at"][~far]] = NO_PERSON
    wide["actor"][wide_starts[row[far]] + (removed["at"][far] - r.WIDE_AT)] = NO_PERSON


def _live_follows(rows: list[Any]) -> tuple[FollowRows, Records]:
    """The follows of log rows without those removed in or after their commit, and all removals."""
    gone = np.frombuffer(b"".join([row[7] or b"" for row in rows]), r.REMOVED_FOLLOW)
    blobs = [(row[4] or b"") + (row[8] or b"") for row in rows]
    follows = np.frombuffer(b"".join(blobs), r.LOG_FOLLOW)
    if len(gone):
        added_in = np.repeat([row[0] for row in rows], [len(b) // r.LOG_FOLLOW.itemsize for b in blobs])
        gone_in = np.repeat([row[0] for row in rows], [len(row[7] or b"") // r.REMOVED_FOLLOW.itemsize for row in rows])
        last = {(actor, key): n for (actor, key), n in zip(gone.tolist(), gone_in.tolist(), strict=True)}
        suspects = np.flatnonzero(np.isin(follows["key"], gone["key"])).tolist()
        dead = [i for i in suspects if last.get((int(follows["actor"][i]), int(follows["key"][i])), 0) >= added_in[i]]
        follows = np.delete(follows, dead)
    return r.decode_follows(follows), gone
