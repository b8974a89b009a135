"""The walk that gives reasons takes what the list takes, and each reason is true."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from feedgen.core.ids import NO_PERSON, NO_POST
from feedgen.graph.access import U32
from feedgen.ingest.events import (
    ADULT,
    DELETED,
    HIDDEN,
    INACTIVE,
    KNOWN,
    LATE,
    NO_UNAUTHENTICATED,
    OPTED_OUT,
    PERSON_HIDDEN,
    QUOTE,
    REPLY,
    VIDEO,
)
from feedgen.rank.left_out import RULES, walk
from feedgen.rank.listing import PERSONAL, ListRules, Source, make_list
from tests.rank.test_listing import rows, view_with

NONE = np.empty(0, np.uint32)


def u32(*values: int) -> U32:
    return np.array(sorted(values), np.uint32)


@pytest.mark.parametrize("seed", range(60))
def test_the_walk_takes_what_the_list_takes(seed: int) -> None:
    chance = Random(seed)
    view = view_with(
        {person: chance.choice([0, 0, 0, OPTED_OUT, INACTIVE, NO_UNAUTHENTICATED]) for person in range(40)}
    )
    posts = []
    for post in range(chance.randrange(1, 250)):
        flags = KNOWN | chance.choice([0] * 8 + [REPLY, QUOTE, LATE, ADULT, HIDDEN, DELETED])
        about = chance.choice([NO_POST] * 3 + list(range(5)))
        posts.append((post, chance.randrange(chance.choice([3, 40])), flags, about))
    ints = rows(posts)
    rules = ListRules(author_max=chance.randrange(1, 6), about_max=chance.randrange(1, 4), quotes=chance.random() < 0.5)
    size = chance.randrange(1, 60)
    asked = {
        "seen": u32(*chance.sample(range(250), 30)),
        "follows": u32(*chance.sample(range(40), 10)),
        "hidden_posts": u32(*chance.sample(range(250), 5)),
        "hidden_authors": u32(chance.randrange(40)),
        "logged_out": chance.random() < 0.3,
    }
    walked = walk(view, [Source(PERSONAL, ints)], rules, size, reader=NO_PERSON, liked=NONE, **asked)
    listed = make_list(view, [Source(PERSONAL, ints)], rules, **asked).posts.tolist()
    assert [posts[row][0] for row in walked.kept] == [post for post in listed if post not in asked["seen"]][:size]
    spoken_of = set(walked.kept) | {one.row for one in walked.dropped}
    assert spoken_of == set(range(max(spoken_of, default=-1) + 1))  # nothing above the last one is left unexplained
    assert all(one.rule in RULES and 1 <= one.place <= len(walked.kept) + 1 for one in walked.dropped)


def test_each_rule_has_its_name() -> None:
    view = view_with({3: OPTED_OUT, 4: INACTIVE, 5: PERSON_HIDDEN, 6: NO_UNAUTHENTICATED})
    told = {
        "reply": (1, 1, KNOWN | VIDEO | REPLY, NO_POST),
        "quote": (2, 1, KNOWN | VIDEO | QUOTE, NO_POST),
        "too old": (3, 1, KNOWN | VIDEO | LATE, NO_POST),
        "deleted": (4, 1, KNOWN | VIDEO | DELETED, NO_POST),
        "unknown": (5, 1, VIDEO, NO_POST),
        "no video": (6, 1, KNOWN, NO_POST),
        "label": (7, 1, KNOWN | VIDEO | ADULT, NO_POST),
        "opted out": (8, 3, KNOWN | VIDEO, NO_POST),
        "away": (9, 4, KNOWN | VIDEO, NO_POST),
        "signed in": (10, 6, KNOWN | VIDEO, NO_POST),
        "own": (11, 7, KNOWN | VIDEO, NO_POST),
        "liked": (12, 1, KNOWN | VIDEO, NO_POST),
        "seen": (13, 1, KNOWN | VIDEO, NO_POST),
        "less": (14, 1, KNOWN | VIDEO, NO_POST),
        "pile-on": (16, 9, KNOWN | VIDEO, 15),
        "author cap": (18, 8, KNOWN | VIDEO, NO_POST),
        "side by side": (20, 11, KNOWN | VIDEO, NO_POST),
    }
    kept = {
        15: (15, 8, KNOWN | VIDEO, NO_POST),
        17: (17, 10, KNOWN | VIDEO, NO_POST),
        19: (19, 11, KNOWN | VIDEO, NO_POST),
    }
    told["author cap"] = (18, 8, KNOWN | VIDEO, NO_POST)
    posts = [kept[15], *told.values()]
    posts.insert(posts.index(told["author cap"]), kept[17])
    posts.insert(posts.index(told["side by side"]), kept[19])
    rules = ListRules(author_max=1, about_max=1, quotes=False, require=KNOWN | VIDEO)
    walked = walk(
        view,
        [Source(PERSONAL, rows(posts))],
        rules,
        10,
        reader=7,
        liked=u32(12),
        seen=u32(13),
        follows=NONE,
        hidden_posts=u32(14),
        hidden_authors=NONE,
        logged_out=True,
    )
    found = {posts[one.row][0]: one.rule for one in walked.dropped}
    expected = {post[0]: rule for rule, post in told.items()}
    expected[20] = "author cap"  # the cap is asked first; `test_two_of_one_author` has the other
    assert found == expected and [posts[row][0] for row in walked.kept] == [15, 17, 19]


def test_two_of_one_author() -> None:
    ints = rows([(1, 1, KNOWN, NO_POST), (2, 1, KNOWN, NO_POST)])
    walked = walk(
        view_with({}),
        [Source(PERSONAL, ints)],
        ListRules(),
        10,
        reader=NO_PERSON,
        liked=NONE,
        seen=NONE,
        follows=NONE,
        hidden_posts=NONE,
        hidden_authors=NONE,
    )
    assert walked.kept == [0] and [(one.row, one.rule) for one in walked.dropped] == [(1, "side by side")]
