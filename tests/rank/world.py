"""Small graphs for the tests of ranking, straight into the arrays: no store, no files."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from feedgen.core.ids import NO_POST, US_PER_DAY, tick_of
from feedgen.graph.access import Arrays
from feedgen.graph.edit import remove_rating
from feedgen.graph.live import LiveDay
from feedgen.graph.people import People
from feedgen.graph.view import View
from feedgen.ingest.events import KNOWN

MOST_AT_ONCE = 4096


class World:
    """Some days of posts and ratings. Times are microseconds; everything must come in order of time."""

    def __init__(self, first_day: int, days: int) -> None:
        self.people = People()
        self.days = [LiveDay(first_day + i) for i in range(days)]
        slot_row = np.full(256, -1, np.int16)
        for i, day in enumerate(self.days):
            slot_row[day.slot] = i
            day.grow_for_ratings(MOST_AT_ONCE)
        self.arrays = Arrays(
            days=np.stack([day.row() for day in self.days]),
            day_numbers=np.array([day.day for day in self.days], np.int64),
            slot_row=slot_row,
            person_flags=self.people.flags,
            person_ratings=self.people.ratings,
            ahead=np.full(2, 0xFFFF_FFFF, np.uint32),
        )
        self.refresh()

    def refresh(self) -> None:
        rows = np.stack([day.row() for day in self.days])
        self.arrays = self.arrays._replace(days=rows)
        self.view = View(self.arrays, (self.people, *(day.keep() for day in self.days)))

    def _row(self, at_us: int) -> int:
        return at_us // US_PER_DAY - self.days[0].day

    def post(
        self,
        author: int,
        at_us: int,
        flags: int = KNOWN,
        language: int = 0,
        about: int = NO_POST,
        key: int | None = None,
    ) -> int:
        row = self._row(at_us)
        day = self.days[row]
        post = day.slot << 24 | day.posts
        if day.grow_for_posts(self.arrays, row, 1):
            self.refresh()
        day.add_posts(
            self.arrays,
            row,
            np.array([post], np.uint32),
            np.array([author], np.uint32),
            np.array([at_us << 10 if key is None else key], np.int64),
            np.array([tick_of(at_us)], np.uint16),
            np.array([flags], np.uint16),
            np.array([language], np.uint8),
            np.array([about], np.uint32),
        )
        return post

    def rate(self, ratings: Iterable[tuple[int, int, int]]) -> None:
        """(person, post, time in us) in order of time."""
        by_row: dict[int, list[tuple[int, int, int]]] = {}
        for rating in ratings:
            by_row.setdefault(self._row(rating[2]), []).append(rating)
        for row, rows in by_row.items():
            for i in range(0, len(rows), MOST_AT_ONCE):
                part = rows[i : i + MOST_AT_ONCE]
                if self.days[row].grow_for_ratings(len(part)):
                    self.refresh()
                people, posts, times = zip(*part, strict=True)
                ticks = np.array([tick_of(t) for t in times], np.uint16)
                self.days[row].add_ratings(
                    self.arrays, row, np.array(people, np.uint32), np.array(posts, np.uint32), ticks
                )

    def unrate(self, person: int, post: int, at_us: int) -> None:
        remove_rating(self.arrays, self._row(at_us), person, post, True)
