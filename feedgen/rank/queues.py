"""Candidates in lines: a queue for each interest of each source. Compiled."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from feedgen.core.jit import inline
from feedgen.graph.access import I64, U8
from feedgen.graph.words import load_i64, store_i64
from feedgen.rank.numeric import F64, I32, wide

NO_INTEREST: Final = 0  # of posts that no seed led to: they are not spread
AUTHOR, POST = 0, 1  # kinds of numbers


class Candidates(NamedTuple):
    """A row for each post that may stand in the list, the best of each source first. Authors, posts, what posts are
    about and interests are numbered from 0."""

    sources: U8
    rows: I32  # of its source
    scores: F64
    authors: I32
    posts: I32
    about: I32
    interests: I32
    seen: U8  # 1: comes after all that were not seen


class Plan(NamedTuple):
    """What the rules ask for."""

    rounds: I64  # of sources: those of a later round come in when earlier ones have nothing
    shares: F64
    firsts: I64  # of sources: the first place that it may take
    author_max: int
    author_gap: int
    author_page_max: int
    about_max: int
    spread: float


class Numbering(NamedTuple):
    """Small numbers for large ones, in the order in which they come."""

    keys: int  # the address of a table; -1 where there is none
    values: int
    mask: int


@inline
def number_of(t: Numbering, kind: int, key: int, fresh: int) -> int:
    """The number of a key; `fresh` becomes it when there is none."""
    wanted = wide(kind) << 56 | key
    i: int = (wanted * -7046029254386353131 >> 20) & t.mask
    found = load_i64(t.keys, i)
    while found >= 0 and found != wanted:
        i = (i + 1) & t.mask
        found = load_i64(t.keys, i)
    if found < 0:
        store_i64(t.keys, i, wanted)
        store_i64(t.values, i, fresh)
    return load_i64(t.values, i)


class Queues(NamedTuple):
    """Candidates of one source, phase and interest, best first; a lane is the queues of one source and phase, side by
    side, in the order of their first candidates. `next` is of candidates: the one behind it; -1: none."""

    heads: I32  # the first that is not used up; -1: none
    interests: I32
    tops: F64  # the score of the first that there was: nothing in this queue, or in those after it, has more
    next: I32


class Lanes(NamedTuple):
    sources: I32
    seen: I32  # 1: its candidates were seen
    phases: I32
    firsts: I32  # the lane's first queue, where the one before ends


@inline
def line_up(c: Candidates, starts: I64, interests: int, p: Plan) -> tuple[Queues, Lanes, int]:
    """(queues, lanes, how many), those of earlier phases first. A source's candidates begin at its `starts`."""
    count, n, rounds = p.rounds.size, starts[-1], 1
    for s in range(count):
        rounds = max(rounds, p.rounds[s] + 1)
    heads, tails, of_queue = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)
    tops, following = np.empty(n), np.full(n, -1, np.int32)
    most = 2 * count
    sources, seen, phases = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.int32)
    firsts = np.zeros(most + 1, np.int32)
    by_interest = np.full(interests, -1, np.int32)
    queues, lanes = 0, 0
    for phase in range(2 * rounds):
        for s in range(count):
            if p.rounds[s] != phase % rounds:
                continue
            for k in range(starts[s], starts[s + 1]):
                if wide(c.seen[k]) != phase // rounds:
                    continue
                q = wide(by_interest[c.interests[k]])
                if q < firsts[lanes]:
                    q = wide(queues)
                    heads[q], of_queue[q], tops[q], by_interest[c.interests[k]] = k, c.interests[k], c.scores[k], q
                    queues += 1
                else:
                    following[tails[q]] = k
                tails[q] = k
            if queues > firsts[lanes]:
                sources[lanes], seen[lanes], phases[lanes] = s, phase // rounds, phase
                lanes += 1
                firsts[lanes] = queues
    return Queues(heads[:queues], of_queue, tops, following), Lanes(sources, seen, phases, firsts), lanes
