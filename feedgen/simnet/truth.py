"""What the made-up world knows and nobody else does: the chance that a person would like a post if they saw it.

The chance depends on the person and the post alone, not on when or where it was seen. Whether this person likes this
post is then a fixed throw of that chance, so that seeing a post twice changes nothing, and people do what the truth
says. The formula is `kernels.chance`, for asking and for living alike.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from feedgen.simnet import kernels, text
from feedgen.simnet.columns import Table
from feedgen.simnet.kernels import PeopleColumns, PostColumns
from feedgen.simnet.people import People

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


class Truth:
    """Pure arithmetic over the columns of people and posts."""

    def __init__(self, people: People, posts: Table, seed: int) -> None:
        self._posts = posts
        self.people = PeopleColumns(
            people.taste, people.style, people.language, people.second, people.visual, people.adult
        )
        self.throw_salt = seed % (1 << 31) * 31 + 23

    def posts(self) -> PostColumns:
        return PostColumns(*(self._posts[name] for name in PostColumns._fields))

    def chances(self, people: Any, posts: Any) -> F64:
        """Of each pair: equally long arrays, or one broadcast over the other."""
        who, what = np.broadcast_arrays(np.asarray(people, np.int64), np.asarray(posts, np.int64))
        return kernels.chances(self.people, self.posts(), np.ascontiguousarray(who), np.ascontiguousarray(what))

    def throws(self, people: I64, posts: I64) -> F64:
        """The fixed throw of each pair, in [0, 1): they like it if it is below the chance."""
        pairs = posts.astype(np.uint64) << np.uint64(32) | people.astype(np.uint64)
        return text.unit(text.mix(pairs, self.throw_salt))

    def like_chances(self, person: int, posts: Any) -> F64:
        """For one person, of each post (numbers)."""
        return self.chances(np.array([person]), posts)
