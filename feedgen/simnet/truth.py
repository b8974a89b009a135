"""What the made-up world knows and nobody else does: the chance that a person would like a post if they saw it.

The chance depends on the person and the post alone, not on when or where it was seen. Whether this person likes this
post is then a fixed throw of that chance, so that seeing a post twice changes nothing, and people do what the truth
says. The formula is `kernels.chance`, for asking and for living alike.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedgen.simnet import kernels, text
from feedgen.simnet.columns import Table
from feedgen.simnet.kernels import PeopleColumns, PostColumns
from feedgen.simnet.people import People

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


class Boredom(NamedTuple):
    """What each further post on a page counts, of one topic and of one author."""

    topic: float = 0.93
    author: float = 0.7


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

    def page_value(self, person: int, page: Any, boredom: Boredom) -> float:
        """The likes to be expected of a page that is read from the top by somebody who grows tired of the same."""
        rows = np.asarray(page, np.int64)
        factors = np.ones(rows.size)
        for column, factor in (("topic", boredom.topic), ("author", boredom.author)):
            values = self._posts[column][rows]
            factors *= factor ** np.array([np.count_nonzero(values[:i] == values[i]) for i in range(rows.size)])
        return float((self.like_chances(person, rows) * factors).sum())

    def best_page(self, person: int, posts: I64, size: int, boredom: Boredom) -> list[int]:
        """The best page of so many posts, place by place: each the best after those above it."""
        worth = self.like_chances(person, posts)
        topics, authors = self._posts["topic"][posts], self._posts["author"][posts]
        page: list[int] = []
        for _ in range(min(size, len(posts))):
            best = int(worth.argmax())
            page.append(int(posts[best]))
            worth[topics == topics[best]] *= boredom.topic
            worth[authors == authors[best]] *= boredom.author
            worth[best] = -1.0
        return page
