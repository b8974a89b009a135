"""DID <-> number. The truth is names.db; the table that answers is in memory, and is saved as names.idx so that a
start is instant.

One thread writes (`number`, `set_flags`, `erase`, `give_back`, `flush`); any thread may ask (`find`, `did`, `flags`). A
row is two words, `high` and `low`, where `low` has a bit that says "somebody": it is written last and cleared first, so
a reader who finds the same `low` before and after `high` never sees half a DID, even if a number was given again.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np

from feedgen.core.errors import StoreError, StoreFull
from feedgen.core.ids import NO_PERSON, pack_plc
from feedgen.core.jit import brief, i64, inline, njit
from feedgen.core.telemetry import Counter
from feedgen.ingest.events import GONE
from feedgen.store import crash
from feedgen.store.folder import Folder
from feedgen.store.names_index import IndexDraft, blank_rows, draft_of, read_index
from feedgen.store.rows import U8, U32, U64
from feedgen.store.sqlite import checkpoint, close, fetch, open_writer, spoken
from feedgen.store.uris import PLC, VALID, Packed, pack_dids, unpack_plc

log = logging.getLogger(__name__)

MAX_PEOPLE: Final = 1 << 27  # 43M repositories exist; room for all is reserved in the arrays
MAX_SUBJECTS: Final = (
    MAX_PEOPLE // 8 * 7
)  # whoever is only spoken of gets no number beyond this: anybody can invent them
MAX_LOAD: Final = 0.6  # of the slots in use
STOCK: Final = 1 << 18  # numbers kept ready to be given again
RETIRED_PAGES: Final = 4_000  # of names.db, written at once when numbers are given back
_ROWS_A_PAGE: Final = 64  # about
SAVE_AFTER: Final = 100_000  # names.idx is written once so many people are missing from it, and an eighth of all
REFUSED = Counter("feedgen_names_refused_total", "New people who got no number, because there are too many.", "role")
_CHUNK: Final = 100_000
_ODD: Final = 256  # in the database's flags only: this DID is not a plain did:plc, look at its text

_SCHEMA = """
CREATE TABLE IF NOT EXISTS people(n INTEGER PRIMARY KEY, did TEXT, flags INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS people_flagged ON people(flags) WHERE flags <> 0;
CREATE TABLE IF NOT EXISTS erasing(n INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""


class _Table:
    """One generation of the arrays; replaced whole when it grows: a reader holds either the old or the new one."""

    __slots__ = ("flags", "rows", "slots")

    def __init__(self, slots: U32, rows: U64, flags: U8) -> None:
        self.slots, self.rows, self.flags = slots, rows, flags


class Names:
    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.count = 0
        self.rebuilt = ""  # why names.idx was not used, for the log
        self._stored = 0  # people already in names.db
        self._saved = 0  # people in names.idx
        self._tried = 0  # people there were when names.idx was last written, or could not be
        self._saving: IndexDraft | None = None
        self._sums = (0, 0)
        self._seed = secrets.randbits(63)
        self._table = _Table(
            np.full(1024, NO_PERSON, np.uint32), np.zeros((512, 2), np.uint64), np.zeros(512, np.uint8)
        )
        self._others: dict[str, int] = {}
        self._other_dids: dict[int, str] = {}
        self._new_flags: dict[int, int] = {}
        self._new_erased: list[int] = []
        self._new_retired: list[
            int
        ] = []  # numbers that nobody refers to; they lose their DIDs, and are given again later
        self._reused: list[int] = []  # numbers that were given again and not flushed yet
        self._free, self._free_left = np.empty(0, np.uint32), 0  # numbers to give again, the last first
        self._taken_slots = 0
        # Who lost a DID that names.idx may still show: after a crash it would come back under a number given again.
        self._unblanked: set[int] = set()
        self.given_again: deque[int] = deque(maxlen=STOCK)  # for those who look at each new person
        self._db = open_writer(folder.names_path, folder.vfs, cache_kb=4_000)
        try:
            with spoken(folder.names_path):
                self._db.execute(_SCHEMA)
                self._load()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Save the table and close. Numbers that were never flushed are forgotten."""
        self._take_over_index(wait=True)
        if self.count == self._stored and self._new_retired:
            with suppress(StoreFull):
                self.flush()
        if self.count == self._stored and self._saved != self.count:
            self.save_index()
        close(self._db)

    # --- asked by any thread

    def find(self, did: str) -> int | None:
        plc = pack_plc(did)
        if plc is None:
            return self._others.get(did)
        table = self._table
        number = _find(table.slots, table.rows, np.uint64(self._seed), np.uint64(plc[0]), np.uint64(plc[1]))
        return None if number == NO_PERSON else int(number)

    def find_all(self, dids: Packed) -> U32:
        """`find` for many; NO_PERSON for the unknown."""
        table, out = self._table, np.empty(len(dids), np.uint32)
        _find_all(table.slots, table.rows, np.uint64(self._seed), dids.high, dids.low, dids.form, out)
        for i, did in dids.others.items():
            out[i] = self._others.get(did, NO_PERSON)
        return out

    def did(self, n: int) -> str | None:
        if not 0 <= n < self.count:
            return None
        rows = self._table.rows
        before, high, low = int(rows[n, 1]), int(rows[n, 0]), int(rows[n, 1])  # in this order: see above
        return unpack_plc(high, low) if low & VALID and before == low else self._other_dids.get(n)

    def words(self, people: U32) -> tuple[U64, U64]:
        """(high, low) of these people's DIDs; `low` is 0 for who has none of the plain form."""
        rows, (before, high, low) = self._table.rows, np.empty((3, people.size), np.uint64)
        _copy_words(rows, people, 1, before)  # in this order: see above
        _copy_words(rows, people, 0, high)
        _copy_words(rows, people, 1, low)
        low[before != low] = 0
        return high, low

    @property
    def flags(self) -> U8:
        """By person, at least `count` long. Take it anew for each use: it is replaced when it grows."""
        return self._table.flags

    # --- asked by the writing thread

    def number(self, dids: Sequence[str] | Packed, authors: bool = True) -> U32:
        """The numbers of DIDs, new ones for the unknown; NO_PERSON for what is not a DID, and for new people when no
        numbers are left. `authors`: these wrote records; others are only spoken of, and are refused earlier. New
        numbers last once `flush` has returned.
        """
        packed = dids if isinstance(dids, Packed) else pack_dids(dids)
        out = np.full(len(packed), NO_PERSON, np.uint32)
        self._reserve(len(packed))
        table, limit = self._table, MAX_PEOPLE if authors else MAX_SUBJECTS
        before = self.count + len(self._free) - self._free_left
        self.count, refused, left = _number(
            table.slots, table.rows, np.uint64(self._seed), packed.high, packed.low, packed.form, out,
            self.count, limit, self._free, self._free_left,
        )  # fmt: skip
        if left < self._free_left:
            self._give_again(self._free[left : self._free_left])
            self._free_left = left
        self._taken_slots += self.count + len(self._free) - left - before
        for i, did in packed.others.items():
            n = self._others.get(did, NO_PERSON)
            if n == NO_PERSON and self.count < limit:
                n = self._others[did] = self.count
                self._other_dids[n] = did
                self.count += 1
            refused += n == NO_PERSON
            out[i] = n
        if refused:
            self._refuse(refused, "author" if authors else "subject")
        return out

    def set_flags(self, n: int, flags: int) -> None:
        if self._table.flags[n] != flags:
            self._table.flags[n] = flags
            self._new_flags[n] = flags

    def erase(self, n: int) -> None:
        """Forget the DID behind a number, at once in memory, for good with `flush`. The number is never given again."""
        if not 0 <= n < self.count or self._table.flags[n] & GONE:
            return
        self._forget(n)
        self._new_erased.append(n)
        self._new_flags.pop(n, None)

    def flush(self) -> None:
        """Commit what is new. If that fails everything stays pending, and the next flush tries again."""
        pending = self._new_flags or self._new_erased or self._new_retired or self._reused
        if not (self._stored < self.count or pending):
            return
        count = self.count
        with spoken(self.folder.names_path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._write(count)
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        self._stored = count
        self._new_flags.clear()
        self._reused = []
        if gone := self._new_erased + self._new_retired:
            self._unblanked.update(gone)
            self._blank_index(gone)
            self._new_erased, self._new_retired = [], []
        crash.point("after_names")
        self._take_over_index()
        if self._stored - max(self._saved, self._tried) > max(SAVE_AFTER, self._saved // 8):
            self.save_soon()

    def erasing(self) -> list[int]:
        """People whose rows are still to be erased."""
        with spoken(self.folder.names_path):
            return [n for (n,) in fetch(self._db, "SELECT n FROM erasing ORDER BY n")]

    def erased(self, people: Sequence[int]) -> None:
        """Their rows are gone from every day."""
        with spoken(self.folder.names_path), self._db:
            self._db.executemany("DELETE FROM erasing WHERE n = ?", [(n,) for n in people])
        checkpoint(self._db, truncate=True)

    def _write(self, count: int) -> None:
        new = range(self._stored, count)
        if new:
            flags = self._table.flags
            rows = [
                (n, did or self._other_dids.get(n), int(flags[n]) | (_ODD if n in self._other_dids else 0))
                for n, did in zip(new, _unpack(self._table.rows[self._stored : count]), strict=True)
            ]
            self._db.executemany("INSERT INTO people(n, did, flags) VALUES (?, ?, ?)", rows)
        if self._reused:
            dids = zip(_unpack(self._table.rows[self._reused]), self._table.flags[self._reused].tolist(), strict=True)
            again = [(did, flags, n) for n, (did, flags) in zip(self._reused, dids, strict=True)]
            self._db.executemany("UPDATE people SET did = ?, flags = ? WHERE n = ?", again)
        odd = self._other_dids
        changed = [(flags | (_ODD if n in odd else 0), n) for n, flags in self._new_flags.items() if n < self._stored]
        self._db.executemany("UPDATE people SET flags = ? WHERE n = ?", changed)
        erased = [(n,) for n in self._new_erased]
        gone = erased + [(n,) for n in self._new_retired]
        self._db.executemany(f"UPDATE people SET did = NULL, flags = {GONE} WHERE n = ?", gone)
        self._db.executemany("INSERT OR IGNORE INTO erasing(n) VALUES (?)", erased)

    def give_back(self, idle: U32, retire: bool = True) -> U32:
        """Numbers that no kept day names, and nobody remembers. They lose their DIDs now (`retire`); the next time,
        once names.idx was written without them, they can be given again: those come back.
        """
        self._take_over_index()
        people = idle[idle < self._stored]
        flags = self._table.flags[people]
        held = {*self.erasing(), *self._unblanked, *self._new_retired, *self._reused}
        free = [n for n in people[flags & GONE != 0].tolist() if n not in held][:STOCK]
        self._free = np.array(free, np.uint32)
        self._free_left = len(self._free)
        quiet = people[flags == 0]  # whoever says something of themselves stays
        quiet = quiet[: max(0, STOCK - len(free)) if retire else 0]
        quiet = quiet[np.cumsum(np.diff(quiet // _ROWS_A_PAGE, prepend=-1) != 0) <= RETIRED_PAGES]
        for n in quiet.tolist():
            self._forget(n)
        self._new_retired += quiet.tolist()  # the next batch's `flush` makes it durable
        return self._free

    def _give_again(self, taken: U32) -> None:
        numbers = taken.tolist()
        self._table.flags[taken] = 0
        self._reused += numbers
        self.given_again.extend(numbers)
        if self._saving is not None:
            self._saving.erased += numbers  # the draft may have their rows without their slots: read from names.db

    def _refuse(self, refused: int, role: str) -> None:
        if not REFUSED.value(role):
            log.warning("no numbers are left for new people (%s): what they do is left out", role)
        REFUSED.add(refused, role)

    def _forget(self, n: int) -> None:
        rows = self._table.rows
        rows[n, 1] = 0  # first: see the module's text
        rows[n, 0] = 0
        did = self._other_dids.pop(n, None)
        if did is not None:
            del self._others[did]
        self._table.flags[n] = GONE

    def _reserve(self, more: int) -> None:
        """Make room for new people, if all of these turn out to be new."""
        table, wanted = self._table, self.count + more
        slots, rows, flags = table.slots, table.rows, table.flags
        if wanted > len(rows):
            room = max(wanted, len(rows) + len(rows) // 4, 1 << 12)
            rows, flags = np.zeros((room, 2), np.uint64), np.zeros(room, np.uint8)
            rows[: self.count], flags[: self.count] = table.rows[: self.count], table.flags[: self.count]
        if self._taken_slots + more > MAX_LOAD * len(slots):
            self._taken_slots = self.count
            slots = np.full(1 << int(wanted / MAX_LOAD).bit_length(), NO_PERSON, np.uint32)
            _insert(slots, rows, np.uint64(self._seed), 0, self.count)
        if slots is not table.slots or rows is not table.rows:
            self._table = _Table(slots, rows, flags)

    # --- the start, and names.idx

    def _load(self) -> None:
        last = fetch(self._db, "SELECT max(n) FROM people")[0][0]
        self._stored = 0 if last is None else last + 1
        draft_of(self.folder.index_path).unlink(missing_ok=True)
        stamp = self._meta("index_stamp")
        why = self._load_index(stamp, self._stored) if stamp else ""
        self.rebuilt = f"names.idx {why}" if why else ""
        self._saved = self.count
        self._reserve(self._stored - self.count)
        while self.count < self._stored:
            self._load_people(self.count, min(self.count + _CHUNK, self._stored))
        for n, flags in fetch(self._db, "SELECT n, flags FROM people WHERE flags <> 0"):
            if flags & GONE:
                if self._table.rows[n].any():
                    self._unblanked.add(n)
                self._table.rows[n, :] = 0
            if flags & _ODD and not flags & GONE and n not in self._other_dids:
                did = fetch(self._db, "SELECT did FROM people WHERE n = ?", (n,))[0][0]
                self._others[did], self._other_dids[n] = n, did
            self._table.flags[n] = flags & 255
        self._load_given_again()
        self._taken_slots = int(np.count_nonzero(self._table.slots != NO_PERSON))
        if self.rebuilt:
            self.save_soon()

    def _load_given_again(self) -> None:
        """Numbers that were given again after names.idx was written: there they are blank."""
        table = self._table
        blank = (table.rows[: self._saved, 1] == 0) & (table.flags[: self._saved] & GONE == 0)
        numbers = [n for n in np.flatnonzero(blank).tolist() if n not in self._other_dids]
        for n in numbers:
            did = fetch(self._db, "SELECT did FROM people WHERE n = ?", (n,))[0][0]
            packed = pack_plc(did)
            if packed is None:
                self._others[did], self._other_dids[n] = n, did
                continue
            table.rows[n] = packed[0], packed[1] | VALID
            _insert(table.slots, table.rows, np.uint64(self._seed), n, n + 1)

    def _load_people(self, first: int, end: int) -> None:
        rows = fetch(self._db, "SELECT n, did FROM people WHERE n >= ? AND n < ?", (first, end))
        if len(rows) != end - first:
            raise StoreError(
                f"{self.folder.names_path} lacks numbers between {first} and {end}", "bring it back from a backup"
            )
        table = self._table
        packed = pack_dids([did or "" for _, did in rows])
        plc = packed.form == PLC
        table.rows[first:end, 0] = packed.high
        table.rows[first:end, 1] = np.where(plc, packed.low | np.uint64(VALID), np.uint64(0))
        for i, did in packed.others.items():
            self._others[did], self._other_dids[first + i] = first + i, did
        self.count = end
        _insert(table.slots, table.rows, np.uint64(self._seed), first, end)

    def save_index(self) -> None:
        """Write names.idx here and now."""
        self.save_soon()
        self._take_over_index(wait=True)

    def save_soon(self) -> None:
        """Write names.idx in a thread; the next `flush` after its end puts it in place."""
        if self._saving is None:
            table = self._table
            self._unblanked_before = set(self._unblanked)
            self._saving = IndexDraft(self.folder.index_path, table.rows[: self._stored], table.slots, self._seed)
            self._tried = self._stored

    def _take_over_index(self, wait: bool = False) -> None:
        """It is derived: if it can't be written, the next start reads names.db instead."""
        draft = self._saving
        if draft is None or not (wait or draft.done()):
            return
        self._saving = None
        try:
            draft.put_in_place()
            with spoken(self.folder.names_path), self._db:
                self._db.execute("INSERT OR REPLACE INTO meta VALUES ('index_stamp', ?)", (draft.stamp,))
        except (OSError, StoreFull) as error:
            log.warning("can't write %s; a start takes longer without it: %s", self.folder.index_path.name, error)
            return
        self._saved, self._sums = draft.people, draft.sums
        self._unblanked -= self._unblanked_before

    def _load_index(self, stamp: int, stored: int) -> str:
        """Why it can't be used, or nothing."""
        index = read_index(self.folder.index_path, stamp, stored)
        if isinstance(index, str):
            return index
        room = max(stored + stored // 8, 1 << 12)
        grown = np.zeros((room, 2), np.uint64)
        grown[: index.people] = index.rows
        slots = index.slots.copy()
        slots[slots >= index.people] = NO_PERSON  # people who were numbered but not yet stored when it was saved
        self._table = _Table(slots, grown, np.zeros(room, np.uint8))
        self._seed, self.count, self._sums = index.seed, index.people, index.sums
        return ""

    def _blank_index(self, people: list[int]) -> None:
        """Take erased DIDs out of names.idx too, also out of the one that is being written."""
        if self._saving is not None:
            self._saving.erased += people
        try:
            self._sums = blank_rows(self.folder.index_path, people, self._saved, self._sums)
        except OSError:
            self.folder.index_path.unlink(missing_ok=True)

    @property
    def identity(self) -> int:
        """A number that no other data folder has: what is derived from this one's names bears it."""
        with spoken(self.folder.names_path):
            self._db.execute("INSERT OR IGNORE INTO meta VALUES ('identity', ?)", (secrets.randbits(62),))
        return self._meta("identity")

    def _meta(self, name: str) -> int:
        rows = fetch(self._db, "SELECT value FROM meta WHERE name = ?", (name,))
        return int(rows[0][0]) if rows else 0


def _unpack(rows: U64) -> list[str | None]:
    """The DIDs of many rows; None where nobody is (or somebody with another kind of DID)."""
    high, low = rows[:, 0], rows[:, 1]
    top, bottom = high >> np.uint64(4), (high & np.uint64(15)) << np.uint64(56) | low & np.uint64(VALID - 1)
    digits = np.empty((len(rows), 24), np.uint8)
    for i in range(12):
        digits[:, i] = top >> np.uint64(55 - 5 * i) & np.uint64(31)
        digits[:, 12 + i] = bottom >> np.uint64(55 - 5 * i) & np.uint64(31)
    text = _LETTERS[digits].tobytes().decode()
    valid = (low & np.uint64(VALID) != 0).tolist()
    return ["did:plc:" + text[24 * i : 24 * i + 24] if ok else None for i, ok in enumerate(valid)]


_LETTERS = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", np.uint8)


@inline
def _hash(high: np.uint64, low: np.uint64, seed: np.uint64) -> Any:
    x = np.uint64(high) ^ (np.uint64(low) * np.uint64(0x9E3779B97F4A7C15)) ^ np.uint64(seed)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@brief
def _copy_words(rows: U64, people: U32, column: int, out: U64) -> None:
    for i in range(people.size):
        # An untyped 0 would make both branches a float, and 64 bits do not fit in one.
        out[i] = rows[people[i], column] if people[i] < len(rows) else np.uint64(0)


@brief
def _find(slots: U32, rows: U64, seed: np.uint64, high: np.uint64, low: np.uint64) -> Any:
    mask = np.uint64(len(slots) - 1)
    wanted = np.uint64(low) | np.uint64(VALID)
    at = _hash(high, low, seed) & mask
    while slots[at] != NO_PERSON:
        n = slots[at]
        if rows[n, 0] == high and rows[n, 1] == wanted:
            return n
        at = (at + np.uint64(1)) & mask
    return NO_PERSON


@brief
def _find_all(slots: U32, rows: U64, seed: np.uint64, high: U64, low: U64, form: U8, out: U32) -> None:
    for i in range(len(form)):
        out[i] = _find(slots, rows, seed, high[i], low[i]) if form[i] == PLC else NO_PERSON


@njit
def _number(
    slots: U32, rows: U64, seed: np.uint64, high: U64, low: U64, form: U8, out: U32,
    count: int, limit: int, free: U32, left: int,
) -> Any:  # fmt: skip
    """Look up or insert, up to `limit` people; the row is complete before its slot is published. (How many people there
    are now, how many were refused, how many numbers are left to be given again.)
    """
    refused = 0
    mask = np.uint64(len(slots) - 1)
    for i in range(len(form)):
        if form[i] != 1:
            continue
        wanted = low[i] | np.uint64(VALID)
        at = _hash(high[i], low[i], seed) & mask
        while slots[at] != NO_PERSON:
            n = slots[at]
            if rows[n, 0] == high[i] and rows[n, 1] == wanted:
                break
            at = (at + np.uint64(1)) & mask
        if slots[at] == NO_PERSON:
            if count - left >= limit:
                refused += 1
                continue
            new = count
            if left > 0:
                left -= 1
                new = i64(free[left])
            else:
                count += 1
            rows[new, 0] = high[i]
            rows[new, 1] = wanted
            slots[at] = new
        out[i] = slots[at]
    return count, refused, left


@njit
def _insert(slots: U32, rows: U64, seed: np.uint64, first: int, end: int) -> None:
    mask = np.uint64(len(slots) - 1)
    for n in range(first, end):
        if rows[n, 1] != 0:
            at = _hash(rows[n, 0], rows[n, 1] & np.uint64(VALID - 1), seed) & mask
            while slots[at] != NO_PERSON:
                at = (at + np.uint64(1)) & mask
            slots[at] = n
