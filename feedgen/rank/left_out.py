"""What nearly made a list, and the rule that kept each post out: `listing.py` again, slow and obvious, with the reason
for each post that it drops.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple, Unpack

from feedgen.core.ids import NO_POST
from feedgen.graph.access import I64, U32
from feedgen.graph.view import View
from feedgen.rank.listing import ListRules
from feedgen.rank.policy import MAY, NO_NUMBERS, REASONS, Reader, row_verdicts
from feedgen.rank.request import R_ABOUT, R_AUTHOR, R_POST

# Every rule with its sentence: the policy's, then those of the list itself.
RULES: Final = {
    **{reason.name: reason.text for reason in REASONS.values()},
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
    view: View, ints: I64, rules: ListRules, size: int, *, seen: U32 = NO_NUMBERS, **who: Unpack[Reader]
) -> Walked:
    """The list's first `size` posts out of candidates, best first, that no rule was asked of yet. What stands below the
    last of them did not nearly make it, and is not looked at.
    """
    verdicts = row_verdicts(view, ints, rules.policy(view, **who)).tolist()
    facts = _Facts(ints, verdicts, set(seen.tolist()))
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

    def __init__(self, ints: I64, verdicts: list[int], seen: set[int]) -> None:
        self._rows, self._verdicts, self._seen = ints, verdicts, seen

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
        return "seen" if self.post(row) in self._seen else ""
