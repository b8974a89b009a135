"""What came of the pages that were served: by preset, by the path that brought a post, and by the arm of an experiment.

A post that was served to a reader in a list is one case. The app's events are tied to it by the list they name, or
else to the newest page before that showed the post. Somebody who liked a post has seen it, whether the app said so or
not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedgen.feeds import sources
from feedgen.feeds.popular import PopularFeed
from feedgen.feeds.trials import Comparison, Interval, Sums, compare, interval, sums_of
from feedgen.store.outcomes import I64, NO_LIST, Kind, Pages, Served, Slice, Told
from feedgen.store.pages import EVENT_NUMBERS

MAX_SERVED: Final = 30_000_000  # posts that are looked at: then a share of the readers must do
PER: Final = 1000.0  # rates are told per so many posts seen
ALL: Final = "all"
COLUMNS: Final = ("served", "seen", "liked", "less", "more")
SERVED, SEEN, LIKED, LESS, MORE = range(5)
_EVENTS: Final = {
    SEEN: EVENT_NUMBERS["interactionSeen"],
    LIKED: EVENT_NUMBERS["interactionLike"],
    LESS: EVENT_NUMBERS["requestLess"],
    MORE: EVENT_NUMBERS["requestMore"],
}

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Row(NamedTuple):
    """One preset of one feed, as a whole (`ALL`) or by one path."""

    feed: str
    preset: str
    path: str


@dataclass(slots=True)
class Cell:
    """What readers did, with all that errors need. `by` is of (seen, done), `each` of (1, done)."""

    readers: int = 0
    counts: list[float] = field(default_factory=lambda: [0.0] * len(COLUMNS))
    by: dict[int, Sums] = field(default_factory=dict)
    each: dict[int, Sums] = field(default_factory=dict)

    def add(self, counts: F64) -> None:
        """A row of counts for each reader, none of whom was here before."""
        self.readers += len(counts)
        self.counts = [a + float(b) for a, b in zip(self.counts, counts.sum(axis=0), strict=True)]
        for what in (SEEN, LIKED, LESS, MORE):
            self.each[what] = self.each.get(what, Sums()) + sums_of(np.ones(len(counts)), counts[:, what])
            self.by[what] = self.by.get(what, Sums()) + sums_of(counts[:, SEEN], counts[:, what])

    def per_seen(self, what: int) -> Interval | None:
        return interval(self.by[what], PER) if what in self.by else None

    def per_reader(self, what: int) -> Interval | None:
        return interval(self.each[what]) if what in self.each else None


@dataclass(frozen=True, slots=True)
class Arm:
    name: str
    cell: Cell
    against: Comparison | None  # the first arm; None for it, and while there is nothing to compare


@dataclass(frozen=True, slots=True)
class Learned:
    """`share` of all readers were looked at."""

    rows: dict[Row, Cell]
    arms: list[Arm]
    share: float


def learn(pages: Pages, arms: Iterable[str] = (), effect: float = 0.1, max_served: int = MAX_SERVED) -> Learned:
    """`arms` as pages bear them (`experiment/arm`), the one to compare with first. Takes seconds: not on the event
    loop.
    """
    rows: dict[Row, Cell] = {}
    of_arms: dict[str, list[F64]] = {arm: [] for arm in arms}
    served, share = 0, 0.0
    for part in pages.slices():
        if served > max_served:
            break
        served, share = served + part.served.post.size, part.share
        _add(part, pages.kinds, rows, of_arms)
    return Learned(dict(sorted(rows.items(), key=_order)), _compared(of_arms, effect), share)


def _order(item: tuple[Row, Cell]) -> tuple[str, str, bool, int, str]:
    """Whole presets before their paths, and these from one person to many."""
    row, _ = item
    people = int(row.path.split("-")[0].split()[0]) if row.path[0].isdigit() else 0
    return row.feed, row.preset, row.path != ALL, people, row.path


def _add(part: Slice, kinds: dict[int, Kind], rows: dict[Row, Cell], of_arms: dict[str, list[F64]]) -> None:
    cases = tied(part.served, part.told)
    readers = np.unique(part.served.reader, return_inverse=True)[1]
    paths = _paths(part.served, kinds)
    feeds = {(kind.feed, kind.preset) for kind in kinds.values()}
    for feed, preset in feeds:
        mine = _of(part.served, kinds, feed=feed, preset=preset)
        for path in [ALL, *np.unique(paths[mine]).tolist()]:
            chosen = mine if path == ALL else mine & (paths == path)
            if chosen.any():
                rows.setdefault(Row(feed, preset, path), Cell()).add(_by_reader(readers, cases, chosen))
    for arm, found in of_arms.items():
        chosen = _of(part.served, kinds, arm=arm)
        if chosen.any():
            found.append(_by_reader(readers, cases, chosen))


def _compared(of_arms: dict[str, list[F64]], effect: float) -> list[Arm]:
    made: list[Arm] = []
    first: tuple[F64, F64] | None = None
    for name, parts in of_arms.items():
        counts = np.concatenate(parts) if parts else np.empty((0, len(COLUMNS)))
        cell = Cell()
        cell.add(counts)
        pair = counts[:, SEEN], counts[:, LIKED]
        against = None if first is None else compare(first, pair, effect, comparisons=len(of_arms) - 1)
        first = pair if first is None else first
        made.append(Arm(name, cell, against))
    return made


def tied(served: Served, told: Told) -> Bools:
    """For each served post, whether each of COLUMNS holds."""
    cases = np.zeros((served.post.size, len(COLUMNS)), np.bool_)
    cases[_first_of_each(served), SERVED] = True
    case = _case_of(served, told)
    for what, number in _EVENTS.items():
        rows = case[(told.event == number) & (case >= 0)]
        cases[rows, what] = True
    cases[:, SEEN] |= cases[:, LIKED] | cases[:, LESS] | cases[:, MORE]
    return cases


def _first_of_each(served: Served) -> I64:
    """A page that was asked for twice shows its posts once."""
    order = np.lexsort((served.at_us, served.post, served.list_us, served.reader))
    keys = np.stack([served.reader, served.list_us, served.post], axis=1)[order]
    new = np.ones(order.size, np.bool_)
    new[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    first: I64 = order[new]
    return first


def _case_of(served: Served, told: Told) -> I64:
    """Of each event, the row of the post it is about; -1 when no page showed it."""
    named = _last_before(served, told, by_list=True)
    case = np.where(told.list_us == NO_LIST, -1, named)
    return np.where(case < 0, _last_before(served, told, by_list=False), case)


def _last_before(served: Served, told: Told, by_list: bool) -> I64:
    """The row that showed the same post to the same reader (in the same list) last, not after the event. Of a page that
    was asked for twice, the first time is the case.
    """
    if not served.post.size:
        return np.full(told.post.size, -1, np.int64)
    rows = _first_of_each(served)
    both = [
        np.concatenate([column[rows], other])
        for column, other in (
            (served.reader, told.reader),
            (served.post, told.post),
            (served.list_us if by_list else served.list_us * 0, told.list_us if by_list else told.list_us * 0),
            (served.at_us, told.at_us),
        )
    ]
    is_event = np.arange(both[0].size) >= rows.size
    order = np.lexsort((is_event, both[3], both[2], both[1], both[0]))
    keys = np.stack(both[:3], axis=1)[order]
    begins = np.ones(order.size, np.bool_)
    begins[1:] = (keys[1:] != keys[:-1]).any(axis=1)
    places = np.arange(order.size)
    group = np.maximum.accumulate(np.where(begins, places, 0))
    last = np.maximum.accumulate(np.where(is_event[order], -1, places))
    found = np.where(last >= group, order[np.maximum(last, 0)], -1)
    case = np.full(told.post.size, -1, np.int64)
    events = is_event[order]
    at = found[events]
    case[order[events] - rows.size] = np.where(at >= 0, rows[np.maximum(at, 0)], -1)
    return case


def _by_reader(readers: NDArray[np.intp], cases: Bools, chosen: Bools) -> F64:
    """A row of counts for each reader that has any case here."""
    mine, who = np.unique(readers[chosen], return_inverse=True)
    counts = np.zeros((mine.size, len(COLUMNS)))
    for what in range(len(COLUMNS)):
        counts[:, what] = np.bincount(who, cases[chosen, what], mine.size)
    return counts


def _of(served: Served, kinds: dict[int, Kind], **wanted: str) -> Bools:
    """The posts whose pages bear these names."""
    fit = [number for number, kind in kinds.items() if wanted.items() <= kind._asdict().items()]
    return np.isin(served.kind, fit)


def _paths(served: Served, kinds: dict[int, Kind]) -> NDArray[np.str_]:
    """What brought each post, in words."""
    made = np.full(served.post.size, "", "<U24")
    for feed in {kind.feed for kind in kinds.values()}:
        mine = _of(served, kinds, feed=feed)
        for code in np.unique(served.code[mine]).tolist():
            made[mine & (served.code == code)] = path_of(feed, code)
    return made


def path_of(feed: str, code: int) -> str:
    """What a post's code says in a few words: how many people led to it, or what else."""
    return sources.words(code) if feed != PopularFeed.name or code else "popular"
