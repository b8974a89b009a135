"""Shared by benchmarks and tests: a made-up network's people, posts and likes straight in the arrays.

People are numbered as in the world. What happened while the world warmed up counts as well.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import NO_POST, US_PER_DAY
from feedgen.core.languages import number
from feedgen.graph.access import I64, U32
from feedgen.graph.graph import Graph
from feedgen.ingest.events import ADULT, DELETED, KNOWN, QUOTE, REPLY, VIDEO
from feedgen.simnet import words
from feedgen.simnet.posts import VIDEO as MEDIA_VIDEO
from feedgen.simnet.world import World

AT_ONCE = 100_000


class MadeUp:
    """`add` brings what happened until a time; then more may be added by hand, in order of time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._folder = Path(tempfile.mkdtemp(prefix="feedgen-made-up-"))
        self.graph = Graph(self._folder)
        self.number_of: U32 = np.empty(0, np.uint32)  # by the world's row
        self.row_of: dict[int, int] = {}

    def close(self) -> None:
        self.graph.close()
        shutil.rmtree(self._folder)

    def add(
        self,
        people: U32 | None = None,
        posts: I64 | None = None,
        times_us: I64 | None = None,
        stops: Sequence[int] = (),
        at_stop: Callable[[int], None] = lambda now_us: None,
    ) -> None:
        """All days of the world up to now; with ratings of strangers, whose posts are rows of the world. `at_stop` is
        called at some moments, when what came later is not there yet."""
        post_us = self.world.post_column("us")
        rated = [self._edges()]
        if people is not None and posts is not None and times_us is not None:
            rated.append((people.astype(np.int64), posts, times_us))
        who, what, when = (np.concatenate(column) for column in zip(*rated, strict=True))
        order = np.argsort(when, kind="stable")
        who, what, when = who[order], what[order], when[order]
        self.number_of = np.full(post_us.size, NO_POST, np.uint32)
        now_us = self.world.now_us
        for day in range(int(post_us.min() // US_PER_DAY), now_us // US_PER_DAY + 1):
            self.graph.start_day(day)
            start_us, end_us = day * US_PER_DAY, min((day + 1) * US_PER_DAY - 1, now_us)
            for stop_us in [*(stop for stop in stops if start_us < stop <= end_us), end_us]:
                self._add_posts(np.flatnonzero((post_us >= start_us) & (post_us <= stop_us)))
                here = np.flatnonzero((when >= start_us) & (when <= stop_us))
                for at in range(0, here.size, AT_ONCE):
                    part = here[at : at + AT_ONCE]
                    numbers = self.number_of[what[part]]
                    self.graph.add_ratings(who[part].astype(np.uint32), numbers, ticks_of(when[part]))
                start_us = stop_us + 1
                if stop_us in stops:
                    at_stop(stop_us)

    def _edges(self) -> tuple[I64, I64, I64]:
        b = self.world._behaviour
        tables = [(t, self.world._alive(t)) for t in (b.likes, b.reposts)]
        columns = [np.concatenate([t[name][alive] for t, alive in tables]).astype(np.int64) for name in ("actor", "to")]
        return columns[0], columns[1], np.concatenate([t["us"][alive] for t, alive in tables])

    def _add_posts(self, rows: NDArray[np.intp]) -> None:
        column, first = self.world.post_column, self.graph.next_posts(rows.size)
        numbers = np.arange(first, first + rows.size, dtype=np.uint32)
        self.number_of[rows] = numbers
        self.row_of.update(zip(numbers.tolist(), rows.tolist(), strict=True))
        flags = np.full(rows.size, KNOWN)
        for said, flag in (
            (column("parent")[rows] >= 0, REPLY),
            (column("quote")[rows] >= 0, QUOTE),
            (column("media")[rows] == MEDIA_VIDEO, VIDEO),
            (column("adult")[rows], ADULT),
            (column("gone")[rows] > 0, DELETED),
        ):
            flags[said] |= flag
        languages = np.array([number(code) for code in words.LANGUAGES])
        self.graph.add_posts(
            numbers, column("author")[rows], column("us")[rows] << 10, ticks_of(column("us")[rows]), flags,
            languages[column("language")[rows]], np.full(rows.size, NO_POST),
        )  # fmt: skip


def ticks_of(times_us: I64) -> NDArray[np.uint16]:
    ticks: NDArray[np.uint16] = (((times_us % US_PER_DAY) << 16) // US_PER_DAY).astype(np.uint16)
    return ticks
