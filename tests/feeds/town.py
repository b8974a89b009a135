"""A small town of people with two tastes, and the services of feeds that serve it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

import numpy as np
from pyroaring import BitMap

from feedgen.core.ids import NO_POST, US_PER_DAY, US_PER_S, make_tid
from feedgen.core.languages import number
from feedgen.feeds.contract import Ask, Fetched
from feedgen.feeds.services import FeedServices
from feedgen.graph.tags import Tags
from feedgen.graph.view import View
from feedgen.graph.warm import warm as warm_graph
from feedgen.ingest.events import KNOWN, VIDEO
from feedgen.rank.paging import Cursors
from feedgen.rank.pool import RankPool
from feedgen.rank.warm import warm as warm_rank
from tests.rank.world import World

FIRST_DAY = 20_400
START_US = FIRST_DAY * US_PER_DAY
NOW_US = START_US + 2 * US_PER_DAY - 600 * US_PER_S
PEOPLE = 120
AUTHORS = 60
READER = 0  # likes what even people like
NEWCOMER = 500  # never liked anything


def did(person: int) -> str:
    return f"did:plc:{person:024d}".replace("0", "a").replace("1", "b").replace("8", "c").replace("9", "d")


class Town:
    """Implements `Library`. Even people like even posts, odd people odd ones; some of each are videos or German."""

    def __init__(self, posts: int = 600, seed: int = 1, video_every: int | None = None) -> None:
        chance = Random(seed)
        self.world = World(FIRST_DAY, 2)
        self.fetched_by_did: dict[str, Fetched] = {}
        self.posts: list[int] = []
        self.tags = Tags()
        times = sorted(START_US + chance.randrange(46 * 3600) * US_PER_S for _ in range(posts))
        for i, at_us in enumerate(times):
            author = PEOPLE + chance.randrange(AUTHORS)
            video = i % 5 < 2 if video_every is None else i % video_every == 0
            flags = KNOWN | (VIDEO if video else 0)
            self.posts.append(self.world.post(author, at_us, flags, number("de" if i % 7 < 3 else "en")))
        rated = []
        for i, at_us in enumerate(times):
            for _ in range(chance.randrange(2, 14)):
                person = chance.randrange(PEOPLE // 2) * 2 + i % 2
                rated.append((person, self.posts[i], min(at_us + chance.randrange(8 * 3600) * US_PER_S, NOW_US - 1)))
        self.world.rate(sorted(rated, key=lambda r: r[2]))

    def view(self) -> View:
        return self.world.view

    def uri(self, post: int) -> str | None:
        facts = self.view().post(post)
        return None if facts is None else f"at://{did(facts.author)}/app.bsky.feed.post/{make_tid(facts.key >> 10)}"

    def uris(self, posts: np.ndarray[tuple[int], np.dtype[np.uint32]]) -> list[str | None]:
        return [self.uri(post) for post in posts.tolist()]

    def numbers(self, uris: Sequence[str]) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
        known = {self.uri(post): post for post in self.posts}
        return np.array([known.get(uri, NO_POST) for uri in uris], np.uint32)

    def person(self, did: str) -> int | None:
        return next((p for p in range(PEOPLE + AUTHORS) if globals()["did"](p) == did), None)

    def did(self, person: int) -> str | None:
        return did(person)

    def tagged(self, patterns: Iterable[str]) -> BitMap:
        return self.tags.posts(patterns)

    def fetched(self, did: str) -> Fetched | None:
        return self.fetched_by_did.get(did)

    def taste_of(self, uri: str) -> int:
        """0 or 1: whose kind of post that is."""
        return self.index(uri) % 2

    def index(self, uri: str) -> int:
        return next(i for i, post in enumerate(self.posts) if self.uri(post) == uri)


def make_services(town: Town) -> FeedServices:
    warm_graph()
    warm_rank()  # compiling takes longer than any deadline
    services = FeedServices(town, Cursors(b"k" * 32), RankPool(1))
    services.refresh(NOW_US)
    return services


def ask(
    person: int | None = READER,
    limit: int = 30,
    cursor: str | None = None,
    now_us: int = NOW_US,
    languages: tuple[str, ...] = ("en",),
    peek: bool = False,
) -> Ask:
    known = None if person is None or person == NEWCOMER else person
    return Ask(None if person is None else did(person), known, limit, cursor, languages, now_us, peek)


def u32(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    return np.array(values, np.uint32)
