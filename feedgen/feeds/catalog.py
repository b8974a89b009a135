"""All feeds of this process and what they share: kept fresh in the background, told what readers did.

Used by the event loop's thread; only ranking and refreshing happen elsewhere.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np

from feedgen.core.clock import Clock
from feedgen.core.ids import NO_POST
from feedgen.core.telemetry import Counter
from feedgen.feeds.also_liked import also_liked
from feedgen.feeds.contract import Ask, Event, Library, Page, parse_req_id, reader_key
from feedgen.feeds.files import Found
from feedgen.feeds.for_you import ForYou
from feedgen.feeds.guard import Guard
from feedgen.feeds.list_feed import ListFeed
from feedgen.feeds.preview import Preview
from feedgen.feeds.recipes import Experiment, Recipe
from feedgen.feeds.registry import make_feeds
from feedgen.feeds.services import FeedServices
from feedgen.feeds.write import Definition
from feedgen.feeds.written import WrittenFeed
from feedgen.rank.listing import ListRules
from feedgen.rank.paging import Cursors
from feedgen.rank.params import DEFAULT, RankParams
from feedgen.rank.policy import MAY, page_policy, verdicts
from feedgen.rank.pool import RankPool

REFRESH_S: Final = 60.0
FIRST_REFRESHES_S: Final = (0.0, 2.0, 3.0, 5.0, 10.0, 20.0)  # a new archive fills quickly
EMPTY_S: Final = 0.5  # while there is nothing at all: then it costs nothing to look again

SEEN: Final = "interactionSeen"
LESS: Final = "requestLess"
MORE: Final = "requestMore"

heard_total = Counter(
    "feedgen_feeds_interactions_total", "What readers told us of posts, by kind and whether it was of use", "kind"
)


class Told(Protocol):
    """One thing that a reader did with a post. `event` is the bare word, without `app.bsky.feed.defs#`."""

    @property
    def item(self) -> str: ...

    @property
    def event(self) -> str: ...

    @property
    def context(self) -> str | None: ...

    @property
    def req_id(self) -> str | None: ...


class Catalog:
    def __init__(
        self,
        library: Library,
        clock: Clock,
        cursor_key: bytes,
        params: RankParams = DEFAULT,
        rules: ListRules | None = None,
        experiment: Experiment | None = None,
    ) -> None:
        self._library, self._clock = library, clock
        self.pool = RankPool(_rank_threads(), monotonic_s=clock.monotonic_s)
        rules = rules or ListRules()
        self.services = FeedServices(
            library, Cursors(cursor_key), self.pool, recipe=Recipe(params), rules=rules, experiment=experiment
        )
        self.guard = Guard()
        self.written = Found()  # what the operator's files define, and which are broken
        self._ours = make_feeds(self.services)
        self.feeds = dict(self._ours)  # changed in place: others hold it
        self._by_tag = dict[int, ListFeed]()
        self.take(self.written)

    def take(self, found: Found) -> None:
        """Serve these feeds from files instead of those from before. In the event loop."""
        self.written = found
        self.guard.forgive()
        self.feeds.clear()
        self.feeds |= self._ours
        self.feeds |= {one.name: WrittenFeed(self.services, one, self.guard) for one in found.feeds.values()}
        self._by_tag = {feed.tag: feed for feed in self.feeds.values() if isinstance(feed, ListFeed)}
        self.services.popular_lists.clear()

    def troubles(self) -> list[str]:
        """What is wrong with feeds in files, for the operator."""
        found = [str(one) for one in self.written.broken]
        return found + [
            f"{feed.definition.file}: {feed.name} fell back: {feed.trouble}"
            for feed in self.feeds.values()
            if isinstance(feed, WrittenFeed) and feed.trouble
        ]

    async def run(self) -> None:
        """Until cancelled."""
        waits_s = iter(FIRST_REFRESHES_S)
        while True:
            await asyncio.sleep(EMPTY_S if self.services.popular.empty else next(waits_s, REFRESH_S))
            await self.refresh()
            while self.services.snapshots.prune(self._clock.now_us()):
                await asyncio.sleep(0)  # readers first

    async def refresh(self) -> None:
        await asyncio.to_thread(self.services.refresh, self._clock.now_us())

    async def rehearse(self) -> None:
        """Every feed once, and what readers say, so that compiled code is loaded before anybody waits for it."""
        await self.refresh()
        view = self._library.view()
        view.find_posts([0], [0])
        view.post(0)
        ask = Ask("did:plc:rehearsal", 0, 1, None, (), self._clock.now_us(), peek=True)
        for feed in self.feeds.values():
            await feed.page(ask)

    def close(self) -> None:
        self.pool.close()
        self.guard.close()

    async def also_liked(self, uri: str, limit: int, cursor: str | None) -> Page | None:
        """None when the post is unknown."""
        post, now_us, view = self._post(uri), self._clock.now_us(), self._library.view()
        if post == NO_POST or verdicts(view, np.array([post], np.uint32), page_policy(view))[0] != MAY:
            return None
        return await also_liked(self.services, post, limit, cursor, now_us)

    async def why(self, reader_did: str, uri: str, feed: str = ForYou.name) -> dict[str, object]:
        """Why a post would stand in a reader's list, or why not; as plain values."""
        asked, now_us = self.feeds.get(feed), self._clock.now_us()
        if not isinstance(asked, ForYou):
            return {"absent": f"{feed} is not a feed that is made for one reader"}
        ask = Ask(reader_did, self._library.person(reader_did), 1, None, (), now_us)
        found = await asked.why(ask, self._post(uri))
        if isinstance(found, str):
            return {"absent": found}
        seeds = [(self._library.uri(post), people) for post, people in found.seeds]
        told = found._asdict() | {"seeds": [{"post": post, "people": people} for post, people in seeds if post]}
        return told

    def preview(self, name: str = ForYou.name) -> Preview:
        """Lists to look at, of a feed that is made for one reader. Raises KeyError."""
        feed = self.feeds[name]
        if not isinstance(feed, ForYou):
            raise KeyError(name)
        return Preview(self.services, feed)

    def preview_of(self, definition: Definition) -> Preview:
        """The same, of a feed that is not served."""
        return Preview(self.services, WrittenFeed(self.services, definition, self.guard))

    def previewed(self) -> list[str]:
        """The names of the feeds that `preview` knows."""
        return [name for name, feed in self.feeds.items() if isinstance(feed, ForYou)]

    def heard(self, reader_did: str, told: Sequence[Told], now_us: int) -> bool:
        """What a reader saw, and wants more or less of, counts from the next list on. Whether there was an opinion."""
        seen, judged, events, kinds = list[int](), list[tuple[int, bool]](), list[Event](), list[str]()
        for one, post in zip(told, self._posts([one.item for one in told]), strict=True):
            if post == NO_POST:
                kinds.append("unknown post")
                continue
            if one.event == SEEN:
                seen.append(post)
            elif one.event in (LESS, MORE):
                judged.append((post, one.event == LESS))
            kinds.append(one.event if one.event in (SEEN, LESS, MORE) else "other")
            events.append(self._event(post, one))
        for kind in set(kinds):
            heard_total.add(kinds.count(kind), kind)
        if events:
            self.services.log.told(reader_key(reader_did), events)
        if seen or judged:
            self._remember(reader_did, seen, judged, now_us)
        return bool(judged)

    def _event(self, post: int, one: Told) -> Event:
        tied = parse_req_id(one.req_id)
        if tied is None:
            return Event(post, one.event, None, None)
        feed = self._by_tag.get(tied[0])
        code = feed.code_of(one.context) if feed is not None and one.context else None
        return Event(post, one.event, tied[1], code)

    def _remember(self, reader_did: str, seen: list[int], judged: list[tuple[int, bool]], now_us: int) -> None:
        view, state = self._library.view(), self.services.readers.edit(reader_key(reader_did))
        if seen:
            state.saw(seen, now_us, view)
        if judged:
            state.judge(view, judged, now_us)

    async def forget(self, reader_did: str) -> None:
        """An account that is gone."""
        reader = reader_key(reader_did)
        self.services.snapshots.forget_reader(reader)
        self.services.readers.forget(reader)

    def _post(self, uri: str) -> int:
        return self._posts([uri])[0]

    def _posts(self, uris: Sequence[str]) -> list[int]:
        """Their numbers; NO_POST for those that are unknown."""
        found: list[int] = self._library.numbers(uris).tolist()
        return found


def _rank_threads() -> int:
    """One core is left to the event loop and to ingest. Measured on two: pages come twice as fast as with both."""
    return max(1, (os.cpu_count() or 1) - 1)
