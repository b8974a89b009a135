"""Candidates in lines: a queue for each interest, and a tournament of queues that tells which one is best. Compiled."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from feedgen.core.jit import inline, melted
from feedgen.graph.access import I64, U8
from feedgen.graph.words import load_i64, store_i64
from feedgen.rank.numeric import F64, I32, wide

NO_INTEREST: Final = 0  # of posts that no seed led to: they are not spread
AUTHOR, POST, INTEREST, QUEUE = 0, 1, 2, 3  # kinds of numbers


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
    side. `next` is of candidates: the one behind it; -1: none."""

    heads: I32
    currents: I32  # the first that may stand at this place, as far as is known; -1: none
    values: F64  # what it counts; never too little
    interests: I32
    lanes: I32
    next: I32
    same: I32  # another queue of the same interest; -1: none
    by_interest: I32  # the first queue of each interest; -1: none
    wakes: I32  # by place: the first queue to be looked at again; -1: none
    wakes_next: I32  # of queues; -2: it waits for no place


class Lanes(NamedTuple):
    """`trees` has a tournament for each lane: a node holds the better of the two queues below it; the first leaf is at
    the lane's offset + its width."""

    sources: I32
    seen: I32  # 1: its candidates were seen
    phases: I32
    offsets: I64
    widths: I64
    firsts: I32  # the lane's first queue
    trees: I32


@inline
def line_up(c: Candidates, n: int, size: int, interests: int, p: Plan, t: Numbering) -> tuple[Queues, Lanes, int]:
    """(queues, lanes, how many), those of earlier phases first."""
    count, rounds = p.rounds.size, 1
    for s in range(count):
        rounds = max(rounds, p.rounds[s] + 1)
    heads, tails = np.empty(n, np.int32), np.empty(n, np.int32)
    of_queue, of_lane, following = np.empty(n, np.int32), np.empty(n, np.int32), np.full(n, -1, np.int32)
    most = 2 * count
    sources, seen, phases = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.int32)
    firsts = np.empty(most + 1, np.int32)
    offsets, widths = np.empty(most, np.int64), np.empty(most, np.int64)
    queues, lanes, nodes = 0, 0, 0
    for phase in range(2 * rounds):
        for s in range(count):
            if p.rounds[s] != phase % rounds:
                continue
            firsts[lanes] = queues
            for k in range(n):
                if c.sources[k] != s or wide(c.seen[k]) != phase // rounds:
                    continue
                key = (wide(phase) << 48) | (wide(s) << 40) | wide(c.interests[k])
                q = number_of(t, QUEUE, key, queues)
                if q == queues:
                    heads[q], of_queue[q], of_lane[q] = k, c.interests[k], lanes
                    queues += 1
                else:
                    following[tails[q]] = k
                tails[q] = k
            if queues > firsts[lanes]:
                width = wide(1)
                while width < queues - firsts[lanes]:
                    width *= 2
                sources[lanes], seen[lanes], phases[lanes] = s, phase // rounds, phase
                offsets[lanes], widths[lanes] = nodes, width
                nodes += 2 * width
                lanes += 1
    firsts[lanes] = queues
    same, by_interest = np.full(queues, -1, np.int32), np.full(interests, -1, np.int32)
    for q in range(queues):
        same[q], by_interest[of_queue[q]] = by_interest[of_queue[q]], q
    line = Queues(
        heads, heads[:queues].copy(), np.full(queues, -1.0), of_queue, of_lane, following, same, by_interest,
        np.full(size + 1, -1, np.int32), np.full(queues, -2, np.int32),
    )  # fmt: skip
    return line, Lanes(sources, seen, phases, offsets, widths, firsts, np.full(nodes, -1, np.int32)), lanes


@melted
def set_value(q: Queues, lanes: Lanes, i: int, value: float) -> None:
    """A queue counts so much, and may win its lane or lose it."""
    q.values[i] = value
    lane = q.lanes[i]
    at, trees = lanes.offsets[lane], lanes.trees
    node = lanes.widths[lane] + i - lanes.firsts[lane]
    trees[at + node] = i if value >= 0.0 else -1
    while node > 1:
        node >>= 1
        one, other = trees[at + 2 * node], trees[at + 2 * node + 1]
        # Of equal ones the first in line, as they were ranked.
        wins = other < 0 or (one >= 0 and q.values[one] >= q.values[other])
        trees[at + node] = one if wins else other
