"""What nearly made a list, and the rule that kept each post out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple, Unpack

import numpy as np

from feedgen.core.ids import NO_POST
from feedgen.graph.access import I64, U32
from feedgen.graph.view import View
from feedgen.rank.listing import NO_FADES, Fades, ListRules, Source, in_order, make_list
from feedgen.rank.policy import MAY, NO_NUMBERS, REASONS, Reader, row_verdicts
from feedgen.rank.request import R_ABOUT, R_AUTHOR, R_POST, RESULT_INTS

# Every rule with its sentence: the policy's, then those of the list itself.
RULES: Final = {
    **{reason.name: reason.text for reason in REASONS.values()},
    "seen": "The reader saw it in the last two days; it comes after all that is new.",
    "pile-on": "Enough posts about the same post stand in the list.",
    "author cap": "Enough posts of its author stand in the list.",
    "author near": "Another post of its author stands too near; it comes later.",
    "interest": "Enough posts that the same like led to stand on the page; it comes later.",
    "side by side": "Its author's post stands just before, and nobody else's came in between.",
}


class Dropped(NamedTuple):
    row: int
    rule: str  # of RULES
    place: int  # where it would stand


class Walked(NamedTuple):
    kept: list[int]  # rows of all sources, one after the other; in the list's order
    dropped: list[Dropped]  # best first


def walk(
    view: View,
    sources: Sequence[Source],
    rules: ListRules,
    size: int,
    *,
    seen: U32 = NO_NUMBERS,
    fades: Fades = NO_FADES,
    **who: Unpack[Reader],
) -> Walked:
    """The list's first `size` posts out of candidates that no rule was asked of yet, and what of them is not there.
    Rows below the last that is listed of their source did not nearly make it, and are not looked at.
    """
    sources = in_order(sources)
    ints = np.concatenate([np.empty((0, RESULT_INTS), np.int64), *(source.ints for source in sources)])
    starts = np.cumsum([0, *(len(source.ints) for source in sources)]).tolist()
    listed = make_list(view, sources, rules, seen=seen, fades=fades, **who)
    verdicts = row_verdicts(view, ints, rules.policy(view, **who)).tolist()
    facts = _Facts(ints, verdicts, set(seen.tolist()))
    whole = [starts[s] + row for s, row in zip(listed.sources.tolist(), listed.rows.tolist(), strict=True)]
    unseen = [row for row in whole if facts.post(row) not in facts.seen]
    kept, more = unseen[:size], set(unseen[size:])
    dropped = list[Dropped]()
    for start, end in pairwise(starts):
        mine = [(row, place) for place, row in enumerate(kept, 1) if start <= row < end]
        last = max((row for row, _ in mine), default=start - 1) if len(kept) == size else end - 1
        for row in range(start, last + 1):
            if row in kept or facts.post(row) in {facts.post(k) for k in kept}:
                continue
            rule = facts.forbids(row) or _crowded(facts, row, kept, rules, row in more)
            place = min((place for other, place in mine if other > row), default=len(kept) + 1)
            dropped.append(Dropped(row, rule, place))
    return Walked(kept, sorted(dropped, key=lambda one: (one.place, one.row)))


def _crowded(facts: _Facts, row: int, kept: list[int], rules: ListRules, later: bool) -> str:
    """What keeps a post out that might be shown: others that stand in the list."""
    authors = [facts.author(k) for k in kept]
    if authors.count(facts.author(row)) >= rules.author_max:
        return "author cap"
    if [facts.about(k) for k in kept].count(facts.about(row)) >= rules.about_max:
        return "pile-on"
    if facts.author(row) not in authors:
        return "interest"
    return "author near" if later else "side by side"


class _Facts:
    """What the rules ask of a row."""

    def __init__(self, ints: I64, verdicts: list[int], seen: set[int]) -> None:
        self._rows, self._verdicts, self.seen = ints, verdicts, seen

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
        if self._verdicts[row] != MAY:
            return REASONS[self._verdicts[row]].name
        return "seen" if self.post(row) in self.seen else ""
