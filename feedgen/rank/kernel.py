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
    U8,
    U16,
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
from feedgen.rank.params import DECAY_SHIFT, DECAY_SLOTS, MAX_LIKERS_READ, MAX_LIKES_READ, Decay, Formula, Numbers
from feedgen.rank.parts import (
    EMPTY,
    F64,
    I32,
    Table,
    add_key,
    best_rows,
    decay,
    edge_us,
    find_slot,
    last_row,
    power,
    tick_span_us,
    wide,
)
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
MAX_SCRATCHES: Final = 3  # of a thread: in full, cheap, and one more
MAX_OPINIONS: Final = 200  # unwanted posts in a request
MAX_GIVEN: Final = 4096  # people in a request
MAX_EXCLUDED: Final = 8192  # posts in a request

# Columns of a person's row.
LIKED: Final = 0  # summed weight of the shared seeds
LESS: Final = 1  # summed weight of the shared posts that the reader wants less of
EXTRA: Final = 2  # weight that the request gives
BEST: Final = 3  # the largest weight that one seed brought
SEED: Final = 4  # 1 + which seed that was
LAST: Final = 5  # 1 + the seed that was counted last: a person counts once per seed
PERSON_COLUMNS: Final = 6

# Columns of a candidate's row.
RAW: Final = 0  # of the head, the co-likers with the most weight
REST: Final = 1  # of all others
PATHS: Final = 2  # how many led here
REST_PATHS: Final = 3  # and how many of them are not of the head
VIA: Final = 4  # 1 + the co-liker that was counted last: a person counts once per post
BEST_PATH: Final = 5  # the largest share that one co-liker brought
BEST_VIA: Final = 6  # 1 + which co-liker that was
CANDIDATE_COLUMNS: Final = 7


class Scratch(NamedTuple):
    """Working memory of one thread; `make_scratch` sizes it for a formula."""

    people: Table
    weights: F64  # of people
    chosen: I32  # rows of people
    posts: Table
    pre: F64  # of posts
    values: U32
    ticks: NDArray[np.uint16]


def _bits(entries: int) -> int:
    return min(MAX_TABLE_BITS, max(8, math.ceil(math.log2(max(entries, 1) * 2))))


def scratch_bits(n: Numbers) -> tuple[int, int]:
    """Table sizes that the formula can fill to half at most."""
    people = min((n.seeds + MAX_OPINIONS) * n.seed_likers, n.edges // 2 + n.seed_likers) + MAX_GIVEN
    posts = min(n.colikers * n.coliker_likes, n.edges) + MAX_EXCLUDED
    return _bits(people), _bits(posts)


def make_table(bits: int, columns: int) -> Table:
    rows = 1 << (bits - 1)
    return Table(np.empty(2 * rows, np.uint32), np.empty(rows, np.uint32), np.empty((rows, columns)))


def make_scratch(people_bits: int, posts_bits: int) -> Scratch:
    people, posts = make_table(people_bits, PERSON_COLUMNS), make_table(posts_bits, CANDIDATE_COLUMNS)
    read = max(MAX_LIKERS_READ, MAX_LIKES_READ)
    return Scratch(
        people=people,
        weights=np.empty(people.keys.size),
        chosen=np.empty(people.keys.size, np.int32),
        posts=posts,
        pre=np.empty(posts.keys.size),
        values=np.empty(read, np.uint32),
        ticks=np.empty(read, np.uint16),
    )


# Compiled code passes plain numbers around for nothing, but every array in a tuple costs a visit to its owner's count
# of
# references. So what runs for each edge, person and finalist is given only the arrays it uses, and its numbers in one
# of
# these.


class AskSeed(NamedTuple):
    seed: int
    post: int
    weight: float
    liked: bool  # or unwanted
    listed: bool
    rated_us: int
    until_us: int
    reader: int
    now_us: int


class AskPerson(NamedTuple):
    person: int
    weight: float
    via: int
    limit: int
    now_us: int
    require: int
    forbid: int
    early: bool


@inline
def seed_weight(a: Arrays, post: int, factor: float, power_a: float) -> float:
    """factor x likes^-a; 0 when the post's day is gone."""
    d = post_row(a, post)
    if d < 0:
        return 0.0
    return factor / power(np.float64(max(post_count(a, d, post), 1)), power_a)


@inline
def weigh_seeds(a: Arrays, n: Numbers, seeds: U32, factors: F64, out: F64) -> None:
    """Recency curve x likes^-a, none above `seed_cap` times the mean."""
    total = 0.0
    for i in range(seeds.size):
        along = i / (seeds.size - 1) if seeds.size > 1 else 0.0
        curve = n.seed_newest + (n.seed_oldest - n.seed_newest) * along
        out[i] = seed_weight(a, seeds[i], factors[i] * curve, n.a)
        total += out[i]
    cap = n.seed_cap * total / max(seeds.size, 1)
    for i in range(seeds.size):
        out[i] = min(out[i], cap)


@inline
def ask_seed(a: Arrays, n: Numbers, t: Table, values: U32, ticks: U16, ask: AskSeed, people: int) -> tuple[int, int]:
    """Give a seed's weight to its likers. Returns (people known, edges visited)."""
    slots, keys, rows = t.slots, t.keys, t.rows
    rated_day, until_day = ask.rated_us // US_PER_DAY, ask.until_us // US_PER_DAY
    d, oldest = last_row(a, ask.until_us), post_row(a, ask.post)
    left, visited, mark = n.seed_likers, 0, np.float64(ask.seed + 1)
    while oldest >= 0 and d >= oldest and left > 0:
        day = a.day_numbers[d]
        # Only where the bound cuts through a day may there be newer ones to step over.
        cut = ask.until_us < ask.now_us and day == until_day
        found = copy_likers(a, d, ask.post, MAX_LIKERS_READ if cut else left, values, ticks)
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
            if v == ask.reader:
                continue
            slot = find_slot(slots, keys, v)
            row = wide(slots[slot])
            if row == EMPTY:
                if people == keys.size:
                    continue
                row = people
                slots[slot], keys[row] = row, v
                rows[row, :] = 0.0
                people += 1
            if rows[row, LAST] != mark:
                rows[row, LAST] = mark
                late = not passed if by_order else at_us > ask.rated_us
                weight = ask.weight * n.late_factor if late and ask.liked else ask.weight
                rows[row, LIKED if ask.liked else LESS] += weight
                if ask.liked and weight > rows[row, BEST]:
                    rows[row, BEST], rows[row, SEED] = weight, mark
        d -= 1
    return people, visited


@inline
def weigh_people(n: Numbers, t: Table, flags: U8, ratings: U32, share: float, people: int, weights: F64) -> None:
    """W of everybody: what they share with the reader, less what they share of the unwanted, plus what was given."""
    total, given = 0.0, 0.0
    for k in range(people):
        person = t.keys[k]
        if flags[person] & SILENT or ratings[person] > n.ratings_max:
            weights[k] = t.rows[k, EXTRA] = 0.0
            continue
        divisor = power(ratings[person] + n.floor, n.b)
        if divisor <= 0.0:
            divisor = 1.0
        w = power(t.rows[k, LIKED], n.e) / divisor
        total += max(w, 0.0)
        if t.rows[k, LESS] > 0.0:
            w -= n.less * power(t.rows[k, LESS], n.e) / divisor
        weights[k] = w
        given += t.rows[k, EXTRA]
    if given > 0.0:
        gift = share / (1.0 - share) * total if total > 0.0 else 1.0
        for k in range(people):
            weights[k] += gift * t.rows[k, EXTRA] / given


@inline
def choose_people(n: Numbers, t: Table, people: int, weights: F64, chosen: I32) -> int:
    """The K with the most weight either way, in `chosen`, their weight in `weights`; no one above their share."""
    for k in range(people):
        t.rows[k, EXTRA] = weights[k]  # with its sign; what the request gave has done its work
        weights[k] = abs(weights[k])
    count = best_rows(t.keys, weights, people, n.colikers, chosen)
    total = 0.0
    for i in range(count):
        total += weights[chosen[i]]
    cap = n.share * total
    for i in range(count):
        row = chosen[i]
        w = min(weights[row], cap)
        weights[row] = w if t.rows[row, EXTRA] > 0.0 else -w
    return count


@inline
def passes(a: Arrays, post: int, require: int, forbid: int) -> bool:
    d = post_row(a, post)
    if d < 0:
        return False
    flags = post_flags(a, d, post)
    return flags & require == require and flags & forbid == 0


@inline
def ask_person(
    a: Arrays, n: Numbers, like: Decay, t: Table, values: U32, ticks: U16, ask: AskPerson, posts: int
) -> tuple[int, int]:
    """Give a co-liker's weight to what they liked, newest first. Returns (posts known, edges visited)."""
    slots, keys, rows, coarse, fine = t.slots, t.keys, t.rows, like.coarse, like.fine
    since_us, mark = ask.now_us - n.window_us, np.float64(ask.via + 1)
    side, of_rest = (RAW, 0.0) if ask.via < n.head else (REST, 1.0)
    d, visited = last_row(a, ask.now_us), 0
    while d >= 0 and visited < ask.limit and (a.day_numbers[d] + 1) * US_PER_DAY > since_us:
        found = copy_likes(a, d, ask.person, ask.limit - visited, values, ticks)
        visited += found
        day_us = a.day_numbers[d] * US_PER_DAY
        for i in range(found):
            at_us = day_us + tick_span_us(ticks[i])
            if at_us < since_us:
                break
            post = wide(values[i])
            slot = find_slot(slots, keys, post)
            row = wide(slots[slot])
            if row == EMPTY:
                if posts == keys.size:
                    continue
                row = posts
                slots[slot], keys[row] = row, post
                rows[row, :] = 0.0
                posts += 1
                if ask.early and not passes(a, post, ask.require, ask.forbid):
                    rows[row, PATHS] = EXCLUDED
            if rows[row, PATHS] < 0.0 or rows[row, VIA] == mark:
                continue
            age = max(ask.now_us - at_us, 0) >> DECAY_SHIFT
            part = ask.weight * (coarse[min(age >> 8, DECAY_SLOTS - 1)] * fine[age & 255])
            rows[row, VIA] = mark
            rows[row, side] += part
            if ask.weight > 0.0:
                rows[row, PATHS] += 1.0
                rows[row, REST_PATHS] += of_rest
                if part > rows[row, BEST_PATH]:
                    rows[row, BEST_PATH], rows[row, BEST_VIA] = part, mark
        d -= 1
    return posts, visited


@inline
def velocity(
    a: Arrays, t: Decay, d: int, oldest: int, post: int, now_us: int, limit: int, values: U32, ticks: U16
) -> tuple[float, int]:
    """The decayed count of a post's newest ratings, and how many were visited."""
    coarse, fine = t.coarse, t.fine
    total, visited = 0.0, 0
    while d >= oldest and visited < limit:
        found = copy_likers(a, d, post, limit - visited, values, ticks)
        visited += found
        day_us = a.day_numbers[d] * US_PER_DAY
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
def find_people(a: Arrays, f: Formula, q: Request, s: Scratch) -> tuple[int, int]:
    """From seeds to the chosen co-likers. Returns (how many, edges visited)."""
    n, t, values, ticks = f.n, s.people, s.values, s.ticks
    reader, now_us, seeds, less = q.reader, q.now_us, q.seeds, q.less
    t.slots[:] = EMPTY
    people, visited = 0, 0
    for i in range(q.people.size):
        v = wide(q.people[i])
        if v < a.person_flags.size and v != reader:
            row = add_key(t, people, v)
            if row == people:
                t.rows[row, EXTRA] = q.people_weights[i]
                people += 1
    weights = np.empty(seeds.size)
    weigh_seeds(a, n, seeds, q.seed_factors, weights)
    times, listed = q.seed_times, q.seed_listed
    for i in range(seeds.size):
        if weights[i] > 0.0 and visited < n.edges // 2:
            until_us = min(times[i] + n.late_us, now_us)
            ask = AskSeed(i, wide(seeds[i]), weights[i], True, listed[i] != 0, times[i], until_us, reader, now_us)
            people, edges = ask_seed(a, n, t, values, ticks, ask, people)
            visited += edges
    for i in range(less.size):
        w = seed_weight(a, less[i], q.less_factors[i], n.a)
        if w > 0.0 and visited < n.edges // 2:
            ask = AskSeed(seeds.size + i, wide(less[i]), w, False, False, now_us, now_us, reader, now_us)
            people, edges = ask_seed(a, n, t, values, ticks, ask, people)
            visited += edges
    weigh_people(n, t, a.person_flags, a.person_ratings, q.people_share, people, s.weights)
    return choose_people(n, t, people, s.weights, s.chosen), visited


@inline
def find_posts(a: Arrays, f: Formula, q: Request, s: Scratch, chosen: int, visited: int) -> tuple[int, int]:
    """From co-likers to what they liked. Returns (posts known, edges visited in all)."""
    n, like, t, values, ticks = f.n, f.like, s.posts, s.values, s.ticks
    rows, weights, people = s.chosen, s.weights, s.people.keys
    now_us, require, forbid, early = q.now_us, q.require, q.forbid, q.early
    t.slots[:] = EMPTY
    posts = 0
    for i in range(q.excluded.size):
        row = add_key(t, posts, wide(q.excluded[i]))
        if row == posts:
            t.rows[row, PATHS] = EXCLUDED
            posts += 1
    for via in range(chosen):
        left = n.edges - n.edges // 8 - visited  # the last eighth is for velocities
        if left <= 0:
            break
        row = rows[via]
        ask = AskPerson(
            wide(people[row]), weights[row], via, min(n.coliker_likes, left), now_us, require, forbid, early
        )
        posts, edges = ask_person(a, n, like, t, values, ticks, ask, posts)
        visited += edges
    return posts, visited


@inline
def head_weight(n: Numbers, s: Scratch, chosen: int) -> float:
    """The mean weight of the head: the measure of what all others may add to a post that the head knows nothing of."""
    total, count = 0.0, min(chosen, n.head)
    for i in range(count):
        total += max(s.weights[s.chosen[i]], 0.0)
    return total / max(count, 1)


@inline
def bounded(n: Numbers, row: F64, of_head: float) -> tuple[float, int]:
    """raw and n of a post. However many agree a little with the reader, together they add less than `most`."""
    raw, rest, paths = row[RAW], row[REST], wide(row[PATHS])
    if rest <= 0.0:
        return raw + rest, paths
    most = n.tail * max(raw, 0.0) + n.tail_base * of_head
    counted = most / (rest + most)
    of_rest = wide(row[REST_PATHS])
    return raw + rest * counted, max(paths - of_rest + wide(of_rest * counted), 1)


@inline
def choose_posts(f: Formula, s: Scratch, posts: int, limit: int, finalists: I32, of_head: float) -> int:
    """The posts with the best raw x n^c. Returns how many."""
    t, pre, powers = s.posts, s.pre, f.paths
    for k in range(posts):
        if t.rows[k, PATHS] > 0.0:
            raw, paths = bounded(f.n, t.rows[k], of_head)
            pre[k] = raw * powers[paths]
        else:
            pre[k] = 0.0
    return best_rows(t.keys, pre, posts, limit, finalists)


@inline
def describe(a: Arrays, d: int, post: int, row: I64) -> None:
    """What the arrays know of a post, into a row of the result."""
    row[R_POST], row[R_AUTHOR], row[R_FLAGS] = post, post_author(a, d, post), post_flags(a, d, post)
    row[R_LANGUAGE], row[R_ABOUT] = post_language(a, d, post), post_about(a, d, post)
    row[R_COUNT], row[R_TIME] = post_count(a, d, post), edge_us(a, d, post_tick(a, d, post))


@inline
def score_finalists(
    a: Arrays, f: Formula, q: Request, s: Scratch, finalists: I32, visited: int, ints: I64, floats: F64, of_head: float
) -> tuple[int, int]:
    """Scores in full those that may be listed, in the order of `finalists`. Returns (rows written, edges visited)."""
    n, powers, of_age_table, of_velocity_table, t = f.n, f.paths, f.age, f.velocity, s.posts
    values, ticks, now_us, newest = s.values, s.ticks, q.now_us, last_row(a, q.now_us)
    oldest = last_row(a, q.now_us - n.velocity_span_us - US_PER_DAY) + 1
    reader, require, forbid, authors, factors = q.reader, q.require, q.forbid, q.authors, q.author_factors
    kept = 0
    for k in range(finalists.size):
        row, post = finalists[k], wide(t.keys[finalists[k]])
        d = post_row(a, post)
        if d < 0:
            continue
        flags, author = post_flags(a, d, post), post_author(a, d, post)
        if flags & require != require or flags & forbid != 0:
            continue
        of_author = author_factor(authors, factors, author)
        if author in (reader, NO_PERSON) or of_author <= 0.0:
            continue
        result, terms = ints[kept], floats[kept]
        describe(a, d, post, result)
        of_velocity = 1.0
        if n.g > 0.0 and n.edges > visited:
            limit = min(n.velocity_likers, n.edges - visited)
            v, edges = velocity(a, of_velocity_table, newest, max(d, oldest), post, now_us, limit, values, ticks)
            visited += edges
            of_velocity = power(v + 0.001, n.g)  # nothing new at all is little, not nothing
        raw, paths = bounded(n, t.rows[row], of_head)
        of_age = decay(of_age_table, now_us - result[R_TIME])
        of_popularity = 1.0 / power(np.float64(max(result[R_COUNT], 1)), n.d)
        terms[R_SCORE] = raw * powers[paths] * of_age * of_popularity * of_velocity * of_author
        terms[R_RAW], terms[R_AGE], terms[R_POPULARITY], terms[R_VELOCITY] = raw, of_age, of_popularity, of_velocity
        terms[R_AUTHOR_FACTOR], terms[R_BEST] = of_author, t.rows[row, BEST_PATH]
        result[R_PATHS], result[R_VIA] = paths, wide(t.rows[row, BEST_VIA]) - 1
        kept += terms[R_SCORE] > 0.0
    return kept, visited


@inline
def name_paths(s: Scratch, ints: I64, rows: int) -> None:
    """The best co-liker of each post by number, and which seed led there."""
    for i in range(rows):
        person = s.chosen[ints[i, R_VIA]]
        ints[i, R_VIA], ints[i, R_SEED] = s.people.keys[person], wide(s.people.rows[person, SEED]) - 1


@njit
def rank_posts(a: Arrays, f: Formula, q: Request, s: Scratch, ints: I64, floats: F64, order: I32, done: I64) -> int:
    """Fills `ints` and `floats` with a row for each post that may be listed, `order` with their rows, best first, and
    `done` with the work: edges, co-likers, posts, finalists. Returns the number of rows.
    """
    chosen, visited = find_people(a, f, q, s)
    of_head = head_weight(f.n, s, chosen)
    posts, visited = find_posts(a, f, q, s, chosen, visited)
    finalists = np.empty(posts, np.int32)
    finals = choose_posts(f, s, posts, min(f.n.finalists, ints.shape[0]), finalists, of_head)
    kept, visited = score_finalists(a, f, q, s, finalists[:finals], visited, ints, floats, of_head)
    name_paths(s, ints, kept)
    keys, scores = np.empty(kept, np.uint32), np.empty(kept)
    for i in range(kept):
        keys[i], scores[i] = ints[i, R_POST], floats[i, R_SCORE]
    best_rows(keys, scores, kept, kept, order)
    done[0], done[1], done[2], done[3] = visited, chosen, posts, finals
    return kept


_local = threading.local()


def scratch_for(f: Formula) -> Scratch:
    """This thread's working memory for a formula. Pages that are never touched cost nothing."""
    held: dict[tuple[int, int], Scratch] = _local.__dict__.setdefault("held", {})
    bits = scratch_bits(f.n)
    if bits not in held:
        if len(held) >= MAX_SCRATCHES:
            held.clear()
        held[bits] = make_scratch(*bits)
    return held[bits]


def rank(view: View, f: Formula, q: Request) -> Ranked:
    """Rank for one request. Safe in any thread; the GIL is free meanwhile."""
    s = scratch_for(f)
    size = f.n.finalists
    ints, floats = np.empty((size, RESULT_INTS), np.int64), np.empty((size, RESULT_FLOATS))
    order, done = np.empty(size, np.int32), np.zeros(4, np.int64)
    n = rank_posts(view.arrays, f, q, s, ints, floats, order, done)
    best = order[:n]
    return Ranked(ints[best], floats[best], *done.tolist())
