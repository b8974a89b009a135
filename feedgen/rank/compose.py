"""The order in which candidates become a list: spread over interests and authors. Compiled.

A place goes to the source that is most behind its share, and within a source to the post with the largest score x
`spread` ^ (posts of the same interest among the last `PAGE` places). An interest is the seed that led to a post.
Candidates that were seen come after all others, and sources without a share after all that have one.

An author stands at most once within `author_gap` places and `author_page_max` times within `PAGE`. Where an author has
too large a part of all candidates for that, their posts are spread evenly instead.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from feedgen.core.jit import inline, melted
from feedgen.graph.access import I64, U8
from feedgen.rank.numeric import F64, I32, wide
from feedgen.rank.queues import NO_INTEREST, Candidates, Lanes, Numbering, Plan, Queues, line_up, set_value

PAGE: Final = 30  # places that a reader is shown at once
FAR: Final = 1 << 30


class Authors(NamedTuple):
    """What was listed of each, and how far apart their posts stand."""

    listed: I32
    last: I64  # place of the newest; far below 0: none
    places: I64  # the newest `author_page_max` of each, as a ring
    gap: I64
    page: I64  # within so many places at most `author_page_max`


class State(NamedTuple):
    """What is listed so far."""

    listed: U8  # by post
    about: I32  # by what posts are about: how many
    of_interest: I32  # among the last places
    powers: F64  # of `spread`


@inline
def _spaced(c: Candidates, n: int, authors: int, posts: int, size: int, p: Plan) -> Authors:
    """How far apart each author's posts stand: as the rules say, or as far as their part of all candidates allows."""
    counts, known = np.zeros(authors, np.int64), np.zeros(posts, np.uint8)
    for k in range(n):
        if not known[c.posts[k]]:
            known[c.posts[k]] = 1
            counts[c.authors[k]] += 1
    total = wide(0)
    for a in range(authors):
        counts[a] = min(counts[a], p.author_max)
        total += counts[a]
    total = min(total, size)
    gap, page = np.empty(authors, np.int64), np.empty(authors, np.int64)
    for a in range(authors):
        evenly = max((total - 1) // (counts[a] - 1), 2) if counts[a] > 1 else FAR  # never side by side
        gap[a], page[a] = min(p.author_gap, evenly), min(PAGE, p.author_page_max * evenly)
    return Authors(
        np.zeros(authors, np.int32),
        np.full(authors, -FAR, np.int64),
        np.full(authors * p.author_page_max, -FAR, np.int64),
        gap,
        page,
    )


@melted
def _look_again(c: Candidates, q: Queues, lanes: Lanes, a: Authors, p: Plan, state: State, i: int, place: int) -> None:
    """Finds the first of a queue that may stand at a place, and when to look for a better one."""
    k = wide(q.heads[i])
    while k >= 0 and _full(c, k, a, p, state):
        k = wide(q.next[k])
    q.heads[i] = k
    soonest = wide(FAR)
    while k >= 0:
        if not _full(c, k, a, p, state):
            free = _free_from(a, p, c.authors[k])
            if free <= place:
                break
            soonest = min(soonest, free)
        k = wide(q.next[k])
    q.currents[i] = k
    set_value(q, lanes, i, -1.0 if k < 0 else c.scores[k] * state.powers[state.of_interest[q.interests[i]]])
    if soonest < q.wakes.size and q.wakes_next[i] == -2:
        q.wakes_next[i] = q.wakes[soonest]
        q.wakes[soonest] = i


@melted
def _wake(c: Candidates, q: Queues, lanes: Lanes, a: Authors, p: Plan, state: State, place: int) -> None:
    """Queues where an author may stand again from this place on."""
    i = wide(q.wakes[place])
    while i >= 0:
        after = wide(q.wakes_next[i])
        q.wakes_next[i] = -2
        _look_again(c, q, lanes, a, p, state, i, place)
        i = after


@melted
def _best_of(c: Candidates, q: Queues, lanes: Lanes, a: Authors, p: Plan, state: State, lane: int, place: int) -> int:
    """The queue whose first candidate is the lane's best for a place; -1: none."""
    while True:
        i: int = wide(lanes.trees[lanes.offsets[lane] + 1])
        if i < 0:
            return -1
        k = q.currents[i]
        if not _full(c, k, a, p, state) and _free_from(a, p, c.authors[k]) <= place:
            return i
        _look_again(c, q, lanes, a, p, state, i, place)


@melted
def _free_from(a: Authors, p: Plan, author: int) -> int:
    """The first place where another post by this author stands far enough from the others."""
    oldest = a.places[author * p.author_page_max + a.listed[author] % p.author_page_max]
    place: int = max(a.last[author] + a.gap[author], oldest + a.page[author])
    return place


@melted
def _full(c: Candidates, k: int, a: Authors, p: Plan, state: State) -> bool:
    """Whether a candidate can't come any more, wherever."""
    if state.listed[c.posts[k]] or a.listed[c.authors[k]] >= p.author_max:
        return True
    full: bool = state.about[c.about[k]] >= p.about_max
    return full


@inline
def compose(c: Candidates, n: int, sizes: tuple[int, int, int], p: Plan, t: Numbering, out: I32) -> int:
    """Fills `out` with candidates, in the list's order. `sizes`: how many authors, posts, interests there are. Returns
    how many are listed."""
    authors, posts, interests = sizes
    a = _spaced(c, n, authors, posts, out.size, p)
    q, lanes, count = line_up(c, n, out.size, interests, p, t)
    state = State(np.zeros(posts, np.uint8), np.zeros(posts, np.int32), np.zeros(interests, np.int32), np.ones(PAGE))
    for i in range(1, PAGE):
        state.powers[i] = state.powers[i - 1] * p.spread
    for i in range(q.values.size):
        set_value(q, lanes, i, c.scores[q.currents[i]])
    taken = np.zeros(p.rounds.size, np.int64)
    kept, border, last = 0, -1, -1
    while kept < out.size:
        _wake(c, q, lanes, a, p, state, kept)
        k = -1
        # Where an author must stand apart, and, while there is nobody else, as far from their last post as can be.
        for seen in range(2):
            k = _next(c, q, lanes, count, a, p, state, taken, kept, seen)
            if k < 0:
                # A queue waits for one place at a time, which may be later than that of its new first.
                for i in range(q.values.size):
                    _look_again(c, q, lanes, a, p, state, i, kept)
                k = _next(c, q, lanes, count, a, p, state, taken, kept, seen)
            if k < 0:
                k = _farthest(c, q, a, p, state, seen, last)
            if k >= 0:
                break
        if k < 0:
            break
        if border < 0 and c.seen[k]:
            border = kept
        last = c.authors[k]
        _take(c, k, a, p, kept, state)
        taken[c.sources[k]] += 1
        out[kept] = k
        _count(c, q, lanes, state, c.interests[k], 1)
        if kept >= PAGE - 1:
            _count(c, q, lanes, state, c.interests[out[kept - PAGE + 1]], -1)
        kept += 1
    return _fit_in(c, q, a, p, state, out, kept, kept if border < 0 else border)


@melted
def _count(c: Candidates, q: Queues, lanes: Lanes, state: State, interest: int, by: int) -> None:
    """An interest has one more, or one less, among the last places: its queues count less, or more."""
    if interest == NO_INTEREST:
        return
    state.of_interest[interest] += by
    i = wide(q.by_interest[interest])
    while i >= 0:
        if q.currents[i] >= 0:
            set_value(q, lanes, i, c.scores[q.currents[i]] * state.powers[state.of_interest[interest]])
        i = wide(q.same[i])


@melted
def _take(c: Candidates, k: int, a: Authors, p: Plan, place: int, state: State) -> None:
    author = c.authors[k]
    state.listed[c.posts[k]] = 1
    state.about[c.about[k]] += 1
    a.places[author * p.author_page_max + a.listed[author] % p.author_page_max] = place
    a.last[author] = place
    a.listed[author] += 1


@melted
def _next(
    c: Candidates, q: Queues, lanes: Lanes, count: int, a: Authors, p: Plan, state: State, taken: I64, place: int,
    seen: int,
) -> int:  # fmt: skip
    """The candidate for a place of those whose author is far enough away; -1: none."""
    chosen, most, phase = -1, 0.0, -1
    for lane in range(count):
        source = lanes.sources[lane]
        if lanes.seen[lane] != seen:
            continue
        if chosen >= 0 and lanes.phases[lane] != phase:
            break
        if place < p.firsts[source]:
            continue
        i = _best_of(c, q, lanes, a, p, state, lane, place)
        if i < 0:
            continue
        behind = p.shares[source] * (place + 1) - taken[source]
        if chosen < 0 or behind > most:
            chosen, most, phase = wide(q.currents[i]), behind, lanes.phases[lane]
    return chosen


@inline
def _farthest(c: Candidates, q: Queues, a: Authors, p: Plan, state: State, seen: int, last: int) -> int:
    """The candidate whose author was listed the longest ago, where all stand too near; never the last author. -1:
    none."""
    chosen, best, oldest = -1, 0.0, wide(0)
    for i in range(q.values.size):
        k = wide(q.heads[i])
        if k < 0 or c.seen[k] != seen:
            continue
        while k >= 0:
            author = c.authors[k]
            if author != last and not _full(c, k, a, p, state):
                at, score = a.last[author], c.scores[k] * state.powers[state.of_interest[q.interests[i]]]
                if chosen < 0 or at < oldest or (at == oldest and score > best):
                    chosen, best, oldest = k, score, at
            k = wide(q.next[k])
    return chosen


@inline
def _last_gap(c: Candidates, out: I32, kept: int, start: int, end: int, author: int) -> int:
    """The last place from `start` to `end` where a post by this author stands beside none of theirs; -1: none."""
    for at in range(end, start - 1, -1):
        after = at < kept and c.authors[out[at]] == author
        before = at > 0 and c.authors[out[at - 1]] == author
        if not before and not after:
            return at
    return -1


@inline
def _fit_in(c: Candidates, q: Queues, a: Authors, p: Plan, state: State, out: I32, kept: int, border: int) -> int:
    """What is left is by the last author: each post goes in as late as it may stand, and nothing seen before the
    `border` where the seen ones begin. Returns how many are listed then."""
    for i in range(q.values.size):
        k = wide(q.heads[i])
        while k >= 0 and kept < out.size:
            start, end = (border, kept) if c.seen[k] else (0, border)
            at = -1
            if not _full(c, k, a, p, state):
                at = _last_gap(c, out, kept, start, end, c.authors[k])
            if at >= 0:
                for place in range(kept, at, -1):
                    out[place] = out[place - 1]
                out[at] = k
                _take(c, k, a, p, at, state)
                kept += 1
                border += wide(c.seen[k] == 0)
            k = wide(q.next[k])
    return kept
