"""Languages of posts: which a reader likes posts in, what that makes of others, and what a page holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from feedgen.core.jit import brief
from feedgen.core.languages import UNKNOWN, code
from feedgen.graph.access import U8, U32, Arrays, places_of, post_language, post_row
from feedgen.graph.view import View
from feedgen.rank.numeric import F64

LANGUAGES: Final = 256
READ_FROM: Final = 0.05  # share of likes from which on a language counts in full
LEAST: Final = 0.15  # factor of a language in which the reader likes nothing
ENOUGH: Final = 10.0  # likes, or a language that the app names, before others fall behind
NAMED: Final = 10.0  # likes that a language which the app or the reader names stands for
ON_PAGE: Final = 0.1  # share of a page's posts from which on a language is told

ALL_READ: Final = np.ones(LANGUAGES)


@brief
def _look(a: Arrays, posts: U32, out: U8) -> None:
    at = places_of(a)
    for i in range(posts.size):
        d = post_row(at, posts[i])
        out[i] = UNKNOWN if d < 0 else post_language(at, d, posts[i])


def languages_of(view: View, posts: U32) -> U8:
    """By number; UNKNOWN where the post says none."""
    out = np.empty(posts.size, np.uint8)
    _look(view.arrays, np.ascontiguousarray(posts), out)
    return out


def language_factors(liked: U8, named: Iterable[int]) -> F64:
    """By language, what posts in it count for a reader who likes posts in `liked`: less where they hardly like any."""
    counts = np.bincount(liked, minlength=LANGUAGES).astype(np.float64)
    for language in named:
        counts[language] += NAMED
    counts[UNKNOWN] = 0.0
    total = float(counts.sum())
    if total < ENOUGH:
        return ALL_READ
    factors: F64 = np.clip(counts / (total * READ_FROM), LEAST, 1.0)
    factors[UNKNOWN] = 1.0
    return factors


def told_languages(languages: U8) -> tuple[str, ...]:
    """Codes of the languages that a page holds, the most frequent first."""
    counts = np.bincount(languages, minlength=LANGUAGES)
    counts[UNKNOWN] = 0
    most = [n for n in np.argsort(-counts, kind="stable").tolist() if counts[n] > max(ON_PAGE * languages.size, 0)]
    return tuple(code(n) for n in most)
