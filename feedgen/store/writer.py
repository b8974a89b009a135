"""The one way in which the truth is changed. One thread calls it.

A batch is: `begin(day)`, any number of adds and removals, `commit(cursor)`. First come names, then the changes in other
days, both synced (all can be repeated); then the day's row with the cursor. A power cut may take back the newest rows
with their cursors, until `sync`: the stream is heard again from there.

If the disk refuses (StoreFull, from any of these calls), the batch is forgotten as a whole and
can be applied again from `begin` on; answers of removals that had already gone through are remembered for it.
"""

from __future__ import annotations

import contextlib
import logging
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedgen.core.errors import StoreError, StoreFull
from feedgen.core.ids import US_PER_DAY
from feedgen.ingest.batch import Cursor
from feedgen.store import crash
from feedgen.store import rows as r
from feedgen.store.folder import Folder, day_name, remove_database
from feedgen.store.names import Names
from feedgen.store.open_day import TOMBSTONE_US, OpenDay
from feedgen.store.reader import DayReader
from feedgen.store.rows import I64, U8, U32, Bool, PostRows, RatingRows, Rows
from feedgen.store.seal import Draft
from feedgen.store.sealed_day import SealedDay
from feedgen.store.sqlite import spoken, sync_commits
from feedgen.store.strays import Strays

log = logging.getLogger(__name__)

POST: Final = r.POST_RECORD  # kinds of a record key, beside ids.LIKE and ids.REPOST
FOLLOW: Final = r.FOLLOW_RECORD
MAX_OPEN_DAYS: Final = 128
MAX_TOMBSTONES: Final = 65_536
MAX_ERASING: Final = 4_096
ERASE_AFTER_US: Final = 3_600_000_000  # the DID goes at once; going through a day's log costs seconds
MAX_SPAN_DAYS: Final = 240  # between the oldest and the newest day: slots (modulo 256) must not meet


class Writer:
    """`sweep_at_start=False` is for whoever has to erase people elsewhere before their rows go: call `sweep` then."""

    def __init__(
        self, folder: Folder, names: Names, erase_after_us: int = ERASE_AFTER_US, sweep_at_start: bool = True
    ) -> None:
        self.folder, self.names = folder, names
        self.erase_after_us = erase_after_us
        self.day = -1
        self._days: OrderedDict[int, OpenDay | SealedDay] = OrderedDict()
        self._known: dict[int, bool] = {}  # day -> sealed
        self._strays = Strays()
        self._strays_told = False  # by all sealed days
        self._touched: set[int] = set()
        self._changed_days: set[int] = set()  # that others were not told of yet
        self._again: dict[
            tuple[int, int, int], list[tuple[int, int]]
        ] = {}  # removals that went through in a batch that then failed
        self._removed_now: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
        self._tombstones: OrderedDict[tuple[int, int, int], int] = OrderedDict()
        self._buried_keys: set[int] = set()  # at least the keys of the tombstones; most creates are let through by it
        self._buried_now: list[tuple[int, int, int]] = []
        self._sealing: dict[int, set[int]] = {}  # day -> people erased since its draft was begun
        self._leftover: list[Path] = []  # databases to unlink, once the names in the folder are durable
        self._unsettled = False  # names in the folder changed and are not durable yet
        self._next_n = 1
        self._cursor: Cursor | None = None
        self._high_us = self._now_us = 0
        self._erasing: set[int] = set()
        self._erasing_since_us = 0
        try:
            self._start(sweep_at_start)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for day in self._days.values():
            day.rollback()
            day.close()
        self._days.clear()

    def cursor(self) -> Cursor | None:
        """Where ingest goes on: the cursor of the newest commit."""
        return self._cursor

    def high_water_us(self) -> int:
        """The newest witnessed time that was ever committed: whatever is older may be a repeat."""
        return self._high_us

    def days(self) -> list[int]:
        return sorted(self._known)

    def is_sealed(self, day: int) -> bool:
        return self._known[day]

    def day_of_post(self, post: int) -> int | None:
        """The day that numbered a post, if we still keep it."""
        return next((day for day in self._known if day % 256 == post >> 24), None)

    # --- a batch

    def begin(self, day: int, now_us: int = 0) -> int:
        """The day that the batch goes to: the wanted one, or the next that is not sealed (or being sealed). `now_us` is
        the newest time in the batch.
        """
        self.rollback()
        self._settle()
        self._now_us = max(now_us, self._high_us)
        while self._known.get(day) or day in self._sealing:
            day += 1
        if day not in self._known:
            self._new_day(day)
        if day != self.day:
            self.sync()  # a later day's cursor stands for all that was committed before
        self.day = day
        self._day(day)
        return day

    @property
    def first_post(self) -> int:
        """The first post of today that may get a number (within the day), by what a power cut may have taken back."""
        return self._today().first_post

    def reserve_posts(self, end: int) -> None:
        """Before posts of today get numbers up to this one. They are never given again, even if the posts are lost."""
        self._today().reserve_posts(end)

    def sync(self) -> None:
        """All that was committed survives a power cut when this returns. Any thread may call it."""
        for file in self.folder.days():
            if not file.sealed:
                sync_commits(file.path)

    def add(self, rows: Rows) -> None:
        """Posts numbered by another day (a stub becomes known) go to that day."""
        today = self._today()
        odd: dict[int, list[tuple[int, int, str]]] = {}
        if len(rows.ratings):
            today.add_ratings(rows.ratings)
        if len(rows.follows):
            today.add_follows(rows.follows)
        if len(rows.posts):
            slots = rows.posts.post >> 24
            for slot in np.unique(slots).tolist():
                day = self.day_of_post(slot << 24)
                if day is not None:
                    part = _where(rows.posts, slots == slot)
                    self._changed(day).put_posts(part)
                    if day != self.day and rows.odd_keys and (part.key < 0).any():
                        odd[day] = [k for k in rows.odd_keys if k[1] in set(part.key.tolist())]
        if rows.odd_keys:
            today.add_odd_keys(rows.odd_keys)
        for day, keys in odd.items():
            self._changed(day).add_odd_keys(keys)

    def add_tags(self, hits: Iterable[tuple[str, int]]) -> None:
        """(pattern, post): which patterns of feeds posts of this batch match."""
        self._today().add_tags(hits)

    def have_ratings(self, actor: U32, kind: U8, key: I64) -> Bool:
        """Which of these records are kept already."""
        out = np.zeros(len(actor), np.bool_)
        for day, asked in self._repeats_of(actor, key):
            part = out[asked]
            self._day(day).have_ratings(self._next_n, RatingRows(actor[asked], kind[asked], key[asked]), part)
            out[asked] = part
        return out

    def have_follows(self, actor: U32, key: I64) -> Bool:
        """The same for follows."""
        out = np.zeros(len(actor), np.bool_)
        for day, asked in self._repeats_of(actor, key):
            part = out[asked]
            self._day(day).have_follows(self._next_n, actor[asked], key[asked], part)
            out[asked] = part
        return out

    def records_of(self, actor: int, ratings_today: bool) -> set[tuple[int, int]]:
        """(kind, key) of all that is committed of one person, on all days; the ratings of open days only if wanted,
        because those take a pass over the log.
        """
        return {record for day in self.days() for record in self._day(day).records_of(actor, ratings_today)}

    def remove_rating(self, actor: int, kind: int, key: int, bury: bool = True) -> list[tuple[int, int]]:
        """(day, post) of all records of this name: a key that was used for two subjects has two. The name stays known
        as deleted for an hour (`bury`), because its create may come later, or again.
        """
        found: list[tuple[int, int]] = []
        for day, near in self._days_of(actor, key):
            posts = self._day(day).remove_rating(self._next_n, actor, kind, key, near)
            if posts:
                self._touched.add(day)
                found += [(day, post) for post in posts]
        found = found or self._again.get((actor, kind, key), [])
        if found:
            self._removed_now[actor, kind, key] = found
        if bury and (not found or key >= 0):  # an odd key may well be used again
            self.bury(actor, kind, key)
        return found

    def has_other_rating(self, day: int, actor: int, post: int) -> bool:
        """Whether another record of this person on this post is left on that day. Quick for a sealed day, a pass over
        the log for an open one.
        """
        return day in self._known and self._day(day).has_other_rating(self._next_n, actor, post)

    def remove_post(self, author: int, key: int, post: int) -> None:
        day = self.day_of_post(post)
        if day is not None:
            self._changed(day).remove_post(post, author)

    def remove_follow(self, actor: int, key: int, bury: bool = True) -> list[tuple[int, int]]:
        """(day, person who is no longer followed) of all records of this name. The rest as for ratings."""
        found: list[tuple[int, int]] = []
        for day, _ in self._days_of(actor, key):
            subjects = self._day(day).remove_follow(self._next_n, actor, key)
            if subjects:
                self._touched.add(day)
                found += [(day, subject) for subject in subjects]
        found = found or self._again.get((actor, FOLLOW, key), [])
        if found:
            self._removed_now[actor, FOLLOW, key] = found
        if bury and (not found or key >= 0):
            self.bury(actor, FOLLOW, key)
        return found

    def has_other_follow(self, day: int, actor: int, subject: int) -> bool:
        """The same as has_other_rating for follows."""
        return day in self._known and self._day(day).has_other_follow(self._next_n, actor, subject)

    def bury(self, actor: int, kind: int, key: int) -> None:
        """A record was deleted. If its create comes within the hour, it comes too late."""
        if key >= 0 and self._now_us and abs((key >> 10) - self._now_us) > TOMBSTONE_US:
            return  # an old record, from before our time
        self._tombstones[actor, kind, key] = self._now_us
        self._buried_keys.add(key)
        self._buried_now.append((actor, kind, key))
        self._today().add_tombstone(actor, kind, key)

    def buried(self, actor: U32, kind: int | U8, key: I64) -> Bool | None:
        """Which of these records were deleted within the last hour; None if none was."""
        if not self._tombstones:
            return None
        out = np.zeros(len(key), np.bool_)
        for i, k in enumerate(key.tolist()):
            if k in self._buried_keys:
                out[i] = (int(actor[i]), kind if isinstance(kind, int) else int(kind[i]), k) in self._tombstones
        return out if out.any() else None

    def erase_person(self, n: int) -> None:
        """Forget a person. The DID goes with the next commit; the rows go soon after it (`sweep`), whatever happens in
        between.
        """
        self.names.erase(n)
        self._erasing.add(n)
        if self._erasing_since_us == 0:
            self._erasing_since_us = self._high_us

    def commit(self, cursor: Cursor) -> None:
        try:
            self.names.flush()
            high = max(self._high_us, cursor.time_us)
            for day in sorted(self._touched - {self.day}):
                self._commit_other(day, high)
                self._changed_days.add(day)
                crash.point("after_past_day")
            crash.point("before_day_commit")
            self._today().commit(self._next_n, cursor, high)
            crash.point("after_day_commit")
        except StoreFull:
            self._again |= self._removed_now
            self._next_n += 1  # other open days may have used this number already
            self.rollback()
            raise
        self._next_n += 1
        self._cursor, self._high_us = cursor, high
        self._touched.clear()
        self._again.clear()
        self._removed_now.clear()
        for mark in self._buried_now:
            self._tombstones[mark] = high
            self._tombstones.move_to_end(mark)
        self._buried_now.clear()
        self._age()
        if self._erasing and (
            high - self._erasing_since_us >= self.erase_after_us or len(self._erasing) >= MAX_ERASING
        ):
            self._sweep_if_possible()

    def rollback(self) -> None:
        """Forget what was begun and not committed."""
        for day in self._touched | {self.day}:
            if day in self._days:
                self._days[day].rollback()
        for mark in self._buried_now:
            self._tombstones.pop(mark, None)
        self._touched.clear()
        self._buried_now.clear()
        self._removed_now.clear()

    def changed_days(self) -> dict[int, int]:
        """Days other than today that were changed since the last asking, with their versions: whoever keeps something
        that is made of a day (the arrays) keeps its version too, and can tell after a crash whether it missed a change.
        """
        changed = {day: self._day(day).version for day in self._changed_days if day in self._known}
        self._changed_days.clear()
        return changed

    # --- people who are gone

    def sweep(self) -> None:
        """Erase the rows of people whose DIDs are gone already. Between batches; a crash in it is made good by the next
        start.
        """
        people = sorted(self._erasing)
        if not people:
            return
        for day in self.days():
            held = self._day(day)
            before = held.version
            held.erase(people)
            if held.version != before:
                self._changed_days.add(day)
            if day in self._sealing:
                self._sealing[day].update(people)
            crash.point("while_erasing")
        self.names.erased(people)
        self._erasing.clear()
        self._erasing_since_us = 0

    def _sweep_if_possible(self) -> None:
        """The batch is committed, so a disk that refuses now must not look like a batch that failed."""
        try:
            self.sweep()
        except StoreFull as error:
            log.warning("rows of deleted accounts stay a while longer: %s", error)
            self._erasing_since_us = self._high_us

    # --- whole days

    def seal(self, day: int) -> None:
        """Seal a past day here and now."""
        draft = self.begin_seal(day)
        draft.write()
        self.finish_seal(draft)

    def begin_seal(self, day: int) -> Draft:
        """From now on nothing is added to this day. Call `write` of what this gives in any thread (the long part),
        then `finish_seal` in the writer's, or `abandon_seal`.
        """
        if self._known.get(day) is not False or day == self.day:
            raise StoreError(f"{day_name(day)} can't be sealed", "only a past day that is still a log can")
        self._day(day).rollback()
        self._sealing[day] = set()
        return Draft(day, self.folder.open_path(day), self.folder.sealed_path(day), self.folder.vfs)

    def finish_seal(self, draft: Draft) -> None:
        """Bring the draft up to date with what changed meanwhile, and put it in place. Takes milliseconds; between
        batches.
        """
        day = draft.day
        self._keep_tombstones(day)
        draft.finish(self._sealing[day])
        del self._sealing[day]
        old = self._days.pop(day, None)
        if old is not None:
            old.close(fold=False)
        crash.point("after_seal_rename")
        self._known[day] = True
        self._strays_told = False
        self._leftover.append(draft.source)
        self._settle_if_possible()
        self.names.save_soon()

    def _keep_tombstones(self, sealed: int) -> None:
        """What was deleted lately stands in the log that is about to go; the open one takes it over. Otherwise a record
        that is told again after a restart would come back to life.
        """
        if self._tombstones and self.day >= 0 and self.day != sealed:
            for mark in self._tombstones:
                self._today().add_tombstone(*mark)
            self._today().commit(self._next_n, None, self._high_us)
            self._next_n += 1
            self._today().sync()

    def _settle_if_possible(self) -> None:
        """What was sealed or dropped is so already: a disk that refuses now is asked again before the next batch."""
        self._unsettled = True
        with contextlib.suppress(StoreFull):
            self._settle()

    def _settle(self) -> None:
        """Renamed and unlinked files become durable, and a log goes after its sealed form has come."""
        if not self._unsettled:
            return
        self.folder.sync()
        while self._leftover:
            with spoken(self._leftover[0]):
                remove_database(self._leftover[0])
            crash.point("while_unlinking")
            del self._leftover[0]
        self.folder.sync()
        self._unsettled = False

    def give_back(self, idle: U32) -> U32:
        """Numbers of people whom no sealed day names. Those that can be given again from now on. Between batches."""
        named = [idle[:0]]
        for file in self.folder.days() if len(idle) else ():
            if not file.sealed:
                with DayReader(file.path, self.folder.vfs) as reader:
                    named.append(reader.named()[0])
        return self.names.give_back(np.setdiff1d(idle, np.concatenate(named)))

    def abandon_seal(self, day: int) -> None:
        """The draft could not be made (a full disk): the day stays a log, and can be sealed another time."""
        self._sealing.pop(day, None)

    def drop(self, day: int) -> None:
        """Forget a whole day: its files are unlinked."""
        self._sealing.pop(day, None)
        held = self._days.pop(day, None)
        if held is not None:
            held.rollback()
            held.close(fold=False)
        self._known.pop(day, None)
        self._strays.drop(day)
        if day == self.day:
            self.day = -1
        self._leftover += [self.folder.sealed_path(day), self.folder.open_path(day)]
        self._settle_if_possible()

    # --- inside

    def _start(self, sweep: bool) -> None:
        for file in self.folder.days():
            self._known[file.day] = file.sealed
        newest: tuple[int, Cursor | None] = (-1, None)
        self._forget_unknown()
        recent = [day for day, sealed in self._known.items() if not sealed] + sorted(
            d for d, sealed in self._known.items() if sealed
        )[-2:]
        for day in sorted(recent):
            held = self._day(day)
            self._next_n = max(self._next_n, held.last_n + 1)
            self._high_us = max(self._high_us, held.high_us)
            found = held.cursor()
            if found is not None and found[0] > newest[0]:
                newest = found
            if isinstance(held, OpenDay):
                for actor, kind, key, time_us in sorted(held.tombstones(), key=lambda one: one[3]):
                    self._tombstones[actor, kind, key] = time_us
                    self._buried_keys.add(key)
        self._cursor = newest[1]
        self._age()
        self._erasing = set(self.names.erasing())
        self._erasing_since_us = self._high_us
        if sweep:
            self._sweep_if_possible()

    def _forget_unknown(self) -> None:
        """Commits that name people whom names.db lost are taken back, and all after them: the stream brings them again.
        Names are synced before, so only a disk that lies about that can cause it.
        """
        unsealed = [self._day(day) for day, sealed in self._known.items() if not sealed]
        open_days = [held for held in unsealed if isinstance(held, OpenDay)]
        found = [n for held in open_days if (n := held.first_unknown(self.names.count)) is not None]
        if found:
            log.warning("commits from %d on name people whom names.db does not know; they are heard again", min(found))
            for held in open_days:
                held.cut(min(found))

    def _new_day(self, day: int) -> None:
        kept = self.days()
        if kept and max(day, kept[-1]) - min(day, kept[0]) > MAX_SPAN_DAYS:
            raise StoreError(
                f"{day_name(day)} is too far from {day_name(kept[0])} and {day_name(kept[-1])}",
                "is the clock right? Old days must be dropped before a day so far off can begin",
            )
        self._known[day] = False
        try:
            self._day(day)
            self.folder.sync()
        except BaseException:
            self._known.pop(day, None)
            raise
        crash.point("between_days")

    def _day(self, day: int) -> OpenDay | SealedDay:
        held = self._days.get(day)
        if held is None:
            sealed = self._known[day]
            held = (
                SealedDay(self.folder.sealed_path(day), day, self.folder.vfs)
                if sealed
                else OpenDay(self.folder.open_path(day), day, self.folder.vfs)
            )
            self._days[day] = held
            self._make_room()
        self._days.move_to_end(day)
        return held

    def _make_room(self) -> None:
        for day in list(self._days)[: max(0, len(self._days) - MAX_OPEN_DAYS)]:
            if day not in self._touched and day != self.day:
                self._days.pop(day).close()

    def _today(self) -> OpenDay:
        held = self._day(self.day) if self.day >= 0 else None
        if not isinstance(held, OpenDay):
            raise StoreError("no day was begun", "this is a mistake in the program: call begin first")
        return held

    def _changed(self, day: int) -> OpenDay | SealedDay:
        self._touched.add(day)
        return self._day(day)

    def _commit_other(self, day: int, high_us: int) -> None:
        held = self._day(day)
        if isinstance(held, SealedDay):
            held.commit()
        else:
            held.commit(self._next_n, None, high_us)
            held.sync()

    def _repeats_of(self, actor: U32, key: I64) -> Iterable[tuple[int, NDArray[np.intp]]]:
        """Which days to ask for which records: open days for all, sealed ones for what can be there."""
        if not len(key):
            return
        every, us = np.arange(len(key)), key[key >= 0] >> 10
        claimed = np.unique([(us + reach) // US_PER_DAY for reach in (-r.REACH_US, r.REACH_US)]).tolist()
        strays: dict[int, list[int]] = {}
        for i in np.flatnonzero(self._all_strays().among(actor)).tolist():
            for day in self._strays.days_of(int(actor[i])):
                strays.setdefault(day, []).append(i)
        for day in self.days():
            asked = every
            if self._known[day]:
                near = np.flatnonzero(~r.astray(day, key)) if day in claimed else every[:0]
                asked = np.union1d(near, np.array(strays.get(day, ()), np.intp))
            if len(asked):
                yield day, asked

    def _days_of(self, actor: int, key: int) -> Iterable[tuple[int, bool]]:
        """Where a record can be: first the days near its key's time, then (only as a wide one) open days and those on
        which this person has records with such keys.
        """
        us = key >> 10
        claimed = {(us + reach) // US_PER_DAY for reach in (-r.REACH_US, 0, r.REACH_US)} if key >= 0 else set()
        near = sorted(day for day in claimed if day in self._known)
        yield from ((day, True) for day in near)
        others = {day for day, sealed in self._known.items() if not sealed} | set(self._all_strays().days_of(actor))
        yield from ((day, False) for day in sorted(others.difference(near), reverse=True))

    def _all_strays(self) -> Strays:
        """Asked for on first use, and again when a day was sealed."""
        if not self._strays_told:
            for day, sealed in self._known.items():
                if sealed and day not in self._strays:
                    held = self._day(day)
                    assert isinstance(held, SealedDay)
                    self._strays.put(day, held.strays())
            self._strays_told = True
        return self._strays

    def _age(self) -> None:
        while self._tombstones:
            mark, time_us = next(iter(self._tombstones.items()))
            if time_us >= self._high_us - TOMBSTONE_US and len(self._tombstones) <= MAX_TOMBSTONES:
                break
            del self._tombstones[mark]
        if len(self._buried_keys) > 2 * len(self._tombstones) + 64:
            self._buried_keys = {key for _, _, key in self._tombstones}


def _where(rows: PostRows, mask: Bool) -> PostRows:
    if mask.all():
        return rows
    return PostRows(*(getattr(rows, name)[mask] for name in PostRows.__slots__))
