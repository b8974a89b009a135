"""One function says what may be shown to whom; here it is held against the same rules in plain Python."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from feedgen.core.ids import NO_PERSON, NO_POST
from feedgen.graph.aside import Aside
from feedgen.graph.edit import mark_posts
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
    SPAMMY,
    VIDEO,
)
from feedgen.rank import policy as p
from feedgen.rank.listing import ListRules
from tests.rank.test_listing import rows, view_with
from tests.rank.world import World

POST_FLAGS = (KNOWN, REPLY, QUOTE, VIDEO, ADULT, LATE, DELETED, HIDDEN)
PERSON_FLAGS = (INACTIVE, GONE, OPTED_OUT, NO_UNAUTHENTICATED, PERSON_ADULT, PERSON_HIDDEN, SPAMMY)


def u32(*values: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.array(sorted(values), np.uint32)


def reasons_of(
    rules: ListRules, of_author: int | None, row: tuple[int, int, int, int], who: dict[str, object]
) -> set[str]:
    """Every reason that holds, not the first one alone."""
    post, author, flags, about = row
    less: set[int] = set(who["hidden_posts"].tolist())  # type: ignore[attr-defined]
    found = {
        "own": author == who["reader"],
        "liked": post in who["liked"],  # type: ignore[operator]
        "deleted": flags & DELETED,
        "unknown": rules.require & KNOWN and not flags & KNOWN,
        "too old": flags & LATE,
        "reply": flags & REPLY and not rules.replies,
        "quote": flags & QUOTE and not rules.quotes,
        "video": flags & VIDEO and not rules.videos,
        "no video": rules.require & VIDEO and not flags & VIDEO,
        "less": {post, about} & less or author in who["hidden_authors"],  # type: ignore[operator]
    }
    of_author = GONE if of_author is None else of_author  # nobody knows the author
    found |= {
        "away": of_author & (INACTIVE | GONE),
        "hidden": flags & HIDDEN or of_author & PERSON_HIDDEN,
        "label": (flags & ADULT or of_author & PERSON_ADULT) and not rules.adult,
        "opted out": of_author & OPTED_OUT and author not in who["follows"],  # type: ignore[operator]
        "signed in": of_author & NO_UNAUTHENTICATED and who["logged_out"],
    }
    return {name for name, holds in found.items() if holds}


@pytest.mark.parametrize("seed", range(20))
def test_the_verdict_is_a_reason_that_holds_and_none_is_overlooked(seed: int) -> None:
    chance = Random(seed)
    people = {person: sum(f for f in PERSON_FLAGS if chance.random() < 0.06) for person in range(40)}
    view, told, videos_only = view_with(people), set[str](), seed % 3 == 0
    rules = ListRules(
        replies=chance.random() < 0.5,
        quotes=chance.random() < 0.5,
        videos=videos_only or chance.random() < 0.7,
        adult=chance.random() < 0.3,
        require=KNOWN | (VIDEO if videos_only else 0),
    )
    posts = [
        (
            post,
            chance.randrange(41),
            KNOWN * (chance.random() < 0.95)
            | sum(f for f in POST_FLAGS[1:] if chance.random() < (0.9 if videos_only and f == VIDEO else 0.06)),
            chance.randrange(60),
        )
        for post in range(400)
    ]
    posts = [(post, 200 if author == 40 else author, flags, about) for post, author, flags, about in posts]
    who = {
        "reader": chance.randrange(40),
        "liked": u32(*chance.sample(range(400), 20)),
        "follows": u32(*chance.sample(range(40), 10)),
        "hidden_posts": u32(*chance.sample(range(400), 10)),
        "hidden_authors": u32(chance.randrange(40)),
        "logged_out": chance.random() < 0.5,
    }
    found = p.row_verdicts(view, rows(posts), rules.policy(view, **who)).tolist()  # type: ignore[arg-type]
    for row, verdict in zip(posts, found, strict=True):
        expected = reasons_of(rules, people.get(row[1]), row, who)
        name = p.REASONS[verdict].name if verdict != p.MAY else ""
        assert name in expected if expected else not name, (row, name, expected)
        told.add(name)
    assert len(told) > 8


def test_every_code_has_a_name_and_a_sentence_of_its_own() -> None:
    names = [reason.name for reason in p.REASONS.values()]
    assert len(set(names)) == len(names) and p.MAY not in p.REASONS
    assert all(reason.text[0].isupper() and reason.text.endswith(".") for reason in p.REASONS.values())
    assert p.REASONS[p.IS_DELETED].clause == "it was deleted"


def test_labels_and_blocks_count_beside_a_posts_own_flags() -> None:
    aside = Aside()
    aside.set_post(1, hidden=True, adult=True)
    aside.set_post(2, hidden=False, adult=True)
    view = View(view_with({}).arrays, (), aside)
    ints = rows([(post, 1, KNOWN, NO_POST) for post in (1, 2, 3)])
    assert p.row_verdicts(view, ints, ListRules().policy(view)).tolist() == [p.IS_HIDDEN, p.IS_ADULT, p.MAY]
    assert p.row_verdicts(view, ints, ListRules(adult=True).policy(view)).tolist() == [p.IS_HIDDEN, p.MAY, p.MAY]


def test_posts_by_number_are_judged_as_they_are_now() -> None:
    world = World(20_400, 1)
    start_us = 20_400 * 86_400_000_000
    flags = (KNOWN, KNOWN | REPLY, KNOWN | ADULT)
    posts = u32(*(world.post(i + 1, start_us + i * 1_000_000, flags[i], 0) for i in range(3)))
    view = world.view
    assert p.verdicts(view, posts, ListRules().policy(view)).tolist() == [p.MAY, p.IS_REPLY, p.IS_ADULT]
    # Somebody who names a reply may see it.
    assert p.verdicts(view, posts, p.page_policy(view)).tolist() == [p.MAY, p.MAY, p.IS_ADULT]
    mark_posts(view.arrays, 0, posts[:1], DELETED, True)
    asked = np.array([*posts, NO_POST], np.uint32)
    assert p.verdicts(view, asked, p.page_policy(view)).tolist() == [p.IS_DELETED, p.MAY, p.IS_ADULT, p.IS_DELETED]


@pytest.mark.parametrize(
    ("flags", "stranger", "signed_in", "named"),
    [
        (0, p.MAY, p.MAY, True),
        (INACTIVE, p.AWAY, p.AWAY, False),
        (GONE, p.AWAY, p.AWAY, False),
        (PERSON_HIDDEN, p.IS_HIDDEN, p.IS_HIDDEN, False),
        (NO_UNAUTHENTICATED, p.SIGNED_IN_ONLY, p.MAY, False),
        (PERSON_ADULT, p.MAY, p.MAY, False),
        (OPTED_OUT, p.MAY, p.MAY, False),
    ],
)
def test_whose_likes_are_shown_and_who_is_named(flags: int, stranger: int, signed_in: int, named: bool) -> None:
    view = view_with({3: flags})
    assert p.person_verdict(view, 3, logged_out=True) == stranger
    assert p.person_verdict(view, 3, logged_out=False) == signed_in
    assert p.may_be_named(view, 3) == named
    assert p.person_verdict(view, None, logged_out=True) == p.MAY
    assert p.person_verdict(view, NO_PERSON, logged_out=True) == p.AWAY and not p.may_be_named(view, NO_PERSON)
