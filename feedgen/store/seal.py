"""Sealing a past day: its log becomes a new file with one row a person, while ingest and answers go on.

`write` reads one snapshot of the log and may run in any thread; `finish` brings in what changed since and puts the
file in place. The rename is the moment of truth: before it the log counts, after it the sealed file does, and a start
removes whichever is left over.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import apsw
import numpy as np

from feedgen.core.ids import NO_PERSON
from feedgen.store import crash, schema
from feedgen.store import rows as r
from feedgen.store.folder import remove_database
from feedgen.store.reader import DayReader
from feedgen.store.rows import I64, U32, PostRows, Records
from feedgen.store.sealed_day import SealedDay
from feedgen.store.sqlite import fetch, open_reader, spoken, sync_file
from feedgen.store.tags import read_tags, write_tags

# Rows are some hundred bytes long, so pages end in a gap: 12% of the file with pages of 4 kB, 3% with these. Larger
# ones would make every unlike of a past rating write more.
SEALED_PAGE_BYTES: Final = 16384
SLICE_RATINGS: Final = 4_000_000  # sorted in memory at a time
_SAMPLE: Final = 64
_TAIL_ROWS: Final = 10_000
_TAIL: Final = "SELECT n, removed, posts, removed_posts, removed_follows FROM log WHERE n > ? ORDER BY n LIMIT ?"


class Draft:
    def __init__(self, day: int, source: Path, target: Path, vfs: str = "") -> None:
        self.day, self.source, self.target, self.vfs = day, source, target, vfs
        self.path = target.with_suffix(".draft")
        self.last_n = 0
        self.named = np.empty(0, np.uint32)  # everybody whom the day names, once it is written

    def write(self) -> None:
        """The long part. Reads one state of the log, whatever is added meanwhile."""
        with spoken(self.path), DayReader(self.source, self.vfs) as reader:
            remove_database(self.path)
            draft = apsw.Connection(str(self.path), vfs=self.vfs or None)
            try:
                draft.execute(f"PRAGMA page_size={SEALED_PAGE_BYTES}")
                draft.execute("PRAGMA journal_mode=OFF")
                draft.execute("PRAGMA synchronous=OFF")
                draft.execute("PRAGMA cache_size=-16000")
                with reader.snapshot(), draft:
                    self._copy(reader, draft)
            finally:
                draft.close()
            sync_file(self.path)

    def finish(self, erased: set[int]) -> None:
        """Bring in later changes, then rename. If the disk refuses, nothing was renamed, and it can be called again."""
        held = SealedDay(self.path, self.day, self.vfs)
        try:
            last_n = self._catch_up(held)
            if erased:
                held.erase(sorted(erased))
            held.commit()
            held.fold()  # the write-ahead log has the draft's name, so it would stay behind
        finally:
            held.close(fold=False)
        self.last_n = last_n
        with spoken(self.path):
            sync_file(self.path)
        crash.point("before_seal_rename")
        with spoken(self.target):
            self.path.rename(self.target)

    def _copy(self, reader: DayReader, draft: apsw.Connection) -> None:
        draft.execute(schema.SEALED)
        self.last_n = reader.last_n
        cursor, high_us = reader.cursor, reader.high_us
        meta: list[tuple[str, Any]] = [
            ("day", self.day),
            ("form", "sealed"),
            ("changes", 0),
            ("high_us", high_us),
            ("last_n", self.last_n),
        ]
        if cursor is not None:
            meta += [("cursor_n", reader.cursor_n)]
            meta += [("host", cursor.host), ("seq", cursor.seq), ("time_us", cursor.time_us)]
        draft.executemany("INSERT INTO meta VALUES (?, ?)", meta)
        draft.executemany("INSERT INTO odd_keys VALUES (?, ?, ?)", reader.odd_keys())
        write_tags(draft, reader.tags())
        posts, follows = _by(_own_posts(reader), "author"), _by(_all_follows(reader), "actor")
        edges, strays = _edges(reader), [_astray(self.day, follows)]
        self.named, doubtful = reader.named()
        for i, (low, high) in enumerate(pairwise(edges)):
            near, wide = reader.log_records(low, high)
            parts = [(_by(near, "actor"), "actor", r.RATING), (_by(wide, "actor"), "actor", r.WIDE)]
            parts += [
                (_between(posts, "author", low, high), "author", r.OWN_POST),
                (_between(follows, "actor", low, high), "actor", r.FOLLOW),
            ]
            draft.executemany("INSERT INTO people VALUES (?, ?, ?, ?, ?, ?)", _rows(parts, doubtful))
            strays.append(_astray(self.day, wide))
            if i == (len(edges) - 1) // 2:
                crash.point("while_sealing")
        draft.execute("INSERT INTO meta VALUES ('strays', ?)", (np.unique(np.concatenate(strays)).tobytes(),))

    def _catch_up(self, held: SealedDay) -> int:
        """What the log says after the snapshot: removals, and posts that became known. Few, so one by one. The number
        of the last commit.
        """
        last_n = self.last_n
        db = open_reader(self.source, self.vfs)
        try:
            with spoken(self.source):
                while rows := fetch(db, _TAIL, (last_n, _TAIL_ROWS)):
                    for row in rows:
                        self._apply(db, held, row)
                    last_n = rows[-1][0]
                odd: list[Any] = db.execute("SELECT person, hash, text FROM odd_keys").fetchall()
                held.add_odd_keys([(person, key, text) for person, key, text in odd])
                held.add_tags(read_tags(db, self.source, sealed=False))
        finally:
            db.close()
        return last_n

    def _apply(self, db: apsw.Connection, held: SealedDay, row: Any) -> None:
        _, removed, posts, removed_posts, removed_follows = row
        for n, at, actor, _ in np.frombuffer(removed or b"", r.REMOVED).tolist():
            far = at >= r.WIDE_AT
            blob: Any = db.execute(f"SELECT {'wide' if far else 'ratings'} FROM log WHERE n = ?", (n,)).fetchall()[0][0]
            one = np.frombuffer(blob, r.LOG_WIDE if far else r.LOG_RATING)[at & (r.WIDE_AT - 1) :][:1]
            if one["actor"][0] == actor:
                key = one["key"][0] if far else r.full_keys(self.day, one)[0]
                kind = one["kind"][0] if far else r.kinds(one)[0]
                held.remove_rating(0, actor, int(kind), int(key), not far)
        if posts:
            held.put_posts(_post_rows(self.day, np.frombuffer(posts, r.POST)))
        for post, author in np.frombuffer(removed_posts or b"", r.REMOVED_POST).tolist():
            held.remove_post(post, author)
        for actor, key in np.frombuffer(removed_follows or b"", r.REMOVED_FOLLOW).tolist():
            held.remove_follow(0, actor, key)


def _by(records: Records, owner: str) -> Records:
    """In order of person; of one person, in order of time as before."""
    return records[np.argsort(records[owner], kind="stable")]


def _between(records: Records, owner: str, low: int, high: int) -> Records:
    start, end = np.searchsorted(records[owner], [low, high])
    return records[start:end]


def _edges(reader: DayReader) -> list[int]:
    """Limits of slices of people with about SLICE_RATINGS each."""
    count, sample = reader.log_sample(_SAMPLE)
    slices = max(1, -(-count // SLICE_RATINGS))
    inner = (
        np.quantile(sample, np.arange(1, slices) / slices).astype(int).tolist() if slices > 1 and len(sample) else []
    )
    return sorted({0, *inner, NO_PERSON})


def _own_posts(reader: DayReader) -> Records:
    """Posts as records of their authors, with the author still in front."""
    posts = reader.posts()
    own = np.empty(
        len(posts), np.dtype([("author", "<u4"), *((name, r.OWN_POST[name]) for name in r.OWN_POST.names or ())])
    )
    own["author"], own["n0"], own["n1"] = posts.author, posts.post & 0xFFFF, posts.post >> 16 & 0xFF
    for name in ("key", "tick", "flags", "language", "about"):
        own[name] = getattr(posts, name)
    return own


def _all_follows(reader: DayReader) -> Records:
    return r.encode_follows(reader.follows())


def _astray(day: int, records: Records) -> U32:
    """Whose keys claim another day."""
    people: U32 = records["actor"][r.astray(day, records["key"])]
    return people


def _rows(parts: list[tuple[Records, str, Any]], doubtful: U32) -> Iterator[tuple[Any, ...]]:
    """(person, checksum, blob or None, ...) for everybody who is in one of the sorted parts. What comes out of damaged
    commits is not signed as good.
    """
    people: U32 = np.unique(np.concatenate([part[owner] for part, owner, _ in parts]))
    columns = []
    for part, owner, dtype in parts:
        packed = np.empty(len(part), dtype)
        for name in dtype.names:
            packed[name] = part[name]
        size = dtype.itemsize
        starts: I64 = np.searchsorted(part[owner], people, side="left") * size
        ends: I64 = np.searchsorted(part[owner], people, side="right") * size
        blob = packed.tobytes()
        columns.append([blob[s:e] or None for s, e in zip(starts.tolist(), ends.tolist(), strict=True)])
    wrong = np.isin(people, doubtful).tolist()
    sums = (r.crc(blobs) ^ bad for *blobs, bad in zip(*columns, wrong, strict=True))
    return zip(people.tolist(), sums, *columns, strict=True)


def _post_rows(day: int, records: Records) -> PostRows:
    records = records[records["author"] != NO_PERSON]
    time_us = r.tick_starts(day, records["tick"])
    columns = (records[name] for name in ("flags", "language", "about"))
    return PostRows(records["post"], records["author"], records["key"], time_us, *columns)
