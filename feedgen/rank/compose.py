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

from feedgen.core.jit import inline
from feedgen.graph.access import I64, U8
from feedgen.graph.words import load_i64, store_i64
from feedgen.rank.numeric import F64, I32, wide

PAGE: Final = 30  # places that a reader is shown at once
NO_INTEREST: Final = 0  # of posts that no seed led to: they are not spread
FAR: Final = 1 << 30
_AUTHOR, _POST, _INTEREST, _QUEUE = 0, 1, 2, 3  # kinds of numbers
_POWERS: Final = PAGE + 1


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


class Authors(NamedTuple):
    """What was listed of each, and how far apart their posts stand."""

    listed: I32
    last: I64  # place of the newest; far below 0: none
    places: I64  # the newest `author_page_max` of each, as a ring
    gap: I64
    page: I64  # within so many places at most `author_page_max`


class Queues(NamedTuple):
    """Candidates of one phase, source and interest, best first."""

    heads: I32
    phases: I32
    sources: I32
    interests: I32
    next: I32  # of candidates: the one behind it; -1: none


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


@inline
def _lined_up(c: Candidates, n: int, p: Plan, t: Numbering) -> tuple[Queues, int]:
    """(queues, how many), those of earlier phases first."""
    rounds = 1
    for s in range(p.rounds.size):
        rounds = max(rounds, p.rounds[s] + 1)
    heads, tails = np.empty(n, np.int32), np.empty(n, np.int32)
    phases, sources, interests = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(n, np.int32)
    following, queues = np.full(n, -1, np.int32), 0
    for phase in range(2 * rounds):
        for k in range(n):
            source = c.sources[k]
            if wide(c.seen[k]) * rounds + p.rounds[source] != phase:
                continue
            key = (wide(phase) << 48) | (wide(source) << 40) | wide(c.interests[k])
            q = number_of(t, _QUEUE, key, queues)
            if q == queues:
                heads[q], phases[q], sources[q], interests[q] = k, phase, source, c.interests[k]
                queues += 1
            else:
                following[tails[q]] = k
            tails[q] = k
    return Queues(heads, phases, sources, interests, following), queues


@inline
def _blocked(a: Authors, p: Plan, author: int, place: int) -> bool:
    """Whether another post by this author stands too near."""
    if place - a.last[author] < a.gap[author]:
        return True
    oldest = a.places[author * p.author_page_max + a.listed[author] % p.author_page_max]
    near: bool = place - oldest < a.page[author]
    return near


@inline
def _full(c: Candidates, k: int, a: Authors, p: Plan, listed: U8, about: I32) -> bool:
    """Whether a candidate can't come any more, wherever."""
    if listed[c.posts[k]] or a.listed[c.authors[k]] >= p.author_max:
        return True
    full: bool = about[c.about[k]] >= p.about_max
    return full


@inline
def compose(c: Candidates, n: int, sizes: tuple[int, int, int], p: Plan, t: Numbering, out: I32) -> int:
    """Fills `out` with candidates, in the list's order. `sizes`: how many authors, posts, interests there are. Returns
    how many are listed."""
    authors, posts, interests = sizes
    a, (q, queues) = _spaced(c, n, authors, posts, out.size, p), _lined_up(c, n, p, t)
    listed, about = np.zeros(posts, np.uint8), np.zeros(posts, np.int32)
    of_interest, taken = np.zeros(interests, np.int32), np.zeros(p.rounds.size, np.int64)
    powers = np.ones(_POWERS)
    for i in range(1, _POWERS):
        powers[i] = powers[i - 1] * p.spread
    best, bests = np.empty(p.rounds.size, np.int32), np.empty(p.rounds.size)
    kept, border, last = 0, -1, -1
    while kept < out.size:
        k = -1
        # Where an author must stand apart, and, while there is nobody else, as far from their last post as can be.
        for step in range(4):
            seen, apart = step >> 1, step & 1 == 0
            k = (
                _next(c, q, queues, a, p, kept, listed, about, of_interest, powers, taken, seen, best, bests)
                if apart
                else _farthest(c, q, queues, a, p, listed, about, of_interest, powers, seen, last)
            )
            if k >= 0:
                break
        if k < 0:
            break
        if border < 0 and c.seen[k]:
            border = kept
        last = c.authors[k]
        _take(c, k, a, p, kept, listed, about)
        taken[c.sources[k]] += 1
        _count(of_interest, c.interests[k], 1)
        if kept >= PAGE - 1:
            _count(of_interest, c.interests[out[kept - PAGE + 1]], -1)
        out[kept] = k
        kept += 1
    return _fit_in(c, q, queues, a, p, listed, about, out, kept, kept if border < 0 else border)


@inline
def _count(of_interest: I32, interest: int, by: int) -> None:
    if interest != NO_INTEREST:
        of_interest[interest] += by


@inline
def _take(c: Candidates, k: int, a: Authors, p: Plan, place: int, listed: U8, about: I32) -> None:
    author = c.authors[k]
    listed[c.posts[k]] = 1
    about[c.about[k]] += 1
    a.places[author * p.author_page_max + a.listed[author] % p.author_page_max] = place
    a.last[author] = place
    a.listed[author] += 1


@inline
def _drop_full(c: Candidates, q: Queues, i: int, a: Authors, p: Plan, listed: U8, about: I32) -> int:
    """The first of a queue that may come; those before it leave the queue. -1: none."""
    k = q.heads[i]
    while k >= 0 and _full(c, k, a, p, listed, about):
        k = q.next[k]
    q.heads[i] = k
    first: int = wide(k)
    return first


@inline
def _next(
    c: Candidates, q: Queues, queues: int, a: Authors, p: Plan, place: int, listed: U8, about: I32, of_interest: I32,
    powers: F64, taken: I64, seen: int, best: I32, bests: F64,
) -> int:  # fmt: skip
    """The candidate for a place of those whose author is far enough away; -1: none."""
    best[:] = -1
    phase, found = -1, False
    for i in range(queues):
        head = q.heads[i]
        if head < 0 or c.seen[head] != seen:
            continue
        if found and q.phases[i] != phase:
            break
        source = q.sources[i]
        if place < p.firsts[source]:
            continue
        k = _drop_full(c, q, i, a, p, listed, about)
        while k >= 0 and (_blocked(a, p, c.authors[k], place) or _full(c, k, a, p, listed, about)):
            k = wide(q.next[k])
        if k < 0:
            continue
        phase, found = q.phases[i], True
        score = c.scores[k] * powers[of_interest[q.interests[i]]]
        if best[source] < 0 or score > bests[source]:
            best[source], bests[source] = k, score
    if not found:
        return -1
    chosen, most = -1, 0.0
    for s in range(best.size):
        behind = p.shares[s] * (place + 1) - taken[s]
        if best[s] >= 0 and (chosen < 0 or behind > most):
            chosen, most = s, behind
    next_one: int = wide(best[chosen])
    return next_one


@inline
def _farthest(
    c: Candidates, q: Queues, queues: int, a: Authors, p: Plan, listed: U8, about: I32, of_interest: I32, powers: F64,
    seen: int, last: int,
) -> int:  # fmt: skip
    """The candidate whose author was listed the longest ago, where all stand too near; never the last author. -1:
    none."""
    chosen, best, oldest = -1, 0.0, wide(0)
    for i in range(queues):
        k = wide(q.heads[i])
        if k < 0 or c.seen[k] != seen:
            continue
        k = _drop_full(c, q, i, a, p, listed, about)
        while k >= 0:
            author = c.authors[k]
            if author != last and not _full(c, k, a, p, listed, about):
                at, score = a.last[author], c.scores[k] * powers[of_interest[q.interests[i]]]
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
def _fit_in(
    c: Candidates, q: Queues, queues: int, a: Authors, p: Plan, listed: U8, about: I32, out: I32, kept: int, border: int
) -> int:
    """What is left is by the last author: each post goes in as late as it may stand, and nothing seen before the
    `border` where the seen ones begin. Returns how many are listed then."""
    for i in range(queues):
        k = wide(q.heads[i])
        while k >= 0 and kept < out.size:
            start, end = (border, kept) if c.seen[k] else (0, border)
            at = -1
            if not _full(c, k, a, p, listed, about):
                at = _last_gap(c, out, kept, start, end, c.authors[k])
            if at >= 0:
                for place in range(kept, at, -1):
                    out[place] = out[place - 1]
                out[at] = k
                _take(c, k, a, p, at, listed, about)
                kept += 1
                border += wide(c.seen[k] == 0)
            k = wide(q.next[k])
    return kept
