"""The formula again, in slow and obvious Python: what `kernel.py` must agree with to the last place.

To agree to the last place it must add in the same order, so the order is part of the formula: a person's seeds newest
first, a post's co-likers by weight, all people by number. Beyond that the two share only the tables, `power`, and how
an edge's time is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from feedgen.core.ids import DATED_TICK, NO_PERSON, US_PER_DAY, tick_us
from feedgen.core.jit import njit
from feedgen.core.parameters import MAX_LIKERS_READ
from feedgen.graph.access import U16, U32, Arrays, copy_all_likers, copy_all_likes, places_of
from feedgen.graph.view import View
from feedgen.rank.colikers import SILENT
from feedgen.rank.numeric import power
from feedgen.rank.params import DECAY_SHIFT, Decay, Formula
from feedgen.rank.request import Request

_LONGEST: Final = 1000  # of all lists of the worlds
_LIKERS: Final = 0
_LIKES: Final = 1


@njit
def _copy(a: Arrays, which: int, d: int, key: int, limit: int, out: U32, ticks: U16) -> int:
    return (
        copy_all_likers(places_of(a), d, key, limit, out, ticks)
        if which == _LIKERS
        else copy_all_likes(places_of(a), d, key, limit, out, ticks)
    )


def _power(x: float, p: float) -> float:
    plain: float = power.py_func(x, p)  # type: ignore[attr-defined]
    return plain


def _decay(t: Decay, age_us: int) -> float:
    age = max(age_us, 0) >> DECAY_SHIFT
    return float(t.coarse[min(age // 256, len(t.coarse) - 1)]) * float(t.fine[age % 256])


@dataclass(slots=True)
class Found:
    """What a post got from the head, the best co-likers, and from all others; and how many of each led to it."""

    head: float = 0.0
    rest: float = 0.0
    head_paths: int = 0
    rest_paths: int = 0


class Oracle:
    """`rank()` gives (post, score) pairs, best first. One use."""

    def __init__(self, view: View, f: Formula, q: Request) -> None:
        self.view, self.a, self.f, self.n, self.q = view, view.arrays, f, f.n, q
        self.days = [int(day) for day in view.arrays.day_numbers]
        self.visited = 0
        self.liked: dict[int, float] = {}
        self.less: dict[int, float] = {}
        self.given: dict[int, float] = {}

    def rank(self) -> list[tuple[int, float]]:
        self.ask_given_people()
        self.ask_seeds()
        colikers = self.choose_colikers()
        return self.score(self.ask_colikers(colikers))

    def edges(self, which: int, d: int, key: int, limit: int) -> list[tuple[int, int]]:
        """(person or post, time in us), newest first; each costs one of the budget. None is dated."""
        out, ticks = np.empty(_LONGEST, np.uint32), np.empty(_LONGEST, np.uint16)
        found = _copy(self.a, which, d, key, _LONGEST, out, ticks)
        assert found < _LONGEST
        seen = [
            (int(v), tick_us(self.days[d], int(t)))
            for v, t in zip(out[:found], ticks[:found], strict=True)
            if t != DATED_TICK
        ]
        self.visited += len(seen[:limit])
        return seen[:limit]

    def rows_back_from(self, us: int) -> list[int]:
        return [d for d in range(len(self.days) - 1, -1, -1) if self.days[d] <= us // US_PER_DAY]

    def row_of(self, post: int) -> int:
        facts = self.view.post(post)
        return -1 if facts is None else self.days.index(facts.time_us // US_PER_DAY)

    def speaks(self, person: int) -> bool:
        a = self.a
        silent = int(a.person_flags[person]) & SILENT or int(a.person_ratings[person]) > self.n.ratings_max
        return person != self.q.reader and not silent

    def ask_given_people(self) -> None:
        for person, weight in zip(self.q.people.tolist(), self.q.people_weights.tolist(), strict=True):
            if person < self.a.person_flags.size and self.speaks(person) and person not in self.given:
                self.given[person] = weight
                self.liked[person] = self.less[person] = 0.0

    def seed_weight(self, post: int, factor: float) -> float:
        facts = self.view.post(post)
        return 0.0 if facts is None else factor / _power(float(max(facts.count, 1)), self.n.seed_popularity)

    def ask_seeds(self) -> None:
        n, q = self.n, self.q
        seeds = q.seeds.tolist()
        weights = []
        for i, post in enumerate(seeds):
            along = i / (len(seeds) - 1) if len(seeds) > 1 else 0.0
            curve = n.seed_newest + (n.seed_oldest - n.seed_newest) * along
            weights.append(self.seed_weight(post, float(q.seed_factors[i]) * curve))
        total = 0.0
        for w in weights:  # `sum` may add with compensation
            total += w
        cap = n.seed_cap * total / max(len(seeds), 1)
        for i, post in enumerate(seeds):
            w = min(weights[i], cap)
            if w > 0 and self.visited < n.edges // 2:
                self.ask_seed(post, w, int(q.seed_times[i]), bool(q.seed_listed[i]))
        for post, factor in zip(q.less.tolist(), q.less_factors.tolist(), strict=True):
            w = self.seed_weight(post, factor)
            if w > 0 and self.visited < n.edges // 2:
                self.ask_unwanted(post, w)

    def ask_seed(self, post: int, weight: float, rated_us: int, listed: bool) -> None:
        n, q = self.n, self.q
        until_us = min(rated_us + n.late_us, q.now_us)
        left, done = n.seed_likers, set()
        for d in self.rows_back_from(until_us):
            if d < self.row_of(post) or left <= 0:
                break
            cut = until_us < q.now_us and self.days[d] == until_us // US_PER_DAY
            own_day = self.days[d] == rated_us // US_PER_DAY
            passed_reader = False
            for person, at_us in self.edges(_LIKERS, d, post, MAX_LIKERS_READ if cut else left):
                passed_reader |= person == q.reader
                if at_us > until_us or left == 0:
                    continue
                left -= 1
                if not self.speaks(person) or person in done:
                    continue
                done.add(person)
                late = not passed_reader if own_day and listed else at_us > rated_us
                self.liked.setdefault(person, 0.0)
                self.less.setdefault(person, 0.0)
                self.liked[person] += weight * n.late_factor if late else weight

    def ask_unwanted(self, post: int, weight: float) -> None:
        left, done = self.n.seed_likers, set()
        for d in self.rows_back_from(self.q.now_us):
            if d < self.row_of(post) or left <= 0:
                break
            for person, at_us in self.edges(_LIKERS, d, post, left):
                if at_us > self.q.now_us:
                    continue
                left -= 1
                if self.speaks(person) and person not in done:
                    done.add(person)
                    self.liked.setdefault(person, 0.0)
                    self.less.setdefault(person, 0.0)
                    self.less[person] += weight

    def choose_colikers(self) -> list[tuple[int, float]]:
        """(person, W), by how much they weigh either way."""
        n, q = self.n, self.q
        weights: dict[int, float] = {}
        total = all_given = 0.0
        for person, liked in sorted(self.liked.items()):
            ratings = _power(float(self.a.person_ratings[person]) + n.ratings_floor, n.ratings_power) or 1.0
            w = _power(liked, n.shared_power) / ratings
            total += max(w, 0.0)
            if self.less[person] > 0:
                w -= n.less_weight * _power(self.less[person], n.shared_power) / ratings
            weights[person] = w
            all_given += self.given.get(person, 0.0)
        if all_given > 0:
            share = q.people_share / (1.0 - q.people_share) * total if total > 0 else 1.0
            for person, given in self.given.items():
                weights[person] += share * given / all_given
        best = sorted((-abs(w), person) for person, w in weights.items() if w)[: n.colikers]
        sum_of_best = 0.0
        for w, _ in best:
            sum_of_best += -w
        cap = n.coliker_share * sum_of_best
        return [(person, min(-w, cap) if weights[person] > 0 else -min(-w, cap)) for w, person in best]

    def ask_colikers(self, colikers: list[tuple[int, float]]) -> dict[int, tuple[float, int]]:
        """(raw, n) by post."""
        f, n, q = self.f, self.n, self.q
        found: dict[int, Found] = {}
        since_us = q.now_us - n.window_us
        for place, (person, w) in enumerate(colikers):
            left = min(n.coliker_likes, n.edges - n.edges // 8 - self.visited)
            done = set()
            for d in self.rows_back_from(q.now_us):
                if left <= 0 or (self.days[d] + 1) * US_PER_DAY <= since_us:
                    break
                likes = self.edges(_LIKES, d, person, left)
                left -= len(likes)
                for post, at_us in likes:
                    if at_us < since_us:
                        break
                    if post in done or not self.may_come(post):
                        continue
                    done.add(post)
                    part = w * _decay(f.like, q.now_us - at_us)
                    of = found.setdefault(post, Found())
                    if place < n.head:
                        of.head, of.head_paths = of.head + part, of.head_paths + (w > 0)
                    else:
                        of.rest, of.rest_paths = of.rest + part, of.rest_paths + (w > 0)
        total = 0.0
        for _, w in colikers[: n.head]:
            total += max(w, 0.0)
        mean = total / max(min(n.head, len(colikers)), 1)
        return {post: self.bounded(of, mean) for post, of in found.items() if of.head_paths + of.rest_paths}

    def bounded(self, of: Found, mean_of_head: float) -> tuple[float, int]:
        if of.rest <= 0:
            return of.head + of.rest, of.head_paths + of.rest_paths
        most = self.n.tail * max(of.head, 0.0) + self.n.tail_base * mean_of_head
        counted = most / (of.rest + most)
        return of.head + of.rest * counted, max(of.head_paths + int(of.rest_paths * counted), 1)

    def may_come(self, post: int) -> bool:
        return post not in self.q.excluded.tolist() and (not self.q.early or self.passes(post))

    def passes(self, post: int) -> bool:
        facts = self.view.post(post)
        return facts is not None and facts.flags & self.q.require == self.q.require and not facts.flags & self.q.forbid

    def score(self, found: dict[int, tuple[float, int]]) -> list[tuple[int, float]]:
        f, n, q = self.f, self.n, self.q
        pre = {post: raw * float(f.paths[paths]) for post, (raw, paths) in found.items()}
        finalists = sorted((-s, post) for post, s in pre.items() if s > 0)[: n.finalists]
        factors = dict(zip(q.authors.tolist(), q.author_factors.tolist(), strict=True))
        out = []
        for _, post in finalists:
            facts = self.view.post(post)
            if facts is None or not self.passes(post):
                continue
            of_author = factors.get(facts.author, 1.0)
            if facts.author in (q.reader, NO_PERSON) or of_author <= 0:
                continue
            of_age = _decay(f.age, q.now_us - facts.time_us)
            of_popularity = 1.0 / _power(float(max(facts.count, 1)), n.popularity_power)
            of_velocity = self.velocity(post)
            score = pre[post] * of_age * of_popularity * of_velocity * of_author
            if score > 0:
                out.append((post, score))
        return sorted(out, key=lambda item: (-item[1], item[0]))

    def velocity(self, post: int) -> float:
        f, n, q = self.f, self.n, self.q
        left = min(n.velocity_likers, n.edges - self.visited)
        if n.velocity_power <= 0 or n.edges - self.visited <= 0:
            return 1.0
        total = 0.0
        for d in self.rows_back_from(q.now_us):
            too_old = self.days[d] < (q.now_us - n.velocity_span_us) // US_PER_DAY
            if d < self.row_of(post) or too_old or left <= 0:
                break
            likers = self.edges(_LIKERS, d, post, left)
            left -= len(likers)
            for _, at_us in likers:
                if at_us <= q.now_us:
                    total += _decay(f.velocity, q.now_us - at_us)
        return _power(total + 0.001, n.velocity_power)
