"""What a scorer may look at: a few numbers for each of the best posts of a ranking. Compiled.

The ranking leaves its edges in the thread's scratch, sorted by post, so the likes of co-likers are added up a second
time with other half-lives and other weights, for the few hundred posts that matter. Each of these sums is bounded by
`head` and `tail` as the formula's own is: accounts that work together gain nothing by them.

Names that begin with "sum" are logarithms, less the largest of the list; times are in multiples of L.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from feedgen.core.ids import US_PER_DAY
from feedgen.core.jit import inline, njit
from feedgen.core.parameters import Numbers
from feedgen.graph.access import I64, U16, U32, Arrays, Places, copy_likers, day_number, places_of, post_row
from feedgen.graph.fetch import STAGES, TOGETHER, fetch_likers
from feedgen.graph.view import View
from feedgen.rank.candidates import bounded
from feedgen.rank.edges import PAYLOAD, PAYLOAD_BITS
from feedgen.rank.kernel import Scratch, scratch_for
from feedgen.rank.numeric import F64, last_row, tick_span_us, wide
from feedgen.rank.params import Formula
from feedgen.rank.request import R_BEST, R_COUNT, R_PATHS, R_POST, R_RAW, R_SCORE, R_TIME, R_VELOCITY, Ranked, Request

SCORED: Final = 300  # of the best posts; what comes after them stays as the formula has it

# Names that files know, and what people call them.
WORDS: Final = {
    "score": "the formula's own score",
    "sum": "likes of people alike",
    "sum_slow": "their likes over a longer time",
    "sum_fast": "their likes in the last moments",
    "sum_plain": "their likes, when sharing much counts less",
    "sum_shared": "their likes, when sharing much counts more",
    "likes": "how many like it",
    "rise_now": "likes of everybody just now",
    "rise": "likes of everybody lately",
    "rise_slow": "likes of everybody over a longer time",
    "age": "age of the post",
    "last": "time since somebody alike liked it",
    "paths": "how many people alike",
    "best": "how much is due to one of them",
    "colikers_ratings": "how much these people like in all",
    "rank": "its place by the formula",
    "head": "how much the people most alike say, without the first of them",
}
NAMES: Final = tuple(WORDS)
FEATURES: Final = len(NAMES)
SUMS: Final = 6  # the first so many are relative to the list's largest
(
    SCORE, SUM, SUM_SLOW, SUM_FAST, SUM_PLAIN, SUM_SHARED, LIKES, RISE_NOW, RISE, RISE_SLOW, AGE, LAST, PATHS, BEST,
    RATINGS, RANK, HEAD,
) = range(FEATURES)  # fmt: skip

SLOW: Final = 3.0  # half-lives of a co-liker's like, x L
FAST: Final = 0.08
RISING: Final = (0.25, 2.0)  # half-lives of a post's own likes, x L
RISE_LIKERS: Final = 64  # newest ones that are looked at
STEPS: Final = 32  # of ages to a halving
STEP_BITS: Final = 52 - 5  # of a float's mantissa, below a step
SLOTS: Final = 1024
LEAST: Final = 1e-6  # of the largest sum: below it all are alike


class Ages(NamedTuple):
    """Decays by age in coarse steps: small enough for the processor's first cache."""

    slow: F64  # by steps of a co-liker's half-life
    fast: F64
    rise: F64  # by steps of L
    rise_slow: F64


@lru_cache(maxsize=8)
def ages_of(like_half_life: float) -> Ages:
    steps = np.arange(SLOTS) / STEPS
    halvings = steps * like_half_life
    return Ages(
        np.exp2(-halvings / SLOW), np.exp2(-halvings / FAST), np.exp2(-steps / RISING[0]), np.exp2(-steps / RISING[1])
    )


class Other(NamedTuple):
    """Co-likers weighed in other ways."""

    plain: F64  # e = 1
    shared: F64  # e = 1.5, b = 0.5
    ratings: F64  # log of how many they gave
    of_head: tuple[float, float]  # mean weight of the head


@inline
def weigh_otherwise(n: Numbers, s: Scratch, ratings: U32, asked: int) -> Other:
    plain, shared, logs = np.zeros(asked), np.zeros(asked), np.empty(asked)
    for v in range(asked):
        logs[v] = math.log(max(ratings[s.asked[v]] + n.ratings_floor, 1.0))
        w = s.asked_weights[v]
        if w > 0.0:
            liked = (math.log(w) + n.ratings_power * logs[v]) / n.shared_power
            plain[v] = math.exp(liked - n.ratings_power * logs[v])
            shared[v] = math.exp(1.5 * liked - 0.5 * logs[v])
    head = max(min(asked, n.head), 1)
    return Other(plain, shared, logs, (plain[:head].sum() / head, shared[:head].sum() / head))


@inline
def _first_edge(edges: I64, count: int, post: int) -> int:
    low, high = 0, count
    while low < high:
        middle = (low + high) >> 1
        if edges[middle] >> PAYLOAD_BITS < post:
            low = middle + 1
        else:
            high = middle
    return low


@inline
def _add_paths(
    n: Numbers, s: Scratch, t: Ages, other: Other, count: int, post: int, of_head: float, decays: F64, bits: I64, x: F64
) -> None:
    """The sums over those who led to a post. `decays` are 1 and room for one more, `bits` the same memory."""
    # head and rest of each of: slow, fast, plain, shared
    h0, h1, h2, h3, r0, r1, r2, r3 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    ratings, head, most, paths, newest, last = 0.0, 0.0, 0.0, 0, wide(SLOTS - 1), -1
    i = _first_edge(s.edges, count, post)
    while i < count and s.edges[i] >> PAYLOAD_BITS == post:
        edge = s.edges[i] & PAYLOAD
        i += 1
        via = wide(s.vias[edge])
        if via < 0 or via == last or s.asked_weights[via] <= 0.0:
            continue
        last, w = via, s.asked_weights[via]
        decays[1] = s.parts[edge] / w
        # The bits of a positive number are nearly its logarithm.
        age = min(max((bits[0] - bits[1]) >> STEP_BITS, 0), SLOTS - 1)
        newest = min(newest, age)
        decay = decays[1]
        if via < n.head:
            head += s.parts[edge]
            most = max(most, s.parts[edge])
            h0 += w * t.slow[age]
            h1 += w * t.fast[age]
            h2 += other.plain[via] * decay
            h3 += other.shared[via] * decay
        else:
            r0 += w * t.slow[age]
            r1 += w * t.fast[age]
            r2 += other.plain[via] * decay
            r3 += other.shared[via] * decay
        ratings += other.ratings[via]
        paths += 1
    x[SUM_SLOW], _ = bounded(n, h0, r0, paths, 0, of_head)
    x[SUM_FAST], _ = bounded(n, h1, r1, paths, 0, of_head)
    x[SUM_PLAIN], _ = bounded(n, h2, r2, paths, 0, other.of_head[0])
    x[SUM_SHARED], _ = bounded(n, h3, r3, paths, 0, other.of_head[1])
    x[LAST] = newest * n.like_half_life / STEPS
    x[RATINGS] = ratings / max(paths, 1)
    x[HEAD] = head - most


@inline
def _rise(at: Places, n: Numbers, t: Ages, post: int, now_us: int, values: U32, ticks: U16, x: F64) -> None:
    """How a post's newest likes lie in time."""
    d, oldest, found_in_all = last_row(at, now_us), post_row(at, post), 0
    step_us = max(n.pace_us // STEPS, 1)
    fast, slow = 0.0, 0.0
    while oldest >= 0 and d >= oldest and found_in_all < RISE_LIKERS:
        found = copy_likers(at, d, post, RISE_LIKERS - found_in_all, values, ticks)
        found_in_all += found
        day_us = day_number(at, d) * US_PER_DAY
        for i in range(found):
            age_us = now_us - day_us - tick_span_us(ticks[i])
            if age_us >= 0:
                age = min(age_us // step_us, SLOTS - 1)
                fast += t.rise[age]
                slow += t.rise_slow[age]
        d -= 1
    x[RISE], x[RISE_SLOW] = math.log(fast + 0.1), math.log(slow + 0.1)


@inline
def _fetch(at: Places, ints: I64, start: int, rows: int, now_us: int) -> None:
    newest, end = last_row(at, now_us), min(start + TOGETHER, rows)
    for stage in range(STAGES):
        for k in range(start, end):
            oldest = post_row(at, ints[k, R_POST])
            d = newest
            while oldest >= 0 and d >= oldest:
                fetch_likers(at, d, ints[k, R_POST], stage)
                d -= 1


@inline
def _relative(x: F64, column: int) -> None:
    """Logarithms, less the largest."""
    most = 0.0
    for k in range(x.shape[0]):
        most = max(most, x[k, column])
    for k in range(x.shape[0]):
        x[k, column] = math.log(max(x[k, column] / most, LEAST)) if most > 0.0 else 0.0


@njit
def _describe(
    a: Arrays, n: Numbers, t: Ages, now_us: int, s: Scratch, asked: int, count: int, ints: I64, floats: F64, x: F64
) -> None:
    at, decays = places_of(a), np.ones(2)
    bits = decays.view(np.int64)
    other = weigh_otherwise(n, s, a.person_ratings, asked)
    head, of_head = min(asked, n.head), 0.0
    for v in range(head):
        of_head += max(s.asked_weights[v], 0.0)
    of_head /= max(head, 1)
    for k in range(x.shape[0]):
        if k % TOGETHER == 0:
            _fetch(at, ints, k, x.shape[0], now_us)
        row, terms, of = ints[k], floats[k], x[k]
        of[SCORE], of[SUM] = terms[R_SCORE], terms[R_RAW]
        _add_paths(n, s, t, other, count, row[R_POST], of_head, decays, bits, of)
        _rise(at, n, t, row[R_POST], now_us, s.values, s.ticks, of)
        of[LIKES] = math.log(max(row[R_COUNT], 1))
        of[RISE_NOW] = math.log(max(terms[R_VELOCITY], LEAST))
        of[AGE] = math.log(1.0 + max(now_us - row[R_TIME], 0) / n.pace_us)
        of[LAST] = math.log(0.01 + of[LAST])
        of[PATHS] = math.log(max(row[R_PATHS], 1))
        of[BEST] = terms[R_BEST] / terms[R_RAW]
        of[RANK] = math.log(k + 1)
        of[HEAD] = min(of[HEAD] / terms[R_RAW], 1.0)
    for column in range(SUMS):
        _relative(x, column)


def features(view: View, f: Formula, q: Request, ranked: Ranked) -> F64:
    """Of the best posts of the ranking that this thread just made: a row of `FEATURES` numbers each."""
    rows = min(len(ranked.ints), SCORED)
    x, ages = np.empty((rows, FEATURES)), ages_of(f.n.like_half_life)
    people, written, scratch = ranked.people, ranked.written, scratch_for(f)
    _describe(view.arrays, f.n, ages, q.now_us, scratch, people, written, ranked.ints, ranked.floats, x)
    return x
