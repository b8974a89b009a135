"""From what a reader likes to the people who like it too, and how much each of them counts. Compiled.

Every liker of every seed is written down as an edge, the edges are brought together by person, and each person's
are added up: seeds newest first, so that the sums are the oracle's to the last bit.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from feedgen.core.ids import US_PER_DAY
from feedgen.core.jit import inline
from feedgen.core.parameters import MAX_LIKERS_READ, Numbers
from feedgen.graph.access import I64, U8, U16, U32, Places, copy_likers, day_number, post_count, post_row
from feedgen.graph.fetch import STAGES, TOGETHER, fetch_count, fetch_likers
from feedgen.ingest.events import GONE, INACTIVE, SPAMMY
from feedgen.rank.edges import PAYLOAD, PAYLOAD_BITS
from feedgen.rank.numeric import F64, I32, best_rows, last_row, power, tick_span_us, to_powers, wide
from feedgen.rank.request import Request

SILENT: Final = INACTIVE | GONE | SPAMMY  # people whose ratings carry no weight


class AskSeed(NamedTuple):
    """Compiled code passes plain numbers around for nothing, but every array in a tuple costs a visit to its owner's
    count of references. So what runs for each seed, person and finalist gets only the arrays it uses, and its numbers
    in one of these."""

    post: int
    payload: int  # of its edges; one more says that the like came after the reader's
    liked: bool  # or unwanted
    listed: bool
    rated_us: int
    until_us: int
    reader: int
    now_us: int


@inline
def seed_weight(at: Places, post: int, factor: float, power_a: float) -> float:
    """factor x likes^-a; 0 when the post's day is gone."""
    d = post_row(at, post)
    if d < 0:
        return 0.0
    return factor / power(np.float64(max(post_count(at, d, post), 1)), power_a)


@inline
def weigh_seeds(at: Places, n: Numbers, seeds: U32, factors: F64, out: F64) -> None:
    """Recency curve x likes^-a, none above `seed_cap` times the mean."""
    total = 0.0
    for i in range(seeds.size):
        fetch_count(at, seeds[i])
    for i in range(seeds.size):
        along = i / (seeds.size - 1) if seeds.size > 1 else 0.0
        curve = n.seed_newest + (n.seed_oldest - n.seed_newest) * along
        out[i] = seed_weight(at, seeds[i], factors[i] * curve, n.seed_popularity)
        total += out[i]
    cap = n.seed_cap * total / max(seeds.size, 1)
    for i in range(seeds.size):
        out[i] = min(out[i], cap)


@inline
def weigh_all(at: Places, n: Numbers, q: Request) -> F64:
    """Of the seeds, and then of what the reader wants less of."""
    seeds, less, factors = q.seeds.size, q.less, q.less_factors
    weights = np.empty(seeds + less.size)
    weigh_seeds(at, n, q.seeds, q.seed_factors, weights)
    for i in range(less.size):
        weights[seeds + i] = seed_weight(at, less[i], factors[i], n.seed_popularity)
    return weights


@inline
def fetch_seeds(at: Places, seeds: U32, times: I64, start: int, late_us: int, now_us: int) -> None:
    """Asks for the memory of some seeds' likers."""
    for stage in range(STAGES):
        for i in range(start, min(start + TOGETHER, seeds.size)):
            oldest = post_row(at, seeds[i])
            d = last_row(at, min(times[i] + late_us, now_us))
            while oldest >= 0 and d >= oldest:
                fetch_likers(at, d, seeds[i], stage)
                d -= 1


@inline
def ask_seed(at: Places, n: Numbers, edges: I64, values: U32, ticks: U16, ask: AskSeed, count: int) -> tuple[int, int]:
    """Writes down a seed's likers. Returns (edges written so far, edges visited)."""
    rated_day, until_day = ask.rated_us // US_PER_DAY, ask.until_us // US_PER_DAY
    d, oldest = last_row(at, ask.until_us), post_row(at, ask.post)
    left, visited = n.seed_likers, 0
    while oldest >= 0 and d >= oldest and left > 0:
        day = day_number(at, d)
        # Only where the bound cuts through a day may there be newer ones to step over.
        cut = ask.until_us < ask.now_us and day == until_day
        found = copy_likers(at, d, ask.post, MAX_LIKERS_READ if cut else left, values, ticks)
        visited += found
        # On the day of the reader's own rating, people are late until the list, newest first, comes to the reader.
        passed, by_order = False, day == rated_day and ask.listed
        for i in range(found):
            v = wide(values[i])
            at_us = day * US_PER_DAY + tick_span_us(ticks[i])
            passed = passed or v == ask.reader
            if at_us > ask.until_us or left == 0:
                continue
            left -= 1
            if v != ask.reader and count < edges.size:
                late = ask.liked and (not passed if by_order else at_us > ask.rated_us)
                edges[count] = v << PAYLOAD_BITS | ask.payload + wide(late)
                count += 1
        d -= 1
    return count, visited


@inline
def find_likers(
    at: Places, n: Numbers, q: Request, weights: F64, edges: I64, values: U32, ticks: U16
) -> tuple[int, int]:
    """Writes down the people whom the request gives, then all likers. Returns (edges written, edges visited)."""
    given, reader, now_us, seeds, less = q.people, q.reader, q.now_us, q.seeds, q.less
    times, listed, nobodys = q.seed_times, q.seed_listed, at.people
    count, visited = 0, 0
    for i in range(given.size):
        v = wide(given[i])
        if v < nobodys and v != reader and count < edges.size:
            edges[count] = v << PAYLOAD_BITS | i
            count += 1
    for i in range(seeds.size):
        if i % TOGETHER == 0 and visited < n.edges // 2:
            fetch_seeds(at, seeds, times, i, n.late_us, now_us)
        if weights[i] > 0.0 and visited < n.edges // 2:
            until_us = min(times[i] + n.late_us, now_us)
            payload = given.size + 2 * i
            ask = AskSeed(wide(seeds[i]), payload, True, listed[i] != 0, times[i], until_us, reader, now_us)
            count, found = ask_seed(at, n, edges, values, ticks, ask, count)
            visited += found
    for i in range(less.size):
        if weights[seeds.size + i] > 0.0 and visited < n.edges // 2:
            payload = given.size + 2 * (seeds.size + i)
            ask = AskSeed(wide(less[i]), payload, False, False, now_us, now_us, reader, now_us)
            count, found = ask_seed(at, n, edges, values, ticks, ask, count)
            visited += found
    return count, visited


@inline
def weigh_people(
    n: Numbers,
    edges: I64,
    count: int,
    seeds: int,
    seed_weights: F64,
    given_weights: F64,
    flags: U8,
    ratings: U32,
    people: U32,
    weights: F64,
    gifts: F64,
    best_seeds: I32,
    divisors: F64,
    lesses: F64,
) -> tuple[int, float, float]:
    """W of everybody: what they share with the reader, less what they share of the unwanted; and what the request gives
    them. A person counts once per seed. Returns (people, sum of W, sum of gifts)."""
    total, all_given, k, i, unwanted = 0.0, 0.0, 0, 0, seed_weights.size > seeds
    while i < count:
        person = edges[i] >> PAYLOAD_BITS
        liked, less, gift, best, of_best, last = 0.0, 0.0, -1.0, 0.0, -1, -1
        while i < count and edges[i] >> PAYLOAD_BITS == person:
            what = (edges[i] & PAYLOAD) - given_weights.size
            i += 1
            if what < 0:
                gift = given_weights[what + given_weights.size] if gift < 0.0 else gift
                continue
            seed = what >> 1
            if seed == last:
                continue
            last = seed
            weight = seed_weights[seed] * n.late_factor if what & 1 else seed_weights[seed]
            if seed >= seeds:
                less += weight
                continue
            liked += weight
            if weight > best:
                best, of_best = weight, seed
        if flags[person] & SILENT or ratings[person] > n.ratings_max:
            continue
        people[k], weights[k], gifts[k], best_seeds[k] = person, liked, max(gift, 0.0), of_best
        divisors[k], lesses[k] = ratings[person] + n.ratings_floor, less
        all_given += gifts[k]
        k += 1
    to_powers(weights, k, n.shared_power)
    to_powers(divisors, k, n.ratings_power)
    for j in range(k):
        weights[j] /= divisors[j] if divisors[j] > 0.0 else 1.0
        total += max(weights[j], 0.0)
    for j in range(k if unwanted else 0):
        if lesses[j] > 0.0:
            divisor = divisors[j] if divisors[j] > 0.0 else 1.0
            weights[j] -= n.less_weight * power(lesses[j], n.shared_power) / divisor
    return k, total, all_given


@inline
def give(weights: F64, gifts: F64, people: int, total: float, all_given: float, share: float) -> None:
    """The people whom the request gives have this share of all weight, together."""
    if all_given > 0.0:
        gift = share / (1.0 - share) * total if total > 0.0 else 1.0
        for k in range(people):
            weights[k] += gift * gifts[k] / all_given


@inline
def choose_people(
    n: Numbers,
    people: U32,
    weights: F64,
    sizes: F64,
    best_seeds: I32,
    count: int,
    chosen: I32,
    asked: U32,
    asked_weights: F64,
    asked_seeds: I32,
) -> int:
    """The K with the most weight either way; no one above their share. Returns how many were asked."""
    for k in range(count):
        sizes[k] = abs(weights[k])
    found = best_rows(people, sizes, count, n.colikers, chosen)
    total = 0.0
    for i in range(found):
        total += sizes[chosen[i]]
    cap = n.coliker_share * total
    for i in range(found):
        row = chosen[i]
        w = min(sizes[row], cap)
        asked[i], asked_seeds[i], asked_weights[i] = people[row], best_seeds[row], w if weights[row] > 0.0 else -w
    return found
