"""The best posts so far, scored in full: age, popularity, velocity, the reader's opinion of the author. Compiled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from feedgen.core.ids import NO_PERSON, US_PER_DAY
from feedgen.core.jit import inline
from feedgen.core.parameters import Numbers
from feedgen.graph.access import (
    I64,
    U16,
    U32,
    Places,
    copy_likers,
    day_number,
    post_about,
    post_author,
    post_count,
    post_flags,
    post_language,
    post_row,
    post_tick,
)
from feedgen.graph.fetch import STAGES, TOGETHER, fetch_likers, fetch_post
from feedgen.rank.numeric import F64, I32, decay, edge_us, last_row, power, tick_span_us, wide
from feedgen.rank.params import DECAY_SHIFT, DECAY_SLOTS, Decay, Formula
from feedgen.rank.request import (
    R_ABOUT,
    R_AGE,
    R_AUTHOR,
    R_AUTHOR_FACTOR,
    R_BEST,
    R_COUNT,
    R_FLAGS,
    R_LANGUAGE,
    R_LEARNED,
    R_PATHS,
    R_POPULARITY,
    R_POST,
    R_RAW,
    R_SCORE,
    R_TIME,
    R_VELOCITY,
    R_VIA,
    Request,
)


class Days(NamedTuple):
    """Rows of the days whose ratings make a velocity."""

    newest: int
    oldest: int


@inline
def velocity(
    at: Places, t: Decay, d: int, oldest: int, post: int, now_us: int, limit: int, values: U32, ticks: U16
) -> tuple[float, int]:
    """The decayed count of a post's newest ratings, and how many were visited."""
    coarse, fine = t.coarse, t.fine
    total, visited = 0.0, 0
    while d >= oldest and visited < limit:
        found = copy_likers(at, d, post, limit - visited, values, ticks)
        visited += found
        day_us = day_number(at, d) * US_PER_DAY
        for i in range(found):
            age = (now_us - day_us - tick_span_us(ticks[i])) >> DECAY_SHIFT
            if age >= 0:
                total += coarse[min(age >> 8, DECAY_SLOTS - 1)] * fine[age & 255]
        d -= 1
    return total, visited


@inline
def author_factor(authors: U32, factors: F64, author: int) -> float:
    if authors.size == 0:
        return 1.0
    i = np.searchsorted(authors, np.uint32(author))
    return factors[i] if i < authors.size and authors[i] == author else 1.0


@inline
def describe(at: Places, d: int, post: int, row: I64) -> None:
    """What the arrays know of a post, into a row of the result."""
    row[R_POST], row[R_AUTHOR], row[R_FLAGS] = post, post_author(at, d, post), post_flags(at, d, post)
    row[R_LANGUAGE], row[R_ABOUT] = post_language(at, d, post), post_about(at, d, post)
    row[R_COUNT], row[R_TIME] = post_count(at, d, post), edge_us(at, d, post_tick(at, d, post))


@inline
def fetch_finalists(at: Places, posts: U32, finalists: I32, start: int, days: Days) -> None:
    """Asks for the memory of some finalists and of their newest likers."""
    end = min(start + TOGETHER, finalists.size)
    for k in range(start, end):
        fetch_post(at, posts[finalists[k]])
    for stage in range(STAGES):
        for k in range(start, end):
            post = posts[finalists[k]]
            d, oldest = days.newest, max(post_row(at, post), days.oldest)
            while d >= oldest:
                fetch_likers(at, d, post, stage)
                d -= 1


@inline
def score_finalists(
    at: Places,
    f: Formula,
    q: Request,
    posts: U32,
    raws: F64,
    paths: I32,
    bests: F64,
    best_vias: I32,
    values: U32,
    ticks: U16,
    finalists: I32,
    visited: int,
    ints: I64,
    floats: F64,
) -> tuple[int, int]:
    """Scores those that may be listed, in the order of `finalists`. Returns (rows written, edges visited)."""
    n: Numbers = f.n
    powers, of_age_table, of_velocity_table, now_us = f.paths, f.age, f.velocity, q.now_us
    days = Days(last_row(at, now_us), last_row(at, now_us - n.velocity_span_us - US_PER_DAY) + 1)
    reader, require, forbid, authors, factors = q.reader, q.require, q.forbid, q.authors, q.author_factors
    kept = 0
    for k in range(finalists.size):
        if k % TOGETHER == 0:
            fetch_finalists(at, posts, finalists, k, days)
        row, post = finalists[k], wide(posts[finalists[k]])
        d = post_row(at, post)
        if d < 0:
            continue
        flags, author = post_flags(at, d, post), post_author(at, d, post)
        if flags & require != require or flags & forbid != 0:
            continue
        of_author = author_factor(authors, factors, author)
        if author in (reader, NO_PERSON) or of_author <= 0.0:
            continue
        result, terms = ints[kept], floats[kept]
        describe(at, d, post, result)
        of_velocity = 1.0
        if n.velocity_power > 0.0 and n.edges > visited:
            limit = min(n.velocity_likers, n.edges - visited)
            first = max(d, days.oldest)
            v, found = velocity(at, of_velocity_table, days.newest, first, post, now_us, limit, values, ticks)
            visited += found
            of_velocity = power(v + 0.001, n.velocity_power)  # nothing new at all is little, not nothing
        raw, of_age = raws[row], decay(of_age_table, now_us - result[R_TIME])
        of_popularity = 1.0 / power(np.float64(max(result[R_COUNT], 1)), n.popularity_power)
        terms[R_SCORE] = raw * powers[paths[row]] * of_age * of_popularity * of_velocity * of_author
        terms[R_RAW], terms[R_AGE], terms[R_POPULARITY], terms[R_VELOCITY] = raw, of_age, of_popularity, of_velocity
        terms[R_AUTHOR_FACTOR], terms[R_BEST], terms[R_LEARNED] = of_author, bests[row], 1.0
        result[R_PATHS], result[R_VIA] = paths[row], best_vias[row]
        kept += terms[R_SCORE] > 0.0
    return kept, visited
