"""What a scorer learns from: rankings made for people at one moment, and what they liked after it.

At a moment, some people are drawn from those who are active, ranked for as readers are, and the features of their best
posts are kept. When the horizon is over, what they liked meanwhile becomes the labels, and their numbers are forgotten.
A block that is used for training is thinned: the first posts, a few random others with the weight that makes up for the
drawing, and all that was liked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import US_PER_DAY
from feedgen.graph.access import I64, U8, U32
from feedgen.graph.view import View
from feedgen.ingest.events import KNOWN
from feedgen.rank.colikers import SILENT
from feedgen.rank.features import FEATURES, features
from feedgen.rank.kernel import rank
from feedgen.rank.params import Formula
from feedgen.rank.request import R_POST, request
from feedgen.rank.scorer import Key, key_of

F16 = NDArray[np.float16]
F32 = NDArray[np.float32]

MIN_LIKES: Final = 5
ACTIVE_US: Final = US_PER_DAY  # since their newest like
LEAST_HORIZON_US: Final = US_PER_DAY // 24
MOST_HORIZON_US: Final = US_PER_DAY
TRIES: Final = 40  # people looked at for each that is drawn
FIRST: Final = 20  # posts of a list that are all kept
OTHERS: Final = 20  # and so many of the rest
READ_LIKES: Final = 3000


@dataclass(frozen=True, slots=True)
class Moment:
    """Rankings that wait for their labels: for each person some rows, one after the other."""

    key: Key
    time_us: int
    until_us: int
    people: U32
    starts: I64  # of each person's rows, and the end of the last
    posts: U32
    x: F16


@dataclass(frozen=True, slots=True)
class Block:
    """Rows of several rankings with labels; nothing says whose they were."""

    key: Key  # of the formula that ranked
    time_us: int
    until_us: int
    starts: I64  # of each ranking's rows, and the end of the last
    x: F16
    weights: F32
    labels: U8
    thinned: bool

    @property
    def requests(self) -> int:
        return self.starts.size - 1

    @property
    def rows(self) -> int:
        return len(self.x)

    def thin(self) -> Block:
        """The same, of a size for training. Always the same rows of the same block."""
        if self.thinned:
            return self
        dice = np.random.Generator(np.random.Philox(self.time_us))
        kept, weights, starts = list[NDArray[np.int64]](), list[F32](), [0]
        for start, end in zip(self.starts[:-1].tolist(), self.starts[1:].tolist(), strict=True):
            rows, weight = _thinned(self.labels[start:end], dice)
            kept.append(rows + start)
            weights.append(weight)
            starts.append(starts[-1] + rows.size)
        some = np.concatenate([np.empty(0, np.int64), *kept])
        return Block(
            self.key,
            self.time_us,
            self.until_us,
            np.array(starts, np.int64),
            self.x[some],
            np.concatenate([np.empty(0, np.float32), *weights]),
            self.labels[some],
            True,
        )


def _thinned(labels: U8, dice: np.random.Generator) -> tuple[NDArray[np.int64], F32]:
    """(rows, weights) of one ranking, in its order."""
    weights = np.zeros(labels.size, np.float32)
    rest = np.flatnonzero(labels[FIRST:] == 0) + FIRST
    if rest.size:
        drawn = dice.choice(rest, min(OTHERS, rest.size), replace=False)
        weights[drawn] = rest.size / drawn.size
    weights[:FIRST] = 1.0
    weights[labels > 0] = 1.0
    rows = np.flatnonzero(weights)
    return rows, weights[rows]


def draw(view: View, numbered: int, now_us: int, count: int, dice: np.random.Generator) -> U32:
    """Some of the people who liked something lately, and have a past. `numbered` of all have a number."""
    tried = np.unique(dice.integers(0, max(numbered, 1), TRIES * count))
    ratings, flags = view.arrays.person_ratings[tried], view.arrays.person_flags[tried]
    found = list[int]()
    for person in dice.permutation(tried[(ratings >= MIN_LIKES) & (flags & SILENT == 0)]).tolist():
        _, times_us = view.likes_of(person, 1)
        if times_us.size and times_us[0] > now_us - ACTIVE_US:
            found.append(person)
            if len(found) == count:
                break
    return np.array(found, np.uint32)


def horizon_us(pace_us: int) -> int:
    """How long likes are waited for: L, within bounds."""
    return min(max(pace_us, LEAST_HORIZON_US), MOST_HORIZON_US)


def look(view: View, f: Formula, now_us: int, people: U32, require: int = KNOWN, forbid: int = 0) -> Moment:
    """Rankings for these people now."""
    starts, posts, xs = [0], list[U32](), list[F16]()
    for person in people.tolist():
        liked, times_us = view.likes_of(person, READ_LIKES)
        recent = np.flatnonzero(times_us >= now_us - f.n.seed_window_us)[: f.n.seeds]
        q = request(
            now_us,
            reader=person,
            seeds=liked[recent],
            seed_times=times_us[recent],
            excluded=liked,
            require=require,
            forbid=forbid,
        )
        ranked = rank(view, f, q)
        x = features(view, f, q, ranked)
        posts.append(ranked.ints[: len(x), R_POST].astype(np.uint32))
        xs.append(x.astype(np.float16))
        starts.append(starts[-1] + len(x))
    return Moment(
        key_of(f),
        now_us,
        now_us + horizon_us(f.n.pace_us),
        people,
        np.array(starts, np.int64),
        np.concatenate([np.empty(0, np.uint32), *posts]),
        np.concatenate([np.empty((0, FEATURES), np.float16), *xs]),
    )


def label(view: View, moment: Moment) -> Block:
    """What these people liked within the horizon. Those who liked nothing that they were ranked are left out."""
    labels = np.zeros(moment.posts.size, np.uint8)
    bounds = list(zip(moment.starts[:-1].tolist(), moment.starts[1:].tolist(), strict=True))
    kept = list[tuple[int, int]]()
    for person, (start, end) in zip(moment.people.tolist(), bounds, strict=True):
        liked, times_us = view.likes_of(person, READ_LIKES)
        new = liked[(times_us > moment.time_us) & (times_us <= moment.until_us)]
        labels[start:end] = np.isin(moment.posts[start:end], new)
        if labels[start:end].any():
            kept.append((start, end))
    rows = np.concatenate([np.empty(0, np.int64), *(np.arange(start, end) for start, end in kept)])
    sizes = np.array([0, *(end - start for start, end in kept)], np.int64)
    return Block(
        moment.key,
        moment.time_us,
        moment.until_us,
        np.cumsum(sizes),
        moment.x[rows],
        np.ones(rows.size, np.float32),
        labels[rows],
        False,
    )
