"""Why a post stands where it does: the ranking's own terms, whose product is its score, and the likes that led to it.

The ranking is run as for a list, so what is told is what was reckoned. People are counts; `led` alone gives their
numbers, for readers who ask of their own list.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Final, NamedTuple

import numpy as np

from feedgen.graph.access import U32
from feedgen.graph.view import View
from feedgen.ingest.events import ADULT
from feedgen.rank.features import WORDS
from feedgen.rank.kernel import rank, scratch_for
from feedgen.rank.numeric import F64
from feedgen.rank.params import Formula
from feedgen.rank.policy import IS_UNKNOWN, MAY, REASONS, list_policy, verdicts
from feedgen.rank.request import (
    R_AGE,
    R_AUTHOR_FACTOR,
    R_COUNT,
    R_LEARNED,
    R_PATHS,
    R_POPULARITY,
    R_POST,
    R_RAW,
    R_TIME,
    R_VELOCITY,
    Ranked,
    Request,
)
from feedgen.rank.scorer import Rescored, Scorer, parts_of, reorder, rescored

MAX_LIKERS: Final = 5_000  # of the post, newest first
MAX_LIKES: Final = 3_000  # of each person who led here


class Why(NamedTuple):
    place: int  # in the ranking, 1 is the best; which of the ranked a list may hold is decided after it
    of: int  # posts that were ranked
    score: float
    terms: dict[str, float]  # in the order of the formula; their product is the score
    average: dict[str, float]  # the geometric mean of each term over all that were ranked
    without: dict[str, int]  # the place if a term were 1 for every post
    people: int  # who led to the post
    likes: int  # and reposts, of everybody
    age_us: int
    seeds: list[tuple[int, int]]  # (what the reader likes, how many of these people like it too), most first
    learned: dict[str, float]  # how many doublings each feature adds to what was learned; empty without a scorer


def explain(view: View, f: Formula, q: Request, post: int, scorer: Scorer | None = None) -> Why | None:
    """None when the ranking did not come to this post, or would not list it."""
    ranked = rank(view, f, q)
    asked, found = _asked(f, ranked.people).copy(), rescored(view, f, q, ranked, scorer)
    parts = _learned(scorer, found, ranked, post)
    ranked = ranked if found is None else reorder(ranked, found.factors)
    at = np.flatnonzero(ranked.ints[:, R_POST] == post)
    if not at.size:
        return None
    i, row, terms = int(at[0]), ranked.ints[at[0]].tolist(), terms_of(f, ranked)
    return Why(
        place=i + 1,
        of=len(ranked.ints),
        score=float(ranked.scores[i]),
        terms={name: float(values[i]) for name, values in terms.items()},
        average={name: float(np.exp(np.log(values).mean())) for name, values in terms.items()},
        without={name: _place_without(name, terms, ranked, i) for name in terms},
        people=row[R_PATHS],
        likes=row[R_COUNT],
        age_us=max(0, q.now_us - row[R_TIME]),
        seeds=_shared(view, q, post, asked),
        learned=parts,
    )


def _learned(scorer: Scorer | None, found: Rescored | None, ranked: Ranked, post: int) -> dict[str, float]:
    if scorer is None or found is None:
        return {}
    at = np.flatnonzero(ranked.ints[: len(found.factors), R_POST] == post)
    if not at.size:
        return {}
    doublings = parts_of(scorer, found)[int(at[0])] / math.log(2)
    return dict(zip(WORDS.values(), doublings.tolist(), strict=True))


def led(view: View, f: Formula, q: Request, post: int) -> tuple[list[int], int] | None:
    """The people who led to a post, those with the most weight first, and how many of them were counted: of those
    beyond the head that may be a part only. None when `explain` gives none."""
    ranked = rank(view, f, q)
    at = np.flatnonzero(ranked.ints[:, R_POST] == post)
    if not at.size:
        return None
    scratch, (likers, _) = scratch_for(f), view.likers_of(post, MAX_LIKERS, dated=False)
    asked, weights = scratch.asked[: ranked.people], scratch.asked_weights[: ranked.people]
    told = asked[(weights > 0) & np.isin(asked, likers)]
    people = [person for person in told.tolist() if _was_heard(view, f, q, person, post)]
    return people, int(ranked.ints[at[0], R_PATHS])


def _was_heard(view: View, f: Formula, q: Request, person: int, post: int) -> bool:
    """Is their like of the post among those that the ranking reads of them?"""
    posts, times_us = view.likes_of(person, f.n.coliker_likes, dated=False)
    return bool(((posts == post) & (times_us >= q.now_us - f.n.window_us)).any())


def terms_of(f: Formula, ranked: Ranked) -> dict[str, F64]:
    """Of every ranked post, by what people call them. Multiplied in this order they are the score, to the last bit."""
    floats = ranked.floats
    return {
        "likes of people like the reader": floats[:, R_RAW],
        "how many of them": f.paths[ranked.ints[:, R_PATHS]],
        "age of the post": floats[:, R_AGE],
        "popularity": floats[:, R_POPULARITY],
        "likes just now": floats[:, R_VELOCITY],
        "the reader's opinion of the author": floats[:, R_AUTHOR_FACTOR],
        "learned from everybody's likes": floats[:, R_LEARNED],
    }


def _place_without(name: str, terms: dict[str, F64], ranked: Ranked, i: int) -> int:
    """Where a post would stand if this term did not count. Of equal ones the smaller number is first, as ever."""
    scores = np.ones(len(ranked.ints))
    for other, values in terms.items():
        if other != name:
            scores = scores * values
    posts = ranked.ints[:, R_POST]
    better = (scores > scores[i]) | ((scores == scores[i]) & (posts < posts[i]))
    return int(better.sum()) + 1


def absent(view: View, q: Request, post: int) -> str:
    """Why the ranking did not come to a post, or would not list it; in words for people."""
    if view.post(post) is None:
        return "the post is not known here"
    if post in q.excluded and view.author(post) != q.reader:
        return "the reader liked it already, or wants less of it"
    policy = list_policy(view, q.require, q.forbid, adult=not q.forbid & ADULT, reader=q.reader)
    policy = policy._replace(if_followed=0, hidden_authors=np.sort(q.authors[q.author_factors <= 0]))
    found = int(verdicts(view, np.array([post], np.uint32), policy)[0])
    if found == IS_UNKNOWN:
        return "the post is not known here"
    if found != MAY:
        return REASONS[found].clause
    return "nobody who likes what the reader likes has liked it lately, or too few to come among the best"


def _asked(f: Formula, people: int) -> U32:
    """The co-likers of the ranking that this thread just made."""
    return scratch_for(f).asked[:people]


def _shared(view: View, q: Request, post: int, asked: U32) -> list[tuple[int, int]]:
    """Which of the reader's likes the people who led to the post share, and how many of them each."""
    likers, _ = view.likers_of(post, MAX_LIKERS, dated=False)
    found: Counter[int] = Counter()
    for person in np.intersect1d(likers, asked).tolist():
        liked, _ = view.likes_of(person, MAX_LIKES, dated=False)
        found.update(np.intersect1d(liked, q.seeds).tolist())
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))
