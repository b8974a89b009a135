"""`GET /also-liked?post=...`: what people who liked a post liked as well, for anybody, as at-uris.

The post is named by its at-uri or by the address of its page in the app, with a DID or a handle.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from feedgen.core.errors import UpstreamError
from feedgen.core.ids import POST_NSID, AtUri, is_did, is_rkey
from feedgen.feeds.contract import Page
from feedgen.rank.paging import BadCursor
from feedgen.serve.http import xrpc
from feedgen.serve.http.limits import Limits
from feedgen.serve.http.skeleton import MAX_CURSOR, is_post_uri
from feedgen.serve.http.xrpc import XrpcError, json_answer
from feedgen.serve.out.handles import UnknownHandle, is_handle

MAX_LIMIT: Final = 100
DEFAULT_LIMIT: Final = 30
MAX_POST: Final = 3000  # characters
# The same for everybody for a while, so caches may help.
HEADERS: Final = {"cache-control": "public, max-age=30"}

_WEB_PATH: Final = re.compile(r"/profile/([^/]+)/post/([^/]+)/?")


class FindAlsoLiked(Protocol):
    async def __call__(self, uri: str, limit: int, cursor: str | None) -> Page | None:
        """A page for this post; None when it is unknown. May raise BadCursor."""
        ...


class HandleSource(Protocol):
    async def did(self, handle: str) -> str:
        """Raises UnknownHandle or UpstreamError."""
        ...


class PostName(NamedTuple):
    authority: str  # a DID, or a handle in lower case
    rkey: str


class _Answer(msgspec.Struct, omit_defaults=True):
    post: str
    posts: list[str]
    cursor: str | None = None


def parse_post(text: str) -> PostName | None:
    """An at-uri, or an https address of a post's page on any host; None for anything else."""
    if len(text) > MAX_POST:
        return None
    if text.startswith("at://"):
        authority, _, rest = text[5:].partition("/")
        collection, _, rkey = rest.partition("/")
        if collection != POST_NSID:
            return None
    else:
        try:
            parts = urlsplit(text)
        except ValueError:
            return None
        found = _WEB_PATH.fullmatch(unquote(parts.path)) if parts.scheme == "https" else None
        if found is None:
            return None
        authority, rkey = found.groups()
    authority = authority if authority.startswith("did:") else authority.lower()
    known = is_did(authority) or is_handle(authority)
    return PostName(authority, rkey) if known and is_rkey(rkey) else None


class AlsoLikedRoute:
    def __init__(self, find: FindAlsoLiked, handles: HandleSource, limits: Limits) -> None:
        self._find, self._handles, self._limits = find, handles, limits

    async def answer(self, request: Request) -> Response:
        query = xrpc.query_of(request)
        name = parse_post(query.get("post", ""))
        if name is None:
            raise xrpc.invalid_request("Error: post must be the at-uri or the web address of a post")
        limit = xrpc.integer(query, "limit", 1, MAX_LIMIT, DEFAULT_LIMIT)
        cursor = query.get("cursor") or None
        if cursor and len(cursor) > MAX_CURSOR:
            raise xrpc.invalid_request(f"Error: cursor must not be longer than {MAX_CURSOR} characters")
        self._limits.check_public(self._limits.addresses.of(request))
        uri = str(AtUri(await self._did(name.authority), POST_NSID, name.rkey))
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

    async def _did(self, authority: str) -> str:
        if authority.startswith("did:"):
            return authority
        try:
            return await self._handles.did(authority)
        except UnknownHandle:
            raise xrpc.invalid_request("Unable to resolve handle") from None
        except UpstreamError:
            raise XrpcError(
                502, "UpstreamFailure", "Handles can't be looked up just now; use the author's DID"
            ) from None
