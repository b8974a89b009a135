"""What `feedgen feed` asks the running service, on the private address: which feeds there are, reload, try one out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from feedgen.core.clock import Clock
from feedgen.core.errors import FeedgenError
from feedgen.core.ids import is_did
from feedgen.core.names import parse_name
from feedgen.feeds.own import OwnFeeds
from feedgen.serve.http.routing import Row
from feedgen.serve.out.handles import HandleSource, UnknownHandle, did_of

LIST_PATH: Final = "/feeds.json"
RELOAD_PATH: Final = "/feeds/reload.json"
TRY_PATH: Final = "/feeds/try.json"
TRIED: Final = 20  # posts
LOOKED_AT: Final = 60  # places among which rules are said to have dropped something


class FeedRoutes:
    def __init__(self, own: Callable[[], OwnFeeds], handles: HandleSource, clock: Clock) -> None:
        self._own, self._handles, self._clock = own, handles, clock

    def rows(self) -> list[Row]:
        return [
            Row(LIST_PATH, self.list, "feeds.json"),
            Row(RELOAD_PATH, self.reload, "feeds/reload.json", ("POST",)),
            Row(TRY_PATH, self.trial, "feeds/try.json", ("POST",)),
        ]

    async def list(self, request: Request) -> Response:
        own = self._own()
        return JSONResponse({"feeds": own.listed(), "broken": [str(one) for one in own.broken]})

    async def reload(self, request: Request) -> Response:
        try:
            await self._own().load()
        except FeedgenError as error:
            return PlainTextResponse(f"{error}\n", 422)
        return await self.list(request)

    async def trial(self, request: Request) -> Response:
        """A list of a feed that need not be served. POST: its file's code runs."""
        query = request.query_params
        try:
            reader = await self._reader(query.get("reader", ""))
            definition, preview, counts = await self._own().trial(query.get("file", ""))
            now_us = self._clock.now_us()
            subject, params = preview.reader(reader, True, now_us), preview.services.recipe.params
            try:
                placed = await asyncio.to_thread(preview.listing, subject, params, TRIED, now_us)
                _, dropped = await asyncio.to_thread(preview.left_out, subject, params, LOOKED_AT, now_us)
            except Exception as error:
                raise FeedgenError(f"{definition.file}: {self._own().where(definition, error)}") from error
        except (FeedgenError, UnknownHandle) as error:
            return PlainTextResponse(f"{error}\n", 422)
        answer = {
            "name": definition.name,
            "title": definition.title,
            "patterns": counts,
            "posts": [
                {
                    "uri": one.uri,
                    "context": one.context,
                    "likes": one.likes,
                    "age_s": (now_us - one.time_us) // 1_000_000,
                }
                for one in placed
            ],
            "dropped": [{"uri": one.placed.uri if one.placed else "", "rule": one.rule} for one in dropped],
        }
        return JSONResponse(answer, headers={"cache-control": "no-store"})

    async def _reader(self, text: str) -> str:
        name = parse_name(text)
        if is_did(text):
            return text
        if name is None:
            raise FeedgenError("That is no account.", "Give a handle or a DID with --as.")
        return await did_of(name, self._handles)
