"""What a reader saw, was served, and wants less or more of.

Posts are roaring bitmaps, one for each half day, so that forgetting is dropping a bitmap: a post is remembered for 48
to 60 hours. "Show less" and "show more" are few and are kept one by one; their weight halves every two weeks.
Everything is bounded: whoever was here lately is in memory, all others on disk only. Reading and writing that is
others' work (`pack`, `unpack`, `take_changed`, `put`).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence, Set
from itertools import chain
from typing import Final

import msgspec
import numpy as np
from pyroaring import BitMap

from feedgen.core.ids import NO_POST, US_PER_DAY, US_PER_S
from feedgen.graph.access import U32
from feedgen.graph.view import View
from feedgen.rank.numeric import F64

BUCKET_US: Final = US_PER_DAY // 2
BUCKETS_KEPT: Final = 5  # the one being filled and 48 hours
MAX_SEEN: Final = 20_000  # posts a reader, in all buckets
MAX_OPINIONS: Final = 200  # "show less" and "show more" a reader
OPINION_HALF_LIFE_US: Final = 14 * US_PER_DAY
FORGET_BELOW: Final = 0.02  # of an opinion's weight: after eleven weeks
HIDE_AUTHOR_AT: Final = 1.5  # two fresh "show less" on one author hide them
AUTHOR_LESS: Final = 0.4  # factor on an author's posts for each "show less"
AUTHOR_MORE: Final = 1.5  # and for each "show more"
MAX_AUTHOR_FACTOR: Final = 3.0
MORE_SEED_FACTOR: Final = 2.0  # a post that the reader wants more of weighs as so many likes
VISIT_US: Final = 30 * US_PER_S  # the same page again within this time is the same look at it
TOP: Final = 10  # places of a first page that were on screen for sure
LEVELS: Final = 3  # times that are told apart
SERVED_FACTOR: Final = 0.25  # for each time that a post was at the top and nobody said that it was seen
AGAIN_FACTOR: Final = 0.2  # for each further time that a seen post was served
AUTHOR_SEEN: Final = 20  # posts of an author that were seen without a like: then the author counts less
AUTHOR_SEEN_FACTOR: Final = 0.5
MAX_AUTHORS: Final = 500  # a reader, those seen the longest ago go first
MAX_HOT: Final = 10_000  # readers whose state is unpacked: whoever pages just now
MAX_BYTES: Final = 128 << 20  # of packed states of others
OVERHEAD_BYTES: Final = 250  # of one packed state: its object, key and place in the table


class UnreadableState(ValueError):
    """Bytes that are no packed state: damaged, or written by a newer version. They must not be overwritten."""


class Opinion(msgspec.Struct, array_like=True):
    """One "show less" (less is True) or "show more"."""

    post: int
    author: int
    about: int
    at_s: int
    less: bool

    def weight(self, now_us: int) -> float:
        return math.pow(0.5, max(now_us - self.at_s * US_PER_S, 0) / OPINION_HALF_LIFE_US)


class Packed(msgspec.Struct, array_like=True):
    seen: dict[int, bytes]
    served: dict[int, bytes]
    opinions: list[Opinion]
    # What follows came later: states of older versions end before it.
    again: list[dict[int, bytes]] = []
    tops: list[dict[int, bytes]] = []
    visit_us: int = 0
    visit: list[int] = []
    authors: dict[int, int] = {}


class PostMemory:
    """Posts by half day."""

    __slots__ = ("buckets",)

    def __init__(self, buckets: dict[int, BitMap] | None = None) -> None:
        self.buckets = {} if buckets is None else buckets

    def add(self, posts: Iterable[int], now_us: int) -> None:
        bucket = now_us // BUCKET_US
        self.buckets.setdefault(bucket, BitMap()).update(posts)
        self.forget(now_us)
        while len(self.buckets) > 1 and sum(map(len, self.buckets.values())) > MAX_SEEN:
            del self.buckets[min(self.buckets)]

    def remove(self, posts: Iterable[int]) -> None:
        gone = BitMap(posts)
        for bitmap in self.buckets.values():
            bitmap -= gone

    def forget(self, now_us: int) -> None:
        oldest = now_us // BUCKET_US - BUCKETS_KEPT + 1
        for bucket in [b for b in self.buckets if b < oldest]:
            del self.buckets[bucket]

    def all(self, now_us: int) -> BitMap:
        self.forget(now_us)
        return BitMap.union(*self.buckets.values()) if self.buckets else BitMap()

    def ascending(self, now_us: int) -> U32:
        """The same for compiled code; a post may stand there twice."""
        self.forget(now_us)
        parts = [np.frombuffer(bitmap.to_array(), np.uint32) for bitmap in self.buckets.values()]
        return np.sort(np.concatenate(parts)) if parts else np.empty(0, np.uint32)


def _raise(levels: list[PostMemory], posts: Iterable[int], now_us: int) -> None:
    """Each post goes one level up, if there is one."""
    left = BitMap(posts)
    for level, higher in zip(reversed(levels[:-1]), reversed(levels[1:]), strict=True):
        there = left & level.all(now_us)
        level.remove(there)
        higher.add(there, now_us)
        left -= there
    known = levels[-1].all(now_us)
    levels[0].add(left - known, now_us)


def _unpacked(buckets: dict[int, bytes]) -> PostMemory:
    return PostMemory({bucket: BitMap.deserialize(b) for bucket, b in buckets.items()})


class Taste:
    """What "show less" and "show more" come to at one moment, in the words of `request.py`."""

    __slots__ = ("author_factors", "authors", "hidden_authors", "hidden_posts", "less", "less_weights", "more")

    def __init__(self, opinions: list[Opinion], now_us: int) -> None:
        less = [o for o in opinions if o.less]
        self.less: U32 = np.array([o.post for o in less], np.uint32)
        self.less_weights: F64 = np.array([o.weight(now_us) for o in less], np.float64)
        self.more: U32 = np.array([o.post for o in opinions if not o.less], np.uint32)
        # The post goes, and its near kin: what it is about, and what else is about that.
        kin = {o.post for o in less} | {o.about for o in less if o.about != NO_POST}
        self.hidden_posts: U32 = np.array(sorted(kin), np.uint32)
        factors, against = self._judge_authors(opinions, now_us)
        self.hidden_authors: U32 = np.array(sorted(a for a, w in against.items() if w >= HIDE_AUTHOR_AT), np.uint32)
        self.authors: U32 = np.array(sorted(factors), np.uint32)
        self.author_factors: F64 = np.array([factors[a] for a in sorted(factors)], np.float64)

    @staticmethod
    def _judge_authors(opinions: list[Opinion], now_us: int) -> tuple[dict[int, float], dict[int, float]]:
        factors: dict[int, float] = {}
        against: dict[int, float] = {}
        for o in opinions:
            weight = o.weight(now_us)
            step = math.pow(AUTHOR_LESS if o.less else AUTHOR_MORE, weight)
            factors[o.author] = min(factors.get(o.author, 1.0) * step, MAX_AUTHOR_FACTOR)
            against[o.author] = against.get(o.author, 0.0) + (weight if o.less else -weight)
        return factors, against


NO_TASTE: Final = Taste([], 0)  # of nearly everybody


class ReaderState:
    """One reader. Methods take the time, so that the same calls give the same state."""

    __slots__ = ("again", "authors", "opinions", "seen", "served", "tops", "visit", "visit_us")

    def __init__(self) -> None:
        self.seen = PostMemory()
        self.served = PostMemory()
        self.again = [PostMemory() for _ in range(LEVELS)]  # seen posts, by how often they were served after that
        self.tops = [PostMemory() for _ in range(LEVELS)]  # posts that stood at the top, by how often
        self.visit_us, self.visit = 0, list[int]()  # the top of the first page that is being looked at
        self.authors = dict[int, int]()  # how many of their posts were seen, those of the newest last
        self.opinions: list[Opinion] = []

    def saw(self, posts: Iterable[int], now_us: int, view: View | None = None) -> None:
        """The client says so, or the reader scrolled past and asked for more. Then that it was served goes without
        saying."""
        if view is not None:
            self._count_authors(view, posts, now_us)
        for memory in (self.served, *self.tops):
            memory.remove(posts)
        gone = set(posts)
        self.visit = [post for post in self.visit if post not in gone]
        self.seen.add(posts, now_us)

    def was_served(self, posts: Sequence[int], now_us: int, top: Sequence[int] = ()) -> None:
        """Sent in a page, and not yet seen; `top` are those of them that stood first."""
        if top:
            self._settle(now_us)
            seen = self.seen.all(now_us)
            _raise(self.again, [post for post in top if post in seen], now_us)
            if not self.visit:
                self.visit_us = now_us
            self.visit = list(dict.fromkeys([*self.visit, *(post for post in top if post not in seen)]))
        self.served.add(posts, now_us)

    def _settle(self, now_us: int) -> None:
        """A look at a first page that is over counts. The same page asked for once more is no second look."""
        if self.visit and now_us - self.visit_us >= VISIT_US:
            _raise(self.tops, self.visit, self.visit_us)
            self.visit = []

    def faded(self, now_us: int) -> tuple[U32, F64]:
        """(posts, ascending; what each counts), of those that were shown before."""
        self._settle(now_us)
        factors = dict[int, float]()
        for levels, factor in ((self.tops, SERVED_FACTOR), (self.again, AGAIN_FACTOR)):
            for level, memory in enumerate(levels, 1):
                factors.update(dict.fromkeys(memory.all(now_us), factor**level))
        posts = sorted(factors)
        return np.array(posts, np.uint32), np.array([factors[post] for post in posts], np.float64)

    def _count_authors(self, view: View, posts: Iterable[int], now_us: int) -> None:
        fresh = BitMap(posts) - self.seen.all(now_us)
        if not fresh:
            return
        authors = self.authors
        for author in view.names_of(np.frombuffer(fresh.to_array(), np.uint32))[0].tolist():
            authors[author] = authors.pop(author, 0) + 1  # moved to the end
        while len(authors) > MAX_AUTHORS:
            del authors[next(iter(authors))]

    def ignored(self) -> dict[int, float]:
        """What authors count of whom much was seen; whether the reader liked any of it is for others to know."""
        return {a: AUTHOR_SEEN_FACTOR ** (n // AUTHOR_SEEN) for a, n in self.authors.items() if n >= AUTHOR_SEEN}

    def sent(self, now_us: int) -> U32:
        """What a list that is made anew in the middle of paging leaves out. Ascending."""
        return np.union1d(self.served.ascending(now_us), self.seen.ascending(now_us))

    def judge(self, view: View, said: Iterable[tuple[int, bool]], now_us: int) -> bool:
        """Posts with "show less" (True) or "show more"; the newest word on a post counts. Posts that are unknown are
        left out; False when all are.
        """
        newest = dict[int, bool]()
        for post, less in said:
            newest.pop(post, None)
            newest[post] = less
        judged = [(view.post(post), post, newest[post]) for post in list(newest)[-MAX_OPINIONS:]]
        added = [
            Opinion(post, facts.author, facts.about, now_us // US_PER_S, less)
            for facts, post, less in judged
            if facts is not None
        ]
        if added:
            self.opinions = [o for o in self.opinions if o.post not in newest and o.weight(now_us) >= FORGET_BELOW]
            self.opinions += added
            del self.opinions[:-MAX_OPINIONS]
            self.seen.add([o.post for o in added], now_us)
        return bool(added)

    def add_older(self, older: ReaderState) -> None:
        """What was kept of the same reader before; of two opinions on a post, this state's counts."""
        for mine, theirs in ((self.seen, older.seen), (self.served, older.served)):
            for bucket, bitmap in theirs.buckets.items():
                mine.buckets[bucket] = mine.buckets.get(bucket, BitMap()) | bitmap
        self.served.remove(chain.from_iterable(self.seen.buckets.values()))
        judged = {o.post for o in self.opinions}
        self.opinions = [o for o in older.opinions if o.post not in judged] + self.opinions
        del self.opinions[:-MAX_OPINIONS]

    def taste(self, now_us: int) -> Taste:
        return Taste(self.opinions, now_us) if self.opinions else NO_TASTE

    def pack(self) -> bytes:
        def bytes_of(memory: PostMemory) -> dict[int, bytes]:
            return {bucket: bitmap.serialize() for bucket, bitmap in memory.buckets.items()}

        return msgspec.msgpack.encode(
            Packed(
                bytes_of(self.seen),
                bytes_of(self.served),
                self.opinions,
                [bytes_of(memory) for memory in self.again],
                [bytes_of(memory) for memory in self.tops],
                self.visit_us,
                self.visit,
                self.authors,
            )
        )

    @classmethod
    def unpack(cls, data: bytes) -> ReaderState:
        """What `pack` gave. Raises UnreadableState."""
        state = cls()
        try:
            packed = msgspec.msgpack.decode(data, type=Packed)
            seen, served = _unpacked(packed.seen), _unpacked(packed.served)
            again, tops = ([_unpacked(level) for level in levels[:LEVELS]] for levels in (packed.again, packed.tops))
        except (msgspec.MsgspecError, ValueError, IndexError) as error:
            raise UnreadableState(str(error)) from error
        state.seen, state.served = seen, served
        state.again[: len(again)], state.tops[: len(tops)] = again, tops
        state.visit_us, state.visit = packed.visit_us, packed.visit[: 10 * TOP]
        state.authors = dict(list(packed.authors.items())[:MAX_AUTHORS])
        state.opinions = packed.opinions[-MAX_OPINIONS:]
        return state


class Readers:
    """Readers' states by a number for their DID: the newest unpacked, others packed. When those become too many, the
    ones that were longest not asked for are let go: they are on disk, and `put` brings them back.

    Used by the event loop's thread alone. `changed` are the readers whose state differs from what was last taken.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, max_hot: int = MAX_HOT) -> None:
        self.max_bytes, self.max_hot = max_bytes, max_hot
        self._hot: OrderedDict[int, ReaderState] = OrderedDict()
        self._cold: OrderedDict[int, bytes] = OrderedDict()
        self._cold_bytes = 0
        self.changed: set[int] = set()

    def __len__(self) -> int:
        return len(self._hot) + len(self._cold)

    def get(self, reader: int) -> ReaderState | None:
        """The state as it is; None for a reader of whom nothing is in memory."""
        state = self._hot.get(reader)
        if state is not None:
            self._hot.move_to_end(reader)
            return state
        packed = self._drop(reader)
        return None if packed is None else self._warm(reader, ReaderState.unpack(packed))

    def edit(self, reader: int) -> ReaderState:
        """The state, made when there is none, to be changed."""
        self.changed.add(reader)
        return self.get(reader) or self._warm(reader, ReaderState())

    def take_changed(self, limit: int = 10_000, without: Set[int] = frozenset()) -> list[tuple[int, bytes]]:
        """(reader, packed state) to be written down; what is given is no longer `changed`."""
        taken = []
        for reader in sorted(self.changed - without)[:limit]:
            self.changed.discard(reader)
            state = self._hot.get(reader)
            packed = self._cold.get(reader) if state is None else state.pack()
            if packed is not None:
                taken.append((reader, packed))
        return taken

    def put(self, reader: int, packed: bytes) -> None:
        """A state that was read back; it does not replace a newer one. Raises UnreadableState."""
        if reader not in self._hot and reader not in self._cold:
            self._warm(reader, ReaderState.unpack(packed))

    def add_older(self, reader: int, packed: bytes) -> None:
        """A state that was read back late: what is in memory was begun without it. Raises UnreadableState."""
        state = self.get(reader)
        if state is None:
            self.put(reader, packed)
        else:
            state.add_older(ReaderState.unpack(packed))

    def forget(self, reader: int) -> None:
        self._hot.pop(reader, None)
        self._drop(reader)
        self.changed.discard(reader)

    def _warm(self, reader: int, state: ReaderState) -> ReaderState:
        self._hot[reader] = state
        self._trim()
        return state

    def _keep(self, reader: int, packed: bytes) -> None:
        self._cold[reader] = packed
        self._cold_bytes += len(packed) + OVERHEAD_BYTES

    def _drop(self, reader: int) -> bytes | None:
        packed = self._cold.pop(reader, None)
        if packed is not None:
            self._cold_bytes -= len(packed) + OVERHEAD_BYTES
        return packed

    def _trim(self) -> None:
        while len(self._hot) > self.max_hot:
            reader, state = self._hot.popitem(last=False)
            self._keep(reader, state.pack())
        while self._cold_bytes > self.max_bytes:
            reader = next(iter(self._cold))
            if reader in self.changed and self._cold_bytes <= 2 * self.max_bytes:
                return  # not before it is on disk, unless the disk takes nothing
            self.changed.discard(reader)
            self._drop(reader)
