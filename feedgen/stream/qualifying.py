"""Posts of one of our feeds, told as they come into it: `?feed=NAME`."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final

from feedgen.core.ids import POST_NSID
from feedgen.feeds.contract import Ask, Feed
from feedgen.ingest.events import Post
from feedgen.stream.asking import POSTS
from feedgen.stream.consumer import Consumer
from feedgen.stream.happening import Happening, author_of
from feedgen.stream.hub import Hub
from feedgen.stream.lane import Lane

EVERY_S: Final = 2.0
LIMIT: Final = 100  # posts of a feed that are looked at
MAX_TOLD: Final = 5_000  # of one feed that are remembered
TRIES: Final = 5  # for a post whose record is not there yet

log = logging.getLogger(__name__)


class _Followed:
    """One feed that somebody listens to."""

    def __init__(self, lane: Lane[Sequence[Consumer]]) -> None:
        self.lane = lane
        self.consumers: set[Consumer] = set()
        self.told: OrderedDict[str, None] = OrderedDict()
        self.tries: dict[str, int] = {}
        self.begun = False


class Qualifying:
    """Feeds that are not made for one reader: a stream has no reader."""

    def __init__(self, hub: Hub, feeds: Mapping[str, Feed]) -> None:
        self._hub, self._feeds = hub, feeds
        self._followed: dict[str, _Followed] = {}

    @property
    def names(self) -> list[str]:
        return [feed.name for feed in self._feeds.values() if not feed.personal]

    def begun(self, name: str) -> bool:
        """Whether a later post would be told."""
        followed = self._followed.get(name)
        return followed is not None and followed.begun

    def join(self, consumer: Consumer) -> None:
        followed = self._followed.get(consumer.query.feed)
        if followed is None:
            followed = self._followed[consumer.query.feed] = _Followed(self._hub.lane())
        followed.consumers.add(consumer)

    def leave(self, consumer: Consumer) -> None:
        followed = self._followed.get(consumer.query.feed)
        if followed is not None:
            followed.consumers.discard(consumer)
            if not followed.consumers:
                self._hub.drop(followed.lane)
                del self._followed[consumer.query.feed]

    async def run(self) -> None:
        while True:
            for name, followed in list(self._followed.items()):
                feed = next(one for one in self._feeds.values() if one.name == name)
                try:
                    await self._look(feed, followed)
                except Exception:  # a feed of the operator's own may fail; it is asked again
                    log.exception("the feed %s could not be asked for the stream", name)
            await asyncio.sleep(EVERY_S)

    async def _look(self, feed: Feed, followed: _Followed) -> None:
        now_us = self._hub.parts.clock.now_us()
        page = await feed.page(Ask(None, None, LIMIT, None, (), now_us, peek=True))
        uris = [item.uri for item in page.items]
        if not followed.begun:
            followed.begun = True
            followed.told.update(dict.fromkeys(uris))
            return
        for uri in uris:
            if uri not in followed.told and self._tell(uri, followed, now_us):
                followed.told[uri] = None
                followed.tries.pop(uri, None)
                if len(followed.told) > MAX_TOLD:
                    followed.told.popitem(last=False)

    def _tell(self, uri: str, followed: _Followed, now_us: int) -> bool:
        """False while its record is being asked for."""
        hub = self._hub
        entry = hub.parts.known.posts.get(uri)
        if entry is None:
            tries = followed.tries[uri] = followed.tries.get(uri, 0) + 1
            hub.parts.asker.want(POSTS, uri)
            return tries > TRIES
        if entry.there:
            did, rkey = author_of(uri), uri.rpartition("/")[2]
            event = Post(did=did, time_us=now_us, rkey=rkey, flags=entry.flags, language=0)
            one = Happening(
                "",
                event,
                b"",
                "commit",
                "create",
                POST_NSID,
                rkey,
                cid=entry.cid,
                record=entry.record,
                parts=entry.parts,
            )
            hub.number += 1
            one.number, one.heard_s = hub.number, hub.parts.clock.monotonic_s()
            hub.parts.shown.renew()
            targets = [consumer for consumer in followed.consumers if consumer.query.wants(one)]
            hub.deliver(one, followed.lane, targets)
        return True
