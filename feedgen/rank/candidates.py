"""From co-likers to the posts they like, and the best of these. Compiled.

Every like of every co-liker is written down as an edge, the edges are brought together by post, and each post's are
added up: co-likers by weight, so that the sums are the oracle's to the last bit.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from feedgen.core.ids import US_PER_DAY
from feedgen.core.jit import inline
from feedgen.core.parameters import Numbers
from feedgen.graph.access import I64, U16, U32, Places, copy_likes, day_number, post_flags, post_row
from feedgen.graph.fetch import STAGES, TOGETHER, fetch_likes
from feedgen.rank.edges import PAYLOAD, PAYLOAD_BITS
from feedgen.rank.numeric import F64, I32, last_row, tick_span_us, wide
from feedgen.rank.params import DECAY_SHIFT, DECAY_SLOTS, Decay
from feedgen.rank.sets import Set, holds

EXCLUDED: Final = -1  # whose edge a post has that must not come


class AskPerson(NamedTuple):
    person: int
    weight: float
    via: int
    limit: int
    since_us: int
    now_us: int


@inline
def passes(at: Places, post: int, require: int, forbid: int) -> bool:
    d = post_row(at, post)
    if d < 0:
        return False
    flags = post_flags(at, d, post)
    return flags & require == require and flags & forbid == 0


@inline
def fetch_people(at: Places, asked: U32, start: int, end: int, since_us: int, now_us: int) -> None:
    """Asks for the memory of some co-likers' likes."""
    newest = last_row(at, now_us)
    for stage in range(STAGES):
        for via in range(start, end):
            d = newest
            while d >= 0 and (day_number(at, d) + 1) * US_PER_DAY > since_us:
                fetch_likes(at, d, asked[via], stage)
                d -= 1


@inline
def ask_person(
    at: Places, like: Decay, edges: I64, parts: F64, vias: I32, values: U32, ticks: U16, ask: AskPerson, count: int
) -> tuple[int, int]:
    """Writes down what a co-liker likes, newest first. Returns (edges written so far, edges visited)."""
    coarse, fine = like.coarse, like.fine
    d, visited = last_row(at, ask.now_us), 0
    while d >= 0 and visited < ask.limit and (day_number(at, d) + 1) * US_PER_DAY > ask.since_us:
        found = copy_likes(at, d, ask.person, ask.limit - visited, values, ticks)
        visited += found
        day_us = day_number(at, d) * US_PER_DAY
        for i in range(found):
            at_us = day_us + tick_span_us(ticks[i])
            if at_us < ask.since_us or count == edges.size:
                break
            age = max(ask.now_us - at_us, 0) >> DECAY_SHIFT
            parts[count] = ask.weight * (coarse[min(age >> 8, DECAY_SLOTS - 1)] * fine[age & 255])
            vias[count] = ask.via
            edges[count] = wide(values[i]) << PAYLOAD_BITS | count
            count += 1
        d -= 1
    return count, visited


@inline
def find_likes(
    at: Places,
    n: Numbers,
    like: Decay,
    now_us: int,
    excluded: U32,
    asked: U32,
    weights: F64,
    people: int,
    edges: I64,
    parts: F64,
    vias: I32,
    values: U32,
    ticks: U16,
    visited: int,
) -> tuple[int, int]:
    """Writes down what must not come, then all that co-likers like. Returns (edges written, edges visited in all)."""
    since_us, count = now_us - n.window_us, 0
    for i in range(min(excluded.size, edges.size)):
        vias[count], edges[count] = EXCLUDED, wide(excluded[i]) << PAYLOAD_BITS | count
        count += 1
    for via in range(people):
        left = n.edges - n.edges // 8 - visited  # the last eighth is for velocities
        if left <= 0:
            break
        if via % TOGETHER == 0:
            fetch_people(at, asked, via, min(via + TOGETHER, people), since_us, now_us)
        ask = AskPerson(wide(asked[via]), weights[via], via, min(n.coliker_likes, left), since_us, now_us)
        count, found = ask_person(at, like, edges, parts, vias, values, ticks, ask, count)
        visited += found
    return count, visited


@inline
def head_weight(n: Numbers, weights: F64, people: int) -> float:
    """The mean weight of the head: the measure of what all others may add to a post that the head knows nothing of."""
    total, count = 0.0, min(people, n.head)
    for i in range(count):
        total += max(weights[i], 0.0)
    return total / max(count, 1)


@inline
def bounded(n: Numbers, raw: float, rest: float, paths: int, of_rest: int, of_head: float) -> tuple[float, int]:
    """raw and n of a post. However many agree a little with the reader, together they add less than `most`."""
    if rest <= 0.0:
        return raw + rest, paths
    most = n.tail * max(raw, 0.0) + n.tail_base * of_head
    counted = most / (rest + most)
    return raw + rest * counted, max(paths - of_rest + wide(of_rest * counted), 1)


class Rule(NamedTuple):
    """Which posts may come, when that is to be known before the best are chosen."""

    early: bool
    require: int
    forbid: int
    only: Set  # empty: all


@inline
def add_up(
    at: Places,
    n: Numbers,
    rule: Rule,
    powers: F64,
    edges: I64,
    count: int,
    parts: F64,
    vias: I32,
    weights: F64,
    of_head: float,
    posts: U32,
    raws: F64,
    paths_of: I32,
    bests: F64,
    best_vias: I32,
    pre: F64,
) -> int:
    """raw, n and raw x n^c of every post that may come. A person counts once per post. Returns how many posts."""
    k, i = 0, 0
    while i < count:
        post = edges[i] >> PAYLOAD_BITS
        may = vias[edges[i] & PAYLOAD] != EXCLUDED and (not rule.early or passes(at, post, rule.require, rule.forbid))
        may = may and (rule.only.size == 0 or holds(rule.only, post))
        raw, rest, paths, of_rest, best, best_via, last = 0.0, 0.0, 0, 0, 0.0, -1, -1
        while i < count and edges[i] >> PAYLOAD_BITS == post:
            edge = edges[i] & PAYLOAD
            i += 1
            via = wide(vias[edge])
            if not may or via == last:
                continue
            last, part = via, parts[edge]
            if via < n.head:
                raw += part
            else:
                rest += part
            if weights[via] > 0.0:
                paths += 1
                of_rest += wide(via >= n.head)
                if part > best:
                    best, best_via = part, via
        if paths == 0:
            continue
        raw, paths = bounded(n, raw, rest, paths, of_rest, of_head)
        if raw * powers[paths] > 0.0:
            posts[k], raws[k], paths_of[k], bests[k], best_vias[k] = post, raw, paths, best, best_via
            pre[k] = raw * powers[paths]
            k += 1
    return k
