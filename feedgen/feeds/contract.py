"""What a feed is: somebody asks, a page is the answer. Nothing here knows of HTTP.

`Feed` is the whole contract; most feeds extend `list_feed.ListFeed` instead. docs/feeds.md writes one in twenty lines.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

import msgspec
import numpy as np
from pyroaring import BitMap

from feedgen.feeds.recipes import Recipe
from feedgen.feeds.wishes import Wishes
from feedgen.graph.access import I64, U8, U32
from feedgen.graph.view import View
from feedgen.rank.numeric import F64
from feedgen.rank.paging import tag
from feedgen.rank.seen import Taste

NO_CODE: Final = 255  # no list's code
NO_WISHES: Final = Wishes()
NOBODY: Final = 0  # the reader of a page that was served to somebody who is logged out
NO_FORMULA: Final = "popular"  # the preset of a list that was not ranked for anybody
_REQ_ID: Final = re.compile(r"([0-9a-f]{1,4})-([0-9a-f]{1,14})")
VIDEO_FEED: Final = "app.bsky.feed.defs#contentModeVideo"


@dataclass(frozen=True, slots=True)
class Ask:
    """What a reader wants. `person` is their number when they ever rated or wrote something that we heard."""

    reader_did: str | None
    person: int | None
    limit: int
    cursor: str | None
    languages: tuple[str, ...]
    now_us: int
    peek: bool = False  # the app looks whether there is something new: neither served nor seen
    arrived_s: float | None = None  # on the pool's clock, for the deadline
    lag_s: float = 0.0  # how long it lay before anybody looked at it


class Item(msgspec.Struct, frozen=True):  # made thirty times a page: a NamedTuple takes three times as long
    uri: str
    context: str | None = None
    pin: bool = False  # shown as pinned


@dataclass(frozen=True, slots=True)
class Page:
    items: list[Item]
    cursor: str | None = None
    req_id: str | None = None
    languages: tuple[str, ...] = ()


class Feed(ABC):
    """One feed that we publish."""

    name: str  # the record key of its generator record
    title: str
    description: str
    content_mode: str | None = None
    personal: bool = True  # what is known of the reader matters: a first page may wait for it a little

    @abstractmethod
    async def page(self, ask: Ask) -> Page:
        """`BadCursor` is the only error that a reader may cause."""


class Fetched(NamedTuple):
    """What a reader's own repository told: ratings from before we listened, newest first, and whom they follow."""

    posts: U32
    times_us: I64
    follows: U32
    fetched_us: int = 0  # when the last of it came


class Library(Protocol):
    """What feeds may ask about the network. All of it is answered from memory, from any thread."""

    def view(self) -> View: ...

    def uri(self, post: int) -> str | None: ...

    def uris(self, posts: U32) -> list[str | None]: ...

    def numbers(self, uris: Sequence[str]) -> U32: ...

    def person(self, did: str) -> int | None: ...

    def did(self, person: int) -> str | None: ...

    def fetched(self, did: str) -> Fetched | None: ...

    def tagged(self, patterns: Iterable[str]) -> BitMap:
        """The posts that match any of these patterns; a copy."""
        ...


class Event(NamedTuple):
    """What a reader's app told of a post that we know. `list_us` and `code` are what `reqId` and `feedContext` said."""

    post: int
    event: str
    list_us: int | None
    code: int | None


class Shown(NamedTuple):
    """A page as it was sent: what `store.pages.ShownPage` has, but for the time. `list_us` is what `reqId` says."""

    reader: int
    feed: str
    preset: str
    list_us: int
    position: int  # of the first post in the list
    posts: list[int]
    codes: list[int]
    arm: str


class Log(Protocol):
    """Who remembers which pages were served and what came of them. Never waits."""

    def served(self, page: Shown) -> None: ...

    def told(self, reader: int, events: Sequence[Event]) -> None: ...


class NoLog:
    def served(self, page: Shown) -> None:
        """Nobody remembers."""

    def told(self, reader: int, events: Sequence[Event]) -> None:
        """Nobody remembers."""


@lru_cache(maxsize=20_000)
def reader_key(did: str) -> int:
    """A reader as 64 bits: what snapshots, cursors and states are kept under."""
    return tag(did, 64)


def req_id_of(feed: int, list_us: int) -> str:
    return f"{feed:x}-{list_us:x}"


@lru_cache(maxsize=4096)
def parse_req_id(text: str | None) -> tuple[int, int] | None:
    """(feed, list) of a reqId that could be ours."""
    found = _REQ_ID.fullmatch(text) if text else None
    return (int(found[1], 16), int(found[2], 16)) if found else None


@dataclass(frozen=True, slots=True)
class Made:
    """A list, best first. `codes` say in the feed's own words where each post came from; `preset` which formula ranked
    it, when it is not the one that was asked for; `above` what the reader was shown of the list before, when the rest
    is made as they come to it."""

    posts: U32
    codes: U8
    languages: tuple[str, ...] = ()
    preset: str = ""
    above: U32 | None = None  # None: there is no more than this


@dataclass(frozen=True, slots=True)
class Known:
    """What a list takes into account of its reader, as of one moment."""

    taste: Taste
    seen: U32 = field(default_factory=lambda: np.empty(0, np.uint32))  # ascending
    skip: U32 = field(default_factory=lambda: np.empty(0, np.uint32))  # served a moment ago: not again
    above: U32 = field(default_factory=lambda: np.empty(0, np.uint32))  # served of the same list, in its order
    faded: tuple[U32, F64] = field(default_factory=lambda: (np.empty(0, np.uint32), np.empty(0)))  # shown before
    ignored: dict[int, float] = field(default_factory=dict)  # authors of whom much was seen, and what they count
    recipe: Recipe | None = None  # None: the operator's
    wishes: Wishes = NO_WISHES
