"""The stream's parts, opened in order; `run` is a task of the process. Imported only if `[stream] bind` is set."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any, Final

from websockets.http11 import Request

from feedgen import __version__
from feedgen.core.clock import Clock
from feedgen.core.settings import Settings
from feedgen.feeds.contract import Feed
from feedgen.ingest.hosts import Dictionaries
from feedgen.ingest.tap import Tap
from feedgen.stream import cursor as cursors
from feedgen.stream.asking import Asker
from feedgen.stream.consumer import Consumer
from feedgen.stream.filters import BadQuery, Query, parse
from feedgen.stream.formats import Formats, Pictures
from feedgen.stream.hub import Hub, Parts
from feedgen.stream.known import Known
from feedgen.stream.lane import LOOKUPS
from feedgen.stream.lists import Lists
from feedgen.stream.qualifying import Qualifying
from feedgen.stream.replay import CantReplay, Replay, Source
from feedgen.stream.server import Asked, Peer, Refused, StreamServer
from feedgen.stream.tokens import Tokens
from feedgen.stream.visibility import Library, Visibility

TRY_AGAIN: Final = 1013
MAX_REPLAYS: Final = 8  # at once: each reads Jetstream on its own


class StreamService:
    def __init__(
        self,
        settings: Settings,
        sock: socket.socket,
        address: str,
        tap: Tap,
        library: Library,
        feeds: Mapping[str, Feed],
        dictionaries: Dictionaries,
        clock: Clock,
    ) -> None:
        stream = settings.stream
        known = self.known = Known(clock, stream.kept_profiles, stream.kept_posts)
        asker = self.asker = Asker(
            settings.appview.url, known, clock, stream.calls_per_s, lambda keys: self.hub.settled(keys)
        )
        shown = Visibility(library, known, stream.adult, clock)
        formats = Formats(Pictures(settings.web.pictures), clock)
        self.hub = Hub(tap, Parts(known, asker, shown, formats, clock, stream.patience_ms / 1000))
        self._clock, self._tokens = clock, Tokens(stream.tokens)
        self._lists = Lists(settings.appview.url, clock)
        self.qualifying = Qualifying(self.hub, feeds)
        agent = f"feedgen/{__version__} (stream)"
        self._source = Source(settings.jetstream.urls, settings.jetstream.wire, dictionaries, agent)
        self._replays = 0
        self._server = StreamServer(sock, self._serve, self.health, self._stats)
        self.address = address

    async def start(self) -> None:
        await self._server.start()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.hub.run(), name="stream hub")
                group.create_task(self.qualifying.run(), name="stream feeds")
        finally:
            await self._server.stop()

    async def close(self) -> None:
        await self._server.stop()
        await self.asker.close()
        await self._lists.close()

    def health(self) -> dict[str, Any]:
        return {"ok": True, "version": __version__, "consumers": len(self.hub.everybody())}

    def stats(self) -> dict[str, Any]:
        """For the page, `/stream/stats` and the doctor."""
        hub, known = self.hub, self.known
        return {
            "consumers": [
                {
                    "name": one.name,
                    "format": one.query.format,
                    "sent": one.sent,
                    "lost": one.lost,
                    "queued": one.queued,
                    "since_us": one.since_us,
                    "live": one in hub.consumers,
                }
                for one in sorted(hub.everybody(), key=lambda one: one.since_us)
            ],
            "heard": hub.number,
            "waiting": sum(map(len, hub.lanes)),
            "known": {"profiles": len(known.profiles), "posts": len(known.posts)},
            "lookups": {"known": LOOKUPS.value("known"), "unknown": LOOKUPS.value("unknown")},
            "calls": self.asker.calls,
            "appview_rests_s": round(max(0.0, self.asker.rests_until_s - self._clock.monotonic_s()), 1),
        }

    def _stats(self, request: Request) -> dict[str, Any]:
        if self._tokens.holder(Asked(request).token) is None:
            raise Refused(401, "AuthRequired", "give the token: `Authorization: Bearer ...` or ?token=")
        return self.stats()

    async def _serve(self, peer: Peer, request: Request) -> None:
        asked = Asked(request)
        holder = self._tokens.holder(asked.token)
        if holder is None:
            raise Refused(401, "AuthRequired", "give the token: `Authorization: Bearer ...` or ?token=")
        try:
            members = await self._lists.of(asked.params.get("lists", ()))
            query = parse(asked.params, members, self.qualifying.names)
        except BadQuery as bad:
            raise Refused(400, "InvalidRequest", str(bad)) from None
        cursor = self._cursor(query)
        if cursor is not None and self._replays >= MAX_REPLAYS:
            raise Refused(503, "TooManyReplays", "others are being replayed to; try again in a minute")
        if not peer.accept(request):
            return
        consumer = Consumer(holder.name, query, peer, self._clock, holder.rate)

        def pause() -> None:
            consumer.paused = True

        peer.on_pause, peer.on_resume, peer.on_end = pause, consumer.resume, consumer.ended
        peer.begin_pings()
        self.hub.expect(consumer)
        try:
            await self._until_ended(peer, consumer, cursor)
        finally:
            self.hub.leave(consumer)
            self.qualifying.leave(consumer)

    def _cursor(self, query: Query) -> cursors.Cursor | None:
        if not query.cursor:
            return None
        if query.feed:
            raise Refused(400, "InvalidRequest", "feed: what qualified in the past is not kept; leave cursor out")
        cursor = cursors.parse(query.cursor)
        if cursor is None:
            raise Refused(400, "InvalidRequest", "cursor must be one of ours, or a time in microseconds")
        return cursor

    async def _until_ended(self, peer: Peer, consumer: Consumer, cursor: cursors.Cursor | None) -> None:
        if consumer.query.feed:
            self.qualifying.join(consumer)
        elif cursor is None:
            self.hub.attach(consumer)
        else:
            await self._replay(consumer, cursor)
        await peer.ended.wait()

    async def _replay(self, consumer: Consumer, cursor: cursors.Cursor) -> None:
        self._replays += 1
        try:
            await Replay(self.hub, consumer, cursor).run(self._source)
        except CantReplay as no:
            consumer.tell(notice="failed", reason=str(no))
            consumer.flush()
            consumer.close(TRY_AGAIN, str(no))
        finally:
            self._replays -= 1
