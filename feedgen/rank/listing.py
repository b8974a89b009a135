"""From ranked posts to a list: who and what may be shown, and in which order it is pleasant to read.

Rows come in the layout of `request.py` from one source or two (personal, popular), each best first. Unseen posts come
before seen ones, and personal before popular ones within that, so that nothing is shown again while there is something
new, and nothing runs dry either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Final, NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import NO_POST
from feedgen.core.jit import inline, njit
from feedgen.graph.access import I64, U8, U16, U32
from feedgen.graph.view import View
from feedgen.graph.words import load_i64, store_i64
from feedgen.ingest.events import ADULT, DELETED, HIDDEN, KNOWN, LATE, QUOTE, REPLY, VIDEO
from feedgen.rank.numeric import I32, wide
from feedgen.rank.params import MAX_LIST
from feedgen.rank.policy import (
    MAY,
    NO_NUMBERS,
    Policy,
    Reader,
    flags_by_others,
    holds,
    list_policy,
    plain_policy,
    set_of,
    verdict,
)
from feedgen.rank.request import R_ABOUT, R_AUTHOR, R_FLAGS, R_POST, RESULT_INTS

MAX_WAITING: Final = 64  # posts put off because their author came just before

# Where a listed post came from.
PERSONAL: Final = 0
POPULAR: Final = 1

BOOL = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRules:
    """What a feed, or its operator's settings, choose."""

    size: int = MAX_LIST
    author_max: int = 5  # posts by one author in a list; never two side by side
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
    """Candidates of one kind, best first."""

    kind: int
    ints: I64


_EMPTY: Final = Source(PERSONAL, np.empty((0, RESULT_INTS), np.int64))


class Listed(NamedTuple):
    posts: U32
    kinds: U8  # PERSONAL | POPULAR
    rows: I32  # of its source


# What runs for each row gets plain numbers only, addresses among them: see `Places` in graph/access.py.

_ROW_BYTES: Final = 8 * RESULT_INTS


class _Row(NamedTuple):
    post: int
    author: int
    flags: int
    about: int


class _Rows(NamedTuple):
    """Of both sources, counted through."""

    first: int  # the address of `n` rows
    n: int
    second: int


@inline
def _address(rows: _Rows, i: int) -> int:
    return rows.first + i * _ROW_BYTES if i < rows.n else rows.second + (i - rows.n) * _ROW_BYTES


@inline
def _author(rows: _Rows, i: int) -> int:
    return load_i64(_address(rows, i), R_AUTHOR)


@inline
def _row(rows: _Rows, i: int) -> _Row:
    at = _address(rows, i)
    return _Row(load_i64(at, R_POST), load_i64(at, R_AUTHOR), load_i64(at, R_FLAGS), load_i64(at, R_ABOUT))


class _Counts(NamedTuple):
    """How often posts, authors and what posts are about were listed, and the room for them."""

    keys: int  # the address of a table; -1 where there is none
    counts: int
    mask: int
    author_max: int
    about_max: int


@inline
def _slot(c: _Counts, kind: int, key: int) -> int:
    """Where posts (0), authors (1) or what posts are about (2) are counted, or would be."""
    wanted = wide(kind) << 32 | key
    i: int = (wanted * -7046029254386353131 >> 20) & c.mask
    found = load_i64(c.keys, i)
    while found >= 0 and found != wanted:
        i = (i + 1) & c.mask
        found = load_i64(c.keys, i)
    return i


@inline
def _counted(c: _Counts, i: int) -> int:
    """In a slot; what stands in `counts` means nothing before there is a key."""
    return load_i64(c.counts, i) if load_i64(c.keys, i) >= 0 else 0


@inline
def _listed(c: _Counts, kind: int, key: int) -> int:
    return _counted(c, _slot(c, kind, key))


@inline
def _count(c: _Counts, kind: int, key: int) -> None:
    i = _slot(c, kind, key)
    store_i64(c.counts, i, _counted(c, i) + 1)
    store_i64(c.keys, i, wide(kind) << 32 | key)


@inline
def _room(c: _Counts, row: _Row, take: int) -> bool:
    """Whether the list has room for one more by that author and about that; `take` 1 counts it as listed."""
    about = row.post if row.about == NO_POST else row.about
    if _listed(c, 1, row.author) >= c.author_max or _listed(c, 2, about) >= c.about_max or _listed(c, 0, row.post) > 0:
        return False
    if take:
        _count(c, 0, row.post)
        _count(c, 1, row.author)
        _count(c, 2, about)
    return True


@inline
def _next_waiting(rows: _Rows, waiting: I64, held: int, last: int) -> int:
    """Which of those put off may follow the last author: the one that waits longest; -1: none."""
    for w in range(held):
        if _author(rows, waiting[w]) != last:
            return w
    return -1


@inline
def _last_gap(rows: _Rows, out: I64, kept: int, start: int, end: int, author: int) -> int:
    """The last place from `start` to `end` where a post by this author stands beside none of theirs; -1: none."""
    for at in range(end, start - 1, -1):
        after = at < kept and _author(rows, out[at]) == author
        before = at > 0 and _author(rows, out[at - 1]) == author
        if not before and not after:
            return at
    return -1


@inline
def _fit_in(
    rows: _Rows, c: _Counts, waiting: I64, waits_unseen: BOOL, held: int, out: I64, kept: int, border: int
) -> int:
    """Posts that wait although all are told are by the last author: each goes in as late as it may stand, and nothing
    seen before the `border` where the seen ones begin. Returns how many are listed then."""
    for w in range(held):
        if kept == out.size:
            break
        row, unseen = waiting[w], waits_unseen[w]
        start, end = (0, border) if unseen else (border, kept)
        at = _last_gap(rows, out, kept, start, end, _author(rows, row))
        if at < 0 or not _room(c, _row(rows, row), 1):
            continue
        for k in range(kept, at, -1):
            out[k] = out[k - 1]
        out[at] = row
        kept += 1
        border += wide(unseen)
    return kept


@inline
def _choose(rows: _Rows, end: int, others: U16, policy: Policy, seen_by: U32, c: _Counts, out: I64) -> int:
    """Walks the candidates, unseen ones first, and takes what the rules allow, until `out` is full. Returns how many
    rows it took.
    """
    who, seen_posts = plain_policy(policy), set_of(seen_by)
    waiting, waits_unseen = np.empty(MAX_WAITING, np.int64), np.empty(MAX_WAITING, np.bool_)
    seen = np.empty(end if seen_posts.size else 0, np.int64)  # put off until nothing unseen is left
    kept, held, i, last, first_seen, seen_before, seen_again = 0, 0, 0, -1, -1, 0, 0
    while kept < out.size:
        w = _next_waiting(rows, waiting, held, last)
        if w >= 0:
            at, is_unseen = waiting[w], waits_unseen[w]
            for k in range(w, held - 1):
                waiting[k], waits_unseen[k] = waiting[k + 1], waits_unseen[k + 1]
            held -= 1
        elif i < end:
            at, is_unseen = i, True
            i += 1
            row = _row(rows, at)
            flags = row.flags | others[at] if others.size else row.flags
            if verdict(who, row.post, row.author, flags, row.about) != MAY:
                continue
            if holds(seen_posts, row.post):
                seen[seen_before] = at
                seen_before += 1
                continue
        elif seen_again < seen_before:
            at, is_unseen = seen[seen_again], False
            seen_again += 1
        else:
            break
        row = _row(rows, at)
        if not _room(c, row, wide(row.author != last)):
            continue
        if row.author == last:
            if held < MAX_WAITING:
                waiting[held], waits_unseen[held] = at, is_unseen
                held += 1
            continue
        if first_seen < 0 and not is_unseen:
            first_seen = kept
        out[kept] = at
        kept += 1
        last = row.author
    border = kept if first_seen < 0 else first_seen
    return _fit_in(rows, c, waiting, waits_unseen, held, out, kept, border)


@njit
def _list(
    first: I64,
    second: I64,
    others: U16,
    policy: Policy,
    seen: U32,
    room: tuple[int, int],
    kinds: tuple[int, int],
    counting: I64,
    out: Listed,
) -> int:
    """Fills `out` from one source and then the other, as far as it goes. Returns how many are listed. `room` is for
    posts by one author and about one post; `counting` is memory to count in: two powers of two, each more than three
    for each that can be listed.
    """
    half = counting.size // 2
    counting[:half] = -1
    keys, counts = counting.ctypes.data, counting[half:].ctypes.data
    c = _Counts(keys, counts, half - 1, room[0], room[1])
    rows, chosen = _Rows(first.ctypes.data, len(first), second.ctypes.data), np.empty(out.posts.size, np.int64)
    kept = _choose(rows, len(first) + len(second), others, policy, seen, c, chosen)
    for k in range(kept):
        row = chosen[k]
        which = wide(row >= rows.n)
        out.posts[k], out.kinds[k], out.rows[k] = _row(rows, row).post, kinds[which], row - which * rows.n
    return kept


def make_list(
    view: View, sources: Sequence[Source], rules: ListRules, *, seen: U32 = NO_NUMBERS, **who: Unpack[Reader]
) -> Listed:
    """At most `rules.size` posts out of one source or two. `seen` is ascending."""
    first, second = chain(sources, repeat(_EMPTY, 2 - len(sources)))
    size = min(rules.size, MAX_LIST)
    out = Listed(np.empty(size, np.uint32), np.empty(size, np.uint8), np.empty(size, np.int32))
    counting = np.empty(2 << (6 * size).bit_length(), np.int64)
    rows = np.ascontiguousarray(first.ints), np.ascontiguousarray(second.ints)
    posts = np.concatenate([first.ints[:, R_POST], second.ints[:, R_POST]]).astype(np.uint32)
    kept = _list(
        *rows,
        flags_by_others(view, posts),
        rules.policy(view, **who),
        seen,
        (rules.author_max, rules.about_max),
        (first.kind, second.kind),
        counting,
        out,
    )
    return Listed(out.posts[:kept], out.kinds[:kept], out.rows[:kept])
