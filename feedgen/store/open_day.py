"""A day that is still being written: a log with one row a commit.

Appending one row of blobs is what makes ingest cheap. The price is that a record must be looked for: a small directory
in memory leads to the commits that can hold it. Keys that lie about their time ("wide") are few, and stay in memory for
the whole day.
"""

from __future__ import annotations

import contextlib
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from feedgen.core.errors import StoreError, StoreFull
from feedgen.core.ids import NO_PERSON, NO_POST
from feedgen.ingest.batch import Cursor
from feedgen.store import rows as r
from feedgen.store import schema
from feedgen.store.decoded import Found, WideRatings, identities
from feedgen.store.directory import Directory, find_ratings
from feedgen.store.rows import I64, U32, Bool, FollowRows, PostRows, RatingRows, Records
from feedgen.store.sqlite import checkpoint, close, fetch, open_writer, spoken, sync_commits

# What a search of an open day remembers of it; beyond that the oldest is forgotten. A deletion that comes twice may
# then be applied twice, and a follow whose key lies about its time is not found until the day is sealed.
MAX_REMOVED: Final = 1 << 24
MAX_GONE_FOLLOWS: Final = 1 << 20
MAX_FAR_FOLLOWS: Final = 1 << 16
TOMBSTONE_US: Final = 3_600_000_000
POSTS_RESERVED: Final = 8_192  # post numbers reserved at a time; so many may be left out after a power cut
_SCAN_ROWS: Final = 2_000
_NEWEST_ROWS: Final = 256  # looked through for people unknown to names.db; hardly a batch comes without a new one
_ALL_BLOBS: Final = f"SELECT n, crc, {', '.join(r.LOG_BLOBS)} FROM log"
T = TypeVar("T")


@dataclass(slots=True)
class _Pending:
    """What the next commit will append."""

    near: list[Records] = field(default_factory=list)
    wide: list[Records] = field(default_factory=list)
    posts: list[Records] = field(default_factory=list)
    follows: list[Records] = field(default_factory=list)
    removed: list[tuple[int, int, int, int]] = field(default_factory=list)
    removed_posts: list[tuple[int, int]] = field(default_factory=list)
    removed_follows: list[tuple[int, int]] = field(default_factory=list)
    tombstones: list[tuple[int, int, int]] = field(default_factory=list)
    odd_keys: list[tuple[int, int, str]] = field(default_factory=list)
    tags: list[tuple[str, int]] = field(default_factory=list)
    keys: list[I64] = field(default_factory=list)
    key_set: set[int] = field(default_factory=set)  # of the ratings; most searches end here
    first_us: int = 1 << 62
    last_us: int = 0

    def __bool__(self) -> bool:
        return bool(
            self.near
            or self.wide
            or self.posts
            or self.follows
            or self.removed
            or self.removed_posts
            or self.removed_follows
            or self.tombstones
            or self.tags
        )

    def has_key(self, key: int) -> bool:
        while self.keys:
            self.key_set.update(self.keys.pop().tolist())
        return key in self.key_set


class OpenDay:
    sealed: Final = False

    def __init__(self, path: Path, day: int, vfs: str = "") -> None:
        self.path, self.day = path, day
        self._db = open_writer(path, vfs, cache_kb=8_000, durable=False)
        self._pending = _Pending()
        self._indexed = False
        self._directory = Directory(day, self._read_commits)
        self._removed: OrderedDict[int, array[int]] = OrderedDict()  # by commit
        self._removed_count = 0
        self._gone_follows: dict[tuple[int, int], int] = {}  # (actor, key) -> the commit that removed it
        self._wide = WideRatings()
        self._far_follows: dict[tuple[int, int], list[tuple[int, int]]] = {}  # (actor, key) -> [(commit, subject)]
        try:
            with spoken(path):
                self._db.execute(schema.OPEN)
                self._db.execute("INSERT OR IGNORE INTO meta VALUES ('day', ?), ('form', 'log')", (day,))
                self.last_n: int = self._one("SELECT coalesce(max(n), 0) FROM log")
                self._erasures = self._one("SELECT coalesce(max(value), 0) FROM meta WHERE name = 'erasures'")
                self._read_high()
                reserved = self._one("SELECT coalesce(max(value), 0) FROM meta WHERE name = 'posts_reserved'")
                self.first_post = self._posts_taken = self._posts_reserved = reserved
                if self._one("SELECT value FROM meta WHERE name = 'day'") != day:
                    raise StoreError(f"{path} holds another day than its name says", "give it its right name back")
        except BaseException:
            self._db.close()
            raise

    @property
    def version(self) -> int:
        """Another one after every commit that changed anything; never one that a sealed day can have."""
        return -1 - self.last_n - self._erasures

    def close(self, fold: bool = True) -> None:
        if fold:
            self._give_back_posts()
        close(self._db, fold)

    def cursor(self) -> tuple[int, Cursor] | None:
        """The newest cursor and the number of its commit."""
        with spoken(self.path):
            rows = fetch(
                self._db, "SELECT n, host, seq, time_us FROM log WHERE host IS NOT NULL ORDER BY n DESC LIMIT 1"
            )
        return (int(rows[0][0]), Cursor(*rows[0][1:])) if rows else None

    def tombstones(self) -> Iterable[tuple[int, int, int, int]]:
        """(actor, kind, key, time_us) of the last hour's deletes that found nothing."""
        with spoken(self.path):
            for last_us, high_us, blob in self._db.execute(
                "SELECT last_us, high_us, tombstones FROM log ORDER BY n DESC"
            ):
                if int(str(high_us)) < self.high_us - TOMBSTONE_US:
                    return
                for one in np.frombuffer(blob or b"", r.TOMBSTONE).tolist():
                    yield (*one, last_us or high_us)

    def sync(self) -> None:
        """All that was committed survives a power cut when this returns."""
        sync_commits(self.path)

    def reserve_posts(self, end: int) -> None:
        """Post numbers (within the day) below `end` are never given again. Other files hold numbers of this day, and
        are not taken back by a power cut as its newest commits are.
        """
        if end > self._posts_reserved:
            self._write_reserved(end + POSTS_RESERVED)
            self.sync()
        self._posts_taken = max(self._posts_taken, end)

    def _give_back_posts(self) -> None:
        """At a regular end it is known which numbers were given."""
        if self._posts_taken < self._posts_reserved:
            with contextlib.suppress(StoreFull):
                self._write_reserved(self._posts_taken)

    def _write_reserved(self, end: int) -> None:
        with spoken(self.path), self._db:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('posts_reserved', ?)", (end,))
        self._posts_reserved = end

    def first_unknown(self, people: int) -> int | None:
        """The first commit that names people beyond so many, if there is one. A power cut can leave such commits where
        syncing does not do what it promises.
        """
        first, before = None, self.last_n + 1
        sql = f"{_ALL_BLOBS} WHERE n < ? ORDER BY n DESC LIMIT {_NEWEST_ROWS}"
        while rows := fetch(self._db, sql, (before,)):
            unknown = [row[0] for row in rows if (r.people_of(row[2:]) >= people).any()]
            if not unknown:
                break
            first, before = min(unknown), rows[-1][0]
        return first

    def cut(self, n: int) -> None:
        """Take back this commit and all after it. Right after opening."""
        with spoken(self.path), self._db:
            self._db.execute("DELETE FROM log WHERE n >= ?", (n,))
        self.last_n = self._one("SELECT coalesce(max(n), 0) FROM log")
        self._read_high()

    # --- changes, until `commit` or `rollback`

    def add_ratings(self, rows: RatingRows) -> None:
        near, wide, _ = r.encode_ratings(self.day, rows)
        if len(near):
            self._pending.near.append(near)
        if len(wide):
            self._pending.wide.append(wide)
        self._pending.keys.append(rows.key)
        self._span(rows.time_us)

    def put_posts(self, rows: PostRows) -> None:
        self._pending.posts.append(r.encode_posts(self.day, rows))
        self._span(rows.time_us)

    def add_follows(self, rows: FollowRows) -> None:
        self._pending.follows.append(r.encode_follows(rows))

    def add_odd_keys(self, keys: list[tuple[int, int, str]]) -> None:
        self._pending.odd_keys += keys

    def add_tags(self, hits: Iterable[tuple[str, int]]) -> None:
        self._pending.tags += hits

    def add_tombstone(self, actor: int, kind: int, key: int) -> None:
        self._pending.tombstones.append((actor, kind, key))

    def remove_post(self, post: int, author: int) -> None:
        self._pending.removed_posts.append((post, author))

    def remove_rating(self, n: int, actor: int, kind: int, key: int, near: bool) -> list[int]:
        """The posts whose ratings these were: more than one if a repository used a key again with another subject.
        `near`: the key may be in its own time, not only among the wide ones.
        """
        posts = []
        while (found := self.find_rating(n, actor, kind, key, near)) is not None:
            self._note_removed(found.n, found.at)
            self._pending.removed.append((found.n, found.at, actor, found.post))
            posts.append(found.post)
        return posts

    def remove_follow(self, n: int, actor: int, key: int) -> list[int]:
        """The people who are no longer followed."""
        subjects = list(self._find_follows(n, actor, key))
        if subjects:
            self._pending.removed_follows.append((actor, key))
            _put_bounded(self._gone_follows, (actor, key), n, MAX_GONE_FOLLOWS)
        return subjects

    def rollback(self) -> None:
        for n, at, _, _ in self._pending.removed:
            if n in self._removed:
                self._removed[n].remove(at)
                self._removed_count -= 1
        for actor, key in self._pending.removed_follows:
            self._gone_follows.pop((actor, key), None)
        self._pending = _Pending()
        if self._db.in_transaction:
            with spoken(self.path):
                self._db.execute("ROLLBACK")

    def commit(self, n: int, cursor: Cursor | None, high_us: int) -> None:
        """Append the row. Without a cursor this day is not the one that moves on."""
        p = self._pending
        if cursor is None and not p:
            return
        far, follows = self._split(p)
        blobs = [_joined(p.wide), far, follows, _joined(p.posts), _joined(p.near)]
        removed = [
            np.array(p.removed, r.REMOVED).tobytes() or None,
            np.array(p.removed_posts, r.REMOVED_POST).tobytes() or None,
            np.array(p.removed_follows, r.REMOVED_FOLLOW).tobytes() or None,
            np.array(p.tombstones, r.TOMBSTONE).tobytes() or None,
        ]
        near = sum(map(len, p.near))
        crc = r.crc(removed + blobs)
        span = (p.first_us, p.last_us) if p.last_us else (None, None)
        place = (cursor.host, cursor.seq, cursor.time_us) if cursor else (None, None, None)
        with spoken(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute(
                    f"INSERT INTO log VALUES ({', '.join('?' * 18)})",
                    (n, *place, high_us, *span, near, crc, *removed, *blobs),
                )
                if p.odd_keys:
                    self._db.executemany(
                        "INSERT OR IGNORE INTO odd_keys VALUES (?, ?, ?)",
                        [(key, person, text) for person, key, text in p.odd_keys],
                    )
                if p.tags:
                    self._db.execute(schema.OPEN_TAGS)
                    self._db.executemany("INSERT OR IGNORE INTO tags VALUES (?, ?)", p.tags)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        honest = near + len(follows or b"") // r.LOG_FOLLOW.itemsize
        if self._indexed and self._index_row(n, span, honest, blobs[0], far):
            self._directory.keep(n, blobs[4], follows)
        self.last_n, self.high_us = n, high_us
        self._pending = _Pending()

    def _split(self, p: _Pending) -> tuple[bytes | None, bytes | None]:
        """Follows whose keys lie about their time, and the others."""
        follows = np.concatenate(p.follows) if p.follows else np.empty(0, r.LOG_FOLLOW)
        us = follows["key"] >> 10
        far = (follows["key"] < 0) | (us < p.first_us - r.NEAR_US) | (us > p.last_us + r.NEAR_US)
        return follows[far].tobytes() or None, follows[~far].tobytes() or None

    # --- looking for records

    def find_rating(self, n: int, actor: int, kind: int, key: int, near: bool = True) -> Found | None:
        """`n` is the number that the pending commit will have."""
        found = self._find_pending(n, actor, kind, key)
        if found is None:
            self._ensure_index()
            near_ones = self._directory.ratings(actor, kind, key) if near else ()
            for one in chain(near_ones, self._wide.find(actor, kind, key)):
                if not self._is_removed(one.n, one.at):
                    return one
        return found

    def records_of(self, actor: int, ratings: bool) -> Iterator[tuple[int, int]]:
        """(kind, key) of all that is committed of one person; without `ratings` only the wide ones of these. Looks
        through the whole log.
        """
        self._ensure_index()
        columns = {"wide": r.WIDE_AT, "posts": 0, "follows": 0, "far_follows": 0} | ({"ratings": 0} if ratings else {})
        for column, flag in columns.items():
            owner = "author" if column == "posts" else "actor"
            with spoken(self.path):
                rows = self._db.execute(f"SELECT n, {column} FROM log WHERE {column} IS NOT NULL")
                for n, blob in rows:
                    records = np.frombuffer(blob, r.LOG_BLOBS[column])
                    for at in np.flatnonzero(records[owner] == actor).tolist():
                        one = records[at : at + 1]
                        if column == "posts":
                            yield r.POST_RECORD, int(one["key"][0])
                        elif column in ("follows", "far_follows"):
                            yield r.FOLLOW_RECORD, int(one["key"][0])
                        elif not self._is_removed(int(str(n)), at | flag):
                            kind = one["kind"] if flag else r.kinds(one)
                            yield int(kind[0]), int((one["key"] if flag else r.full_keys(self.day, one))[0])

    def have_ratings(self, n: int, rows: RatingRows, out: Bool) -> None:
        """Mark the rows that this day already holds; many at once."""
        if not len(rows):
            return
        self._ensure_index()
        wanted = identities(rows.actor, rows.kind, rows.key)
        for near in self._pending.near:
            out |= np.isin(wanted, identities(near["actor"], r.kinds(near), r.full_keys(self.day, near)))
        maybe = self._wide.ids.has(wanted)
        for wide in self._pending.wide:
            maybe |= np.isin(wanted, identities(wide["actor"], wide["kind"], wide["key"]))
        for commit, hits in self._directory.many(rows, out):
            marks = self._removed.get(commit, ())
            out[[row for at, row in hits if at not in marks]] = True
        for i in np.flatnonzero(maybe & ~out).tolist():  # lying keys: look closely
            found = self.find_rating(n, int(rows.actor[i]), int(rows.kind[i]), int(rows.key[i]))
            out[i] = found is not None

    def have_follows(self, n: int, actor: U32, key: I64, out: Bool) -> None:
        """Mark the follows that this day already holds."""
        self._ensure_index()
        wanted = identities(actor, 0, key)
        held = [identities(part["actor"], 0, part["key"]) for part in self._pending.follows]
        far = np.array(list(self._far_follows), r.REMOVED_FOLLOW)
        held.append(identities(far["actor"], 0, far["key"]))
        maybe = np.isin(wanted, np.concatenate(held)) | self._directory.may_have_follows(actor, key)
        for i in np.flatnonzero(maybe & ~out).tolist():
            out[i] = any(True for _ in self._find_follows(n, int(actor[i]), int(key[i])))

    def has_other_rating(self, n: int, actor: int, post: int) -> bool:
        """Whether the person has (still) rated the post on this day. Looks through the whole log: ask the live arrays
        first.
        """
        for parts, flag in ((self._pending.near, 0), (self._pending.wide, r.WIDE_AT)):
            start = 0
            for part in parts:
                for i in np.flatnonzero((part["actor"] == actor) & (part["post"] == post)).tolist():
                    if not self._is_removed(n, start + i | flag):
                        return True
                start += len(part)
        self._ensure_index()
        for column, dtype, flag in (("ratings", r.LOG_RATING, 0), ("wide", r.LOG_WIDE, r.WIDE_AT)):
            with spoken(self.path):
                for row, blob in self._db.execute(f"SELECT n, {column} FROM log WHERE {column} IS NOT NULL"):
                    records = np.frombuffer(blob, dtype)
                    for i in np.flatnonzero((records["actor"] == actor) & (records["post"] == post)).tolist():
                        if not self._is_removed(int(str(row)), i | flag):
                            return True
        return False

    def has_other_follow(self, n: int, actor: int, subject: int) -> bool:
        """The same for follows."""
        self._ensure_index()
        parts = [(n, part) for part in self._pending.follows]
        for column in ("follows", "far_follows"):
            with spoken(self.path):
                rows: Iterable[Any] = self._db.execute(f"SELECT n, {column} FROM log WHERE {column} IS NOT NULL")
                parts += [(row, np.frombuffer(blob, r.LOG_FOLLOW)) for row, blob in rows]
        for row, part in parts:
            for key in part["key"][(part["actor"] == actor) & (part["subject"] == subject)].tolist():
                if self._gone_follows.get((actor, key), 0) < row:
                    return True
        return False

    def erase(self, people: Iterable[int]) -> None:
        """Blank everything of these people, in place, in one transaction of its own."""
        who = np.fromiter(people, np.uint32)
        with spoken(self.path), self._db:
            first = 0
            while rows := fetch(self._db, f"{_ALL_BLOBS} WHERE n > ? ORDER BY n LIMIT {_SCAN_ROWS}", (first,)):
                first = rows[-1][0]
                changed: dict[int, list[bytes | None]] = {}
                for column, (name, dtype) in enumerate(r.LOG_BLOBS.items()):
                    self._blank_column(rows, column, name, dtype, who, changed)
                names = ", ".join(f"{name} = ?" for name in r.LOG_BLOBS)
                self._db.executemany(
                    f"UPDATE log SET crc = ?, {names} WHERE n = ?",
                    [(r.crc_after(rows[i][1], rows[i][2:], blobs), *blobs, rows[i][0]) for i, blobs in changed.items()],
                )
            self._db.executemany("DELETE FROM odd_keys WHERE person = ?", [(int(n),) for n in who])
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('erasures', ?)", (self._erasures + 1,))
        self._erasures += 1
        self.sync()
        checkpoint(self._db, truncate=True)
        self._forget_index()

    # --- inside

    def _blank_column(
        self, rows: list[Any], column: int, name: str, dtype: Any, who: U32, changed: dict[int, list[bytes | None]]
    ) -> None:
        """Collect in `changed` the rows (all their blobs) in which somebody was made a hole of."""
        blobs = [row[2 + column] or b"" for row in rows]
        records = np.frombuffer(b"".join(blobs), dtype)
        owner = "author" if name in ("posts", "removed_posts") else "actor"
        mine = np.flatnonzero(np.isin(records[owner], who))
        ends = np.cumsum([len(b) // dtype.itemsize for b in blobs])
        for i in np.unique(np.searchsorted(ends, mine, side="right")).tolist():
            part = np.frombuffer(blobs[i], dtype).copy()
            theirs = np.isin(part[owner], who)
            if name == "removed":  # where it stood stays said: positions are not people
                part["actor"][theirs], part["post"][theirs] = NO_PERSON, NO_POST
            else:
                r.blank(part, theirs)
            changed.setdefault(i, list(rows[i][2:]))[column] = part.tobytes()

    def _read_high(self) -> None:
        last = self._db.execute("SELECT high_us FROM log ORDER BY n DESC LIMIT 1").fetchall()
        self.high_us = int(str(last[0][0])) if last else 0

    def _one(self, sql: str) -> int:
        return int(str(self._db.execute(sql).fetchall()[0][0]))

    def _span(self, time_us: I64) -> None:
        if len(time_us):
            self._pending.first_us = min(self._pending.first_us, int(time_us.min()))
            self._pending.last_us = max(self._pending.last_us, int(time_us.max()))

    def _note_removed(self, n: int, at: int) -> None:
        self._removed.setdefault(n, array("I")).append(at)
        self._removed.move_to_end(n)
        self._removed_count += 1
        while self._removed_count > MAX_REMOVED and len(self._removed) > 1:
            self._removed_count -= len(self._removed.popitem(last=False)[1])

    def _forget_removed(self) -> None:
        self._removed, self._removed_count = OrderedDict(), 0

    def _is_removed(self, n: int, at: int) -> bool:
        marks = self._removed.get(n)
        return marks is not None and at in marks

    def _find_pending(self, n: int, actor: int, kind: int, key: int) -> Found | None:
        if not self._pending.has_key(key):
            return None
        start = 0
        for near in self._pending.near:
            for one in find_ratings(n, near.view(np.uint8), self.day, actor, kind, key):
                if not self._is_removed(n, start + one.at):
                    return one._replace(at=start + one.at)
            start += len(near)
        start = 0
        for wide in self._pending.wide:
            for i in np.flatnonzero((wide["actor"] == actor) & (wide["key"] == key) & (wide["kind"] == kind)).tolist():
                if not self._is_removed(n, start + i | r.WIDE_AT):
                    return Found(n, start + i | r.WIDE_AT, int(wide["post"][i]))
            start += len(wide)
        return None

    def _find_follows(self, n: int, actor: int, key: int) -> Iterator[int]:
        """Whom the records of this name follow, those that were removed left out."""
        gone = self._gone_follows.get((actor, key), 0)
        for part in reversed(self._pending.follows) if gone < n else ():
            yield from part["subject"][(part["actor"] == actor) & (part["key"] == key)].tolist()
        self._ensure_index()
        for row, subject in chain(self._directory.follows(actor, key), self._far_follows.get((actor, key), ())):
            if gone < row:
                yield subject

    def _read_commits(self, first: int, last: int) -> list[Any]:
        with spoken(self.path):
            return fetch(
                self._db, "SELECT n, ratings, follows FROM log WHERE n BETWEEN ? AND ? ORDER BY n", (first, last)
            )

    def _forget_index(self) -> None:
        self._indexed = False
        self._directory = Directory(self.day, self._read_commits)
        self._far_follows = {}
        self._forget_removed()
        self._gone_follows = {}
        self._wide = WideRatings()

    def _ensure_index(self) -> None:
        """Made on first use: a start does not pay for it."""
        if self._indexed:
            return
        self._forget_removed()
        gone_now = dict(self._gone_follows)
        with spoken(self.path):
            rows: Iterable[Any] = self._db.execute(
                "SELECT n, first_us, last_us, near, coalesce(length(follows), 0), removed, removed_follows, wide,"
                " far_follows FROM log ORDER BY n"
            )
            for n, first, last, near, follows, removed, gone, wide, far_follows in rows:
                honest = near + follows // r.LOG_FOLLOW.itemsize
                self._index_row(n, (first, last), honest, wide, far_follows)
                for row, at, _, _ in np.frombuffer(removed or b"", r.REMOVED).tolist():
                    self._note_removed(row, at)
                for actor, key in np.frombuffer(gone or b"", r.REMOVED_FOLLOW).tolist():
                    _put_bounded(self._gone_follows, (actor, key), n, MAX_GONE_FOLLOWS)
        self._gone_follows |= gone_now
        for row, at, _, _ in self._pending.removed:
            self._note_removed(row, at)
        self._indexed = True

    def _index_row(
        self, n: int, span: tuple[int | None, int | None], honest: int, wide: bytes | None, far_follows: bytes | None
    ) -> bool:
        """Enter a committed row into the index. `honest`: how many ratings and follows with honest keys it holds;
        False if the directory has no use for it.
        """
        self._wide.append(n, np.frombuffer(wide or b"", r.LOG_WIDE))
        for actor, key, subject in np.frombuffer(far_follows or b"", r.LOG_FOLLOW).tolist():
            known = self._far_follows.get((actor, key), [])
            _put_bounded(self._far_follows, (actor, key), [*known, (n, subject)], MAX_FAR_FOLLOWS)
        first_us, last_us = span
        if not honest or first_us is None or last_us is None:
            return False
        self._directory.append(n, first_us, last_us, honest)
        return True


def _put_bounded(table: dict[tuple[int, int], T], name: tuple[int, int], value: T, most: int) -> None:
    table.pop(name, None)
    table[name] = value
    if len(table) > most:
        del table[next(iter(table))]


def _joined(parts: list[Records]) -> bytes | None:
    if not parts:
        return None
    return (parts[0] if len(parts) == 1 else np.concatenate(parts)).tobytes() or None
