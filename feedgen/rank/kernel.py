"""The ranking itself, compiled: from what a reader liked to what they would like now.

Seeds lead to co-likers, co-likers to posts, and the best posts are scored in full (`params.py` has the formula,
`oracle.py` the same in slow, plain Python). A result is a function of the arrays, the formula and the request, to the
last bit: sums run in a fixed order (seeds newest first, likers newest first, co-likers by weight), and equal scores
are ordered by number. Nothing visits more edges than the formula's budget, nor keeps more than the scratch of its
thread.
"""

from __future__ import annotations

import math
import threading
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import NO_PERSON, US_PER_DAY
from feedgen.core.jit import inline, njit
from feedgen.graph.access import (
    I64,
    U32,
    Arrays,
    copy_likers,
    copy_likes,
    post_about,
    post_author,
    post_count,
    post_flags,
    post_language,
    post_row,
    post_tick,
)
from feedgen.graph.view import View
from feedgen.ingest.events import GONE, INACTIVE, SPAMMY
from feedgen.rank.params import MAX_LIKERS_READ, MAX_LIKES_READ, Formula
from feedgen.rank.parts import EMPTY, F64, I32, add_key, best_rows, decay, edge_us, last_row, power, wide
from feedgen.rank.request import (
    R_ABOUT,
    R_AGE,
    R_AUTHOR,
    R_AUTHOR_FACTOR,
    R_BEST,
    R_COUNT,
    R_FLAGS,
    R_LANGUAGE,
    R_PATHS,
    R_POPULARITY,
    R_POST,
    R_RAW,
    R_SCORE,
    R_SEED,
    R_TIME,
    R_VELOCITY,
    R_VIA,
    RESULT_FLOATS,
    RESULT_INTS,
    Ranked,
    Request,
)

SILENT: Final = INACTIVE | GONE | SPAMMY  # people whose ratings carry no weight
EXCLUDED: Final = -1.0  # in a candidate's count of paths: never to be listed
MAX_TABLE_BITS: Final = 22

# Columns of a person's row.
LIKED: Final = 0  # summed weight of the shared seeds
LESS: Final = 1  # summed weight of the shared posts that the reader wants less of
EXTRA: Final = 2  # weight that the request gives
BEST: Final = 3  # the largest weight that one seed brought
SEED: Final = 4  # 1 + which seed that was
LAST: Final = 5  # 1 + the seed that was counted last: a person counts once per seed
PERSON_COLUMNS: Final = 6

# Columns of a candidate's row.
RAW: Final = 0
PATHS: Final = 1
VIA: Final = 2  # 1 + the co-liker that was counted last: a person counts once per post
BEST_PATH: Final = 3  # the largest share that one co-liker brought
BEST_VIA: Final = 4  # 1 + which co-liker that was
CANDIDATE_COLUMNS: Final = 5


class Scratch(NamedTuple):
    """Working memory of one thread; `make_scratch` sizes it for a formula."""

    people_table: U32
    people: U32
    people_rows: F64
    weights: F64
    chosen: I32
    posts_table: U32
    posts: U32
    posts_rows: F64
    pre: F64
    values: U32
    ticks: NDArray[np.uint16]


def _bits(entries: int) -> int:
    return min(MAX_TABLE_BITS, max(8, math.ceil(math.log2(max(entries, 1) * 2))))


def scratch_bits(f: Formula) -> tuple[int, int]:
    """Table sizes that the formula can fill to half at most."""
    seeds = min((f.seeds + 200) * f.seed_likers, f.edges // 2 + f.seed_likers) + 4096
    likes = min(f.colikers * f.coliker_likes, f.edges + f.coliker_likes) + 16_384
    return _bits(seeds), _bits(likes)


def make_scratch(people_bits: int, posts_bits: int) -> Scratch:
    people, posts = 1 << (people_bits - 1), 1 << (posts_bits - 1)
    read = max(MAX_LIKERS_READ, MAX_LIKES_READ)
    return Scratch(
        people_table=np.empty(2 * people, np.uint32),
        people=np.empty(people, np.uint32),
        people_rows=np.empty((people, PERSON_COLUMNS)),
        weights=np.empty(people),
        chosen=np.empty(max(people, posts), np.int32),
        posts_table=np.empty(2 * posts, np.uint32),
        posts=np.empty(posts, np.uint32),
        posts_rows=np.empty((posts, CANDIDATE_COLUMNS)),
        pre=np.empty(posts),
        values=np.empty(read, np.uint32),
        ticks=np.empty(read, np.uint16),
    )


@inline
def speaks(a: Arrays, f: Formula, person: int) -> bool:
    """Whether the person's ratings carry weight."""
    return not a.person_flags[person] & SILENT and a.person_ratings[person] <= f.ratings_max


@inline
def seed_weight(a: Arrays, post: int, factor: float, power_a: float) -> float:
    """factor x likes^-a; 0 when the post's day is gone."""
    d = post_row(a, post)
    if d < 0:
        return 0.0
    return factor / power(np.float64(max(post_count(a, d, post), 1)), power_a)


@inline
def weigh_seeds(a: Arrays, f: Formula, q: Request, out: F64) -> None:
    """Recency curve x likes^-a, none above `seed_cap` times the mean."""
    n = q.seeds.size
    total = 0.0
    for i in range(n):
        along = i / (n - 1) if n > 1 else 0.0
        curve = f.seed_newest + (f.seed_oldest - f.seed_newest) * along
        out[i] = seed_weight(a, q.seeds[i], q.seed_factors[i] * curve, f.a)
        total += out[i]
    cap = f.seed_cap * total / max(n, 1)
    for i in range(n):
        out[i] = min(out[i], cap)


@inline
def ask_seed(a: Arrays, f: Formula, q: Request, s: Scratch, seed: int, weight: float, people: int) -> tuple[int, int]:
    """Give a seed's weight to its likers; one past `q.seeds` is of `q.less`. Returns (people known, edges visited)."""
    liked = seed < q.seeds.size
    post = wide(q.seeds[seed]) if liked else wide(q.less[seed - q.seeds.size])
    rated_us = q.seed_times[seed] if liked else q.now_us
    until_us = min(rated_us + f.late_us, q.now_us) if liked else q.now_us
    rated_day = rated_us // US_PER_DAY
    d, oldest = last_row(a, until_us), post_row(a, post)
    left, visited = f.seed_likers, 0
    while oldest >= 0 and d >= oldest and left > 0:
        day = a.day_numbers[d]
        # Only where the bound cuts through a day may there be newer ones to step over.
        cut = until_us < q.now_us and day == until_us // US_PER_DAY
        found = copy_likers(a, d, post, MAX_LIKERS_READ if cut else left, s.values, s.ticks)
        visited += found
        # On the day of the reader's own rating, people are late until the list, newest first, comes to the reader.
        listed = liked and q.seed_listed[seed] != 0 and day == rated_day
        passed = False
        for i in range(found):
            v = wide(s.values[i])
            at_us = edge_us(a, d, s.ticks[i])
            passed = passed or v == q.reader
            if at_us > until_us:
                continue
            left -= 1
            if v != q.reader and speaks(a, f, v):
                late = day > rated_day or (day == rated_day and (not passed if listed else at_us > rated_us))
                people = credit(f, s, seed, liked, v, weight * f.late_factor if late else weight, people)
            if left == 0:
                break
        d -= 1
    return people, visited


@inline
def credit(f: Formula, s: Scratch, seed: int, liked: bool, person: int, weight: float, people: int) -> int:
    """One person liked one seed. Returns how many people are known."""
    row = add_key(s.people_table, s.people, s.people_rows, people, person)
    if row < 0:
        return people
    rows = s.people_rows
    if rows[row, LAST] == seed + 1:
        return people
    rows[row, LAST] = seed + 1
    if liked:
        rows[row, LIKED] += weight
        if weight > rows[row, BEST]:
            rows[row, BEST] = weight
            rows[row, SEED] = seed + 1
    else:
        rows[row, LESS] += weight
    return max(people, row + 1)


@inline
def weigh_people(a: Arrays, f: Formula, q: Request, s: Scratch, people: int) -> None:
    """W of everybody: what they share with the reader, less what they share of the unwanted, plus what was given."""
    total, given = 0.0, 0.0
    for k in range(people):
        r = s.people_rows[k]
        ratings = power(a.person_ratings[s.people[k]] + f.floor, f.b)
        if ratings <= 0.0:
            ratings = 1.0
        w = power(r[LIKED], f.e) / ratings
        if w > 0.0:
            total += w
        if r[LESS] > 0.0:
            w -= f.less * power(r[LESS], f.e) / ratings
        s.weights[k] = w
        given += r[EXTRA]
    if given > 0.0:
        share = q.people_share / (1.0 - q.people_share) * total if total > 0.0 else 1.0
        for k in range(people):
            s.weights[k] += share * s.people_rows[k, EXTRA] / given


@inline
def choose_people(f: Formula, s: Scratch, people: int) -> int:
    """The K with the most weight either way, in `s.chosen`, their weight in `s.weights`; no one above their share."""
    for k in range(people):
        s.people_rows[k, EXTRA] = s.weights[k]  # with its sign; what the request gave has done its work
        s.weights[k] = abs(s.weights[k])
    n = best_rows(s.people, s.weights, people, f.colikers, s.chosen)
    total = 0.0
    for i in range(n):
        total += s.weights[s.chosen[i]]
    cap = f.share * total
    for i in range(n):
        row = s.chosen[i]
        w = min(s.weights[row], cap)
        s.weights[row] = w if s.people_rows[row, EXTRA] > 0.0 else -w
    return n


@inline
def passes(a: Arrays, q: Request, post: int) -> bool:
    d = post_row(a, post)
    if d < 0:
        return False
    flags = post_flags(a, d, post)
    return flags & q.require == q.require and flags & q.forbid == 0


@inline
def ask_person(a: Arrays, f: Formula, q: Request, s: Scratch, via: int, posts: int, left: int) -> tuple[int, int]:
    """Give a co-liker's weight to what they liked, newest first. Returns (posts known, edges visited)."""
    row = s.chosen[via]
    w, person = s.weights[row], wide(s.people[row])
    since_us = q.now_us - f.window_us
    d, visited = last_row(a, q.now_us), 0
    limit = min(f.coliker_likes, left)
    while d >= 0 and visited < limit and (a.day_numbers[d] + 1) * US_PER_DAY > since_us:
        found = copy_likes(a, d, person, limit - visited, s.values, s.ticks)
        visited += found
        for i in range(found):
            at_us = edge_us(a, d, s.ticks[i])
            if at_us < since_us:
                break
            posts = give(f, q, a, s, via, wide(s.values[i]), w, q.now_us - at_us, posts)
        d -= 1
    return posts, visited


@inline
def give(f: Formula, q: Request, a: Arrays, s: Scratch, via: int, post: int, w: float, age_us: int, posts: int) -> int:
    """One co-liker liked one post. Returns how many posts are known."""
    row = add_key(s.posts_table, s.posts, s.posts_rows, posts, post)
    if row < 0:
        return posts
    c = s.posts_rows
    if row == posts:
        posts += 1
        if q.early and not passes(a, q, post):
            c[row, PATHS] = EXCLUDED
    if c[row, PATHS] < 0.0 or c[row, VIA] == via + 1:
        return posts
    c[row, VIA] = via + 1
    share = w * decay(f.like_coarse, f.like_fine, age_us)
    c[row, RAW] += share
    if w > 0.0:
        c[row, PATHS] += 1.0
        if share > c[row, BEST_PATH]:
            c[row, BEST_PATH] = share
            c[row, BEST_VIA] = via + 1
    return posts


@inline
def velocity(a: Arrays, f: Formula, q: Request, s: Scratch, post: int, left: int) -> tuple[float, int]:
    """The decayed count of a post's newest ratings, and how many were visited."""
    total, visited = 0.0, 0
    limit = min(f.velocity_likers, left)
    d, oldest = last_row(a, q.now_us), post_row(a, post)
    while d >= oldest and visited < limit:
        found = copy_likers(a, d, post, limit - visited, s.values, s.ticks)
        visited += found
        for i in range(found):
            age_us = q.now_us - edge_us(a, d, s.ticks[i])
            if age_us >= 0:
                total += decay(f.velocity_coarse, f.velocity_fine, age_us)
        d -= 1
    return total, visited


@inline
def author_factor(q: Request, author: int) -> float:
    i = np.searchsorted(q.authors, np.uint32(author))
    return q.author_factors[i] if i < q.authors.size and q.authors[i] == author else 1.0


@inline
def score(
    a: Arrays, f: Formula, q: Request, s: Scratch, row: int, ints: I64, floats: F64, left: int
) -> tuple[bool, int]:
    """A finalist in full, written to its row of the result. Returns (whether it may be listed, edges visited)."""
    post = wide(s.posts[row])
    d = post_row(a, post)
    if d < 0 or not passes(a, q, post):
        return False, 0
    author = post_author(a, d, post)
    of_author = author_factor(q, author)
    if author == q.reader or author == NO_PERSON or of_author <= 0.0:
        return False, 0
    c = s.posts_rows[row]
    at_us, count = edge_us(a, d, post_tick(a, d, post)), post_count(a, d, post)
    of_age = decay(f.age_coarse, f.age_fine, q.now_us - at_us)
    of_popularity = 1.0 / power(np.float64(max(count, 1)), f.d)
    of_velocity, visited = 1.0, 0
    if f.g > 0.0 and left > 0:
        v, visited = velocity(a, f, q, s, post, left)
        of_velocity = power(v + 0.001, f.g)  # nothing new at all is little, not nothing
    total = c[RAW] * f.paths[wide(c[PATHS])] * of_age * of_popularity * of_velocity * of_author
    via = s.chosen[wide(c[BEST_VIA]) - 1]
    ints[R_POST], ints[R_AUTHOR], ints[R_FLAGS] = post, author, post_flags(a, d, post)
    ints[R_LANGUAGE], ints[R_ABOUT], ints[R_COUNT] = post_language(a, d, post), post_about(a, d, post), count
    ints[R_TIME], ints[R_PATHS] = at_us, wide(c[PATHS])
    ints[R_VIA], ints[R_SEED] = s.people[via], wide(s.people_rows[via, SEED]) - 1
    floats[R_SCORE], floats[R_RAW], floats[R_AGE], floats[R_POPULARITY] = total, c[RAW], of_age, of_popularity
    floats[R_VELOCITY], floats[R_AUTHOR_FACTOR], floats[R_BEST] = of_velocity, of_author, c[BEST_PATH]
    return total > 0.0, visited


@inline
def find_people(a: Arrays, f: Formula, q: Request, s: Scratch) -> tuple[int, int]:
    """From seeds to the chosen co-likers. Returns (how many, edges visited)."""
    s.people_table[:] = EMPTY
    people, visited = 0, 0
    for i in range(q.people.size):
        v = wide(q.people[i])
        if v < a.person_flags.size and v != q.reader and speaks(a, f, v):
            row = add_key(s.people_table, s.people, s.people_rows, people, v)
            if row == people:
                s.people_rows[row, EXTRA] = q.people_weights[i]
                people += 1
    weights = np.empty(q.seeds.size)
    weigh_seeds(a, f, q, weights)
    for i in range(q.seeds.size):
        if weights[i] > 0.0 and visited < f.edges // 2:
            people, n = ask_seed(a, f, q, s, i, weights[i], people)
            visited += n
    for i in range(q.less.size):
        w = seed_weight(a, q.less[i], q.less_factors[i], f.a)
        if w > 0.0 and visited < f.edges // 2:
            people, n = ask_seed(a, f, q, s, q.seeds.size + i, w, people)
            visited += n
    weigh_people(a, f, q, s, people)
    return choose_people(f, s, people), visited


@inline
def find_posts(a: Arrays, f: Formula, q: Request, s: Scratch, chosen: int, visited: int) -> tuple[int, int]:
    """From co-likers to what they liked. Returns (posts known, edges visited in all)."""
    s.posts_table[:] = EMPTY
    posts = 0
    for i in range(q.excluded.size):
        row = add_key(s.posts_table, s.posts, s.posts_rows, posts, wide(q.excluded[i]))
        if row == posts:
            s.posts_rows[row, PATHS] = EXCLUDED
            posts += 1
    for via in range(chosen):
        left = f.edges - f.edges // 8 - visited  # the last eighth is for velocities
        if left <= 0:
            break
        posts, n = ask_person(a, f, q, s, via, posts, left)
        visited += n
    return posts, visited


@inline
def score_finalists(
    a: Arrays, f: Formula, q: Request, s: Scratch, posts: int, visited: int, ints: I64, floats: F64
) -> tuple[int, int, int]:
    """Returns (rows of the result, finalists, edges visited in all)."""
    for k in range(posts):
        paths = s.posts_rows[k, PATHS]
        s.pre[k] = s.posts_rows[k, RAW] * f.paths[wide(paths)] if paths > 0.0 else 0.0
    # Finalists are named in a list of their own: `s.chosen` still says who the co-likers are.
    finalists = np.empty(posts, np.int32)
    n = best_rows(s.posts, s.pre, posts, min(f.finalists, ints.shape[0]), finalists)
    kept = 0
    for i in range(n):
        good, edges = score(a, f, q, s, finalists[i], ints[kept], floats[kept], f.edges - visited)
        visited += edges
        if good:
            kept += 1
    return kept, n, visited


@njit
def rank_posts(a: Arrays, f: Formula, q: Request, s: Scratch, ints: I64, floats: F64, order: I32, done: I64) -> int:
    """Fills `ints` and `floats` with a row for each post that may be listed, `order` with their rows, best first, and
    `done` with the work: edges, co-likers, posts, finalists. Returns the number of rows."""
    chosen, visited = find_people(a, f, q, s)
    posts, visited = find_posts(a, f, q, s, chosen, visited)
    kept, finalists, visited = score_finalists(a, f, q, s, posts, visited, ints, floats)
    keys, scores = np.empty(kept, np.uint32), np.empty(kept)
    for i in range(kept):
        keys[i], scores[i] = ints[i, R_POST], floats[i, R_SCORE]
    best_rows(keys, scores, kept, kept, order)
    done[0], done[1], done[2], done[3] = visited, chosen, posts, finalists
    return kept


_local = threading.local()


def scratch_for(f: Formula) -> Scratch:
    """This thread's working memory, made anew when a formula needs more. Pages that are never touched cost nothing."""
    bits = scratch_bits(f)
    held: tuple[tuple[int, int], Scratch] | None = getattr(_local, "held", None)
    if held is None or held[0][0] < bits[0] or held[0][1] < bits[1]:
        held = bits, make_scratch(*bits)
        _local.held = held
    return held[1]


def rank(view: View, f: Formula, q: Request) -> Ranked:
    """Rank for one request. Safe in any thread; the GIL is free meanwhile."""
    s = scratch_for(f)
    ints, floats = np.empty((f.finalists, RESULT_INTS), np.int64), np.empty((f.finalists, RESULT_FLOATS))
    order, done = np.empty(f.finalists, np.int32), np.zeros(4, np.int64)
    n = rank_posts(view.arrays, f, q, s, ints, floats, order, done)
    best = order[:n]
    return Ranked(ints[best], floats[best], *done.tolist())
