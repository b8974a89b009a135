"""All the arrays as one thing: the days, the people, and the order in which they change.

One thread writes (`add_*`, `remove_*`, ...); a lock is shared only with the background threads that swap a finished
day in, and never taken by readers. Readers take `view()`. A day that ended goes on answering from its live arrays
while its sidecar is built from the truth; what is removed meanwhile is kept in a list and done again on the sidecar
before it takes over. In the same way the open day's older edges become compact while it goes on.
"""

from __future__ import annotations

import datetime
import logging
import threading
import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from feedgen.core.errors import StoreError
from feedgen.core.telemetry import Counter
from feedgen.core.watch import Watch
from feedgen.graph import edit
from feedgen.graph.access import BELOW, FIELDS, I64, U8, U16, U32, US_PER_DAY, Arrays
from feedgen.graph.ahead import Ahead
from feedgen.graph.aside import Aside
from feedgen.graph.build import DRAFT, build, put_in_place
from feedgen.graph.bulk import MAX_FOLLOWS, Filling, rating_pieces
from feedgen.graph.compact import merge
from feedgen.graph.live import MAX_ON_TOP, MAX_POSTS, NEVER, Layer, LiveDay
from feedgen.graph.meanwhile import Change, Day, Missed, Retired, writing
from feedgen.graph.memory import give_back, own_array
from feedgen.graph.people import People
from feedgen.graph.recent import Recent, Records, records_of
from feedgen.graph.sealed import Damaged, SealedDay
from feedgen.graph.source import DaySource, HasReposts
from feedgen.graph.tags import Tags
from feedgen.graph.view import Moment, View
from feedgen.ingest.events import GONE, PERSON_ADULT, PERSON_HIDDEN, SPAMMY
from feedgen.store.names import MAX_PEOPLE

log = logging.getLogger(__name__)

SUFFIX: Final = ".idx"
MAX_DAYS: Final = 200  # slots come around after 256 days; old numbers must be gone from all lists by then
COUNTED_FIRST: Final = 2  # newest past days: most of what is listed while the open day is replayed
RETIRE_POLL_S: Final = 0.2
FLUSH_EVERY_S: Final = 300.0  # so that a power cut leaves few days in doubt
VERIFY_PAUSE: Final = 3.0  # idle seconds per busy second while checksums are verified

_refused = Counter(
    "feedgen_graph_refused_total", "Edges that the arrays could not keep: a full arena, or a number nobody gave"
)
_rebuilt = Counter(
    "feedgen_graph_rebuilt_total", "Sidecars that were missing, damaged, foreign or doubtful, and were built anew"
)


class DayFull(StoreError):
    """A day has no more post numbers."""


@dataclass(slots=True)
class LoadReport:
    """What `load` found: days mapped as they were, and days that were built anew, with the reason."""

    mapped: list[int] = field(default_factory=list)
    rebuilt: dict[int, str] = field(default_factory=dict)
    doubtful: list[int] = field(default_factory=list)  # answer already, and are rebuilt in the background
    outdated: list[int] = field(default_factory=list)  # the same: an earlier version wrote them


class Graph:
    """`identity` says which data folder the sidecars belong to; a sidecar with another one is foreign."""

    def __init__(self, folder: Path, identity: int = 0) -> None:
        self.folder, self.identity = folder, identity
        self._lock = threading.RLock()
        self._flags_lock = threading.Lock()  # the event loop asks for it, so it is never held for long
        self._replaying = threading.Lock()
        self._may_count = threading.Event()  # days that can wait do so for the replay
        self._may_count.set()
        self._days: dict[int, Day] = {}
        self._open: LiveDay | None = None
        self._unread_day: int | None = None
        self.moment = Moment()
        self._people = People()
        self.aside = Aside()
        self.tags = Tags()
        self._aside: dict[int, int] = {}  # flags by person that others gave
        self._ahead = Ahead()
        self._reposts = Recent()
        self._spammers = np.empty(0, np.uint32)
        self._missed: dict[int, Missed] = {}  # by day, by what is built of it now
        self._versions: dict[int, int] = {}  # told since the sidecar's build began
        self._views: weakref.WeakSet[View] = weakref.WeakSet()
        self._retired: list[Retired] = []
        self._closing = threading.Event()
        self._builder = ThreadPoolExecutor(1, "graph-build")
        self._minder = ThreadPoolExecutor(1, "graph-mind")
        self._recaller = ThreadPoolExecutor(1, "graph-recall")
        self.watch = Watch()
        self._janitor: threading.Thread | None = None
        self._renewing = False
        self._outdated: list[tuple[DaySource, str]] = []
        self._flusher: threading.Thread | None = None
        self._view = self._make_view()

    # Reading

    def view(self) -> View:
        return self._view

    @property
    def days(self) -> list[int]:
        return sorted(self._days)

    @property
    def open_day(self) -> int | None:
        return self._open.day if self._open else None

    def find_posts(self, authors: npt.ArrayLike, keys: npt.ArrayLike) -> U32:
        """The numbers of posts; NO_POST where unknown. Any thread may ask."""
        return self._view.find_posts(authors, keys)

    def has_edges(self, actors: npt.ArrayLike, posts: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which of these are already rated today, or stand earlier in the same arrays. The writing thread asks."""
        day, view = self._the_open_day(), self._view  # held, since its layers may be replaced meanwhile
        return day.has_edges(
            view.arrays, _row_of(view, day.day), own_array(actors, np.uint32), own_array(posts, np.uint32)
        )

    def post_flags(self, posts: npt.ArrayLike) -> U16:
        """Flags by post; 0 for what is unknown. Any thread may ask."""
        return self._view.post_flags(posts)

    def has_follows(self, actors: npt.ArrayLike, subjects: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which of these follows are recorded today already. The writing thread asks."""
        day, view = self._the_open_day(), self._view
        return day.has_follows(
            view.arrays, _row_of(view, day.day), own_array(actors, np.uint32), own_array(subjects, np.uint32)
        )

    def take_double_rating(self, day: int, actor: int, post: int) -> bool | None:
        """One of an edge's records is gone: whether another says the same. None: only the truth knows, as for all days
        that are sealed.
        """
        live = self._days.get(day)
        return live.double_ratings.take(actor, post) if isinstance(live, LiveDay) else None

    def take_double_follow(self, day: int, actor: int, subject: int) -> bool | None:
        """The same for follows."""
        live = self._days.get(day)
        return live.double_follows.take(actor, subject) if isinstance(live, LiveDay) else None

    # Writing today

    def start_day(self, day: int) -> None:
        """From now on, new edges and posts are of this day. Nothing happens when it is open already."""
        with self._lock:
            if self._open is not None and self._open.day == day:
                return
            if self._days and day <= max(self._days):
                raise ValueError(f"day {day} does not come after {max(self._days)}")
            if self._days and day - min(self._days) >= MAX_DAYS:
                raise ValueError(f"day {min(self._days)} must be dropped before day {day} starts")
            self._open = self._days[day] = LiveDay(day)
            self._publish()

    @property
    def posts_left(self) -> int:
        """How many more posts the open day can number."""
        return max(0, MAX_POSTS - self._the_open_day().posts)

    def next_posts(self, count: int) -> int:
        """The first of so many post numbers in a row. They are taken when `add_posts` uses them, so a failed commit
        loses none.
        """
        day = self._the_open_day()
        if day.posts + count > MAX_POSTS:
            raise DayFull(f"day {day.day} has no more post numbers", "New posts are left out until midnight UTC.")
        return day.slot << 24 | day.posts

    def add_posts(
        self,
        posts: npt.ArrayLike,
        authors: npt.ArrayLike,
        keys: npt.ArrayLike,
        ticks: npt.ArrayLike,
        flags: npt.ArrayLike,
        languages: npt.ArrayLike,
        abouts: npt.ArrayLike,
    ) -> None:
        """Posts and stubs that have numbers of the open day and are not in the arrays yet."""
        with self._lock:
            day = self._the_open_day()
            numbers, who, which = own_array(posts, np.uint32), own_array(authors, np.uint32), own_array(keys, np.int64)
            if numbers.size and (int((numbers >> 24 != day.slot).sum()) or int(numbers.max()) & 0xFF_FFFF >= MAX_POSTS):
                raise ValueError("a post's number is not of the open day")
            if day.grow_for_posts(self._arrays, self._row(day.day), numbers.size):
                self._publish()
            day.add_posts(
                self._arrays, self._row(day.day), numbers, who, which,
                own_array(ticks, np.uint16), own_array(flags, np.uint16),
                own_array(languages, np.uint8), own_array(abouts, np.uint32),
            )  # fmt: skip
            early = which >= (day.day + 1) * US_PER_DAY << 10  # odd keys are negative
            if early.any() and self._ahead.add(who[early], which[early], numbers[early], self._arrays):
                self._publish()

    def add_ratings(self, actors: npt.ArrayLike, posts: npt.ArrayLike, ticks: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which edges are new today; the others were there, or could not be kept (counted)."""
        with self._lock:
            day = self._the_open_day()
            who, which = own_array(actors, np.uint32), own_array(posts, np.uint32)
            if day.grow_for_ratings(who.size):
                self._publish()
            added, refused = day.add_ratings(self._arrays, self._row(day.day), who, which, own_array(ticks, np.uint16))
            if added.any():
                self._people.top = max(self._people.top, int(who[added].max()) + 1)
            if refused:
                _refused.add(refused)
            if day.edges_on_top > MAX_ON_TOP:
                self._make_room_on_top(day)
            return added

    def add_reposts(self, actors: npt.ArrayLike, posts: npt.ArrayLike, keys: npt.ArrayLike, ticks: U16) -> None:
        """Records of reposts, beside their edges."""
        self._reposts.add(records_of(self._the_open_day().day, actors, posts, keys, ticks))

    def remove_repost(self, actor: int, key: int) -> None:
        self._reposts.remove(actor, key)

    def add_follows(self, actors: npt.ArrayLike, subjects: npt.ArrayLike) -> None:
        with self._lock:
            day = self._the_open_day()
            who, whom = own_array(actors, np.uint32), own_array(subjects, np.uint32)
            if day.grow_for_follows(who.size):
                self._publish()
            refused = day.add_follows(self._arrays, self._row(day.day), who, whom)
            if refused:
                _refused.add(refused)

    # Changing any day

    def remove_rating(self, day: int, actor: int, post: int) -> bool:
        """The edge of that day goes, in both directions, at once. False when it was not there."""
        change = Change(
            lambda a, d, counted: edit.remove_rating(a, d, actor, post, counted),
            lambda a, d: edit.has_rating(a, d, actor, post),
            of_edges=True,
        )
        return bool(self._change(day, change))

    def remove_follow(self, day: int, actor: int, subject: int) -> bool:
        """The follow goes from that day. False when it was not there."""
        change = Change(
            lambda a, d, counted: edit.remove_follow(a, d, actor, subject),
            lambda a, d: edit.has_follow(a, d, actor, subject),
            of_edges=True,
        )
        return bool(self._change(day, change))

    def update_posts(
        self, posts: npt.ArrayLike, flags: npt.ArrayLike, languages: npt.ArrayLike, abouts: npt.ArrayLike
    ) -> None:
        """Records of known numbers, of any days: flags, language and about become these."""
        numbers = own_array(posts, np.uint32)
        columns = own_array(flags, np.uint16), own_array(languages, np.uint8), own_array(abouts, np.uint32)
        for day, here in self._by_day(numbers):
            self._change(day, _update(numbers[here], columns[0][here], columns[1][here], columns[2][here]))

    def mark_posts(self, posts: npt.ArrayLike, flags: int, on: bool) -> None:
        """Set (or clear) these bits of some posts: DELETED, HIDDEN, ADULT, ..."""
        numbers = own_array(posts, np.uint32)
        for day, here in self._by_day(numbers):
            self._change(day, _mark(numbers[here], flags, on))

    def erase_person(self, person: int) -> int:
        """Nothing that the person did is left in any day. How many words changed; erasing again changes none."""
        if person >= self._people.flags.size:
            return 0
        with self._flags_lock:
            self._people.flags[person] |= GONE
        self._reposts.erase(person)
        with self._lock:
            for each in self._days.values():
                if isinstance(each, LiveDay):
                    each.forget_doubles(person)
            edges = Change(
                lambda a, d, counted: edit.erase_edges(a, d, person, counted),
                lambda a, d: edit.has_edges_of(a, d, person),
                of_edges=True,
            )
            posts = Change(
                lambda a, d, counted: edit.erase_posts(a, d, person),
                lambda a, d: edit.has_posts_of(a, d, person),
                of_edges=False,
            )
            return sum(self._change(day, change) for day in self.days for change in (edges, posts))

    def agrees(self, day: int, version: int) -> None:
        """The arrays have all changes of the truth of a past day up to this version. After a crash, a sidecar that was
        not told so is built anew.
        """
        with self._lock:
            self._versions[day] = version
            sealed = self._days.get(day)
            if isinstance(sealed, SealedDay) and sealed.version != version:
                with writing(sealed):
                    sealed.version = version

    def set_person_flags(self, people: npt.ArrayLike, flags: npt.ArrayLike) -> None:
        """Flags of some people become these. Whether their likes carry weight is not among them, and what others said
        of them stays.
        """
        who, new = np.asarray(people, np.int64), np.array(flags, np.uint8)
        who, new = who[there := who < self._people.flags.size], new[there]
        with self._flags_lock:
            if self._aside:
                for i, person in enumerate(who.tolist()):
                    new[i] |= self._aside.get(person, 0)
            weightless = self._people.flags[who] & np.uint8(SPAMMY)
            self._people.flags[who] = new & np.uint8(0xFF ^ SPAMMY) | weightless

    def set_aside(self, person: int, own: int, given: int) -> None:
        """What others say of a person becomes this; `own` are the flags that are the person's."""
        mask = PERSON_ADULT | PERSON_HIDDEN
        if person >= self._people.flags.size:
            return
        with self._flags_lock:
            if given:
                self._aside[person] = given & mask
            else:
                self._aside.pop(person, None)
            self._people.flags[person] = (int(self._people.flags[person]) & ~mask) | ((own | given) & mask)

    def set_spammers(self, people: npt.ArrayLike) -> None:
        """The likes of these people carry no weight, and those of all others do. Any thread may tell."""
        spammers = own_array(people, np.uint32)
        with self._flags_lock:
            self._people.flags[np.setdiff1d(self._spammers, spammers)] &= np.uint8(0xFF ^ SPAMMY)
            self._people.flags[spammers] |= np.uint8(SPAMMY)
            self._spammers = spammers

    # The life of a day

    def seal(self, day: int, source: DaySource) -> Future[None]:
        """Build the day's sidecar in the background and let it take over.

        An error (a full disk) leaves the day as it is, and is the Future's: seal it again later.
        """
        sealing = self._builder.submit(self._seal, day, source)
        self.watch.over(sealing, expected=(OSError, StoreError))
        return sealing

    def drop(self, day: int) -> None:
        """The day and its sidecar go. Days go in order, so nothing older is left."""
        self._reposts.drop_until(day)
        with self._lock:
            gone = self._days.pop(day, None)
            if gone is not None:
                if gone.counted:
                    edit.count_people(self._arrays, self._row(day), -1)
                if gone is self._open:
                    self._open = None
                self._retire_day(gone)
                self._publish()
                self._ahead.forget_gone(self._arrays)
                self._publish()
            self.path_of(day).unlink(missing_ok=True)

    def load(self, sources: Iterable[DaySource], open_source: DaySource | None) -> LoadReport:
        """Boot: map the sidecars, build those that can't be used, replay the open day. Views answer as soon as days
        are mapped.
        """
        by_day = {source.day: source for source in sources}
        self._clear_leftovers(by_day)
        report = LoadReport()
        for day in sorted(by_day, reverse=True):
            self._map(by_day[day], report)
        with self._lock:
            self._publish()
        for day, reason in report.rebuilt.items():
            self._report(day, reason)
            put_in_place(build(self.path_of(day), by_day[day], self.identity), self.path_of(day))
            with self._lock:
                self._days[day] = self._open_sealed(by_day[day])
                self._publish()
        with self._lock:
            for sealed in self._days.values():
                if isinstance(sealed, SealedDay):
                    base = np.uint32(sealed.slot << 24)
                    self._ahead.add_numbers(sealed.ahead | base, self._arrays)
            self._publish()
        if open_source is not None:
            self.replay(open_source)
        self.watch.over(self._minder.submit(self._mind, by_day))
        self._flush_now_and_then()
        self._outdated = [(by_day[day], "an earlier version wrote them") for day in report.outdated]
        self._renew([(by_day[day], "we stopped while changes were on their way to it") for day in report.doubtful])
        return report

    def recall_reposts(self, sources: Iterable[DaySource]) -> None:
        """The newest reposts of past days, in the background. Call it before anything of them is removed."""
        newest_first = sorted(sources, key=lambda source: -source.day)
        self._reposts.expect_past()
        self.watch.over(self._recaller.submit(self._reposts.recall, map(self._reposts_of, newest_first)))

    def _reposts_of(self, source: DaySource) -> Records:
        """In order of witnessing, as far as they can be read."""
        pieces: list[tuple[U32, U32, U16, I64]] = []
        if isinstance(source, HasReposts):
            with suppress(OSError, StoreError):  # dropped meanwhile, or damaged
                pieces += takewhile(lambda piece: not self._closing.is_set(), source.repost_pieces())
        if not pieces:
            return records_of(source.day, [], [], [], np.empty(0, np.uint16))
        actors, posts, ticks, keys = (np.concatenate(column) for column in zip(*pieces, strict=True))
        order = np.argsort(ticks, kind="stable")
        return records_of(source.day, actors[order], posts[order], keys[order], ticks[order])

    def renew_outdated(self) -> None:
        """Write again what an earlier version wrote. Not before it is certain that this version goes on."""
        days, self._outdated = self._outdated, []
        if days:
            self._renew(days)

    def _renew(self, days: list[tuple[DaySource, str]]) -> None:
        """Build days again, one after the other; what else is to be built does not wait for all of them."""
        self._renewing = bool(days)
        if days and not self._closing.is_set():
            with suppress(RuntimeError):  # closing
                self.watch.over(self._builder.submit(self._renew_first, days))

    def _renew_first(self, days: list[tuple[DaySource, str]]) -> None:
        source, reason = days[0]
        if source.day in self._days:
            self._report(source.day, reason)
            self._rebuild(source.day, source)
        self._renew(days[1:])

    def put_off(self, day: int) -> None:
        """The open day will be replayed later; Views say so until it is there."""
        with self._lock:
            self._unread_day = day
            self._publish()

    def replay(self, source: DaySource) -> bool:
        """The open day from the truth, in any thread: Views answer meanwhile. Nothing else may be added until then.
        False when we were told to stop before it was there.
        """
        with self._replaying:
            self._may_count.clear()
            try:
                done = self._replay(source)
            finally:
                self._may_count.set()
        give_back()
        return done

    def _replay(self, source: DaySource) -> bool:
        self.start_day(source.day)
        day = self._the_open_day()
        filling = Filling(day.slot, MAX_PEOPLE)
        pieces = rating_pieces(source)
        with ThreadPoolExecutor(1, "graph-posts") as other:
            follows = other.submit(self._replay_posts, source)
            filling.take(takewhile(lambda piece: not self._closing.is_set(), pieces))
            actors, subjects = follows.result()
        if self._closing.is_set():
            return False
        with self._lock:
            filling.fill(day, self._arrays, self._row(day.day), actors[:MAX_FOLLOWS], subjects[:MAX_FOLLOWS])
            self._people.top = max(self._people.top, filling.top)
            self._unread_day = None
            self._publish()
        if filling.refused:
            _refused.add(filling.refused)
        for piece in pieces:  # more than what may be taken in bulk
            self.add_ratings(*piece)
        if actors.size > MAX_FOLLOWS:
            self.add_follows(actors[MAX_FOLLOWS:], subjects[MAX_FOLLOWS:])
        return True

    def _replay_posts(self, source: DaySource) -> tuple[U32, U32]:
        """Posts and reposts. What comes in between is read ahead: the follows."""
        columns = source.posts()
        if not (columns[0][1:] > columns[0][:-1]).all():
            order = np.argsort(columns[0], kind="stable")
            self.add_posts(*(column[order] for column in columns))
        else:
            self.add_posts(*columns)
        self._reposts.add(self._reposts_of(source))
        return source.follows()

    def _flush_now_and_then(self) -> None:
        def run() -> None:
            try:
                while not self._closing.wait(FLUSH_EVERY_S):
                    self.flush()
            except BaseException as failure:
                self.watch.failed(failure)

        if self._flusher is None:
            self._flusher = threading.Thread(target=run, name="graph-flush", daemon=True)
            self._flusher.start()

    def flush(self) -> None:
        """Changes to sealed days reach the disk. From any thread; saves rebuilding after a power cut."""
        for day in self.days:
            sealed = self._days.get(day)
            if isinstance(sealed, SealedDay) and sealed.stamped:
                with suppress(
                    ValueError, OSError
                ):  # dropped just now, and closed; or a disk that fails, which leaves the stamp
                    sealed.sync()
                with self._lock:
                    if self._days.get(day) is sealed:
                        sealed.flush()  # little is left to write, so the writer waits for no more than that

    def stop_soon(self) -> None:
        """What runs in the background ends at its next step; `close` waits for it."""
        self._closing.set()

    def close(self) -> None:
        """Stop the background work and flush. Views that are still held stay right."""
        self.stop_soon()
        with self._replaying:
            pass  # it ends soon, too
        self._builder.shutdown(wait=True, cancel_futures=True)
        self._minder.shutdown(wait=True, cancel_futures=True)
        self._recaller.shutdown(wait=True, cancel_futures=True)
        self.flush()
        janitor = self._janitor
        if janitor is not None:
            janitor.join()

    def wait(self) -> None:
        """Until what is under way in the background is done. For tests and tools."""
        self._minder.submit(lambda: None).result()
        self._recaller.submit(lambda: None).result()
        self._builder.submit(lambda: None).result()
        while self._renewing and self.watch.failure is None:
            self._builder.submit(lambda: None).result()
        if self.watch.failure is not None:
            raise self.watch.failure

    def path_of(self, day: int) -> Path:
        return self.folder / f"{datetime.date(1970, 1, 1) + datetime.timedelta(days=day)}{SUFFIX}"

    # Inside

    @property
    def _arrays(self) -> Arrays:
        return self._view.arrays

    def _the_open_day(self) -> LiveDay:
        if self._open is None:
            raise StoreError("no day is open")
        return self._open

    def _row(self, day: int) -> int:
        return int(self._arrays.slot_row[day % 256])

    def _make_view(self, instead: SealedDay | None = None) -> View:
        """A View of all days as they are; `instead` stands in for the day that it is to replace."""
        days = [self._days[day] for day in sorted(self._days)]
        if instead is not None:
            days = [instead if day.day == instead.day else day for day in days]
        rows = [day.row() for day in days]
        slot_row = np.full(256, -1, np.int16)
        for d, day in enumerate(days):
            slot_row[day.slot] = d
            above = rows[d]
            for layer in day.below if isinstance(day, LiveDay) else ():
                above[BELOW] = len(rows)
                above = layer.row()
                rows.append(above)
        numbers: I64 = np.array([day.day for day in days], np.int64)
        table: I64 = np.array(rows, np.int64).reshape(-1, FIELDS)
        arrays = Arrays(table, numbers, slot_row, self._people.flags, self._people.ratings, self._ahead.table)
        keep = tuple(day.keep() for day in days)
        return View(arrays, keep, self.aside, self._unread_day, self.moment, self._reposts)

    def _publish(self) -> None:
        self._show(self._make_view())

    def _show(self, view: View) -> None:
        self._view = view
        self._views.add(view)

    def _change(self, day: int, change: Change) -> int:
        with self._lock:
            changed = self._days.get(day)
            if changed is None:
                return 0
            if day in self._missed:
                self._missed[day].note(change)
            for retired in self._retired:
                if retired.day == day:
                    retired.apply(change)
            if isinstance(changed, SealedDay) and not change.concerns(self._arrays, self._row(day)):
                return 0  # nor is its file stamped, which costs a sync, and a rebuild after a power cut
            with writing(changed):
                return change.do(self._arrays, self._row(day), changed.counted) or 0

    def _by_day(self, numbers: U32) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
        """(day, which of the numbers are its own), for the days that we have."""
        slots = numbers >> 24
        for slot in np.unique(slots).tolist():
            d = int(self._arrays.slot_row[slot])
            if d >= 0:
                yield int(self._arrays.day_numbers[d]), np.flatnonzero(slots == slot)

    def _make_room_on_top(self, day: LiveDay) -> None:
        if day.settled:
            self._begin_layer(day)
        elif day.edges_on_top > day.merge_again_at:  # there was no memory for it the last time
            self._merge_later(day)

    def _begin_layer(self, day: LiveDay) -> None:
        day.begin_layer()
        self._publish()
        self._merge_later(day)

    def _merge_later(self, day: LiveDay) -> None:
        day.merge_again_at = NEVER
        self.watch.over(self._builder.submit(self._make_compact, day))

    def _make_compact(self, day: LiveDay) -> None:
        """Runs in the building thread, so never while a sidecar of the day is made. Without the memory for it the day
        goes on as it is, and tries again when it has so many more edges.
        """
        try:
            while not self._closing.is_set() and not self._merge_layers(day):
                pass
            give_back()
        except MemoryError:
            log.exception("today's arrays could not be made compact")
            day.merge_again_at = day.edges_on_top + MAX_ON_TOP // 4

    def _merge_layers(self, day: LiveDay) -> bool:
        """All that is below the lists on top becomes one layer. False when too much changed meanwhile."""
        with self._lock:
            if self._days.get(day.day) is not day:
                return True  # dropped
            view = self._view
            self._missed[day.day] = Missed(edges_only=True)
        arrays = view.arrays
        upper = int(arrays.days[_row_of(view, day.day), BELOW])
        try:
            merged = merge(arrays, upper, int(arrays.days[upper, BELOW]))
        except BaseException:
            with self._lock:
                del self._missed[day.day]
            raise
        return self._put_below(day, merged, Retired(day.day, day.below, arrays, upper))

    def _put_below(self, day: LiveDay, layer: Layer, before: Retired) -> bool:
        """The layer takes the place of those before, after what was removed meanwhile was removed from it, too."""
        with self._lock:
            missed = self._missed.pop(day.day)
            if self._days.get(day.day) is not day or missed.spoiled:
                return not missed.spoiled
            day.put_below(layer)
            view = self._make_view()
            for change in missed.changes:
                change.do(view.arrays, int(view.arrays.days[_row_of(view, day.day), BELOW]), False)
            self._retire(before)
            self._show(view)
            return True

    def _seal(self, day: int, source: DaySource) -> None:
        """Runs in the building thread, also for a sealed day that has to be built anew."""
        while True:
            with self._lock:
                if day not in self._days or self._closing.is_set():
                    return
                self._missed[day] = Missed(edges_only=False)
                self._versions.pop(day, None)
            try:
                if self._swap(source, build(self.path_of(day), source, self.identity)):
                    self._count(day)
                    give_back()
                    return
            except BaseException:
                with self._lock:
                    self._missed.pop(day, None)
                raise

    def _swap(self, source: DaySource, draft: Path) -> bool:
        """The new sidecar takes over, after what changed meanwhile was done to it. False when too much changed: build
        again.
        """
        day = source.day
        with self._lock:
            missed = self._missed.pop(day)
            before = self._days.get(day)
            if before is None or missed.spoiled:  # dropped meanwhile, or changed too much
                draft.unlink()
                return before is None
            put_in_place(draft, self.path_of(day))
            sealed = self._open_sealed(source, before.counts)
            sealed.counted = before.counted
            arrays = self._make_view(sealed).arrays
            row = int(arrays.slot_row[sealed.slot])
            for change in missed.changes:
                with writing(sealed):
                    change.do(arrays, row, False)
            if isinstance(before, SealedDay) and before.counted and before.broken == before.broken_when_counted:
                # The file may differ from what was counted, faults and all. Pages that broke since change no sum.
                top = edit.recount_day(self._arrays, self._row(day), arrays, row)
                self._people.top = max(self._people.top, top)
                sealed.broken_when_counted = sealed.broken
                sealed.let_go()
            if day in self._versions:
                sealed.version = self._versions[day]
            self._days[day] = sealed
            if before is self._open:
                self._open = None
            self._retire_day(before)
            self._publish()
            return True

    def _clear_leftovers(self, days: Iterable[int]) -> None:
        """Drafts of a build that was cut short, and sidecars of days that are not in the truth any more."""
        wanted = {self.path_of(day) for day in days}
        for path in self.folder.iterdir():
            if path.suffix == DRAFT or (path.suffix == SUFFIX and path not in wanted):
                path.unlink()

    def _map(self, source: DaySource, report: LoadReport) -> None:
        day = source.day
        try:
            sealed = self._open_sealed(source)
        except Damaged as e:
            report.rebuilt[day] = e.message
            return
        self._days[day] = sealed
        report.mapped.append(day)
        if sealed.stamped_before() or sealed.version != source.version():
            report.doubtful.append(day)
        elif sealed.outdated:
            report.outdated.append(day)

    def _open_sealed(self, source: DaySource, counts: U16 | None = None) -> SealedDay:
        sealed = SealedDay(self.path_of(source.day), source.day, self.identity, counts)
        sealed.on_fault = partial(self._broke, weakref.ref(sealed), source)
        return sealed

    def _broke(self, broken: weakref.ref[SealedDay], source: DaySource) -> None:
        """In whatever thread met a bad page, while it waits for that page: the least that can be done."""
        sealed = broken()
        if sealed is not None:
            sealed.distrust()
        with suppress(RuntimeError):  # closing
            self.watch.over(self._builder.submit(self._mend, broken, source))

    def _mend(self, broken: weakref.ref[SealedDay], source: DaySource) -> None:
        if self._days.get(source.day) is broken():
            self._report(source.day, "pages of its file could not be read or written")
            self._rebuild(source.day, source)

    def _report(self, day: int, reason: str) -> None:
        _rebuilt.add()
        log.warning("a day's arrays are built anew", extra={"day": self.path_of(day).stem, "reason": reason})

    def _mind(self, by_day: dict[int, DaySource]) -> None:
        """After the boot: count, newest days first; then verify what was mapped without a look."""
        for place, day in enumerate(sorted(by_day, reverse=True)):
            if place >= COUNTED_FIRST:
                self._may_count.wait()
            if self._closing.is_set():
                return
            self._count(day)
        for day in sorted(by_day, reverse=True):
            sealed = self._days.get(day)
            if self._closing.is_set():
                return
            if isinstance(sealed, SealedDay):
                wrong = sealed.verify(VERIFY_PAUSE)
                if wrong and self._days.get(day) is sealed:
                    self._report(day, f"wrong checksum: {', '.join(wrong)}")
                    self._rebuild_later(day, by_day[day])

    def _count(self, day: int) -> None:
        with self._lock:
            sealed = self._days.get(day)
            if sealed is not None and not sealed.counted:
                self._people.top = max(self._people.top, edit.count_day(self._arrays, self._row(day)))
                sealed.counted = True
                if isinstance(sealed, SealedDay):
                    sealed.broken_when_counted = sealed.broken
                    sealed.let_go()

    def _rebuild_later(self, day: int, source: DaySource) -> None:
        self.watch.over(self._builder.submit(self._rebuild, day, source))

    def _rebuild(self, day: int, source: DaySource) -> None:
        """A mapped day can't be trusted: build it again. It answers meanwhile."""
        try:
            self._seal(day, source)
        except (OSError, StoreError):  # a full disk: the day goes on as it is, and the next start tries again
            log.exception("a day's arrays could not be built anew", extra={"day": self.path_of(day).stem})

    def _retire_day(self, day: Day) -> None:
        """Call before the View without the day is published."""
        self._retire(Retired(day.day, (day,), self._arrays, self._row(day.day)))

    def _retire(self, retired: Retired) -> None:
        """What is removed meanwhile goes from what is retired, too.

        Its memory is freed when the last View of it is gone: in a thread of its own, because unmapping takes its time.
        """
        self._retired.append(retired)
        if self._janitor is None or not self._janitor.is_alive():
            self._janitor = threading.Thread(target=self._free, name="graph-free", daemon=True)
            self._janitor.start()

    def _free(self) -> None:
        try:
            self._free_as_long_as_needed()
        except BaseException as failure:
            self.watch.failed(failure)

    def _free_as_long_as_needed(self) -> None:
        while True:
            with self._lock:
                seen = {id(part) for view in self._views for part in view.parts()}
                free = [each for each in self._retired if not any(id(part) in seen for part in each.parts)]
                self._retired = [each for each in self._retired if any(id(part) in seen for part in each.parts)]
                done = not self._retired or self._closing.is_set()
                if done:
                    self._janitor = None
            while free:
                free.pop().close()
            if done:
                return
            self._closing.wait(RETIRE_POLL_S)


def _row_of(view: View, day: int) -> int:
    return int(view.arrays.slot_row[day % 256])


def _update(posts: U32, flags: U16, languages: U8, abouts: U32) -> Change:
    return Change(
        lambda a, d, counted: edit.update_posts(a, d, posts, flags, languages, abouts),
        lambda a, d: posts.size > 0,
        of_edges=False,
    )


def _mark(posts: U32, flags: int, on: bool) -> Change:
    return Change(
        lambda a, d, counted: edit.mark_posts(a, d, posts, flags, on),
        lambda a, d: edit.marks_differ(a, d, posts, flags, on),
        of_edges=False,
    )


__all__ = ["DayFull", "Graph", "LoadReport"]
