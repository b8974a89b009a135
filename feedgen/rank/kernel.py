"""The ranking itself, compiled: from what a reader liked to what they would like now.

Seeds lead to co-likers (`colikers.py`), co-likers to posts (`candidates.py`), and the best posts are scored in full
(`finalists.py`). `params.py` has the formula, `tests/rank/oracle.py` the same in slow, plain Python. A result is a
function of the arrays, the formula and the request, to the last bit: sums run in a fixed order (seeds newest first,
co-likers by weight, people by number), and equal scores are ordered by number. Nothing visits more edges than the
formula's budget, nor keeps more than the scratch of its thread.
"""

from __future__ import annotations

import math
import threading
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedgen.core.jit import inline, njit
from feedgen.core.parameters import MAX_COLIKERS, MAX_LIKERS_READ, MAX_LIKES_READ, Numbers
from feedgen.graph.access import I64, U32, Arrays, Places, places_of
from feedgen.graph.view import View
from feedgen.rank.candidates import Rule, add_up, find_likes, head_weight
from feedgen.rank.colikers import choose_people, find_likers, give, weigh_all, weigh_people
from feedgen.rank.edges import sort_edges
from feedgen.rank.finalists import score_finalists
from feedgen.rank.numeric import F64, I32, best_rows, wide
from feedgen.rank.params import Formula
from feedgen.rank.request import R_POST, R_SCORE, R_SEED, R_VIA, RESULT_FLOATS, RESULT_INTS, Ranked, Request
from feedgen.rank.sets import set_of

MAX_SCRATCHES: Final = 3  # of a thread: in full, cheap, and one more
MAX_OPINIONS: Final = 200  # unwanted posts in a request
MAX_GIVEN: Final = 4096  # people in a request
MAX_EXCLUDED: Final = 8192  # posts in a request
MAX_ROOM: Final = 1 << 21  # edges in one step, 68 bytes each; what is found beyond is left out


class Scratch(NamedTuple):
    """Working memory of one thread; `make_scratch` sizes it for a formula."""

    edges: I64  # see edges.py
    sorting: I64  # room for as many
    parts: F64  # of edges to posts: what each adds,
    vias: I32  # and whose it is
    keys: U32  # people, and then posts, that edges lead to
    weights: F64  # of people: W; of posts: raw
    sizes: F64  # of people: W without its sign; of posts: raw x n^c
    bests: F64  # of people: what the request gives; of posts: the largest part
    whose: I32  # of people: the seed that brought most; of posts: the co-liker who did
    paths: I32  # of posts: how many led here
    chosen: I32  # rows of the best people, and then of the best posts
    asked: U32  # the co-likers, those with the most weight first,
    asked_weights: F64  # their weight,
    asked_seeds: I32  # and the seed that brought most of it; -1: none
    values: U32
    ticks: NDArray[np.uint16]


def room(n: Numbers) -> int:
    """For all edges that a formula can lead to in one step, up to a bound; a power of two, so that formulas share
    scratches."""
    likers = min((n.seeds + MAX_OPINIONS) * n.seed_likers, n.edges // 2 + n.seed_likers) + MAX_GIVEN
    likes = min(n.colikers * n.coliker_likes, n.edges) + MAX_EXCLUDED
    return min(MAX_ROOM, 1 << math.ceil(math.log2(max(likers, likes))))


def make_scratch(size: int) -> Scratch:
    """Pages that are never touched cost nothing."""
    read = max(MAX_LIKERS_READ, MAX_LIKES_READ)
    return Scratch(
        edges=np.empty(size, np.int64),
        sorting=np.empty(size, np.int64),
        parts=np.empty(size),
        vias=np.empty(size, np.int32),
        keys=np.empty(size, np.uint32),
        weights=np.empty(size),
        sizes=np.empty(size),
        bests=np.empty(size),
        whose=np.empty(size, np.int32),
        paths=np.empty(size, np.int32),
        chosen=np.empty(size, np.int32),
        asked=np.empty(MAX_COLIKERS, np.uint32),
        asked_weights=np.empty(MAX_COLIKERS),
        asked_seeds=np.empty(MAX_COLIKERS, np.int32),
        values=np.empty(read, np.uint32),
        ticks=np.empty(read, np.uint16),
    )


@inline
def find_people(at: Places, a: Arrays, n: Numbers, q: Request, s: Scratch) -> tuple[int, int]:
    """From seeds to the co-likers who are asked. Returns (how many, edges visited)."""
    seed_weights, given = weigh_all(at, n, q), q.people_weights
    count, visited = find_likers(at, n, q, seed_weights, s.edges, s.values, s.ticks)
    sort_edges(s.edges, s.sorting, count)
    people, total, gifts = weigh_people(
        n, s.edges, count, q.seeds.size, seed_weights, given, a.person_flags, a.person_ratings,
        s.keys, s.weights, s.bests, s.whose, s.sizes, s.parts,
    )  # fmt: skip
    give(s.weights, s.bests, people, total, gifts, q.people_share)
    asked = choose_people(
        n, s.keys, s.weights, s.sizes, s.whose, people, s.chosen, s.asked, s.asked_weights, s.asked_seeds
    )
    return asked, visited


@inline
def find_posts(at: Places, f: Formula, q: Request, s: Scratch, asked: int, visited: int) -> tuple[int, int, int]:
    """From co-likers to what they like. Returns (posts, edges visited in all, edges written)."""
    n, weights = f.n, s.asked_weights
    count, visited = find_likes(
        at, n, f.like, q.now_us, q.excluded, s.asked, weights, asked,
        s.edges, s.parts, s.vias, s.values, s.ticks, visited,
    )  # fmt: skip
    sort_edges(s.edges, s.sorting, count)
    rule, of_head = Rule(q.early, q.require, q.forbid, set_of(q.only)), head_weight(n, weights, asked)
    posts = add_up(
        at, n, rule, f.paths, s.edges, count, s.parts, s.vias, weights, of_head,
        s.keys, s.weights, s.paths, s.bests, s.whose, s.sizes,
    )  # fmt: skip
    return posts, visited, count


@inline
def name_paths(s: Scratch, ints: I64, rows: int) -> None:
    """The best co-liker of each post by number, and which seed led there."""
    asked, seeds = s.asked, s.asked_seeds
    for i in range(rows):
        via = ints[i, R_VIA]
        ints[i, R_VIA], ints[i, R_SEED] = asked[via], wide(seeds[via])


@njit
def rank_posts(a: Arrays, f: Formula, q: Request, s: Scratch, ints: I64, floats: F64, order: I32, done: I64) -> int:
    """Fills `ints` and `floats` with a row for each post that may be listed, `order` with their rows, best first, and
    `done` with the work: edges, co-likers, posts, finalists, edges in the scratch. Returns the number of rows.
    """
    at = places_of(a)
    asked, visited = find_people(at, a, f.n, q, s)
    posts, visited, written = find_posts(at, f, q, s, asked, visited)
    finals = best_rows(s.keys, s.sizes, posts, min(f.n.finalists, ints.shape[0]), s.chosen)
    kept, visited = score_finalists(
        at,
        f,
        q,
        s.keys,
        s.weights,
        s.paths,
        s.bests,
        s.whose,
        s.values,
        s.ticks,
        s.chosen[:finals],
        visited,
        ints,
        floats,
    )
    name_paths(s, ints, kept)
    keys, scores = np.empty(kept, np.uint32), np.empty(kept)
    for i in range(kept):
        keys[i], scores[i] = ints[i, R_POST], floats[i, R_SCORE]
    best_rows(keys, scores, kept, kept, order)
    done[0], done[1], done[2], done[3], done[4] = visited, asked, posts, finals, written
    return kept


_local = threading.local()


def scratch_for(f: Formula) -> Scratch:
    """This thread's working memory for a formula."""
    held: dict[int, Scratch] = _local.__dict__.setdefault("held", {})
    size = room(f.n)
    if size not in held:
        if len(held) >= MAX_SCRATCHES:
            held.clear()
        held[size] = make_scratch(size)
    return held[size]


def rank(view: View, f: Formula, q: Request) -> Ranked:
    """Rank for one request. Safe in any thread; the GIL is free meanwhile."""
    s = scratch_for(f)
    size = f.n.finalists
    ints, floats = np.empty((size, RESULT_INTS), np.int64), np.empty((size, RESULT_FLOATS))
    order, done = np.empty(size, np.int32), np.zeros(5, np.int64)
    n = rank_posts(view.arrays, f, q, s, ints, floats, order, done)
    best = order[:n]
    return Ranked(ints[best], floats[best], *done.tolist())
