"""What ranking is asked, and what it answers."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from feedgen.core.ids import NO_PERSON
from feedgen.graph.access import I64, U8, U32
from feedgen.ingest.events import DELETED, HIDDEN, KNOWN, LATE
from feedgen.rank.numeric import F64

# Columns of a result.
R_POST, R_AUTHOR, R_FLAGS, R_LANGUAGE, R_ABOUT, R_COUNT, R_TIME, R_PATHS, R_VIA, R_SEED = range(10)
RESULT_INTS: Final = 10
R_SCORE, R_RAW, R_AGE, R_POPULARITY, R_VELOCITY, R_AUTHOR_FACTOR, R_BEST, R_LEARNED = range(8)
RESULT_FLOATS: Final = 8


class Request(NamedTuple):
    """Who asks, and all that is theirs. Arrays that belong together have one length."""

    reader: int  # NO_PERSON when there is none
    now_us: int
    seeds: U32  # newest first
    seed_times: I64  # when the reader rated them
    seed_factors: F64  # usually 1; more for "show more"
    seed_listed: U8  # 1: the arrays hold the reader's own edge, so order decides who was late; 0: the time does
    less: U32  # posts that the reader wants less of
    less_factors: F64
    people: U32  # co-likers given from outside: people whom the reader follows
    people_weights: F64
    people_share: float  # of all co-liker weight, what `people` have together: 0 to 0.95
    excluded: U32  # posts that must not come
    authors: U32  # ascending: authors whose posts get a factor; 0 hides them
    author_factors: F64
    require: int  # flags a post must all have
    forbid: int  # flags of which a post must have none
    early: bool  # judge flags before the finalists are chosen: when few posts can pass
    only: U32  # ascending: posts of which alone may come; empty: all


class Ranked(NamedTuple):
    """Posts, best first, with what made their scores. Rows of `ints` and `floats` by the R_ columns."""

    ints: I64
    floats: F64
    edges: int  # visited
    people: int  # co-likers asked
    candidates: int  # posts they led to
    finalists: int  # of those, scored in full
    written: int  # edges from co-likers to posts that the thread's scratch holds

    @property
    def posts(self) -> U32:
        return self.ints[:, R_POST].astype(np.uint32)

    @property
    def scores(self) -> F64:
        return self.floats[:, R_SCORE]


NOTHING: Final = Ranked(np.empty((0, RESULT_INTS), np.int64), np.empty((0, RESULT_FLOATS)), 0, 0, 0, 0, 0)
_NO_POSTS: Final = np.empty(0, np.uint32)
_NO_FACTORS: Final = np.empty(0, np.float64)


def request(
    now_us: int,
    *,
    reader: int = NO_PERSON,
    seeds: U32 = _NO_POSTS,
    seed_times: I64 | None = None,
    seed_factors: F64 | None = None,
    seed_listed: bool | U8 = True,
    less: U32 = _NO_POSTS,
    less_factors: F64 | None = None,
    people: U32 = _NO_POSTS,
    people_weights: F64 | None = None,
    people_share: float = 0.0,
    excluded: U32 = _NO_POSTS,
    authors: U32 = _NO_POSTS,
    author_factors: F64 = _NO_FACTORS,
    require: int = KNOWN,
    forbid: int = DELETED | HIDDEN | LATE,
    early: bool = False,
    only: U32 = _NO_POSTS,
) -> Request:
    """A request with what was left out filled in. Without times, seeds were rated now: nobody was late."""
    n = seeds.size
    listed = seed_listed if isinstance(seed_listed, np.ndarray) else np.full(n, seed_listed, np.uint8)
    times = np.full(n, now_us, np.int64) if seed_times is None else seed_times
    return Request(
        reader=reader,
        now_us=now_us,
        seeds=seeds,
        seed_times=times,
        seed_factors=np.ones(n) if seed_factors is None else seed_factors,
        seed_listed=listed if seed_times is not None else np.zeros(n, np.uint8),
        less=less,
        less_factors=np.ones(less.size) if less_factors is None else less_factors,
        people=people,
        people_weights=np.ones(people.size) if people_weights is None else people_weights,
        people_share=min(max(people_share, 0.0), 0.95),
        excluded=excluded,
        authors=authors,
        author_factors=author_factors,
        require=require,
        forbid=forbid,
        early=early,
        only=only,
    )
