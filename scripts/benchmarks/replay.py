"""Replays a log of likes through the code that serves: how good are the lists?

`Recommender` is asked by an evaluation that knows nothing of networks: events come as (user, item, time), a list for a
user at a moment is asked for. Users become people, items become posts by nobody in particular, witnessed when they are
first liked. Everything then goes through the same arrays and the same kernel as a reader's page.

Two things are fitted. Ids come as they are, so a post's number is looked up. And logs may last longer than the arrays
hold days: time is then made to run faster, and the few parameters that are plain hours shrink with it; the others are
multiples of L, which is measured on the log, and shrink by themselves.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import NO_POST, US_PER_DAY, US_PER_S
from feedgen.graph.access import I64, U32
from feedgen.graph.graph import Graph
from feedgen.graph.view import View
from feedgen.ingest.events import KNOWN
from feedgen.learn.examples import Block, Moment, draw, horizon_us, label, look
from feedgen.learn.files import MAX_REQUESTS, held_out, newest
from feedgen.learn.model import Model
from feedgen.learn.training import Report, train
from feedgen.rank.compose import PAGE
from feedgen.rank.kernel import rank
from feedgen.rank.listing import PERSONAL, ListRules, Source, make_list
from feedgen.rank.pace import Pace
from feedgen.rank.params import DEFAULT, MAX_LIST, Formula, RankParams
from feedgen.rank.request import R_AUTHOR, R_SEED, Ranked, request
from feedgen.rank.scorer import Scorer, learned

FIRST_DAY: Final = 20_000
HISTORY_DAYS: Final = 30  # of the first batch on our axis; what follows may be some times as long
PAST_US: Final = US_PER_DAY  # before the first examples
TURNS: Final = 2  # times that examples are collected within a horizon
RANKED: Final = 20_000  # people in all of the first batch
DRAWN: Final = 150, 1500  # each time: at least, at most
NOBODY: Final = 1_000_000_000  # authors of items: far from all users


def _clean_up(graph: Graph, folder: Path) -> None:
    graph.close()
    shutil.rmtree(folder, ignore_errors=True)


class Pupil:
    """Collects examples and trains on them, in memory. `drawn` people at a time; 0: as many as there is time for."""

    def __init__(self, drawn: int = 0) -> None:
        self.model: Model | None = None
        self.scorer: Scorer | None = None
        self.reports = list[Report]()
        self.blocks = list[Block]()
        self._pending = list[Moment]()
        self._next_us, self._drawn = 0, drawn
        self._dice = np.random.default_rng(1)

    def stops(self, first_us: int, last_us: int, pace_us: int) -> list[int]:
        """When to look, a horizon apart; not before there is a past to rank by."""
        self._next_us = self._next_us or first_us + PAST_US
        stops = list[int]()
        while self._next_us <= last_us:
            stops.append(self._next_us)
            self._next_us += horizon_us(pace_us) // TURNS
        if stops and not self._drawn:
            self._drawn = min(max(RANKED // len(stops), DRAWN[0]), DRAWN[1])
        return stops

    def turn(self, view: View, people: int, f: Formula, now_us: int) -> None:
        while self._pending and self._pending[0].until_us <= now_us:
            block = label(view, self._pending.pop(0))
            if block.requests:
                self.blocks = newest([*self.blocks, block], MAX_REQUESTS)
        self._pending.append(look(view, f, now_us, draw(view, people, now_us, self._drawn, self._dice)))

    def train(self) -> None:
        thin = len(self.blocks) - len(held_out(self.blocks))
        self.blocks[:thin] = [block.thin() for block in self.blocks[:thin]]
        self.model, report = train(self.blocks, self.model)
        self.scorer = None if self.model is None else self.model.scorer()
        self.reports.append(report)


class Recommender:
    """`ingest` events, oldest first, then ask `recommend`. `params` are those of the list that is judged.

    Unless `learns` is false, a scorer is trained on what was ingested, as the service does: people are drawn and ranked
    for at moments on the way, and what they like afterwards labels the examples.
    """

    def __init__(self, params: RankParams = DEFAULT, spread: float = ListRules().spread, learns: bool = True) -> None:
        self.params, self.spread = params, spread
        self.pupil = Pupil() if learns else None
        self.top_seed, self.seeds = list[float](), list[float]()  # of each first page: the largest share, how many
        self.pace = Pace()
        folder = Path(tempfile.mkdtemp(prefix="feedgen-replay-"))
        self.graph = Graph(folder)
        weakref.finalize(self, _clean_up, self.graph, folder)  # who evaluates knows of no `close`
        self._start_s: int | None = None
        self._people = 0
        self._speed = 1.0
        self._post_of: U32 = np.full(1024, NO_POST, np.uint32)
        self._first_us: I64 = np.zeros(1024, np.int64)
        self._item_of: dict[int, int] = {}

    def ingest(self, user: NDArray[np.int64], item: NDArray[np.int64], ts: NDArray[np.int64]) -> None:
        """Events since the last call, in order of time."""
        if not len(ts):
            return
        if self._start_s is None:
            self._start_s = int(ts[0])
            span_s = max(int(ts[-1]) - self._start_s, 1)
            self._speed = max(1.0, span_s / (HISTORY_DAYS * 86_400))
        times = self._axis(ts)
        self._people = max(self._people, int(user.max()) + 1)
        if self.pupil is None:
            self._ingest(user, item, times)
            return
        done = 0
        for stop_us in self.pupil.stops(int(times[0]), int(times[-1]), self.pace.pace_us):
            until = int(np.searchsorted(times, stop_us))
            self._ingest(user[done:until], item[done:until], times[done:until])
            done = until
            self.pupil.turn(self.graph.view(), self._people, self._formula(), stop_us)
        self._ingest(user[done:], item[done:], times[done:])
        self.pupil.train()

    def _formula(self) -> Formula:
        return self.params_on_axis().formula(self.pace.pace_us)

    def _ingest(self, user: NDArray[np.int64], item: NDArray[np.int64], times: I64) -> None:
        days = times // US_PER_DAY
        for day in np.unique(days):
            part = days == day
            self._ingest_day(int(day), user[part].astype(np.uint32), item[part], times[part])

    def recommend(self, user: int, now: int, k: int) -> list[int]:
        """The k best items for the user at that moment."""
        view, now_us = self.graph.view(), int(self._axis(np.array([now]))[0])
        f = self._formula()
        liked, times = view.likes_of(user, 10_000)
        recent = times >= now_us - f.n.seed_window_us
        q = request(
            now_us,
            reader=user,
            seeds=liked[recent][: f.n.seeds],
            seed_times=times[recent][: f.n.seeds],
            excluded=liked,
            require=KNOWN,
        )
        ranked = learned(view, f, q, rank(view, f, q), self.pupil.scorer if self.pupil is not None else None)
        return [self._item_of[post] for post in self._composed(view, ranked)[:k].tolist()]

    def _composed(self, view: View, ranked: Ranked) -> U32:
        """As for a page. Items have no authors that are known, so each counts as by somebody else."""
        ints = ranked.ints[:MAX_LIST].copy()
        ints[:, R_AUTHOR] = np.arange(len(ints)) % view.arrays.person_flags.size
        rules = ListRules(spread=self.spread, author_gap=2, author_max=MAX_LIST, author_page_max=PAGE)
        listed = make_list(view, [Source(PERSONAL, ints, ranked.scores[:MAX_LIST], share=1.0)], rules)
        seeds = np.unique(ints[listed.rows[:PAGE], R_SEED], return_counts=True)[1]
        if seeds.size:
            self.top_seed.append(float(seeds.max() / seeds.sum()))
            self.seeds.append(float(seeds.sum() ** 2 / (seeds**2).sum()))
        return listed.posts

    def params_on_axis(self) -> RankParams:
        """What is given in hours and days, at the speed of our axis."""
        p = self.params
        return replace(
            p,
            late_hours=p.late_hours / self._speed,
            pace_hours=p.pace_hours / self._speed,
        )

    def _axis(self, ts: NDArray[np.int64]) -> I64:
        since_s = (ts - (self._start_s or 0)) / self._speed
        axis: I64 = FIRST_DAY * US_PER_DAY + (since_s * US_PER_S).astype(np.int64)
        return axis

    def _ingest_day(self, day: int, users: U32, items: NDArray[np.int64], times: I64) -> None:
        self.graph.start_day(day)
        self._make_room(int(items.max()) + 1)
        self._add_posts(items, times)
        ticks = ((times % US_PER_DAY) << 16) // US_PER_DAY
        self.graph.add_ratings(users, self._post_of[items], ticks.astype(np.uint16))
        self.pace.add(times - self._first_us[items])

    def _add_posts(self, items: NDArray[np.int64], times: I64) -> None:
        """Items that are liked for the first time are born."""
        fresh, at = np.unique(items, return_index=True)
        at = np.sort(at[self._post_of[fresh] == NO_POST])
        if not at.size:
            return
        numbers = np.arange(self.graph.next_posts(at.size), self.graph.next_posts(at.size) + at.size, dtype=np.int64)
        self._post_of[items[at]], self._first_us[items[at]] = numbers, times[at]
        self._item_of.update(zip(numbers.tolist(), items[at].tolist(), strict=True))
        n = at.size
        self.graph.add_posts(
            numbers.astype(np.uint32),
            np.full(n, NOBODY, np.uint32),
            times[at] << 10,
            (((times[at] % US_PER_DAY) << 16) // US_PER_DAY).astype(np.uint16),
            np.full(n, KNOWN, np.uint16),
            np.zeros(n, np.uint8),
            np.full(n, NO_POST, np.uint32),
        )

    def _make_room(self, items: int) -> None:
        while self._post_of.size < items:
            self._post_of = np.concatenate([self._post_of, np.full(self._post_of.size, NO_POST, np.uint32)])
            self._first_us = np.concatenate([self._first_us, np.zeros(self._first_us.size, np.int64)])
