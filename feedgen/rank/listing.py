"""From ranked posts to a list: who and what may be shown, and in which order it is pleasant to read.

Rows come in the layout of `request.py` from several sources (personal, popular), each best first. Unseen posts come
before seen ones, and personal before popular ones within that, so that nothing is shown again while there is something
new, and nothing runs dry either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import NO_PERSON, NO_POST
from feedgen.core.jit import inline, njit
from feedgen.graph.access import I64, U8, U32
from feedgen.graph.view import View
from feedgen.ingest.events import (
    ADULT,
    DELETED,
    GONE,
    HIDDEN,
    INACTIVE,
    KNOWN,
    LATE,
    NO_UNAUTHENTICATED,
    OPTED_OUT,
    PERSON_ADULT,
    PERSON_HIDDEN,
    QUOTE,
    REPLY,
    VIDEO,
)
from feedgen.rank.params import MAX_LIST
from feedgen.rank.parts import I32, wide
from feedgen.rank.request import R_ABOUT, R_AUTHOR, R_FLAGS, R_POST, RESULT_INTS

MAX_ROWS: Final = 20_000  # that one list is made from
MAX_WAITING: Final = 64  # posts put off because their author came just before

# Where a listed post came from.
PERSONAL: Final = 0
POPULAR: Final = 1

BOOL = NDArray[np.bool_]
_NONE: Final = np.empty(0, np.uint32)


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

    def forbidden_people(self, logged_out: bool) -> int:
        """Flags of which an author must have none, OPTED_OUT aside."""
        flags = INACTIVE | GONE | PERSON_HIDDEN
        if logged_out:
            flags |= NO_UNAUTHENTICATED
        return flags if self.adult else flags | PERSON_ADULT


class Source(NamedTuple):
    """Candidates of one kind, best first."""

    kind: int
    ints: I64


class Listed(NamedTuple):
    posts: U32
    kinds: U8  # PERSONAL | POPULAR
    rows: I32  # of its source


class _Rules(NamedTuple):
    """The same for compiled code. Arrays are ascending."""

    person_flags: U8
    forbid_people: int
    require: int
    forbid: int
    author_max: int
    about_max: int
    reader: int
    liked: U32
    seen: U32
    follows: U32
    hidden_posts: U32
    hidden_authors: U32


@inline
def _holds(ascending: U32, value: int) -> bool:
    i = np.searchsorted(ascending, np.uint32(value))
    return bool(i < ascending.size and ascending[i] == value)


@inline
def _allowed(rule: _Rules, row: I64) -> bool:
    """Whether the post may be shown to this reader at all."""
    if row[R_FLAGS] & rule.require != rule.require or row[R_FLAGS] & rule.forbid != 0:
        return False
    author = row[R_AUTHOR]
    if author >= rule.person_flags.size or author == rule.reader or _holds(rule.liked, row[R_POST]):
        return False
    of_author = wide(rule.person_flags[author])
    if of_author & rule.forbid_people != 0 or (of_author & OPTED_OUT != 0 and not _holds(rule.follows, author)):
        return False
    hidden = _holds(rule.hidden_posts, row[R_POST]) or _holds(rule.hidden_posts, row[R_ABOUT])
    return not hidden and not _holds(rule.hidden_authors, author)


@inline
def _count_of(keys: I64, kind: int, key: int) -> int:
    """The slot where posts (0), authors (1) or what posts are about (2) are counted."""
    wanted = wide(kind) << 32 | key
    i: int = (wanted * -7046029254386353131 >> 20) & (keys.size - 1)
    while keys[i] >= 0 and keys[i] != wanted:
        i = (i + 1) & (keys.size - 1)
    keys[i] = wanted
    return i


@inline
def _next_waiting(ints: I64, waiting: I64, held: int, last: int) -> int:
    """Which of those put off may follow the last author: the one that waits longest; -1: none."""
    for w in range(held):
        if ints[waiting[w], R_AUTHOR] != last:
            return w
    return -1


class _Counts(NamedTuple):
    """How often posts, authors and what posts are about were listed, and the room for them."""

    keys: I64
    counts: I32


@inline
def _room(c: _Counts, rule: _Rules, row: I64, take: int) -> bool:
    """Whether the list has room for one more by that author and about that; `take` 1 counts it as listed."""
    post, about = row[R_POST], row[R_ABOUT]
    of_post, of_author = _count_of(c.keys, 0, post), _count_of(c.keys, 1, row[R_AUTHOR])
    of_about = _count_of(c.keys, 2, post if about == NO_POST else about)
    counts = c.counts
    if counts[of_post] > 0 or counts[of_author] >= rule.author_max or counts[of_about] >= rule.about_max:
        return False
    counts[of_post] += take
    counts[of_author] += take
    counts[of_about] += take
    return True


@inline
def _last_gap(ints: I64, out: I64, kept: int, start: int, end: int, author: int) -> int:
    """The last place from `start` to `end` where a post by this author stands beside none of theirs; -1: none."""
    for at in range(end, start - 1, -1):
        after = at < kept and ints[out[at], R_AUTHOR] == author
        before = at > 0 and ints[out[at - 1], R_AUTHOR] == author
        if not before and not after:
            return at
    return -1


@inline
def _fit_in(
    ints: I64, rule: _Rules, c: _Counts, waiting: I64, waits_unseen: BOOL, held: int, out: I64, kept: int, border: int
) -> int:
    """Posts that wait although all are told are by the last author: each goes in as late as it may stand, and nothing
    seen before the `border` where the seen ones begin. Returns how many are listed then."""
    for w in range(held):
        if kept == out.size:
            break
        row, unseen = waiting[w], waits_unseen[w]
        start, end = (0, border) if unseen else (border, kept)
        at = _last_gap(ints, out, kept, start, end, ints[row, R_AUTHOR])
        if at < 0 or not _room(c, rule, ints[row], 1):
            continue
        for k in range(kept, at, -1):
            out[k] = out[k - 1]
        out[at] = row
        kept += 1
        border += wide(unseen)
    return kept


@njit
def _choose(ints: I64, aside: BOOL, rule: _Rules, out: I64) -> int:
    """Walks the candidates, unseen ones first, and takes what the rules allow, until `out` is full. Returns how many
    rows it took.
    """
    slots, rows = 64, len(ints)
    while slots < 6 * rows:
        slots *= 2
    c = _Counts(np.full(slots, -1, np.int64), np.zeros(slots, np.int32))
    waiting, waits_unseen = np.empty(MAX_WAITING, np.int64), np.empty(MAX_WAITING, np.bool_)
    seen = np.empty(rows, np.int64)  # put off until nothing unseen is left
    kept, held, i, last, first_seen, seen_before, seen_again = 0, 0, 0, -1, -1, 0, 0
    while kept < out.size:
        w = _next_waiting(ints, waiting, held, last)
        if w >= 0:
            row, is_unseen = waiting[w], waits_unseen[w]
            for k in range(w, held - 1):
                waiting[k], waits_unseen[k] = waiting[k + 1], waits_unseen[k + 1]
            held -= 1
        elif i < rows:
            row, is_unseen = i, True
            i += 1
            if aside[row] or not _allowed(rule, ints[row]):
                continue
            if _holds(rule.seen, ints[row, R_POST]):
                seen[seen_before] = row
                seen_before += 1
                continue
        elif seen_again < seen_before:
            row, is_unseen = seen[seen_again], False
            seen_again += 1
        else:
            break
        author = ints[row, R_AUTHOR]
        if not _room(c, rule, ints[row], wide(author != last)):
            continue
        if author == last:
            if held < MAX_WAITING:
                waiting[held], waits_unseen[held] = row, is_unseen
                held += 1
            continue
        if first_seen < 0 and not is_unseen:
            first_seen = kept
        out[kept] = row
        kept += 1
        last = author
    border = kept if first_seen < 0 else first_seen
    return _fit_in(ints, rule, c, waiting, waits_unseen, held, out, kept, border)


def make_list(
    view: View,
    sources: Sequence[Source],
    rules: ListRules,
    *,
    reader: int = NO_PERSON,
    liked: U32 = _NONE,
    seen: U32 = _NONE,
    follows: U32 = _NONE,
    hidden_posts: U32 = _NONE,
    hidden_authors: U32 = _NONE,
    logged_out: bool = False,
) -> Listed:
    """At most `rules.size` posts out of the sources. All that is said of the reader is ascending."""
    ints = np.concatenate([source.ints for source in sources]) if sources else np.empty((0, RESULT_INTS), np.int64)
    ints = ints[:MAX_ROWS]
    rule = _Rules(
        person_flags=view.arrays.person_flags,
        forbid_people=rules.forbidden_people(logged_out),
        require=rules.require,
        forbid=rules.forbidden(),
        author_max=rules.author_max,
        about_max=rules.about_max,
        reader=reader,
        liked=liked,
        seen=seen,
        follows=follows,
        hidden_posts=hidden_posts,
        hidden_authors=hidden_authors,
    )
    out = np.empty(min(rules.size, MAX_LIST), np.int64)
    aside = view.aside.rows(ints[:, R_POST].astype(np.uint32), rules.adult)
    taken = out[: _choose(ints, aside, rule, out)]
    ends = np.cumsum([len(source.ints) for source in sources], dtype=np.int64)
    which = np.searchsorted(ends, taken, side="right")
    kinds, starts = np.array([source.kind for source in sources], np.uint8), np.append(0, ends)
    return Listed(ints[taken, R_POST].astype(np.uint32), kinds[which], (taken - starts[which]).astype(np.int32))
