"""What a reader wishes of their own feed, and what it changes: the parameters, the rules of a list, the languages.

Everything left alone is as the operator has it. Wishes are few and small, so those of all readers are in memory.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final

import msgspec

from feedgen.feeds.recipes import Recipe
from feedgen.ingest.events import VIDEO
from feedgen.rank.listing import ListRules
from feedgen.rank.params import RankParams

FRESHNESS: Final = {"freshest": 0.25, "fresher": 0.5, "": 1.0, "calmer": 2.0, "calmest": 4.0}  # times half-lives
FOLLOWS: Final = {"none": 0.0, "": None, "some": 0.3, "much": 0.7}  # share of all weight, at least; None: as it comes
MAX_LANGUAGES: Final = 8
MOST_BY_AUTHOR: Final = 20
MAX_HALF_LIFE: Final = 100.0
FRESH_HALF_LIFE: Final = 4.0  # stands for "never" when somebody wishes fresher posts


class Wishes(msgspec.Struct, frozen=True, omit_defaults=True):
    """Empty and None: as the operator has it."""

    freshness: str = ""  # one of FRESHNESS
    follows: str = ""  # one of FOLLOWS
    replies: bool | None = None
    videos: bool | None = None
    author_max: int | None = None
    languages: tuple[str, ...] = ()

    def recipe(self, given: Recipe) -> Recipe:
        return _recipe(given, self.freshness) if self.freshness else given

    def rules(self, given: ListRules) -> ListRules:
        """A feed of videos stays one."""
        return _rules(given, self)

    def share(self, usual: float) -> float:
        """Of the people whom the reader follows, in all weight. `none` is none, even with few likes."""
        least = FOLLOWS[self.follows]
        if least is None:
            return usual
        return max(usual, least) if least else 0.0


@lru_cache(1000)
def _recipe(given: Recipe, freshness: str) -> Recipe:
    return Recipe(_fresher(given.params, FRESHNESS[freshness]), given.arm)


def _fresher(params: RankParams, times: float) -> RankParams:
    """Presets differ in what makes posts old: the age of the post, or of the likes that led to it. So both half-lives
    change. Likes fade so fast by default that twice as long shows nothing: calm lists go up by the square, and what is
    liked just now counts for less."""

    def half_life(value: float, times: float) -> float:
        return min(MAX_HALF_LIFE, value * times)

    calm = max(times, 1.0)
    age = params.age_half_life or (FRESH_HALF_LIFE if times < 1 else 0.0)
    return replace(
        params,
        age_half_life=half_life(age, times),
        like_half_life=half_life(params.like_half_life, times * calm),
        velocity_power=params.velocity_power / calm,
        window=min(2000.0, params.window * times),
    )


@lru_cache(1000)
def _rules(given: ListRules, wishes: Wishes) -> ListRules:
    made = given
    if wishes.replies is not None:
        made = replace(made, replies=wishes.replies)
    if wishes.videos is False and not given.require & VIDEO:
        made = replace(made, videos=False)
    if wishes.author_max is not None:
        made = replace(made, author_max=wishes.author_max)
    return made
