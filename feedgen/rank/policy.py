"""What may be shown to whom: one function, `verdict`, with a code for each reason why not.

Lists, pages, left out, why, previews, names and evaluation all ask it, so they cannot disagree. A `Policy` says who
looks and what they may see; flags of posts and people, labels and the operator's blocks say the rest. Every code has
its name and its sentence in `REASONS`.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypedDict, Unpack

import numpy as np

from feedgen.core.ids import NO_PERSON
from feedgen.core.jit import brief, inline, njit
from feedgen.graph.access import I64, U8, U16, U32, Arrays, places_of, post_about, post_author, post_flags, post_row
from feedgen.graph.view import View
from feedgen.graph.words import load_u8
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
from feedgen.rank.request import R_ABOUT, R_AUTHOR, R_FLAGS, R_POST
from feedgen.rank.sets import Set, holds, set_of

# Verdicts. Of several reasons the one that is asked first holds.
MAY: Final = 0
OWN: Final = 1
IS_DELETED: Final = 2
IS_UNKNOWN: Final = 3
IS_LATE: Final = 4
IS_REPLY: Final = 5
IS_QUOTE: Final = 6
IS_VIDEO: Final = 7
NO_VIDEO: Final = 8
IS_HIDDEN: Final = 9
IS_ADULT: Final = 10
AWAY: Final = 11
NOT_FOLLOWED: Final = 12
SIGNED_IN_ONLY: Final = 13
LIKED: Final = 14
LESS: Final = 15
OTHER_KIND: Final = 16


class Reason(NamedTuple):
    name: str
    text: str  # a sentence for people

    @property
    def clause(self) -> str:
        """The same, to follow a colon."""
        return self.text[0].lower() + self.text[1:-1]


REASONS: Final = {
    OWN: Reason("own", "It is the reader's own post."),
    IS_DELETED: Reason("deleted", "It was deleted."),
    IS_UNKNOWN: Reason("unknown", "Its record never came, so nothing is known of it."),
    IS_LATE: Reason("too old", "It was written long before it was published."),
    IS_REPLY: Reason("reply", "It is a reply, and replies are left out here."),
    IS_QUOTE: Reason("quote", "It is a quote, and quotes are left out here."),
    IS_VIDEO: Reason("video", "It has a video, and the reader wants none."),
    NO_VIDEO: Reason("no video", "It has no video, in a feed of videos."),
    IS_HIDDEN: Reason("hidden", "A label or the operator of this service hides it or its author."),
    IS_ADULT: Reason("label", "It, or its author, is labelled as adult content."),
    AWAY: Reason("away", "Its author's account is deactivated, suspended or deleted."),
    NOT_FOLLOWED: Reason("opted out", "Its author asked to be recommended to followers only."),
    SIGNED_IN_ONLY: Reason("signed in", "Its author asked to be shown to signed-in people only."),
    LIKED: Reason("liked", "The reader likes it already."),
    LESS: Reason("less", "The reader asked for less of this."),
    OTHER_KIND: Reason("other kind", "It is not of the kind that this feed shows."),
}

# What no policy allows, of posts and of their authors.
_NEVER: Final = DELETED | HIDDEN
_NEVER_PEOPLE: Final = INACTIVE | GONE | PERSON_HIDDEN
# Named as those who led to a post, to its reader. People who asked for signed-in viewers only are left out too: the
# reader is signed in to this service, not to Bluesky, which alone knows who blocked whom.
_NEVER_NAMED: Final = _NEVER_PEOPLE | PERSON_ADULT | OPTED_OUT | NO_UNAUTHENTICATED

NO_NUMBERS: Final = np.empty(0, np.uint32)
_NO_FLAGS: Final = np.empty(0, np.uint16)


class Policy(NamedTuple):
    """Who looks, and what they may see. Arrays are ascending."""

    person_flags: U8
    require: int  # flags a post must all have
    forbid: int  # flags of which a post must have none
    forbid_people: int  # flags of which an author must have none
    if_followed: int  # flags of authors that only followers may see
    reader: int
    liked: U32
    follows: U32
    hidden_posts: U32
    hidden_authors: U32


class Reader(TypedDict, total=False):
    """Who a list is for. Arrays are ascending."""

    logged_out: bool
    reader: int
    liked: U32
    follows: U32
    hidden_posts: U32
    hidden_authors: U32


def list_policy(view: View, require: int, forbid: int, adult: bool, **who: Unpack[Reader]) -> Policy:
    """What may be recommended to a reader. `require` and `forbid` are flags of posts."""
    return Policy(
        person_flags=view.arrays.person_flags,
        require=require,
        forbid=forbid | _NEVER,
        forbid_people=_forbidden_people(who.get("logged_out", False), adult),
        if_followed=OPTED_OUT,
        reader=who.get("reader", NO_PERSON),
        liked=who.get("liked", NO_NUMBERS),
        follows=who.get("follows", NO_NUMBERS),
        hidden_posts=who.get("hidden_posts", NO_NUMBERS),
        hidden_authors=who.get("hidden_authors", NO_NUMBERS),
    )


def page_policy(view: View, *, logged_out: bool = True, adult: bool = False) -> Policy:
    """What may be shown to somebody who asked for a post by its name: kinds of posts, and who wants to be recommended,
    do not matter then."""
    forbid = _NEVER if adult else _NEVER | ADULT
    return list_policy(view, 0, forbid, adult, logged_out=logged_out)._replace(if_followed=0)


def _forbidden_people(logged_out: bool, adult: bool) -> int:
    flags = _NEVER_PEOPLE
    if logged_out:
        flags |= NO_UNAUTHENTICATED
    return flags if adult else flags | PERSON_ADULT


class PlainPolicy(NamedTuple):
    """A policy as plain numbers: what runs for each row gets no arrays (see `Places` in graph/access.py)."""

    person_flags: int
    people: int
    require: int
    forbid: int
    forbid_people: int
    if_followed: int
    reader: int
    liked: Set
    follows: Set
    hidden_posts: Set
    hidden_authors: Set


@inline
def plain_policy(p: Policy) -> PlainPolicy:
    return PlainPolicy(
        p.person_flags.ctypes.data,
        p.person_flags.size,
        p.require,
        p.forbid,
        p.forbid_people,
        p.if_followed,
        p.reader,
        set_of(p.liked),
        set_of(p.follows),
        set_of(p.hidden_posts),
        set_of(p.hidden_authors),
    )


@inline
def _kind_verdict(require: int, forbid: int, flags: int) -> int:
    """Why a post with these flags is not shown, all of which are wrong somehow."""
    bad = flags & forbid
    if bad & DELETED != 0:
        return IS_DELETED
    if require & ~flags & KNOWN != 0:
        return IS_UNKNOWN
    if bad & LATE != 0:
        return IS_LATE
    if bad & REPLY != 0:
        return IS_REPLY
    if bad & QUOTE != 0:
        return IS_QUOTE
    if bad & VIDEO != 0:
        return IS_VIDEO
    if require & ~flags & VIDEO != 0:
        return NO_VIDEO
    if bad & HIDDEN != 0:
        return IS_HIDDEN
    return IS_ADULT if bad & ADULT != 0 else OTHER_KIND


@inline
def _author_verdict(bad: int) -> int:
    if bad & (INACTIVE | GONE) != 0:
        return AWAY
    if bad & PERSON_HIDDEN != 0:
        return IS_HIDDEN
    return IS_ADULT if bad & PERSON_ADULT != 0 else SIGNED_IN_ONLY


@inline
def verdict(p: PlainPolicy, post: int, author: int, flags: int, about: int) -> int:
    """MAY, or why the post may not be shown to this reader. `flags` are the post's own and what others said of it."""
    if author == p.reader and author != NO_PERSON:
        return OWN
    if flags & p.require != p.require or flags & p.forbid != 0:
        return _kind_verdict(p.require, p.forbid, flags)
    if author >= p.people:
        return AWAY
    of_author = load_u8(p.person_flags, author)
    if of_author & p.forbid_people != 0:
        return _author_verdict(of_author & p.forbid_people)
    if of_author & p.if_followed != 0 and not holds(p.follows, author):
        return NOT_FOLLOWED
    if holds(p.liked, post):
        return LIKED
    if holds(p.hidden_posts, post) or holds(p.hidden_posts, about) or holds(p.hidden_authors, author):
        return LESS
    return MAY


@brief
def _of_posts(a: Arrays, posts: U32, others_flags: U16, policy: Policy, out: U8) -> None:
    at, p = places_of(a), plain_policy(policy)
    for i in range(posts.size):
        d = post_row(at, posts[i])
        if d < 0:
            out[i] = IS_DELETED
            continue
        flags = post_flags(at, d, posts[i])
        if others_flags.size != 0:
            flags |= others_flags[i]
        out[i] = verdict(p, posts[i], post_author(at, d, posts[i]), flags, post_about(at, d, posts[i]))


@njit
def _of_rows(ints: I64, others_flags: U16, policy: Policy, out: U8) -> None:
    p = plain_policy(policy)
    for i in range(len(ints)):
        flags = ints[i, R_FLAGS]
        if others_flags.size != 0:
            flags |= others_flags[i]
        out[i] = verdict(p, ints[i, R_POST], ints[i, R_AUTHOR], flags, ints[i, R_ABOUT])


def verdicts(view: View, posts: U32, policy: Policy) -> U8:
    """Of posts by number, as they are now: the last look before they are shown."""
    out = np.empty(posts.size, np.uint8)
    _of_posts(view.arrays, np.ascontiguousarray(posts), flags_by_others(view, posts), policy, out)
    return out


def row_verdicts(view: View, ints: I64, policy: Policy) -> U8:
    """Of candidates in the layout of `request.py`."""
    out = np.empty(len(ints), np.uint8)
    others_flags = flags_by_others(view, ints[:, R_POST].astype(np.uint32))
    _of_rows(np.ascontiguousarray(ints), others_flags, policy, out)
    return out


def flags_by_others(view: View, posts: U32) -> U16:
    """HIDDEN and ADULT as labels and blocks say; an empty array where nobody said anything."""
    return _NO_FLAGS if view.aside.empty else view.aside.flags(posts)


def person_verdict(view: View, person: int | None, logged_out: bool) -> int:
    """MAY, or why a person's public likes, and lists made of them, are not shown."""
    if person is None:
        return MAY
    flags = view.arrays.person_flags
    if person >= flags.size:
        return AWAY
    bad = int(flags[person]) & _forbidden_people(logged_out, adult=True)
    return _author_verdict(bad) if bad else MAY


def may_be_named(view: View, person: int) -> bool:
    """Whether the reader may be told that this person led to a post."""
    flags = view.arrays.person_flags
    return person < flags.size and not flags[person] & _NEVER_NAMED
