"""Why a post stands where it does: the ranking's own terms, whose product is its score, and the likes that led to it.

The ranking is run as for a list, so what is told is what was reckoned. People are counts here, never names.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

import numpy as np

from feedgen.graph.access import U32
from feedgen.graph.view import View
from feedgen.ingest.events import KNOWN
from feedgen.rank.kernel import rank, scratch_for
from feedgen.rank.params import Formula
from feedgen.rank.request import (
    R_AGE,
    R_AUTHOR_FACTOR,
    R_COUNT,
    R_PATHS,
    R_POPULARITY,
    R_POST,
    R_RAW,
    R_SCORE,
    R_TIME,
    R_VELOCITY,
    Request,
)

MAX_LIKERS: Final = 5_000  # of the post, newest first
MAX_LIKES: Final = 3_000  # of each person who led here


class Why(NamedTuple):
    place: int  # in the ranking, 1 is the best; which of the ranked a list may hold is decided after it
    of: int  # posts that were ranked
    score: float
    terms: dict[str, float]  # in the order of the formula; their product is the score
    people: int  # who led to the post
    likes: int  # and reposts, of everybody
    age_us: int
    seeds: list[tuple[int, int]]  # (what the reader likes, how many of these people like it too), most first


def explain(view: View, f: Formula, q: Request, post: int) -> Why | None:
    """None when the ranking did not come to this post, or would not list it."""
    ranked = rank(view, f, q)
    at = np.flatnonzero(ranked.ints[:, R_POST] == post)
    if not at.size:
        return None
    row, terms = ranked.ints[at[0]].tolist(), ranked.floats[at[0]].tolist()
    return Why(
        place=int(at[0]) + 1,
        of=len(ranked.ints),
        score=terms[R_SCORE],
        terms={
            "likes of people like the reader": terms[R_RAW],
            "how many of them": float(f.paths[row[R_PATHS]]),
            "age of the post": terms[R_AGE],
            "popularity": terms[R_POPULARITY],
            "likes just now": terms[R_VELOCITY],
            "the reader's opinion of the author": terms[R_AUTHOR_FACTOR],
        },
        people=row[R_PATHS],
        likes=row[R_COUNT],
        age_us=max(0, q.now_us - row[R_TIME]),
        seeds=_shared(view, q, post, _asked(f, ranked.people)),
    )


def absent(view: View, q: Request, post: int) -> str:
    """Why the ranking did not come to a post, or would not list it; in words for people."""
    facts = view.post(post)
    if facts is None or not facts.flags & KNOWN:
        return "the post is not known here"
    if facts.author == q.reader:
        return "it is the reader's own post"
    if post in q.excluded:
        return "the reader liked it already, or wants less of it"
    if facts.flags & q.require != q.require or facts.flags & q.forbid:
        return "posts of its kind are not listed: it is deleted, labelled, a reply, or no video in a feed of videos"
    if facts.author in q.authors[q.author_factors <= 0]:
        return "the reader asked not to see its author"
    return "nobody who likes what the reader likes has liked it lately, or too few to come among the best"


def _asked(f: Formula, people: int) -> U32:
    """The co-likers of the ranking that this thread just made."""
    scratch = scratch_for(f)
    asked: U32 = scratch.people.keys[scratch.chosen[:people]]
    return asked


def _shared(view: View, q: Request, post: int, asked: U32) -> list[tuple[int, int]]:
    """Which of the reader's likes the people who led to the post share, and how many of them each."""
    likers, _ = view.likers_of(post, MAX_LIKERS)
    found: Counter[int] = Counter()
    for person in np.intersect1d(likers, asked).tolist():
        liked, _ = view.likes_of(person, MAX_LIKES)
        found.update(np.intersect1d(liked, q.seeds).tolist())
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))
