"""The whole network's volume, straight to wire bytes, in bounded memory: what the benchmarks drink from.

Nothing is remembered: event number j is a pure function of the plan and j, and so is everything it refers to (the
post it likes, the like it deletes). So a flood can start anywhere, on any number of days, and the same numbers can be
had as columns, without the wire. Numbers below zero are the days before; a flood refers to them, as the real network
refers to what was before one listened.

It has heavy-tailed people and posts, likes that follow posts within hours, and communities that like the same things.
It has no tastes to measure a ranking by: that is `world`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
import zstandard
from cryptography.hazmat.primitives.asymmetric import ec
from numpy.typing import NDArray

from feedgen.core.ids import US_PER_DAY
from feedgen.simnet import people as people_module
from feedgen.simnet.text import mix1
from scripts.benchmarks.flood import kernels as fk
from scripts.benchmarks.flood.frames import FIELDS, V1, V1_CURSOR, V2, program
from scripts.benchmarks.flood.kernels import NONE

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]

CHUNK_EVENTS: Final = 8_192
MAX_CHUNK_EVENTS: Final = 1 << 18
ACTIVITY_SIGMA: Final = 1.5  # log-normal: the median person likes a third of what the mean one does
FAME_SIGMA: Final = 1.8
AGE_MEDIAN_S: Final = 3 * 3600.0  # of a post when it is liked
AGE_SIGMA: Final = 1.5
MAX_AGE_S: Final = 6 * 86_400.0
NEAR_US: Final = 7 * 60 * 1_000_000  # a community has its favourites among the posts of seven minutes
WIDE: Final = 16  # and everybody has theirs among so many times as many
STEEP: Final = 5  # a few posts get most of the likes
STEEP_SMALL: Final = 3  # with few people that would be all of them, several times
CROWD: Final = 200_000
LEVEL: Final = (
    -3
)  # of zstd: frames of 240 B or so with their dictionary, as the real hosts send, for half the work of level 1


@dataclass(frozen=True)
class FloodPlan:
    """How much of what. The defaults are one day of the real network; counts are exact for posts, and expected for
    the rest."""

    seed: int = 1
    people: int = 1_000_000
    ratings: int = 26_000_000  # likes and reposts, 20 : 3
    posts: int = 3_300_000
    follows: int = 1_200_000
    deletes: int = 500_000  # unlikes, and some of each other kind
    others: int = 300_000  # profiles, blocks, identities, accounts
    start_us: int = 1_790_000_000_000_000
    span_us: int = US_PER_DAY

    def __post_init__(self) -> None:
        if min(self.people, self.posts, self.span_us) <= 0 or self.events >= self.span_us:
            raise ValueError("a flood needs people, posts, and fewer events than microseconds")

    @property
    def events(self) -> int:
        return self.ratings + self.posts + self.follows + self.deletes + self.others

    def scaled(self, factor: float) -> FloodPlan:
        """The same in small (or large): people and counts, in the same time."""
        names = ("people", "ratings", "posts", "follows", "deletes", "others")
        return replace(self, **{name: max(1, round(getattr(self, name) * factor)) for name in names})

    def days(self, n: int) -> FloodPlan:
        """n such spans, one after the other, by the same people."""
        names = ("ratings", "posts", "follows", "deletes", "others", "span_us")
        return replace(self, **{name: getattr(self, name) * n for name in names})

    def time_us(self, event: int) -> int:
        return int(fk.event_time(self.scalars, event))

    def event_at(self, us: int) -> int:
        """The first event that is not before this time: where a cursor by time resumes."""
        guess = (us - self.start_us) * self.events // self.span_us
        while self.time_us(guess) >= us:
            guess -= 1
        while self.time_us(guess) < us:
            guess += 1
        return guess

    def did(self, person: int) -> str:
        out = np.empty(fk.DID_WIDTH, np.uint8)
        fk.did_of(out, person, self.scalars.salt)
        return out.tobytes().decode()

    def handle(self, person: int) -> str:
        """The handle that identity events of this person tell."""
        return f"flood-{person}.simnet.test"

    def index(self, did: str) -> int | None:
        """The person behind a DID of this plan."""
        if not did.startswith("did:plc:") or len(did) != fk.DID_WIDTH:
            return None
        try:
            first, second = (_from_base32(did[at : at + 12]) for at in (8, 20))
        except ValueError:
            return None
        person = second ^ mix1(first, self.scalars.salt + 2) & (1 << 60) - 1
        return person if person < self.people and self.did(person) == did else None

    def signing_key(self, person: int) -> ec.EllipticCurvePrivateKey:
        return people_module.signing_key(self.seed, person)

    @cached_property
    def scalars(self) -> fk.Scalars:
        """Everything that the compiled loops need to know."""
        rest = self.events - self.posts
        likes = self.ratings * 20 // 23
        unlikes = self.deletes * 7 // 10
        counts = (
            likes, self.ratings - likes, self.follows, unlikes, self.deletes // 10, self.deletes // 10,
            self.deletes - unlikes - 2 * (self.deletes // 10), self.others // 2, self.others // 4, self.others // 8,
        )  # fmt: skip
        near = _power_of_two(self.posts * NEAR_US // self.span_us, 256)
        thresholds = np.cumsum(counts) / max(rest, 1)
        readers, authors = (_persons(self.people, sigma) for sigma in (ACTIVITY_SIGMA, FAME_SIGMA))
        return fk.Scalars(
            events=self.events, posts=self.posts, people=self.people, start_us=self.start_us,
            gap_us=self.span_us // self.events, gap_rest=self.span_us % self.events, salt=mix1(self.seed, 97) >> 8,
            thresholds=thresholds, readers=readers, authors=authors, ages_us=_ages(), step=_coprime(self.people),
            near=near, steep=STEEP if self.people >= CROWD else STEEP_SMALL, wide=near * WIDE,
        )  # fmt: skip


class Columns(NamedTuple):
    """A stretch of events as arrays; see `frames` for kinds and flags. Nothing to say is -1, or NONE for posts."""

    seq: I64
    time_us: I64
    kind: U8
    actor: NDArray[np.int32]
    key: I64  # TID value of the record that is made or deleted
    post: I64  # number of the post that is made, deleted, liked or shared
    author: NDArray[np.int32]  # of that post
    post_key: I64  # TID value of that post
    whom: NDArray[np.int32]  # who is followed or blocked
    parent: I64  # post that a post replies to
    flags: NDArray[np.uint16]  # of a new post: the bits of ingest.events
    language: U8  # of a new post: an index into words.LANGUAGES


_TYPES: Final[tuple[Any, ...]] = (
    np.int64, np.int64, np.uint8, np.int32, np.int64, np.int64, np.int32, np.int64, np.int32, np.int64, np.uint16,
    np.uint8,
)  # fmt: skip


@dataclass(slots=True)
class Chunk:
    """Consecutive events as frames: event i is `data[offsets[i]:offsets[i + 1]]`."""

    first_seq: int
    last_seq: int
    first_us: int
    last_us: int
    n_events: int
    data: memoryview
    offsets: I64

    def frames(self) -> Iterator[memoryview]:
        at = self.offsets.tolist()
        for i in range(self.n_events):
            yield self.data[at[i] : at[i + 1]]


@dataclass
class Encoder:
    """How events become bytes. With a dictionary, each frame is one zstd frame (v2 only)."""

    wire: int = V1
    websocket: bool = False  # with the header of an unmasked websocket message
    dictionary: bytes = b""
    threads: int = 1
    level: int = LEVEL
    _compressor: zstandard.ZstdCompressor | None = field(default=None, init=False)
    _room: U8 = field(default_factory=lambda: np.empty(0, np.uint8), init=False)

    def __post_init__(self) -> None:
        if self.dictionary:
            made = zstandard.ZstdCompressionDict(self.dictionary)
            made.precompute_compress(level=self.level)
            self._compressor = zstandard.ZstdCompressor(self.level, made, write_checksum=True, write_content_size=True)

    def encode(self, plan: FloodPlan, columns: Columns) -> tuple[memoryview, I64]:
        """As many of the events as fit a buffer of the usual size: usually all of them."""
        n = len(columns.seq)
        out = self._buffer(n * fk.USUAL_FRAME + fk.MAX_FRAME)
        offsets = np.empty(n + 1, np.int64)
        plain = self._compressor is None
        which, values = np.empty(n, np.int64), np.empty((n, len(FIELDS)), np.int64)
        fk.values(plan.scalars, columns, which, values)
        salt = plan.scalars.salt
        done = int(fk.write(program(self.wire), which, values, salt, self.websocket and plain, out, offsets))
        offsets = offsets[: done + 1]
        if plain:
            return _view(out, int(offsets[-1])), offsets
        return self._compress(out, offsets)

    def _buffer(self, size: int) -> U8:
        """Plain frames are given away with their buffer. Those that get compressed can use the same again: memory that
        is new costs a page fault every 4 kB."""
        if self._compressor is None:
            return np.empty(size, np.uint8)
        if self._room.size < size:
            self._room = np.empty(size, np.uint8)
        return self._room

    def _compress(self, out: U8, offsets: I64) -> tuple[memoryview, I64]:
        assert self._compressor is not None
        segments = np.column_stack((offsets[:-1], np.diff(offsets))).astype(np.uint64)
        source = zstandard.BufferWithSegments(_view(out, int(offsets[-1])), segments.tobytes())
        made = self._compressor.multi_compress_to_buffer(source, threads=self.threads)
        frames: list[Any] = list(map(made.__getitem__, range(len(made))))
        data = np.frombuffer(b"".join(frames), np.uint8)
        packed = np.zeros(len(frames) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, frames), np.int64, len(frames)), out=packed[1:])
        if self.websocket:
            data, packed = fk.frame(data, packed)
        return _view(data, len(data)), packed


def flood(
    plan: FloodPlan,
    encoder: Encoder | None = None,
    first: int = 0,
    last: int | None = None,
    chunk_events: int = CHUNK_EVENTS,
) -> Iterator[Chunk]:
    """Events `first` up to `last` (the plan's end if None) as chunks of frames. An event's seq is its number plus
    one."""
    encoder = encoder or Encoder()
    end = plan.events if last is None else last
    while first < end:
        columns = fill(plan, first, min(end - first, chunk_events))
        data, offsets = encoder.encode(plan, columns)
        done = len(offsets) - 1
        times = columns.time_us
        yield Chunk(first + 1, first + done, int(times[0]), int(times[done - 1]), done, data, offsets)
        first += done


def flood_columns(
    plan: FloodPlan, first: int = 0, last: int | None = None, chunk_events: int = MAX_CHUNK_EVENTS
) -> Iterator[Columns]:
    """The same events as arrays."""
    end = plan.events if last is None else last
    for at in range(first, end, chunk_events):
        yield fill(plan, at, min(chunk_events, end - at))


def fill(plan: FloodPlan, first: int, n: int) -> Columns:
    """n events from number `first` on."""
    if not 0 < n <= MAX_CHUNK_EVENTS:
        raise ValueError(f"between 1 and {MAX_CHUNK_EVENTS} events at a time")
    columns = Columns(*(np.empty(n, dtype) for dtype in _TYPES))
    fk.fill(plan.scalars, first, columns)
    return columns


def _persons(n: int, sigma: float) -> I64:
    """Where a throw of 1/65536 finds a person, if person i's share is log-normal and falls with i."""
    throws = (np.arange(fk.TABLE + 1) / fk.TABLE).clip(1e-9, 1 - 1e-9)
    # Drawn in proportion to a log-normal share, the rank's normal score is shifted by sigma.
    scores = _normal_quantile(throws) + sigma
    ranks = np.array([0.5 * math.erfc(score / math.sqrt(2)) for score in scores])
    table: I64 = np.floor(n * ranks[::-1]).astype(np.int64)
    table[0], table[-1] = 0, n
    return table


def _ages() -> I64:
    throws = ((np.arange(fk.TABLE) + 0.5) / fk.TABLE).clip(1e-9, 1 - 1e-9)
    ages_s = AGE_MEDIAN_S * np.exp(AGE_SIGMA * _normal_quantile(throws))
    ages: I64 = (np.minimum(ages_s, MAX_AGE_S) * 1e6).astype(np.int64)
    return ages


def _power_of_two(n: int, least: int) -> int:
    return int(max(least, 1 << max(n, 1).bit_length() - 1))


def _normal_quantile(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """By interpolation in a fine table of the distribution: good to five digits, and the same everywhere."""
    grid = np.linspace(-6.5, 6.5, 20_001)
    below = np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in grid])
    quantiles: NDArray[np.float64] = np.interp(p, below, grid)
    return quantiles


def _view(data: U8, length: int) -> memoryview:
    return data.data[:length]


def _coprime(n: int) -> int:
    """A step that visits every one of n."""
    step = int(n * 0.6180339887) | 1
    while math.gcd(step, n) != 1:
        step += 2
    return step


def _from_base32(text: str) -> int:
    value = 0
    for at, char in enumerate(text):
        value |= "abcdefghijklmnopqrstuvwxyz234567".index(char) << 5 * at
    return value


__all__ = [
    "NONE",
    "V1",
    "V1_CURSOR",
    "V2",
    "Chunk",
    "Columns",
    "Encoder",
    "FloodPlan",
    "fill",
    "flood",
    "flood_columns",
]
