"""What nearly made a list, and the rule that kept each post out: `listing.py` again, slow and obvious, with a reason
for whatever it drops.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

import numpy as np

from feedgen.core.ids import NO_POST
from feedgen.graph.access import I64, U32
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
from feedgen.rank.listing import ListRules
from feedgen.rank.request import R_ABOUT, R_AUTHOR, R_FLAGS, R_POST

# Every rule with what it says of a post, in the order in which they are asked.
RULES: Final = {
    "own": "It is the reader's own post.",
    "liked": "The reader likes it already.",
    "deleted": "It was deleted.",
    "unknown": "Its record never came, so nothing is known of it.",
    "too old": "It says to be written long before it came, and is nothing new.",
    "reply": "It is a reply, out of a conversation that the reader would not see.",
    "quote": "It is a quote, and quotes are switched off here.",
    "no video": "It has no video, in a feed of videos.",
    "label": "A label, its author's own or a labeler's, or the operator keeps it from lists.",
    "away": "Its author's account is closed or suspended.",
    "opted out": "Its author asked to be shown to followers only.",
    "signed in": "Its author asked to be shown to signed-in people only.",
    "less": "The reader asked for less of this.",
    "seen": "The reader saw it in the last two days; it comes after all that is new.",
    "pile-on": "Enough posts about the same post stand in the list.",
    "author cap": "Enough posts of its author stand in the list.",
    "side by side": "Its author's post stands just before, and nobody else's came in between.",
}


class Dropped(NamedTuple):
    row: int
    rule: str  # of RULES
    place: int  # where it would stand


class Walked(NamedTuple):
    kept: list[int]  # rows, in the list's order
    dropped: list[Dropped]  # best first


def walk(
    view: View,
    ints: I64,
    rules: ListRules,
    size: int,
    *,
    reader: int,
    liked: U32,
    seen: U32,
    follows: U32,
    hidden_posts: U32,
    hidden_authors: U32,
    logged_out: bool = False,
) -> Walked:
    """The list's first `size` posts out of candidates, best first, that no rule was asked of yet. What stands below the
    last of them did not nearly make it, and is not looked at.
    """
    facts = _Facts(view, ints, rules, reader, liked, seen, follows, hidden_posts, hidden_authors, logged_out)
    kept, waiting = list[int](), list[int]()
    dropped = list[Dropped]()
    authors, abouts, posts = Counter[int](), Counter[int](), set[int]()
    order, last = iter(range(len(ints))), -1
    while len(kept) < size:
        row = next((w for w in waiting if facts.author(w) != last), None)
        if row is not None:
            waiting.remove(row)
        else:
            row = next(order, None)
            if row is None:
                break
            if facts.post(row) in posts:
                continue
            if rule := facts.forbids(row):
                dropped.append(Dropped(row, rule, len(kept) + 1))
                continue
        post, author, about = facts.post(row), facts.author(row), facts.about(row)
        if authors[author] >= rules.author_max or abouts[about] >= rules.about_max:
            rule = "author cap" if authors[author] >= rules.author_max else "pile-on"
            dropped.append(Dropped(row, rule, len(kept) + 1))
        elif author == last:
            waiting.append(row)
        else:
            posts.add(post)
            authors[author] += 1
            abouts[about] += 1
            kept.append(row)
            last = author
    dropped += [Dropped(row, "side by side", len(kept) + 1) for row in waiting]
    return Walked(kept, dropped)


class _Facts:
    """What the rules ask of a row."""

    def __init__(
        self,
        view: View,
        ints: I64,
        rules: ListRules,
        reader: int,
        liked: U32,
        seen: U32,
        follows: U32,
        hidden_posts: U32,
        hidden_authors: U32,
        logged_out: bool,
    ) -> None:
        self._rows, self._rules, self._reader, self._logged_out = ints, rules, reader, logged_out
        self._person_flags = view.arrays.person_flags
        self._liked, self._seen, self._follows = set(liked.tolist()), set(seen.tolist()), set(follows.tolist())
        self._hidden_posts, self._hidden_authors = set(hidden_posts.tolist()), set(hidden_authors.tolist())
        self._aside = np.asarray(view.aside.rows(ints[:, R_POST].astype(np.uint32), rules.adult))

    def post(self, row: int) -> int:
        return int(self._rows[row, R_POST])

    def author(self, row: int) -> int:
        return int(self._rows[row, R_AUTHOR])

    def about(self, row: int) -> int:
        """The post that it quotes or answers, or itself."""
        about = int(self._rows[row, R_ABOUT])
        return self.post(row) if about == NO_POST else about

    def forbids(self, row: int) -> str:
        """The rule that keeps this post out, whatever else stands in the list; empty: none."""
        if self.author(row) == self._reader:
            return "own"
        if self.post(row) in self._liked:
            return "liked"
        return self._kind(int(self._rows[row, R_FLAGS])) or self._account(row) or self._wish(row)

    def _kind(self, flags: int) -> str:
        rules = self._rules
        for rule, holds in (
            ("deleted", flags & DELETED),
            ("unknown", not flags & KNOWN),
            ("too old", flags & LATE),
            ("reply", flags & REPLY and not rules.replies),
            ("quote", flags & QUOTE and not rules.quotes),
            ("no video", rules.require & VIDEO and not flags & VIDEO),
            ("label", flags & HIDDEN or (flags & ADULT and not rules.adult)),
        ):
            if holds:
                return rule
        return ""

    def _account(self, row: int) -> str:
        author = self.author(row)
        flags = int(self._person_flags[author]) if author < self._person_flags.size else GONE
        if flags & (INACTIVE | GONE):
            return "away"
        if flags & PERSON_HIDDEN or (flags & PERSON_ADULT and not self._rules.adult) or self._aside[row]:
            return "label"
        if flags & OPTED_OUT and author not in self._follows:
            return "opted out"
        return "signed in" if self._logged_out and flags & NO_UNAUTHENTICATED else ""

    def _wish(self, row: int) -> str:
        about = int(self._rows[row, R_ABOUT])
        if {self.post(row), about} & self._hidden_posts or self.author(row) in self._hidden_authors:
            return "less"
        return "seen" if self.post(row) in self._seen else ""
