"""`GET /also-liked?post=...`: what people who liked a post liked as well, for anybody, as at-uris.

The post is named by its at-uri or by the address of its page in the app, with a DID or a handle.
"""

from __future__ import annotations

from typing import Final, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from feedgen.core.errors import UpstreamError
from feedgen.core.names import Name, parse_name
from feedgen.feeds.contract import Page
from feedgen.rank.paging import BadCursor
from feedgen.serve.http import xrpc
from feedgen.serve.http.limits import Limits
from feedgen.serve.http.skeleton import MAX_CURSOR, is_post_uri
from feedgen.serve.http.xrpc import XrpcError, json_answer
from feedgen.serve.out.handles import HandleSource, UnknownHandle, did_of

MAX_LIMIT: Final = 100
DEFAULT_LIMIT: Final = 30
# The same for everybody for a while, so caches may help.
HEADERS: Final = {"cache-control": "public, max-age=30"}


class FindAlsoLiked(Protocol):
    async def __call__(self, uri: str, limit: int, cursor: str | None) -> Page | None:
        """A page for this post; None when it is unknown. May raise BadCursor."""
        ...


class _Answer(msgspec.Struct, omit_defaults=True):
    post: str
    posts: list[str]
    cursor: str | None = None


class AlsoLikedRoute:
    def __init__(self, find: FindAlsoLiked, handles: HandleSource, limits: Limits) -> None:
        self._find, self._handles, self._limits = find, handles, limits

    async def answer(self, request: Request) -> Response:
        query = xrpc.query_of(request)
        name = parse_name(query.get("post", ""))
        if name is None or not name.rkey:
            raise xrpc.invalid_request("Error: post must be the at-uri or the web address of a post")
        limit = xrpc.integer(query, "limit", 1, MAX_LIMIT, DEFAULT_LIMIT)
        cursor = query.get("cursor") or None
        if cursor and len(cursor) > MAX_CURSOR:
            raise xrpc.invalid_request(f"Error: cursor must not be longer than {MAX_CURSOR} characters")
        self._limits.check_public(self._limits.addresses.of(request))
        uri = name.subject(await self._did(name))
        async with self._limits.gate.slot(known=False):
            page = await self._page(uri, limit, cursor)
        posts = [item.uri for item in page.items if is_post_uri(item.uri)]
        return json_answer(msgspec.json.encode(_Answer(uri, posts, page.cursor)), headers=HEADERS)

    async def _page(self, uri: str, limit: int, cursor: str | None) -> Page:
        try:
            page = await self._find(uri, limit, cursor)
        except BadCursor:
            raise xrpc.invalid_request("Error: cursor is not one of this list's") from None
        if page is None:
            raise XrpcError(404, "NotFound", "This post is not known here")
        return page

    async def _did(self, name: Name) -> str:
        try:
            return await did_of(name, self._handles)
        except UnknownHandle:
            raise xrpc.invalid_request("Unable to resolve handle") from None
        except UpstreamError:
            raise XrpcError(
                502, "UpstreamFailure", "Handles can't be looked up just now; use the author's DID"
            ) from None
