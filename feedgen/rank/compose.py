"""The order in which candidates become a list: spread over interests and authors. Compiled.

A place goes to the source that is most behind its share, and within a source to the post with the largest score x
`spread` ^ (posts of the same interest among the last `PAGE` places). Candidates that were seen come after all others,
and sources without a share after all that have one.

An author stands at most once within `author_gap` places and `author_page_max` times within `PAGE`. Where an author has
too large a part of all candidates for that, their posts are spread evenly instead.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from feedgen.core.jit import inline
from feedgen.graph.access import I64, U8
from feedgen.rank.numeric import F64, I32, wide
from feedgen.rank.queues import NO_INTEREST, Candidates, Plan, Queues, line_up

PAGE: Final = 30  # places that a reader is shown at once
FAR: Final = 1 << 30


class State(NamedTuple):
    """What is listed so far, and what may come next."""

    listed: U8  # by post
    about: I32  # by what posts are about: how many
    of_interest: I32  # among the last places
    factors: F64  # by interest: what its next post counts
    powers: F64  # of `spread`
    by_author: I32  # how many are listed
    free: I64  # by author: the first place where another of their posts may stand; FAR: none
    last: I64  # place of the newest; far below 0: none
    places: I64  # the newest `author_page_max` of each, oldest first
    gap: I64  # of each author's posts
    page: I64  # within so many places at most `author_page_max`


@inline
def _begin(c: Candidates, n: int, sizes: tuple[int, int, int], size: int, p: Plan) -> State:
    """Each author's posts stand as far apart as the rules say, or as their part of all candidates allows."""
    authors, posts, interests = sizes
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
    powers = np.ones(PAGE)
    for i in range(1, PAGE):
        powers[i] = powers[i - 1] * p.spread
    return State(
        np.zeros(posts, np.uint8), np.zeros(posts, np.int32), np.zeros(interests, np.int32), np.ones(interests), powers,
        np.zeros(authors, np.int32), np.zeros(authors, np.int64), np.full(authors, -FAR, np.int64),
        np.full(authors * p.author_page_max, -FAR, np.int64), gap, page,
    )  # fmt: skip


@inline
def _best_of(
    scores: F64,
    authors: I32,
    posts: I32,
    about: I32,
    following: I32,
    heads: I32,
    tops: F64,
    interests: I32,
    listed: U8,
    abouts: I32,
    factors: F64,
    free: I64,
    about_max: int,
    first: int,
    end: int,
    place: int,
) -> int:
    """The lane's best candidate for a place of those whose author stands far enough away; -1: none. The innermost loop:
    arrays in tuples would cost a visit to their owners' counts of references at each use."""
    chosen: int = wide(-1)
    best = -1.0
    for i in range(first, end):
        if tops[i] <= best:
            break
        factor, k, used_up = factors[interests[i]], wide(heads[i]), True
        while k >= 0 and scores[k] * factor > best:
            soonest = free[authors[k]]
            full = soonest == FAR or listed[posts[k]] or abouts[about[k]] >= about_max
            if not full and soonest <= place:
                chosen, best = k, scores[k] * factor
                break
            used_up = used_up and full
            k = wide(following[k])
            if used_up:
                heads[i] = k
    return chosen


@inline
def _full(c: Candidates, k: int, p: Plan, state: State) -> bool:
    """Whether a candidate can't come any more, wherever."""
    if state.listed[c.posts[k]] or state.by_author[c.authors[k]] >= p.author_max:
        return True
    full: bool = state.about[c.about[k]] >= p.about_max
    return full


@inline
def compose(c: Candidates, starts: I64, sizes: tuple[int, int, int], p: Plan, before: I32, out: I32) -> int:
    """Fills `out` with candidates, in the list's order. `starts`: where each source's begin; `sizes`: how many authors,
    posts, interests there are; `before`: authors of what the reader was shown before, the last one last. Returns how
    many are listed."""
    state = _begin(c, starts[-1], sizes, out.size, p)
    q, lanes, count = line_up(c, starts, sizes[2], p)
    for i in range(before.size):
        _listed(state, before[i], p, i - before.size)
    scores, authors, posts, about, interests, of_queues = (
        c.scores,
        c.authors,
        c.posts,
        c.about,
        c.interests,
        q.interests,
    )
    following, heads, tops = q.next, q.heads, q.tops
    listed, abouts, of_interest, factors, powers, free = (
        state.listed, state.about, state.of_interest, state.factors, state.powers, state.free
    )  # fmt: skip
    sources, seen_lanes, phases, firsts = lanes.sources, lanes.seen, lanes.phases, lanes.firsts
    shares, first_places, about_max = p.shares, p.firsts, p.about_max
    taken = np.zeros(shares.size, np.int64)
    kept, border, last = 0, -1, wide(before[-1]) if before.size else wide(-1)
    while kept < out.size:
        k, seen = wide(-1), 0
        # Where an author must stand apart, and, while there is nobody else, as far from their last post as can be.
        while k < 0 and seen < 2:
            most, phase = 0.0, wide(-1)
            for lane in range(count):
                source = sources[lane]
                if seen_lanes[lane] != seen:
                    continue
                if k >= 0 and phases[lane] != phase:
                    break
                behind = shares[source] * (kept + 1) - taken[source]
                if kept < first_places[source] or (k >= 0 and behind <= most):
                    continue
                found = _best_of(
                    scores, authors, posts, about, following, heads, tops, of_queues, listed, abouts, factors, free,
                    about_max, firsts[lane], firsts[lane + 1], kept,
                )  # fmt: skip
                if found >= 0:
                    k, most, phase = found, behind, wide(phases[lane])
            if k < 0:
                k = _farthest(c, q, p, state, seen, last)
            seen += 1
        if k < 0:
            break
        if border < 0 and c.seen[k]:
            border = kept
        last = wide(authors[k])
        _take(c, k, p, kept, state)
        taken[c.sources[k]] += 1
        out[kept] = k
        for i, by in ((kept, 1), (kept - PAGE + 1, -1)):
            if i >= 0 and interests[out[i]] != NO_INTEREST:
                interest = interests[out[i]]
                of_interest[interest] += by
                factors[interest] = powers[of_interest[interest]]
        kept += 1
    return _fit_in(c, q, p, state, out, kept, kept if border < 0 else border)


@inline
def _take(c: Candidates, k: int, p: Plan, place: int, state: State) -> None:
    state.listed[c.posts[k]] = 1
    state.about[c.about[k]] += 1
    _listed(state, c.authors[k], p, place)


@inline
def _listed(state: State, author: int, p: Plan, place: int) -> None:
    """A post of this author has that place."""
    state.by_author[author] += 1
    oldest = author * p.author_page_max
    for i in range(oldest + 1, oldest + p.author_page_max):
        state.places[i - 1] = state.places[i]
    state.places[oldest + p.author_page_max - 1] = place
    state.last[author] = place
    free = max(place + state.gap[author], state.places[oldest] + state.page[author])
    state.free[author] = free if state.by_author[author] < p.author_max else FAR


@inline
def _farthest(c: Candidates, q: Queues, p: Plan, state: State, seen: int, last: int) -> int:
    """The candidate whose author was listed the longest ago, where all stand too near; never the last author. -1:
    none."""
    chosen: int = wide(-1)
    best, oldest = 0.0, wide(0)
    for i in range(q.heads.size):
        k = wide(q.heads[i])
        if k < 0 or c.seen[k] != seen:
            continue
        while k >= 0:
            author = c.authors[k]
            if author != last and not _full(c, k, p, state):
                at, score = state.last[author], c.scores[k] * state.factors[q.interests[i]]
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
def _fit_in(c: Candidates, q: Queues, p: Plan, state: State, out: I32, kept: int, border: int) -> int:
    """What is left is by the last author: each post goes in as late as it may stand, and nothing seen before the
    `border` where the seen ones begin. Returns how many are listed then."""
    for i in range(q.heads.size):
        k = wide(q.heads[i])
        while k >= 0 and kept < out.size:
            start, end = (border, kept) if c.seen[k] else (0, border)
            at = -1
            if not _full(c, k, p, state):
                at = _last_gap(c, out, kept, start, end, c.authors[k])
            if at >= 0:
                for place in range(kept, at, -1):
                    out[place] = out[place - 1]
                out[at] = k
                _take(c, k, p, at, state)
                kept += 1
                border += wide(c.seen[k] == 0)
            k = wide(q.next[k])
    return kept
