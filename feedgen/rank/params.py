"""The ranking's parameters: every letter of the formula as one documented, validated, frozen value.

    seeds     the reader's newest `seeds` ratings;  w(p) = rank curve x likes(p)^-a, at most `seed_cap` times the mean
    co-liker  W(v) = [ sum of w over shared seeds (x late_factor if v came after them) ]^e / (ratings(v) + floor)^b
    post      head, rest = sums over the `head` best co-likers, and over all others, of W(v) x 0.5^(since v liked it /
              like_half_life);  most = tail x head + tail_base x mean W of the head
              raw = head + rest x most / (rest + most);  n = how many they were, of the rest as large a part as counted
    score     raw x n^c x 0.5^(age / age_half_life) x likes^-d x velocity^g,  less what "show less" paths bring

Half-lives are multiples of L, the median age of a post when it is liked: a network that lives faster is ranked faster.
`RankParams` is what people set; `Formula` is the same with every multiple of L made a time: what the kernel takes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from feedgen.core.errors import SettingsError
from feedgen.core.ids import US_PER_S

HOUR_US: Final = 3600 * US_PER_S
DEFAULT_PACE_US: Final = 6 * HOUR_US  # L until enough likes were heard
MAX_LIST: Final = 500  # posts in one ranked list
MAX_SEEDS: Final = 2000
MAX_COLIKERS: Final = 20_000
MAX_FINALISTS: Final = 8000
MAX_LIKERS_READ: Final = 5000  # of one seed
MAX_LIKES_READ: Final = 2000  # of one co-liker
VELOCITY_HALVINGS: Final = 16  # a rating that lost half its weight so often is not looked at for the velocity
DECAY_SHIFT: Final = 20  # ages are counted in 2^20 us, about a second
DECAY_SLOTS: Final = 400 * 322  # 400 days in steps of 2^28 us: more than an edge can be old


def _number(
    default: float, low: float, high: float, letter: str, meaning: str, effect: str, unit: str = "", step: float = 0.0
) -> Any:
    """A parameter and all that documentation and a slider need to know of it."""
    facts = {
        "low": low,
        "high": high,
        "letter": letter,
        "meaning": meaning,
        "effect": effect,
        "unit": unit,
        "step": step,
    }
    return field(default=default, metadata=facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankParams:
    """What may be set. Out of range raises `SettingsError`; `describe` lists all with range, meaning and effect."""

    seeds: int = _number(
        500,
        1,
        MAX_SEEDS,
        "seeds",
        "how many of the reader's newest ratings speak for them",
        "more: long-held tastes count; fewer: only recent ones, and less work",
        "ratings",
        10,
    )
    seed_days: float = _number(
        90,
        1,
        256,
        "seed window",
        "ratings older than this are not asked",
        "shorter: the feed forgets sooner",
        "days",
        1,
    )
    seed_likers: int = _number(
        200,
        1,
        MAX_LIKERS_READ,
        "seed_likers",
        "how many of each seed's newest likers are looked at",
        "more: popular seeds bring more people, and more work",
        "people",
        10,
    )
    seed_newest: float = _number(
        1.0,
        0,
        1,
        "curve, newest",
        "weight of the newest seed; between newest and oldest it is linear by rank",
        "lower: the last thing liked sways the feed less",
        "",
        0.05,
    )
    seed_oldest: float = _number(
        1.0, 0, 1, "curve, oldest", "weight of the oldest seed", "lower: recent likes sway the feed more", "", 0.05
    )
    seed_popularity: float = _number(
        0.5,
        0,
        2,
        "a",
        "power by which a seed's own popularity divides its weight",
        "higher: having liked something rare tells more",
        "",
        0.05,
    )
    seed_cap: float = _number(
        4.0,
        1,
        100,
        "seed_cap",
        "no seed weighs more than this many times the mean seed",
        "lower: one stray like can change less",
        "x mean",
        0.5,
    )
    late_hours: float = _number(
        72,
        0,
        24 * 90,
        "late",
        "people who liked a seed up to this long after the reader still count",
        "longer: more co-likers, fewer of them early",
        "hours",
        1,
    )
    late_factor: float = _number(
        0.7,
        0,
        1,
        "late factor",
        "weight of a co-liker's like that came after the reader's",
        "lower: early finders count more",
        "",
        0.05,
    )
    shared_power: float = _number(
        1.25,
        0.25,
        3,
        "e",
        "power of the summed weight of the seeds that a co-liker shares",
        "higher: people who share much count more than people who share one thing",
        "",
        0.05,
    )
    ratings_power: float = _number(
        1.125,
        0,
        2,
        "b",
        "power by which a co-liker's number of ratings divides their weight",
        "higher: people who like little count more",
        "",
        0.05,
    )
    ratings_floor: float = _number(
        5.0,
        0,
        100,
        "floor",
        "added to a co-liker's number of ratings before dividing",
        "higher: accounts that were made to like one thing gain less",
        "ratings",
        1,
    )
    ratings_max: int = _number(
        30_000,
        10,
        10_000_000,
        "ratings_max",
        "people with more ratings than this within the store's days carry no weight",
        "lower: those who like everything all day are not asked",
        "ratings",
        1000,
    )
    colikers: int = _number(
        1000,
        1,
        MAX_COLIKERS,
        "K",
        "how many best co-likers are asked what they like",
        "more: wider, and more work",
        "people",
        50,
    )
    coliker_share: float = _number(
        0.1,
        0.001,
        1,
        "share",
        "no co-liker carries more than this share of all co-likers' weight",
        "lower: one account can move the list less",
        "",
        0.01,
    )
    head: int = _number(
        50,
        1,
        MAX_COLIKERS,
        "head",
        "how many of the best co-likers vouch for posts; `tail` and `tail_base` bound what all others add",
        "lower: many accounts that agree a little with the reader move the list less",
        "people",
        10,
    )
    tail: float = _number(
        1.0,
        0,
        100,
        "tail",
        "all co-likers beyond the head together add less than this many times what the head gives a post, and so "
        "many times the mean weight of the head as `tail_base` says",
        "lower: the head decides alone",
        "x head",
        0.25,
    )
    tail_base: float = _number(
        3.0,
        0,
        100,
        "tail_base",
        "see `tail`, which it adds to",
        "lower: what none of the head likes comes later",
        "x mean of head",
        0.5,
    )
    coliker_likes: int = _number(
        200,
        1,
        MAX_LIKES_READ,
        "coliker_likes",
        "how many of a co-liker's newest ratings are looked at",
        "lower: people who like everything bring less",
        "ratings",
        10,
    )
    window: float = _number(
        8.0,
        0.1,
        2000,
        "window",
        "ratings of co-likers older than this are not looked at",
        "shorter: less work, staler feeds run dry",
        "x L",
        1,
    )
    like_half_life: float = _number(
        0.6,
        0,
        100,
        "like_half_life",
        "a co-liker's like loses half its weight in this time; 0 is never",
        "shorter: what is being liked right now",
        "x L",
        0.05,
    )
    age_half_life: float = _number(
        0.0,
        0,
        100,
        "age_half_life",
        "a post loses half its score in this time; 0 is never",
        "shorter: fresher posts",
        "x L",
        0.05,
    )
    paths_power: float = _number(
        0.25,
        0,
        2,
        "c",
        "power of the number of co-likers that lead to a post",
        "higher: agreement counts more than one strong co-liker",
        "",
        0.05,
    )
    popularity_power: float = _number(
        0.6,
        0,
        1.5,
        "d",
        "power by which a post's ratings divide its score",
        "higher: less of what everybody sees anyway",
        "",
        0.05,
    )
    velocity_power: float = _number(
        0.13,
        0,
        1,
        "g",
        "power of the decayed count of a post's newest ratings",
        "higher: more of what is rising now",
        "",
        0.05,
    )
    velocity_half_life: float = _number(
        0.03,
        0.001,
        100,
        "velocity_half_life",
        "a rating loses half its weight in the velocity in this time",
        "shorter: velocity means this very moment",
        "x L",
        0.01,
    )
    velocity_likers: int = _number(
        24,
        1,
        1000,
        "velocity_likers",
        "how many of a post's newest ratings make its velocity",
        "more: finer, and more work",
        "ratings",
        8,
    )
    less_weight: float = _number(
        2.0,
        0,
        20,
        "less",
        "weight of the paths from posts that the reader wants less of",
        "higher: 'show less' takes more away",
        "x seed",
        0.5,
    )
    finalists: int = _number(
        1500,
        1,
        MAX_FINALISTS,
        "finalists",
        "how many posts with the best raw x n^c are scored in full",
        "fewer: less work, and a list that may come short",
        "posts",
        100,
    )
    edges: int = _number(
        120_000,
        100,
        50_000_000,
        "budget",
        "edges that one list may visit: at most half for seeds, the last eighth for velocities",
        "lower: bounded work, coarser lists",
        "edges",
        1000,
    )
    pace_hours: float = _number(
        0.0,
        0,
        24 * 90,
        "L",
        "fixes L instead of following the live network; 0 follows",
        "fixed: half-lives are plain hours",
        "hours",
        1,
    )

    def __post_init__(self) -> None:
        for entry in describe():
            value = getattr(self, entry.name)
            whole = entry.whole
            if (
                isinstance(value, bool)
                or not isinstance(value, int if whole else (int, float))
                or not math.isfinite(value)
            ):
                raise SettingsError(f"rank.{entry.name}: {value!r} is not a {'whole number' if whole else 'number'}")
            if not entry.low <= value <= entry.high:
                raise SettingsError(
                    f"rank.{entry.name}: {value} is out of range",
                    f"allowed: {entry.low:g} to {entry.high:g} {entry.unit}".rstrip(),
                )

    def formula(self, pace_us: int = DEFAULT_PACE_US) -> Formula:
        """These parameters at the network's pace L."""
        return _formula(self, round(self.pace_hours * HOUR_US) or quantised(pace_us))


class Entry(NamedTuple):
    """One parameter, for documentation and sliders."""

    name: str
    letter: str
    default: float
    low: float
    high: float
    step: float
    unit: str
    whole: bool
    meaning: str
    effect: str


def describe() -> Iterator[Entry]:
    """All parameters in the order of the formula."""
    for f in fields(RankParams):
        m = f.metadata
        yield Entry(
            f.name,
            m["letter"],
            cast(float, f.default),
            m["low"],
            m["high"],
            m["step"],
            m["unit"],
            f.type == "int",
            m["meaning"],
            m["effect"],
        )


class Numbers(NamedTuple):
    """The formula's plain numbers. Apart from its tables, because compiled code passes them around for nothing."""

    seeds: int
    seed_window_us: int
    seed_likers: int
    seed_newest: float
    seed_oldest: float
    a: float
    seed_cap: float
    late_us: int
    late_factor: float
    e: float
    b: float
    floor: float
    ratings_max: int
    colikers: int
    share: float
    head: int
    tail: float
    tail_base: float
    coliker_likes: int
    window_us: int
    d: float
    g: float
    velocity_likers: int
    velocity_span_us: int
    less: float
    finalists: int
    edges: int
    pace_us: int


class Decay(NamedTuple):
    """0.5^(age / half-life) = coarse[age >> 8] x fine[age & 255], the age in units of 2^20 us."""

    coarse: NDArray[np.float64]
    fine: NDArray[np.float64]


class Formula(NamedTuple):
    """What the kernel takes: numbers and tables (made with `math.pow`: the same bits on every machine)."""

    n: Numbers
    paths: NDArray[np.float64]  # n^c by n
    like: Decay
    velocity: Decay
    age: Decay


def quantised(pace_us: int) -> int:
    """L to the nearest sixteenth of an octave: small drifts must neither change lists nor rebuild tables."""
    return round(2 ** (round(math.log2(max(pace_us, US_PER_S)) * 16) / 16))


@lru_cache(maxsize=24)
def decay_tables(half_life_us: int) -> Decay:
    """A half-life of 0 never decays. Kept, because formulas with a few changed parameters share them: a megabyte
    each."""
    coarse, fine = np.ones(DECAY_SLOTS), np.ones(256)
    if half_life_us:
        unit = (1 << DECAY_SHIFT) / half_life_us
        # Past a thousand halvings the product is nothing, and denormal numbers are slow.
        n = min(DECAY_SLOTS, int(1000 / (unit * 256)) + 1)
        coarse[n:] = 0.0
        coarse[:n] = [math.pow(0.5, i * 256 * unit) for i in range(n)]
        fine[:] = [math.pow(0.5, i * unit) for i in range(256)]
    return Decay(coarse, fine)


@lru_cache(maxsize=24)
def _formula(p: RankParams, pace_us: int) -> Formula:
    numbers = Numbers(
        seeds=p.seeds,
        seed_window_us=round(p.seed_days * 24 * HOUR_US),
        seed_likers=p.seed_likers,
        seed_newest=float(p.seed_newest),
        seed_oldest=float(p.seed_oldest),
        a=float(p.seed_popularity),
        seed_cap=float(p.seed_cap),
        late_us=round(p.late_hours * HOUR_US),
        late_factor=float(p.late_factor),
        e=float(p.shared_power),
        b=float(p.ratings_power),
        floor=float(p.ratings_floor),
        ratings_max=p.ratings_max,
        colikers=p.colikers,
        share=float(p.coliker_share),
        head=p.head,
        tail=float(p.tail),
        tail_base=float(p.tail_base),
        coliker_likes=p.coliker_likes,
        window_us=round(p.window * pace_us),
        d=float(p.popularity_power),
        g=float(p.velocity_power),
        velocity_likers=p.velocity_likers,
        velocity_span_us=round(VELOCITY_HALVINGS * p.velocity_half_life * pace_us),
        less=float(p.less_weight),
        finalists=p.finalists,
        edges=p.edges,
        pace_us=pace_us,
    )
    return Formula(
        n=numbers,
        paths=np.array([0.0] + [math.pow(n, p.paths_power) for n in range(1, p.colikers + 1)]),
        like=decay_tables(round(p.like_half_life * pace_us)),
        velocity=decay_tables(round(p.velocity_half_life * pace_us)),
        age=decay_tables(round(p.age_half_life * pace_us)),
    )


DEFAULT: Final = RankParams()

# The published formula of the best known peer. What it leaves open (how many people are asked) is set generously.
FORYOU: Final = RankParams(
    seeds=500,
    seed_likers=1000,
    seed_newest=0.1,
    seed_oldest=1.0,
    seed_popularity=0.0,
    seed_cap=100.0,
    late_hours=24,
    late_factor=1.0,
    shared_power=1.0,
    ratings_power=1.0,
    ratings_floor=0.0,
    colikers=5000,
    coliker_share=1.0,
    head=MAX_COLIKERS,
    ratings_max=10_000_000,
    coliker_likes=1000,
    window=12.0,
    like_half_life=0.0,
    age_half_life=1.0,
    paths_power=0.5,
    popularity_power=0.3,
    velocity_power=0.0,
    finalists=8000,
    edges=4_000_000,
    pace_hours=6.0,
)


def cheaper(p: RankParams) -> RankParams:
    """The same taste for at least ten times less work: for when requests start to queue."""
    return replace(
        p,
        seeds=min(p.seeds, 50),
        seed_likers=min(p.seed_likers, 30),
        late_hours=min(p.late_hours, 24),  # fewer days to look at
        colikers=min(p.colikers, 100),
        coliker_likes=min(p.coliker_likes, 30),
        velocity_likers=min(p.velocity_likers, 4),
        finalists=min(p.finalists, 100),
        edges=min(p.edges, 8_000),
    )


CHEAP: Final = cheaper(DEFAULT)

PRESETS: Final[dict[str, RankParams]] = {"default": DEFAULT, "foryou": FORYOU, "cheap": CHEAP}


def preset(name: str, **changes: float) -> RankParams:
    """A preset by name, with changes; an unknown name or value raises `SettingsError`."""
    if name not in PRESETS:
        raise SettingsError(f"rank.preset: {name!r} is not known", f"known: {', '.join(sorted(PRESETS))}")
    names = {f.name for f in fields(RankParams)}
    for key in changes:
        if key not in names:
            raise SettingsError(f"rank.{key}: there is no such parameter", f"known: {', '.join(sorted(names))}")
    merged: dict[str, Any] = changes
    return replace(PRESETS[name], **merged)
