"""All feeds of this process and what they share: kept fresh in the background, told what readers did.

Used by the event loop's thread; only ranking and refreshing happen elsewhere.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from feedgen.core.clock import Clock
from feedgen.core.ids import NO_POST, POST_NSID, parse_at_uri, rkey_to_int
from feedgen.core.telemetry import Counter
from feedgen.feeds.base import Desk, Library, reader_key
from feedgen.feeds.registry import make_feeds
from feedgen.rank.paging import Cursors
from feedgen.rank.pool import RankPool

REFRESH_S: Final = 60.0
FIRST_REFRESHES_S: Final = (0.0, 2.0, 3.0, 5.0, 10.0, 20.0)  # an empty archive fills quickly

SEEN: Final = "app.bsky.feed.defs#interactionSeen"
LESS: Final = "app.bsky.feed.defs#requestLess"
MORE: Final = "app.bsky.feed.defs#requestMore"

heard_total = Counter(
    "feeds_interactions_total", "What readers told us of posts, by kind and whether it was of use", "kind"
)


class Told(Protocol):
    """One thing that a reader did with a post."""

    @property
    def item(self) -> str: ...

    @property
    def event(self) -> str: ...


class Shelf:
    def __init__(self, library: Library, clock: Clock, cursor_key: bytes) -> None:
        self._library, self._clock = library, clock
        self.pool = RankPool(monotonic_s=clock.monotonic_s)
        self.desk = Desk(library, Cursors(cursor_key), self.pool)
        self.feeds = make_feeds(self.desk)

    async def run(self) -> None:
        """Until cancelled."""
        waits_s = iter(FIRST_REFRESHES_S)
        while True:
            await asyncio.sleep(next(waits_s, REFRESH_S))
            await asyncio.to_thread(self.desk.refresh, self._clock.now_us())

    def close(self) -> None:
        self.pool.close()

    def heard(self, reader_did: str, told: list[Told], now_us: int) -> None:
        """What a reader saw, and wants more or less of, counts from the next list on."""
        view = self._library.view()
        state = self.desk.readers.edit(reader_key(reader_did))
        for one in told:
            kind = one.event.rpartition("#")[2]
            post = self._post(one.item)
            if post == NO_POST:
                heard_total.add(1, "unknown post")
                continue
            if one.event == SEEN:
                state.saw([post], now_us)
            elif one.event in (LESS, MORE):
                state.judge(view, post, one.event == LESS, now_us)
            heard_total.add(1, kind if one.event in (SEEN, LESS, MORE) else "other")

    def _post(self, uri: str) -> int:
        parsed = parse_at_uri(uri)
        author = self._library.person(parsed.did) if parsed and parsed.collection == POST_NSID else None
        if parsed is None or author is None:
            return NO_POST
        return int(self._library.view().find_posts([author], [rkey_to_int(parsed.rkey)])[0])
