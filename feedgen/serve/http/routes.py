"""The routes: what is asked over HTTP, and how each question is answered.

Everything that an answer needs is handed in, so that a test can put the real application on a socket with parts of
its own.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp

from feedgen.core.budget import BODY_S, HOME_S
from feedgen.core.clock import Clock
from feedgen.core.errors import StoreError
from feedgen.feeds.contract import Ask, Feed, Page
from feedgen.rank.paging import BadCursor
from feedgen.serve.http import documents, xrpc
from feedgen.serve.http.also_liked import AlsoLikedRoute
from feedgen.serve.http.documents import ServiceIdentity
from feedgen.serve.http.fast_path import waited_s_of
from feedgen.serve.http.limits import Limits
from feedgen.serve.http.not_found import not_found
from feedgen.serve.http.routing import Endpoint, Row, application
from feedgen.serve.http.skeleton import MAX_CURSOR, encode_page
from feedgen.serve.http.xrpc import XrpcError, error_answer, json_answer
from feedgen.serve.readers.interactions import (
    AT_ONCE,
    MAX_BODY_BYTES,
    Interaction,
    InteractionSink,
    decode_interactions,
)
from feedgen.serve.who.auth import INTERACTION_METHODS, SKELETON_METHODS, Door, Verifier

MAX_LIMIT: Final = 100
DEFAULT_LIMIT: Final = 50
ANSWER_TIMEOUT_S: Final = HOME_S  # a feed keeps its own, shorter deadline; this is for all that fails to

SKELETON_PATH: Final = "/xrpc/app.bsky.feed.getFeedSkeleton"
DESCRIBE_PATH: Final = "/xrpc/app.bsky.feed.describeFeedGenerator"
INTERACTIONS_PATH: Final = "/xrpc/app.bsky.feed.sendInteractions"
# `feedgen doctor` asks as whom it is seen (host/doctor/outside.py).
WHO_HEADER: Final = "feedgen-who-am-i"
MARK_HEADER: Final = "feedgen-caller"
HEALTH_PATH: Final = "/xrpc/_health"
DID_PATH: Final = "/.well-known/did.json"
ALSO_LIKED_PATH: Final = "/also-liked"

# Answers differ by reader; nothing on the way may keep them.
_SKELETON_HEADERS: Final = {"cache-control": "no-store", "vary": "authorization, accept-language"}

# Another's at-uri may name its repository by handle: not ours, but not malformed.
_AT_URI: Final = re.compile(r"at://[a-zA-Z0-9._:%-]+(/[a-zA-Z0-9.-]+(/[a-zA-Z0-9_~.:-]+)?)?")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Health:
    """`ok` decides the status code; `fields` is what people and monitors read."""

    ok: bool
    fields: Mapping[str, object] = field(default_factory=dict)


class Meet(Protocol):
    """Called before a reader is answered: what is known of them is brought into memory."""

    async def __call__(self, reader_did: str, arrived_s: float | None) -> None:
        """With `arrived_s` what takes long may be waited for a little; with None nothing is waited for."""
        ...


async def _meet_nobody(reader_did: str, arrived_s: float | None) -> None:
    """Where nothing is remembered of readers."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes are made of. `person_of` gives a DID's number from memory, or None for someone never heard of."""

    service: ServiceIdentity
    feeds: Mapping[str, Feed]
    verifier: Verifier
    person_of: Callable[[str], int | None]
    sink: InteractionSink
    health: Callable[[], Health]
    clock: Clock
    limits: Limits
    meet: Meet = _meet_nobody
    also_liked: AlsoLikedRoute | None = None
    pages: Sequence[Row] = ()  # for people; not made here
    not_found: Endpoint | None = None  # the page where nothing is


def make_app(parts: Parts) -> ASGIApp:
    """The whole application; nothing is opened and no task is started."""
    routes = Routes(parts)
    rows = [
        Row(SKELETON_PATH, _in_time(routes.get_feed_skeleton), "app.bsky.feed.getFeedSkeleton"),
        Row(INTERACTIONS_PATH, _in_time(routes.send_interactions), "app.bsky.feed.sendInteractions", ("POST",)),
        Row(DESCRIBE_PATH, routes.describe, "app.bsky.feed.describeFeedGenerator"),
        Row(HEALTH_PATH, routes.health, "_health"),
        Row(DID_PATH, routes.did_document, "did.json"),
        *parts.pages,
    ]
    if parts.also_liked is not None:
        rows.append(Row(ALSO_LIKED_PATH, _in_time(parts.also_liked.answer), "also-liked"))
    handlers = {
        XrpcError: _on_xrpc_error,
        HTTPException: not_found(parts.not_found),
        ClientDisconnect: _on_disconnect,
        Exception: _on_bug,
    }
    return application(rows, parts.clock, handlers)


class Routes:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._door = Door(parts.verifier, parts.limits)
        self._prefix = parts.service.feed_uri("")
        self._did = documents.did_document(parts.service)
        self._described: tuple[tuple[str, ...], bytes] = (), b""

    async def get_feed_skeleton(self, request: Request) -> Response:
        parts = self._parts
        lag_s = waited_s_of(request.scope)
        arrived_s = parts.clock.monotonic_s() - lag_s
        query = xrpc.query_of(request)
        feed = self._feed(query)
        limit = xrpc.integer(query, "limit", 1, MAX_LIMIT, DEFAULT_LIMIT)
        cursor = query.get("cursor") or None
        if cursor and len(cursor) > MAX_CURSOR:
            raise xrpc.invalid_request(f"Error: cursor must not be longer than {MAX_CURSOR} characters")
        reader = await self._door.reader_or_nobody(request, SKELETON_METHODS)
        peek = limit == 1 and cursor is None
        if reader is not None:
            await parts.meet(reader, arrived_s if feed.personal and not peek else None)
        ask = Ask(
            reader_did=reader,
            person=parts.person_of(reader) if reader else None,
            limit=limit,
            cursor=cursor,
            languages=xrpc.languages_of(request),
            now_us=parts.clock.now_us(),
            peek=peek,
            arrived_s=arrived_s,
            lag_s=lag_s,
        )
        async with parts.limits.gate.slot(known=reader is not None):
            page = await _page(feed, ask)
        headers = _SKELETON_HEADERS
        if page.languages:
            headers = {**headers, "content-language": ", ".join(page.languages)}
        return json_answer(encode_page(page, limit, cursor), headers=headers)

    async def send_interactions(self, request: Request) -> Response:
        reader = await self._door.reader(request, INTERACTION_METHODS)
        content_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if content_type != "application/json":
            raise xrpc.invalid_request(f"Wrong request encoding (Content-Type): {content_type[:100]}")
        try:
            async with asyncio.timeout(BODY_S):
                body = await xrpc.body_of(request, MAX_BODY_BYTES)
        except TimeoutError:
            raise XrpcError(408, "InvalidRequest", "The body took too long to arrive") from None
        told = decode_interactions(body)
        feed = self._feed({"feed": told.feed}).name if told.feed is not None else None
        for interactions in told.pieces():
            if interactions:
                await self._keep(reader, feed, interactions)
            if len(told.raw) > AT_ONCE:
                await asyncio.sleep(0)  # a long call must not hold up everybody's pages
        return json_answer(b"{}")

    async def _keep(self, reader: str, feed: str | None, interactions: list[Interaction]) -> None:
        try:
            await self._parts.sink(reader, feed, interactions, self._parts.clock.now_us())
        except StoreError:
            raise XrpcError(503, "NotEnoughResources", "This can't be kept just now; try again later") from None

    def _feed(self, query: Mapping[str, str]) -> Feed:
        uri = query.get("feed")
        if uri is None:
            raise xrpc.invalid_request('Error: Params must have the property "feed"')
        if uri.startswith(self._prefix) and (feed := self._parts.feeds.get(uri[len(self._prefix) :])) is not None:
            return feed
        name = self._parts.service.feed_name(uri)
        if name is None and not _AT_URI.fullmatch(uri):
            raise xrpc.invalid_request("Error: feed must be a valid at-uri")
        raise XrpcError(400, "UnknownFeed", "Unknown feed")

    async def describe(self, request: Request) -> Response:
        names = tuple(sorted(self._parts.feeds))
        if self._described[0] != names:
            self._described = names, documents.description(self._parts.service, names)
        description = self._described[1]
        if WHO_HEADER not in request.headers:
            return json_answer(description)
        return json_answer(description, headers={MARK_HEADER: self._parts.limits.addresses.mark(request)})

    async def health(self, request: Request) -> Response:
        health = self._parts.health()
        return json_answer(msgspec.json.encode(health.fields), 200 if health.ok else 503, {"cache-control": "no-store"})

    async def did_document(self, request: Request) -> Response:
        if not self._parts.service.is_our_did_web:
            raise XrpcError(404, "NotFound", "This service's DID document is not kept here")
        return json_answer(self._did)


async def _page(feed: Feed, ask: Ask) -> Page:
    try:
        return await feed.page(ask)
    except BadCursor:
        raise xrpc.invalid_request("Error: cursor is not one of this feed's") from None


def _in_time(answer: Endpoint) -> Endpoint:
    """Who waits for all of it: the key, the queue, the list."""

    async def answered(request: Request) -> Response:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S - waited_s_of(request.scope)):
                return await answer(request)
        except TimeoutError:
            log.error("%s took longer than %.1f s", request.scope["path"], ANSWER_TIMEOUT_S)
            raise xrpc.overloaded() from None

    return answered


async def _on_xrpc_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, XrpcError)
    return error_answer(error)


async def _on_disconnect(request: Request, error: Exception) -> Response:
    """Nobody reads this; it keeps a caller who left from looking like a bug of ours."""
    return error_answer(XrpcError(400, "InvalidRequest", "The caller left"))


async def _on_bug(request: Request, error: Exception) -> Response:
    """Starlette raises it again after this answer, and ErrorBoundary logs it: the trace is for the operator only."""
    return error_answer(XrpcError(500, "InternalServerError", "Internal Server Error"))
