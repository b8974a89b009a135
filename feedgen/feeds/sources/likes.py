"""Co-likers: what people who like what the reader likes are liking now, and, with few likes, people they follow."""

from __future__ import annotations

from typing import Final

import numpy as np

from feedgen.feeds.sources.source import Needs, PostSource, Rows, Scene
from feedgen.graph.access import I64, U8
from feedgen.rank.request import R_PATHS, R_POST, R_SEED

FOLLOWS: Final = 2
LIKES: Final = 3  # and from here on: how many people led to it
_PATHS: Final = ((1, "1 person"), (2, "2 people"), (4, "3-4 people"), (9, "5-9 people"), (19, "10-19 people"))
_MOST: Final = "20 people or more"


class Likes(PostSource):
    name = "likes"
    codes = range(FOLLOWS, LIKES + 200)
    needs = Needs.RANKED

    def rows(self, scene: Scene) -> Rows:
        ints, scores = scene.ranked.ints, scene.ranked.scores
        if scene.only is not None:
            there = np.isin(ints[:, R_POST], scene.only)
            ints, scores = ints[there], scores[there]
        return Rows(ints, codes_of(ints), scores)

    def context(self, code: int) -> str:
        return "follows" if code == FOLLOWS else f"likes {code - LIKES + 1}"

    def words(self, code: int) -> str:
        if code == FOLLOWS:
            return "follows"
        people = code - LIKES + 1
        return next((words for most, words in _PATHS if people <= most), _MOST)


def codes_of(ints: I64) -> U8:
    """What brought each ranked post: so many people, or somebody who shares no seed and whom the reader follows."""
    likes = np.minimum(ints[:, R_PATHS], 200) - 1 + LIKES
    return np.where(ints[:, R_SEED] < 0, FOLLOWS, likes).astype(np.uint8)
