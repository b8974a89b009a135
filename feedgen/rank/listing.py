"""From the rows of sources to a list: which posts may be shown, and what fades; `compose.py` makes the order.

Rows come in the layout of `request.py`, the best of each source first. Unseen posts come before seen ones, and sources
with a share before those that fill up what is left, so that nothing is shown again while there is something new, and
nothing runs dry either.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Unpack

import numpy as np

from feedgen.core.ids import NO_POST
from feedgen.core.jit import inline, melted, njit
from feedgen.graph.access import I64, U8, U16, U32
from feedgen.graph.memory import address
from feedgen.graph.view import View
from feedgen.graph.words import load_i64
from feedgen.ingest.events import ADULT, DELETED, HIDDEN, KNOWN, LATE, QUOTE, REPLY, VIDEO
from feedgen.rank.compose import compose
from feedgen.rank.numeric import F64, I32, wide
from feedgen.rank.params import MAX_LIST
from feedgen.rank.policy import (
    MAY,
    NO_NUMBERS,
    Policy,
    Reader,
    flags_by_others,
    list_policy,
    plain_policy,
    verdict,
)
from feedgen.rank.queues import AUTHOR, NO_INTEREST, POST, Candidates, Numbering, Plan, number_of
from feedgen.rank.request import R_ABOUT, R_AUTHOR, R_FLAGS, R_LANGUAGE, R_POST, R_SEED, RESULT_INTS
from feedgen.rank.sets import holds, set_of
from feedgen.rank.tongues import ALL_READ

KEYS_OF_EACH: Final = 3  # its author, itself, what it is about
OF_EACH: Final = 3  # candidates of a source for each place: rules keep some out
HALF_AT: Final = 10.0  # without scores, a row counts half as much as the first from this rank on

_local = threading.local()

# Where a listed post came from.
PERSONAL: Final = 0
POPULAR: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRules:
    """What a feed, or its operator's settings, choose."""

    size: int = MAX_LIST
    author_max: int = 5  # posts by one author in a list; never two side by side
    author_gap: int = 10  # within so many places an author stands once,
    author_page_max: int = 2  # and within a page of 30 so often
    spread: float = 0.8  # each further post on a page that the same like led to counts so much less
    about_max: int = 2  # posts that quote or answer the same post, that post itself counted
    replies: bool = False
    quotes: bool = True
    videos: bool = True
    adult: bool = False
    require: int = KNOWN

    def forbidden(self) -> int:
        """Flags of which a post must have none."""
        flags = DELETED | HIDDEN | LATE
        if not self.replies:
            flags |= REPLY
        if not self.quotes:
            flags |= QUOTE
        if not self.videos:
            flags |= VIDEO
        return flags if self.adult else flags | ADULT

    def policy(self, view: View, **who: Unpack[Reader]) -> Policy:
        """What may be recommended to one reader."""
        return list_policy(view, self.require, self.forbidden(), self.adult, **who)


class Source(NamedTuple):
    """Candidates of one kind, best first.

    Sources with a share are mixed, each place going to the one that is most behind; those without follow one after the
    other, where the ones before have nothing. `codes` say of each row where it came from."""

    kind: int
    ints: I64
    scores: F64 | None = None
    codes: U8 | None = None
    share: float = 0.0
    first: int = 0  # the first place that it may take

    def scored(self) -> F64:
        if self.scores is not None:
            return self.scores
        return np.divide(HALF_AT, HALF_AT + np.arange(len(self.ints), dtype=np.float64))

    def coded(self) -> U8:
        return np.zeros(len(self.ints), np.uint8) if self.codes is None else self.codes


class Listed(NamedTuple):
    posts: U32
    kinds: U8  # of its source
    sources: U8  # which, in the order in which they are asked
    rows: I32  # of its source
    codes: U8  # of its source; 0 without


class Fades(NamedTuple):
    """What counts less for this reader: posts that were served, languages that they do not read."""

    posts: U32  # ascending
    factors: F64
    languages: F64


NO_FADES: Final = Fades(NO_NUMBERS, np.empty(0), ALL_READ)


class _Rows(NamedTuple):
    """Of all sources, one after the other; only the widest column stays where it is."""

    ints: I64  # addresses
    sizes: I64
    scores: F64
    codes: U8


# What runs for each row gets plain numbers only, addresses among them: see `Places` in graph/access.py.

_ROW_BYTES: Final = 8 * RESULT_INTS


class _Row(NamedTuple):
    post: int
    author: int
    flags: int
    about: int
    language: int
    interest: int  # the seed that led here; -1: none


@inline
def _row(address: int, i: int) -> _Row:
    at = address + i * _ROW_BYTES
    return _Row(
        load_i64(at, R_POST),
        load_i64(at, R_AUTHOR),
        load_i64(at, R_FLAGS),
        load_i64(at, R_ABOUT),
        load_i64(at, R_LANGUAGE),
        load_i64(at, R_SEED),
    )


@inline
def _faded(fades: Fades, post: int) -> float:
    i = np.searchsorted(fades.posts, np.uint32(post))
    factor: float = fades.factors[i] if i < fades.posts.size and fades.posts[i] == post else 1.0
    return factor


@melted
def _score(score: float, fades: Fades, row: _Row) -> float:
    if fades.posts.size:
        score *= _faded(fades, row.post)
    factor: float = score * fades.languages[row.language]
    return factor


@inline
def _gather(
    rows: _Rows,
    others: U16,
    policy: Policy,
    seen_by: U32,
    fades: Fades,
    plan: Plan,
    t: Numbering,
    authors: int,
    enough: int,
    c: Candidates,
    starts: I64,
) -> tuple[int, int, int]:
    """Writes down what may be shown, the best of each source first, and where each source's begin. Returns how many
    authors, posts and interests there are. Each source gives `enough` that neither were seen nor fade; those without a
    share are not asked when the ones before have as many."""
    who, seen_posts = plain_policy(policy), set_of(seen_by)
    n, posts, interests, before, good = 0, 0, wide(NO_INTEREST + 1), 0, 0
    for s in range(rows.sizes.size):
        first, sorted_so_far, until = n, True, enough if plan.rounds[s] else good + enough
        for i in range(rows.sizes[s]):
            if good >= until:
                break
            row = _row(rows.ints[s], i)
            flags = row.flags | others[before + i] if others.size else row.flags
            if verdict(who, row.post, row.author, flags, row.about) != MAY:
                continue
            c.sources[n], c.rows[n], c.scores[n] = s, i, _score(rows.scores[before + i], fades, row)
            c.seen[n] = holds(seen_posts, row.post)
            good += wide(c.seen[n] == 0 and c.scores[n] >= rows.scores[before + i])
            author = number_of(t, AUTHOR, row.author, authors)
            authors = max(authors, author + 1)
            post = number_of(t, POST, row.post, posts)
            posts = max(posts, post + 1)
            about = post if row.about == NO_POST else number_of(t, POST, row.about, posts)
            posts = max(posts, about + 1)
            interest = row.interest + 1
            interests = max(interests, interest + 1)
            c.authors[n], c.posts[n], c.about[n], c.interests[n] = author, post, about, interest
            sorted_so_far = sorted_so_far and (n == first or c.scores[n] <= c.scores[n - 1])
            n += 1
        before += rows.sizes[s]
        starts[s + 1] = n
        if not sorted_so_far:
            _sort(c, first, n)
    return authors, posts, interests


@inline
def _sort(c: Candidates, first: int, end: int) -> None:
    """One source's candidates, the best first, equal ones as they were."""
    order = np.argsort(-c.scores[first:end], kind="mergesort")
    c.rows[first:end] = c.rows[first:end][order]
    c.scores[first:end] = c.scores[first:end][order]
    c.authors[first:end] = c.authors[first:end][order]
    c.posts[first:end] = c.posts[first:end][order]
    c.about[first:end] = c.about[first:end][order]
    c.interests[first:end] = c.interests[first:end][order]
    c.seen[first:end] = c.seen[first:end][order]


@inline
def _room_for(n: int) -> Candidates:
    return Candidates(
        np.empty(n, np.uint8),
        np.empty(n, np.int32),
        np.empty(n),
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty(n, np.int32),
        np.empty(n, np.uint8),
    )


@njit
def _list(
    rows: _Rows,
    others: U16,
    policy: Policy,
    seen: U32,
    fades: Fades,
    plan: Plan,
    kinds: U8,
    numbering: I64,
    before: I64,
    out: Listed,
) -> int:
    """Fills `out` as far as it goes. Returns how many are listed. `numbering` is room for two numbers of each key, a
    power of two that the keys fill by half at most.
    """
    total, size, room = wide(rows.sizes.sum()), out.posts.size, numbering.size // 2
    numbering[:room] = -1
    t = Numbering(numbering.ctypes.data, numbering[room:].ctypes.data, room - 1)
    c = _room_for(total)
    starts = np.zeros(rows.sizes.size + 1, np.int64)
    above, authors = np.empty(before.size, np.int32), 0
    for i in range(before.size):
        above[i] = number_of(t, AUTHOR, before[i], authors)
        authors = max(authors, above[i] + 1)
    sizes = _gather(rows, others, policy, seen, fades, plan, t, authors, OF_EACH * size, c, starts)
    chosen = np.empty(size, np.int32)
    kept = compose(c, starts, sizes, plan, above, chosen)
    firsts = np.cumsum(rows.sizes) - rows.sizes
    for k in range(kept):
        i = chosen[k]
        s, row = c.sources[i], c.rows[i]
        out.posts[k], out.kinds[k], out.sources[k], out.rows[k] = _row(rows.ints[s], row).post, kinds[s], s, row
        out.codes[k] = rows.codes[firsts[s] + row]
    return kept


def make_list(
    view: View,
    sources: Sequence[Source],
    rules: ListRules,
    *,
    seen: U32 = NO_NUMBERS,
    fades: Fades = NO_FADES,
    before: U32 = NO_NUMBERS,
    **who: Unpack[Reader],
) -> Listed:
    """At most `rules.size` posts. All sets that are said of the reader are ascending. `before`: authors of the posts
    that stand above these, the last one last: no two of one author come close at the seam either."""
    sources = in_order(sources)
    size = min(rules.size, MAX_LIST)
    out = Listed(
        posts=np.empty(size, np.uint32),
        kinds=np.empty(size, np.uint8),
        sources=np.empty(size, np.uint8),
        rows=np.empty(size, np.int32),
        codes=np.empty(size, np.uint8),
    )
    ints = [np.ascontiguousarray(source.ints) for source in sources]
    rows = _Rows(
        np.array([address(one) for one in ints], np.int64),
        np.array([len(one) for one in ints], np.int64),
        np.concatenate([np.empty(0), *(source.scored() for source in sources)]),
        np.concatenate([np.empty(0, np.uint8), *(source.coded() for source in sources)]),
    )
    kinds = np.array([source.kind for source in sources], np.uint8)
    others = flags_by_others(view, np.concatenate([NO_NUMBERS, *(one[:, R_POST].astype(np.uint32) for one in ints)]))
    keys = KEYS_OF_EACH * int(rows.sizes.sum()) + before.size
    numbering = _numbering(4 << max(keys, 1).bit_length())
    policy, above = rules.policy(view, **who), before.astype(np.int64)
    kept = _list(rows, others, policy, seen, fades, _plan(sources, rules), kinds, numbering, above, out)
    return Listed(out.posts[:kept], out.kinds[:kept], out.sources[:kept], out.rows[:kept], out.codes[:kept])


def _numbering(size: int) -> I64:
    """This thread's room for numbers: fresh memory would be a fault for each page of it."""
    held: dict[int, I64] = _local.__dict__.setdefault("held", {})
    if size not in held:
        held.clear()
        held[size] = np.empty(size, np.int64)
    return held[size]


def in_order(sources: Sequence[Source]) -> list[Source]:
    """As they are asked: those with a share first."""
    return sorted(sources, key=lambda source: source.share <= 0)


def _plan(sources: Sequence[Source], rules: ListRules) -> Plan:
    mixed = sum(source.share > 0 for source in sources)
    rounds = [0] * mixed + list(range(1, len(sources) - mixed + 1))
    return Plan(
        rounds=np.array(rounds, np.int64),
        shares=np.array([source.share for source in sources], np.float64),
        firsts=np.array([source.first for source in sources], np.int64),
        author_max=rules.author_max,
        author_gap=rules.author_gap,
        author_page_max=rules.author_page_max,
        about_max=rules.about_max,
        spread=float(rules.spread),
    )
