"""What the made-up world knows and nobody else does: the chance that a person would like a post if they saw it.

The chance depends on the person and the post alone, not on when or where it was seen. Whether this person likes this post is then a
fixed throw of that chance, so that seeing a post twice changes nothing, and people do what the truth says.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feedgen.simnet import text
from feedgen.simnet.columns import Table
from feedgen.simnet.people import People

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# The log-odds of a like.
NEUTRAL: Final = -4.6
TOPIC: Final = 4.0  # of the person's first interest
STYLE: Final = 2.2
QUALITY: Final = 0.8
FOREIGN: Final = -4.0  # written in a language that the person does not read
FOREIGN_PICTURE: Final = -1.5  # a picture needs fewer words
ADULT: Final = -2.5
SELF: Final = -50.0  # nobody likes their own

IMAGE, VIDEO = 1, 2  # of the posts' `media`


class Truth:
    """Pure arithmetic over the columns of people and posts."""

    def __init__(self, people: People, posts: Table, seed: int) -> None:
        self._people, self._posts, self._seed = people, posts, seed

    def chances(self, people: I64, posts: I64) -> F64:
        """Of each pair: equally long arrays, or one broadcast over the other."""
        who, what = np.broadcast_arrays(people, posts)
        p, q = self._people, self._posts
        author, media, language = q["author"][what], q["media"][what], q["language"][what]
        odds = NEUTRAL + TOPIC * p.taste[who, q["topic"][what]].astype(np.float64)
        odds += STYLE * np.einsum("ij,ij->i", p.style[who], q["style"][what])
        odds += QUALITY * q["quality"][what]
        pictured = (media == IMAGE) | (media == VIDEO)
        odds += np.where(pictured, p.visual[who], 0.0)
        foreign = (p.language[who] != language) & (p.second[who] != language)
        odds += np.where(foreign, np.where(pictured, FOREIGN_PICTURE, FOREIGN), 0.0)
        odds += np.where(q["adult"][what] & ~p.adult[who], ADULT, 0.0)
        odds = np.where(author == who, SELF, odds)
        chances: F64 = 1.0 / (1.0 + np.exp(-odds))
        return chances

    def throws(self, people: I64, posts: I64) -> F64:
        """The fixed throw of each pair, in [0, 1): they like it if it is below the chance."""
        return text.unit(
            text.mix(posts.astype(np.uint64) << np.uint64(32) | people.astype(np.uint64), self._seed * 31 + 23)
        )

    def like_chances(self, person: int, posts: Any) -> F64:
        """For one person, of each post (numbers)."""
        what = np.asarray(posts, np.int64)
        return self.chances(np.full(len(what), person, np.int64), what)
