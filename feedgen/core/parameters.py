"""The ranking's parameters: one table, from which settings, the kernel's numbers, presets, documentation and sliders
come. A new one is a row here, and what the kernel does with it.

It is in core, because settings stand below ranking; rank/params.py has the formula that these are the letters of. A
module whose compiled code takes `Numbers` imports it from here, so that it is compiled again when a row changes.
"""

from __future__ import annotations

import math
from collections import namedtuple
from dataclasses import dataclass, field, fields
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from feedgen.core.errors import SettingsError

MAX_SEEDS: Final = 2000
MAX_COLIKERS: Final = 20_000
MAX_FINALISTS: Final = 8000
MAX_LIKERS_READ: Final = 5000  # of one seed
MAX_LIKES_READ: Final = 2000  # of one co-liker

LIKES: Final = "The reader's likes"
ALIKE: Final = "Who counts as alike"
NOW: Final = "What they like now"
POST: Final = "The post itself"
WORK: Final = "How much work"


class Parameter(NamedTuple):
    """A row of the table. `foryou` is the value of the published formula, `cheap` the most that a cheap list may take;
    None: as by default."""

    name: str
    whole: bool
    group: str
    default: float
    low: float
    high: float
    unit: str
    letter: str
    foryou: float | None
    cheap: float | None
    meaning: str
    effect: str


def _row(
    group: str,
    default: float,
    low: float,
    high: float,
    unit: str,
    *,
    meaning: str,
    effect: str,
    letter: str = "",
    foryou: float | None = None,
    cheap: float | None = None,
) -> Any:
    facts = (group, default, low, high, unit, letter, foryou, cheap, meaning, effect)
    return field(default=default, metadata={"row": facts})


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What may be set. Out of range raises `SettingsError`."""

    # fmt: off
    # The reader's likes.
    seeds: int = _row(LIKES, 500, 1, MAX_SEEDS, "ratings", cheap=50,
        meaning="how many of the reader's newest ratings speak for them",
        effect="more: long-held tastes count; fewer: only recent ones, and less work")
    seed_days: float = _row(LIKES, 90.0, 1, 256, "days",
        meaning="ratings older than this are not asked",
        effect="shorter: the feed forgets sooner")
    seed_newest: float = _row(LIKES, 1.0, 0, 1, "share", foryou=0.1,
        meaning="weight of the newest seed; between newest and oldest it is linear by rank",
        effect="lower: the last thing liked sways the feed less")
    seed_oldest: float = _row(LIKES, 1.0, 0, 1, "share",
        meaning="weight of the oldest seed",
        effect="lower: recent likes sway the feed more")
    seed_popularity: float = _row(LIKES, 0.5, 0, 2, "power", letter="a", foryou=0.0,
        meaning="power by which a seed's own popularity divides its weight",
        effect="higher: having liked something rare tells more")
    seed_cap: float = _row(LIKES, 4.0, 1, 100, "x mean", foryou=100.0,
        meaning="no seed weighs more than this many times the mean seed",
        effect="lower: one stray like can change less")
    # Who counts as alike.
    colikers: int = _row(ALIKE, 1000, 1, MAX_COLIKERS, "people", letter="K", foryou=5000, cheap=100,
        meaning="how many best co-likers are asked what they like",
        effect="more: wider, and more work")
    seed_likers: int = _row(ALIKE, 200, 1, MAX_LIKERS_READ, "people", foryou=1000, cheap=30,
        meaning="how many of each seed's newest likers are looked at",
        effect="more: popular seeds bring more people, and more work")
    shared_power: float = _row(ALIKE, 1.25, 0.25, 3, "power", letter="e", foryou=1.0,
        meaning="power of the summed weight of the seeds that a co-liker shares",
        effect="higher: people who share much count more than people who share one thing")
    ratings_power: float = _row(ALIKE, 1.125, 0, 2, "power", letter="b", foryou=1.0,
        meaning="power by which a co-liker's number of ratings divides their weight",
        effect="higher: people who like little count more")
    ratings_floor: float = _row(ALIKE, 5.0, 0, 100, "ratings", foryou=0.0,
        meaning="added to a co-liker's number of ratings before dividing",
        effect="higher: accounts that were made to like one thing gain less")
    ratings_max: int = _row(ALIKE, 30_000, 10, 10_000_000, "ratings", foryou=10_000_000,
        meaning="people with more ratings than this within the store's days carry no weight",
        effect="lower: those who like everything all day are not asked")
    coliker_share: float = _row(ALIKE, 0.1, 0.001, 1, "share", foryou=1.0,
        meaning="no co-liker carries more than this share of all co-likers' weight",
        effect="lower: one account can move the list less")
    head: int = _row(ALIKE, 50, 1, MAX_COLIKERS, "people", foryou=MAX_COLIKERS,
        meaning="how many of the best co-likers vouch for posts; `tail` and `tail_base` bound what all others add",
        effect="lower: many accounts that agree a little with the reader move the list less")
    tail: float = _row(ALIKE, 1.0, 0, 100, "x head",
        meaning="all co-likers beyond the head together add less than this many times what the head gives a "
        "post, and so many times the mean weight of the head as `tail_base` says",
        effect="lower: the head decides alone")
    tail_base: float = _row(ALIKE, 3.0, 0, 100, "x mean of head",
        meaning="see `tail`, which it adds to",
        effect="lower: what none of the head likes comes later")
    late_hours: float = _row(ALIKE, 72.0, 0, 2160, "hours", foryou=24.0, cheap=24,
        meaning="people who liked a seed up to this long after the reader still count",
        effect="longer: more co-likers, fewer of them early")
    late_factor: float = _row(ALIKE, 0.7, 0, 1, "share", foryou=1.0,
        meaning="weight of a co-liker's like that came after the reader's",
        effect="lower: early finders count more")
    # What they like now.
    coliker_likes: int = _row(NOW, 200, 1, MAX_LIKES_READ, "ratings", foryou=1000, cheap=30,
        meaning="how many of a co-liker's newest ratings are looked at",
        effect="lower: people who like everything bring less")
    window: float = _row(NOW, 8.0, 0.1, 2000, "x L", foryou=12.0,
        meaning="ratings of co-likers older than this are not looked at",
        effect="shorter: less work, staler feeds run dry")
    like_half_life: float = _row(NOW, 0.6, 0, 100, "x L", foryou=0.0,
        meaning="a co-liker's like loses half its weight in this time; 0 is never",
        effect="shorter: what is being liked right now")
    paths_power: float = _row(NOW, 0.25, 0, 2, "power", letter="c", foryou=0.5,
        meaning="power of the number of co-likers that lead to a post",
        effect="higher: agreement counts more than one strong co-liker")
    less_weight: float = _row(NOW, 2.0, 0, 20, "x seed",
        meaning="weight of the paths from posts that the reader wants less of",
        effect="higher: 'show less' takes more away")
    # The post itself.
    popularity_power: float = _row(POST, 0.6, 0, 1.5, "power", letter="d", foryou=0.3,
        meaning="power by which a post's ratings divide its score",
        effect="higher: fewer popular posts")
    age_half_life: float = _row(POST, 0.0, 0, 100, "x L", foryou=1.0,
        meaning="a post loses half its score in this time; 0 is never",
        effect="shorter: fresher posts")
    velocity_power: float = _row(POST, 0.13, 0, 1, "power", letter="g", foryou=0.0,
        meaning="power of the decayed count of a post's newest ratings",
        effect="higher: more rising posts")
    velocity_half_life: float = _row(POST, 0.03, 0.001, 100, "x L",
        meaning="a rating loses half its weight in the velocity in this time",
        effect="shorter: velocity means this very moment")
    velocity_likers: int = _row(POST, 24, 1, 1000, "ratings", cheap=4,
        meaning="how many of a post's newest ratings make its velocity",
        effect="more: finer, and more work")
    # How much work.
    finalists: int = _row(WORK, 1500, 1, MAX_FINALISTS, "posts", foryou=8000, cheap=100,
        meaning="how many posts with the best raw x n^c are scored in full",
        effect="fewer: less work, and a list that may come short")
    edges: int = _row(WORK, 120_000, 100, 50_000_000, "edges", foryou=4_000_000, cheap=8000,
        meaning="edges that one list may visit: at most half for seeds, the last eighth for velocities",
        effect="lower: bounded work, coarser lists")
    pace_hours: float = _row(WORK, 0.0, 0, 2160, "hours", letter="L", foryou=6.0,
        meaning="fixes L instead of following the live network; 0 follows",
        effect="fixed: half-lives are plain hours")
    # fmt: on

    def __post_init__(self) -> None:
        for one in table():
            value = getattr(self, one.name)
            is_number = isinstance(value, int if one.whole else (int, float)) and not isinstance(value, bool)
            if not is_number or not math.isfinite(value):
                raise SettingsError(f"rank.{one.name}: {value!r} is not a {'whole number' if one.whole else 'number'}")
            if not one.low <= value <= one.high:
                raise SettingsError(
                    f"rank.{one.name}: {value} is out of range",
                    f"allowed: {one.low:g} to {one.high:g} {one.unit}",
                )


@cache
def table() -> tuple[Parameter, ...]:
    """All parameters, in the order of the formula."""
    return tuple(Parameter(f.name, f.type == "int", *f.metadata["row"]) for f in fields(Parameters))


# What times become when they are known in microseconds, at the network's pace.
TIMES: Final = ("seed_window_us", "late_us", "window_us", "velocity_span_us", "pace_us")

if TYPE_CHECKING:

    class Numbers(Parameters):
        """The formula's plain numbers. Apart from its tables, because compiled code passes them around for nothing."""

        seed_window_us: int
        late_us: int
        window_us: int
        velocity_span_us: int
        pace_us: int

else:
    Numbers = namedtuple("Numbers", [*(one.name for one in table()), *TIMES])


def numbers_of(params: Parameters, *times_us: int) -> Numbers:
    """As compiled code wants them: a float is one even where people wrote 24."""
    values = ((int if one.whole else float)(getattr(params, one.name)) for one in table())
    return cast(Numbers, cast(Any, Numbers)(*values, *times_us))
