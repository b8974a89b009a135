"""What a source of a list is: it offers rows with weights, and says of each in a few words where it came from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Flag, auto
from typing import NamedTuple

import numpy as np

from feedgen.feeds.contract import Ask
from feedgen.graph.access import I64, U8, U32
from feedgen.graph.view import View
from feedgen.rank.numeric import F64
from feedgen.rank.request import Ranked, Request
from feedgen.rank.rows import newest_of, newest_posts


class Needs(Flag):
    """What must be there before a source is asked."""

    NOTHING = 0
    LIKES = auto()  # enough likes of the reader's for a taste
    RANKED = auto()  # a ranking for this reader that found something


@dataclass(frozen=True, slots=True)
class Scene:
    """What sources may look at."""

    view: View
    ask: Ask
    query: Request
    ranked: Ranked
    popular: I64  # rows in the reader's languages, best first
    likes: int  # how many the reader has
    dice: int  # for draws: the same for the same reader within one visit
    only: U32 | None = None  # ascending: the posts that count; None: all
    given: tuple[tuple[int, float], ...] = ()  # posts that a feed names itself, with their weights

    def newest(self, most: int) -> U32:
        """The newest posts that count, newest first."""
        if self.only is None:
            return newest_posts(self.view, self.query.now_us, most)
        return newest_of(self.view, self.only, self.query.now_us, most)


class Rows(NamedTuple):
    """In the layout of `request.py`, best first. Without scores their order alone counts."""

    ints: I64
    codes: U8
    scores: F64 | None = None


class PostSource(ABC):
    """`codes` are kept with served pages for 90 days: of a source that is gone they are not given again."""

    name: str  # in `[lists] mix`
    codes: range
    needs: Needs = Needs.NOTHING
    first: int = 0  # the first place that it may take

    @abstractmethod
    def rows(self, scene: Scene) -> Rows: ...

    @abstractmethod
    def context(self, code: int) -> str:
        """`feedContext`: short, plain, another for each code."""

    @abstractmethod
    def words(self, code: int) -> str:
        """For the learning page: at most 24 letters; codes may share them."""


def constant(rows: I64, code: int) -> U8:
    return np.full(len(rows), code, np.uint8)
