"""Which commits of an open day's log can hold a record, and where in them it is.

A key says when its record was made, so it leads to the one or two commits that very likely hold it, and else to the
stretches of the log that can. Each stretch has a filter, made on first use, which nearly always knows that a record is
not there: whoever deletes what nobody recorded costs no look into the log. Most of what comes now is looked for in the
newest stretches, and their filters are wide: they are hardly ever in doubt. All of it can be thrown away.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final, NamedTuple

import numpy as np

from feedgen.store import record_lookup
from feedgen.store import rows as r
from feedgen.store.decoded import Found, Growing
from feedgen.store.record_lookup import FILTER_RECORDS, FILTER_WORDS, FOLLOW, WIDE_WORDS, folded
from feedgen.store.rows import I64, U8, Bool, RatingRows

MAX_BYTES_IN_MEMORY: Final = 12 << 20  # of commits that were looked into
# How much before its key's time, and after it, a record is witnessed: usually, and nearly always.
LIKELY_US: Final = ((500_000, 3_000_000), (2_000_000, 15_000_000))
MAX_LIKELY_COMMITS: Final = 100
WIDE_STRETCHES: Final = 4  # the newest ones: REACH_US of 2,000 events/s

Read = Callable[[int, int], Iterable[tuple[int, bytes | None, bytes | None]]]


class Commit(NamedTuple):
    """One commit's near ratings, and its follows with honest keys, as they are in the log."""

    n: int
    ratings: U8
    follows: U8

    @property
    def bytes(self) -> int:
        return self.ratings.size + self.follows.size


@dataclass(slots=True)
class Stretch:
    """Neighbouring commits; `words` is the filter of their records, once it was needed."""

    first_n: int
    last_n: int
    records: int = 0
    words: I64 | None = None


class Directory:
    """`read` gives the number, ratings and follows of all commits between two numbers, in order."""

    def __init__(self, day: int, read: Read) -> None:
        self.day, self._read = day, read
        self._n: Growing[np.int64] = Growing(np.int64)
        self._newest_us: Growing[np.int64] = Growing(np.int64)  # until then
        self._stretches: list[Stretch] = []
        self._times = np.zeros((0, 2), np.int64)
        self._commits: OrderedDict[int, Commit] = OrderedDict()
        self._bytes = 0

    def append(self, n: int, first_us: int, last_us: int, records: int) -> None:
        """A commit with so many near ratings and honest follows."""
        newest = self._newest_us.all
        self._n.append(np.array([n]))
        self._newest_us.append(np.array([max(last_us, int(newest[-1]) if len(newest) else 0)]))
        i = len(self._stretches) - 1
        if i < 0 or self._stretches[i].records + records > FILTER_RECORDS:
            i += 1
            self._stretches.append(Stretch(n, n))
            self._narrow(i - WIDE_STRETCHES)
            if i >= len(self._times):
                self._times = np.concatenate([self._times, np.zeros((max(64, i), 2), np.int64)])
            self._times[i] = first_us, last_us
        stretch, times = self._stretches[i], self._times[i]
        stretch.last_n = n
        stretch.records += records
        times[:] = min(int(times[0]), first_us), max(int(times[1]), last_us)

    def keep(self, n: int, ratings: bytes | None, follows: bytes | None) -> None:
        """What was appended last: it is likely to be asked for soon."""
        commit, stretch = _commit(n, ratings, follows), self._stretches[-1]
        if stretch.first_n == n:
            stretch.words = np.zeros(WIDE_WORDS, np.int64)
        if stretch.words is not None:
            self._note(commit, stretch.words)
        self._put([commit])

    def ratings(self, actor: int, kind: int, key: int) -> Iterator[Found]:
        """All near records of this name, removed or not, the likeliest first."""
        for commit in self._holders(actor, kind, key):
            yield from find_ratings(commit.n, commit.ratings, self.day, actor, kind, key)

    def follows(self, actor: int, key: int) -> Iterator[tuple[int, int]]:
        """(commit, subject) of all honest records of this name, removed or not."""
        for commit in self._holders(actor, FOLLOW, key):
            at = record_lookup.next_follow(commit.follows, actor, key, 0)
            while at >= 0:
                yield commit.n, int(commit.follows.view(r.LOG_FOLLOW)["subject"][at])
                at = record_lookup.next_follow(commit.follows, actor, key, at + 1)

    def many(self, rows: RatingRows, out: Bool) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """(commit, [(place in it, which row)]) of all near records that have the name of a row not marked in `out`."""
        for i, asked in self._asked(rows.key, out):
            actor, kind, key = rows.actor[asked], rows.kind[asked], rows.key[asked]
            maybe = np.zeros(len(asked), np.uint8)
            record_lookup.may_have(self._filter(i), actor, kind, key, maybe)
            which = np.flatnonzero(maybe)
            if len(which):
                yield from self._many(i, asked[which], actor[which], kind[which], key[which])

    def may_have_follows(self, actor: r.U32, key: I64) -> Bool:
        """False for follows that are certainly not among the honest ones."""
        out, kind = np.zeros(len(key), np.bool_), np.full(len(key), FOLLOW, np.uint8)
        for i, asked in self._asked(key, out):
            maybe = np.zeros(len(asked), np.uint8)
            record_lookup.may_have(self._filter(i), actor[asked], kind[asked], key[asked], maybe)
            out[asked] |= maybe.view(np.bool_)
        return out

    # --- inside

    def _asked(self, key: I64, out: Bool) -> Iterator[tuple[int, I64]]:
        """(stretch, which of these keys can be in it and are not marked)."""
        us = key >> 10
        honest = key >= 0
        if not honest.any():
            return
        for i in self._near(int(us[honest].min()), int(us[honest].max())):
            first, last = self._times[i]
            asked = np.flatnonzero(~out & honest & (us >= first - r.REACH_US) & (us <= last + r.REACH_US))
            if len(asked):
                yield i, asked

    def _many(self, i: int, rows: I64, actor: r.U32, kind: U8, key: I64) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        commits = list(self._in_stretch(i))
        joined = np.concatenate([commit.ratings for commit in commits])
        ends = np.cumsum([commit.ratings.size for commit in commits]) // r.LOG_RATING.itemsize
        hits = np.empty((2 * len(rows), 2), np.int64)
        count = record_lookup.find_many(joined, self.day, actor, kind, key, hits)
        if count > len(hits):
            hits = np.empty((count, 2), np.int64)
            record_lookup.find_many(joined, self.day, actor, kind, key, hits)
        place, which = hits[:count, 0], rows[hits[:count, 1]]
        holder = np.searchsorted(ends, place, side="right")
        start = np.concatenate([[0], ends])[holder]
        found = zip(holder.tolist(), (place - start).tolist(), which.tolist(), strict=True)
        for at, group in groupby(found, key=lambda one: one[0]):
            yield commits[at].n, [one[1:] for one in group]

    def _holders(self, actor: int, kind: int, key: int) -> Iterator[Commit]:
        """The commits that can hold this record, if any can."""
        if key < 0:
            return
        us = key >> 10
        maybe = [i for i in self._near(us, us) if record_lookup.may_have_one(self._filter(i), actor, kind, key)]
        if not maybe:
            return
        seen: set[int] = set()
        for early_us, late_us in LIKELY_US:
            first, last = np.searchsorted(self._newest_us.all, [us - early_us, us + late_us]).tolist()
            numbers = self._n.all[first : min(last + 1, first + MAX_LIKELY_COMMITS)].tolist()
            yield from self._load([n for n in numbers if n not in seen])
            seen.update(numbers)
        for i in maybe:
            yield from (commit for commit in self._in_stretch(i) if commit.n not in seen)

    def _near(self, low_us: int, high_us: int) -> list[int]:
        """Stretches that can hold keys between these times as near ones."""
        times = self._times[: len(self._stretches)]
        return np.flatnonzero((times[:, 0] - r.REACH_US <= high_us) & (times[:, 1] + r.REACH_US >= low_us)).tolist()

    def _filter(self, i: int) -> I64:
        stretch = self._stretches[i]
        if stretch.words is None:
            wide = i >= len(self._stretches) - WIDE_STRETCHES
            words = np.zeros(WIDE_WORDS if wide else FILTER_WORDS, np.int64)
            for commit in self._in_stretch(i):
                self._note(commit, words)
            stretch.words = words
        return stretch.words

    def _narrow(self, i: int) -> None:
        """A stretch that is new no more."""
        words = self._stretches[i].words if i >= 0 else None
        if words is not None and words.size > FILTER_WORDS:
            self._stretches[i].words = folded(words)

    def _note(self, commit: Commit, words: I64) -> None:
        record_lookup.note_ratings(commit.ratings, self.day, words)
        record_lookup.note_follows(commit.follows, words)

    def _in_stretch(self, i: int) -> Iterator[Commit]:
        stretch = self._stretches[i]
        return (_commit(*row) for row in self._read(stretch.first_n, stretch.last_n))

    def _load(self, numbers: list[int]) -> list[Commit]:
        """These commits, and keep them for a while."""
        missing = {n for n in numbers if n not in self._commits}
        held = [self._commits[n] for n in numbers if n not in missing]
        for commit in held:
            self._commits.move_to_end(commit.n)
        if missing:
            read = [_commit(*row) for row in self._read(min(missing), max(missing)) if row[0] in missing]
            self._put(read)
            held += read
        return held

    def _put(self, commits: list[Commit]) -> None:
        for commit in commits:
            self._commits[commit.n] = commit
            self._bytes += commit.bytes
        while self._bytes > MAX_BYTES_IN_MEMORY:
            self._bytes -= self._commits.popitem(last=False)[1].bytes


def find_ratings(n: int, ratings: U8, day: int, actor: int, kind: int, key: int) -> Iterator[Found]:
    """All records of this name among a commit's LOG_RATING records, removed or not."""
    at = record_lookup.next_rating(ratings, day, actor, kind, key, 0)
    while at >= 0:
        yield Found(n, at, int(ratings.view(r.LOG_RATING)["post"][at]))
        at = record_lookup.next_rating(ratings, day, actor, kind, key, at + 1)


def _commit(n: int, ratings: bytes | None, follows: bytes | None) -> Commit:
    return Commit(n, np.frombuffer(ratings or b"", np.uint8), np.frombuffer(follows or b"", np.uint8))
