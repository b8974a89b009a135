"""Which of the ranked posts come onto the list, and in which order."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgen.core.ids import NO_POST
from feedgen.graph.access import I64
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
from feedgen.rank.compose import PAGE
from feedgen.rank.listing import PERSONAL, POPULAR, Fades, ListRules, Source, make_list
from feedgen.rank.params import MAX_LIST
from feedgen.rank.request import R_ABOUT, R_AUTHOR, R_FLAGS, R_LANGUAGE, R_POST, R_SEED, RESULT_INTS
from feedgen.rank.warm import empty_view

EASY = ListRules(author_max=500, about_max=500)


def view_with(flags: dict[int, int]) -> View:
    arrays = empty_view().arrays
    of_people = np.zeros(100, np.uint8)
    for person, bits in flags.items():
        of_people[person] = bits
    return View(arrays._replace(person_flags=of_people), ())


def rows(posts: list[tuple[int, int, int, int]]) -> I64:
    """(post, author, flags, about)"""
    ints = np.zeros((len(posts), RESULT_INTS), np.int64)
    for i, (post, author, flags, about) in enumerate(posts):
        ints[i, R_POST], ints[i, R_AUTHOR], ints[i, R_FLAGS], ints[i, R_ABOUT] = post, author, flags, about
    return ints


def plain(*posts: tuple[int, int]) -> Source:
    return Source(PERSONAL, rows([(post, author, KNOWN, NO_POST) for post, author in posts]))


@pytest.mark.parametrize("flag", [DELETED, HIDDEN, LATE, ADULT, REPLY])
def test_posts_that_are_never_shown(flag: int) -> None:
    source = Source(PERSONAL, rows([(1, 1, KNOWN | flag, NO_POST), (2, 2, KNOWN, NO_POST), (3, 3, 0, NO_POST)]))
    assert make_list(view_with({}), [source], ListRules()).posts.tolist() == [2]


def test_what_settings_allow() -> None:
    source = Source(
        PERSONAL, rows([(1, 1, KNOWN | ADULT, NO_POST), (2, 2, KNOWN | REPLY, 9), (3, 3, KNOWN | QUOTE, 8)])
    )
    assert make_list(view_with({1: PERSON_ADULT}), [source], ListRules()).posts.tolist() == [3]
    assert make_list(view_with({}), [source], ListRules(quotes=False)).posts.tolist() == []
    assert make_list(view_with({1: PERSON_ADULT}), [source], ListRules(adult=True, replies=True)).posts.tolist() == [
        1,
        2,
        3,
    ]
    assert make_list(view_with({}), [source], ListRules(require=KNOWN | VIDEO)).posts.tolist() == []


@pytest.mark.parametrize(
    ("flag", "logged_in", "logged_out"),
    [
        (INACTIVE, False, False),
        (GONE, False, False),
        (PERSON_HIDDEN, False, False),
        (PERSON_ADULT, False, False),
        (OPTED_OUT, False, False),
        (NO_UNAUTHENTICATED, True, False),
        (SPAMMY, True, True),  # their likes weigh nothing; their posts are posts
    ],
)
def test_authors(flag: int, logged_in: bool, logged_out: bool) -> None:
    view, source = view_with({1: flag}), plain((5, 1))
    assert bool(make_list(view, [source], ListRules()).posts.size) is logged_in
    assert bool(make_list(view, [source], ListRules(), logged_out=True).posts.size) is logged_out


def test_followers_see_who_opted_out() -> None:
    follows = np.array([1], np.uint32)
    assert make_list(view_with({1: OPTED_OUT}), [plain((5, 1))], ListRules(), follows=follows).posts.tolist() == [5]


def test_an_author_comes_so_often_and_never_twice_in_a_row() -> None:
    source = plain(*((i, 1) for i in range(10)), *((i, 2) for i in range(20, 24)))
    found = make_list(view_with({}), [source], ListRules(author_max=3)).posts.tolist()
    assert found == [0, 20, 1, 21, 2, 22]


def test_the_one_that_waited_longest_comes_first() -> None:
    source = plain((1, 1), (2, 1), (3, 1), (4, 2), (5, 3))
    assert make_list(view_with({}), [source], ListRules()).posts.tolist() == [1, 4, 2, 5, 3]


def test_a_pile_on_does_not_fill_the_page() -> None:
    quotes = [(i, i, KNOWN | QUOTE, 50) for i in range(1, 9)]
    source = Source(PERSONAL, rows([(50, 40, KNOWN, NO_POST), *quotes, (60, 41, KNOWN, NO_POST)]))
    assert make_list(view_with({}), [source], ListRules(about_max=2)).posts.tolist() == [50, 1, 60]


def test_unseen_before_seen_and_personal_before_popular() -> None:
    personal, popular = plain((1, 1), (2, 2), (3, 3)), plain((11, 4), (2, 2), (12, 5))
    seen = np.array([1, 11], np.uint32)
    found = make_list(view_with({}), [personal, Source(POPULAR, popular.ints)], EASY, seen=seen)
    assert found.posts.tolist() == [2, 3, 12, 1, 11]
    assert found.kinds.tolist() == [PERSONAL, PERSONAL, POPULAR, PERSONAL, POPULAR]
    assert found.rows.tolist() == [1, 2, 2, 0, 0]


def test_hidden_posts_their_kin_and_hidden_authors() -> None:
    source = Source(
        PERSONAL, rows([(1, 1, KNOWN, 7), (2, 2, KNOWN, NO_POST), (7, 3, KNOWN, NO_POST), (8, 4, KNOWN, 9)])
    )
    hidden = np.array([7], np.uint32)
    authors = np.array([4], np.uint32)
    found = make_list(view_with({}), [source], EASY, hidden_posts=hidden, hidden_authors=authors)
    assert found.posts.tolist() == [2]


def test_own_posts_and_liked_ones_do_not_come() -> None:
    source = plain((1, 1), (2, 2), (3, 3))
    found = make_list(view_with({}), [source], EASY, reader=3, liked=np.array([1], np.uint32))
    assert found.posts.tolist() == [2]


def test_a_list_is_never_longer_than_it_may_be() -> None:
    source = plain(*((i, i % 100) for i in range(2 * MAX_LIST)))
    for size, listed in ((7, 7), (MAX_LIST, MAX_LIST), (3 * MAX_LIST, MAX_LIST)):
        assert make_list(view_with({}), [source], replace(EASY, size=size)).posts.size == listed


def test_two_sources_follow_each_other_wherever_their_rows_lie() -> None:
    personal, popular = plain((1, 1), (2, 2), (3, 3)).ints, plain((3, 3), (4, 4), (5, 5), (6, 6)).ints
    found = make_list(view_with({}), [Source(POPULAR, personal[::-1]), Source(PERSONAL, popular[1::2])], EASY)
    assert found.posts.tolist() == [3, 2, 1, 4, 6]
    assert found.kinds.tolist() == [POPULAR] * 3 + [PERSONAL] * 2
    assert found.rows.tolist() == [0, 1, 2, 0, 1]


def test_nothing_makes_nothing() -> None:
    assert make_list(view_with({}), [], ListRules()).posts.tolist() == []


candidates = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 9), st.sampled_from([KNOWN, KNOWN | REPLY]), st.integers(0, 12)),
    max_size=80,
)


@given(candidates, st.integers(1, 6), st.integers(1, 4), st.integers(1, 30), st.frozensets(st.integers(0, 60)))
def test_the_rules_hold_for_any_candidates(
    posts: list[tuple[int, int, int, int]], author_max: int, about_max: int, size: int, seen: frozenset[int]
) -> None:
    rules = ListRules(size=size, author_max=author_max, about_max=about_max)
    ints = rows([(p, a, f, NO_POST if about > 9 else about) for p, a, f, about in posts])
    found = make_list(view_with({}), [Source(PERSONAL, ints)], rules, seen=np.array(sorted(seen), np.uint32))
    taken = ints[found.rows]
    assert found.posts.tolist() == taken[:, R_POST].tolist()
    assert len(set(found.posts.tolist())) == found.posts.size <= size
    assert not (taken[:, R_FLAGS] & REPLY).any()
    assert not (taken[1:, R_AUTHOR] == taken[:-1, R_AUTHOR]).any()
    assert max(np.bincount(taken[:, R_AUTHOR]), default=0) <= author_max
    about = np.where(taken[:, R_ABOUT] == NO_POST, taken[:, R_POST], taken[:, R_ABOUT])
    assert max(np.bincount(about), default=0) <= about_max
    # Nothing was left behind that has room and a place where it may stand.
    authors = [-1, *taken[:, R_AUTHOR].tolist(), -1]
    was_seen = [int(post) in seen for post in found.posts]
    border = was_seen.index(True) if any(was_seen) else found.posts.size
    for row in ints[(ints[:, R_FLAGS] & REPLY) == 0]:
        kin = row[R_POST] if row[R_ABOUT] == NO_POST else row[R_ABOUT]
        full = (about == kin).sum() >= about_max or (taken[:, R_AUTHOR] == row[R_AUTHOR]).sum() >= author_max
        places = range(border, len(authors) - 1) if int(row[R_POST]) in seen else range(border + 1)
        gap = any(row[R_AUTHOR] not in authors[at : at + 2] for at in places)
        assert row[R_POST] in found.posts or found.posts.size == size or full or not gap


@settings(max_examples=int(os.environ.get("FEEDGEN_LISTS", "1000")))
@given(st.lists(st.integers(0, 25), max_size=150), st.integers(2, 10), st.integers(1, 4), st.integers(1, 6))
def test_authors_stand_apart_as_far_as_the_others_allow(
    authors: list[int], gap: int, page_max: int, author_max: int
) -> None:
    """More lists: FEEDGEN_LISTS=100000."""
    rules = ListRules(author_gap=gap, author_page_max=page_max, author_max=author_max)
    found = make_list(view_with({}), [plain(*enumerate(authors))], rules).posts.tolist()
    listed = [authors[post] for post in found]
    counts = {author: min(authors.count(author), author_max) for author in set(authors)}
    evenly = {a: max((sum(counts.values()) - 1) // (n - 1), 2) if n > 1 else PAGE for a, n in counts.items()}

    def near(author: int, place: int) -> bool:
        before = listed[:place]
        close = before[max(0, place - min(gap, evenly[author]) + 1) :]
        page = before[max(0, place - min(PAGE, page_max * evenly[author]) + 1) :]
        return author in close or page.count(author) >= page_max

    # At the end one author may be left, whose posts then move up between others, which stand further apart after it.
    last = [post for post in found if authors[post] == listed[-1]]
    moved = last != sorted(last)
    for place, author in enumerate(listed):
        assert place == 0 or listed[place - 1] != author
        if near(author, place) and not moved:
            assert all(near(other, place) for other in listed[place:])
    if all(n * max(gap, -(-PAGE // page_max)) <= sum(counts.values()) / 2 for n in counts.values()):
        for at in range(len(listed) // 2):  # enough others: no exception in the first half
            assert len(set(listed[at : at + gap])) == gap
            assert max(listed[at : at + PAGE].count(author) for author in set(listed)) <= page_max


def test_a_page_is_about_more_than_one_interest() -> None:
    """Twenty posts that one like led to, and ten of two others that score a little less."""
    ints = rows([(i, i, KNOWN, NO_POST) for i in range(30)])
    ints[:, R_SEED] = [0] * 20 + [1] * 5 + [2] * 5
    scores = np.array([1.0 - 0.001 * i for i in range(30)])
    source = Source(PERSONAL, ints, scores, share=1.0)
    even = ints[make_list(view_with({}), [source], replace(EASY, spread=0.8)).rows, R_SEED].tolist()
    assert [even[:15].count(seed) for seed in range(3)] == [5, 5, 5]
    plainly = ints[make_list(view_with({}), [source], replace(EASY, spread=1.0)).rows, R_SEED].tolist()
    assert plainly[:20] == [0] * 20


def test_a_new_page_begins_with_the_strongest_interest_again() -> None:
    ints = rows([(i, i % 100, KNOWN, NO_POST) for i in range(200)])
    ints[:, R_SEED] = [0] * 100 + [1] * 100
    scores = np.concatenate([np.full(100, 1.0), np.full(100, 0.5)])
    found = make_list(view_with({}), [Source(PERSONAL, ints, scores, share=1.0)], replace(EASY, spread=0.9))
    firsts = (ints[found.rows, R_SEED] == 0).astype(int)
    assert {int(firsts[at : at + PAGE].sum()) for at in range(30, 90)} <= {18, 19}


def test_sources_are_mixed_by_their_shares() -> None:
    one, other, rest = (rows([(100 * k + i, 33 * k + i, KNOWN, NO_POST) for i in range(33)]) for k in range(3))
    sources = [
        Source(7, one, share=0.75, codes=np.full(33, 70, np.uint8)),
        Source(9, rest, codes=np.full(33, 90, np.uint8)),
        Source(8, other, share=0.25, codes=np.full(33, 80, np.uint8), first=4),
    ]
    found = make_list(view_with({}), sources, replace(EASY, size=99))
    kinds = found.kinds.tolist()
    assert 8 not in kinds[:4] and kinds[:40].count(7) == 30 and kinds[:40].count(8) == 10
    assert kinds[66:] == [9] * 33  # what has no share comes in when the others have nothing
    assert found.codes.tolist() == [10 * kind for kind in kinds]


def test_what_was_served_and_what_the_reader_can_not_read_falls_behind() -> None:
    ints = rows([(i, i, KNOWN, NO_POST) for i in range(4)])
    ints[:, R_LANGUAGE] = [1, 2, 1, 2]
    source = Source(PERSONAL, ints, np.array([1.0, 0.9, 0.8, 0.7]), share=1.0)
    languages = np.ones(256)
    languages[2] = 0.2
    fades = Fades(np.array([0], np.uint32), np.array([0.5]), languages)
    assert make_list(view_with({}), [source], EASY, fades=fades).posts.tolist() == [2, 0, 1, 3]


def test_the_last_posts_of_one_author_find_their_places_further_up() -> None:
    source = plain((1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 5), (7, 5))
    assert make_list(view_with({}), [source], ListRules()).posts.tolist() == [1, 2, 7, 3, 6, 4, 5]
    seen = np.array([5, 6, 7], np.uint32)
    found = make_list(view_with({}), [source], ListRules(), seen=seen).posts.tolist()
    assert found == [1, 2, 3, 4, 5]  # nothing seen comes before what was not


def test_however_many_wait_all_find_their_places() -> None:
    source = plain(*((i, 1) for i in range(84)), *((1000 + i, 2 + i % 50) for i in range(400)))
    found = make_list(view_with({}), [source], EASY).posts.tolist()
    assert [p for p in found if p < 1000] == list(range(84)) and len(found) == 484
    at = [place for place, p in enumerate(found) if p < 1000]
    assert set(np.diff(at).tolist()) == {5}  # 84 of 484 stand evenly


def test_the_rest_of_a_list_keeps_its_distance_from_what_stands_above() -> None:
    source = plain((1, 7), (2, 8), (3, 9), (4, 10), (5, 11))
    rules = ListRules(author_gap=3, author_max=2)

    def listed(*above: int) -> list[int]:
        return make_list(view_with({}), [source], rules, before=np.array(above, np.uint32)).posts.tolist()

    assert listed() == [1, 2, 3, 4, 5]
    assert listed(99, 7) == [2, 3, 1, 4, 5]  # one author's posts stand three places apart, seam or not
    assert listed(7, 99, 98) == [1, 2, 3, 4, 5]
    assert listed(7, 7, *range(50, 90)) == [2, 3, 4, 5]  # they had their two


def test_a_short_list_is_the_beginning_of_the_long_one() -> None:
    """With candidates enough, authors spread, and nothing seen: what is made later changes nothing above it."""
    chance = np.random.default_rng(3)
    ints = rows([(i, i % 100, KNOWN, NO_POST) for i in range(400)])
    ints[:, R_SEED] = chance.integers(-1, 12, 400)
    source = Source(PERSONAL, ints, np.sort(chance.lognormal(size=400))[::-1].copy(), share=1.0)
    lists = [make_list(view_with({}), [source], replace(ListRules(), size=size)).posts for size in (500, 120, 30)]
    assert lists[0][:30].tolist() == lists[2].tolist()
    assert lists[0][:100].tolist() == lists[1][:100].tolist()
