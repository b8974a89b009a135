"""A page as bytes. One bad item loses the whole page for the reader, so the last look at every item is here.

The AppView checks the answer against its lexicon and refuses all of it for one fault; the app splits `feedContext` on
`|`. An item that could do such harm is dropped and counted: a counter above zero is a bug of ours, found before the
reader finds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Protocol

import msgspec
from msgspec import UNSET

from feedgen.core import ids
from feedgen.core.telemetry import Counter

MAX_CONTEXT: Final = 2000  # characters, app.bsky.feed.defs#skeletonFeedPost
MAX_REQ_ID: Final = 100
MAX_CURSOR: Final = 1024  # ours are far shorter

MAX_URI: Final = 2048  # no real one comes near

_POST_URI: Final = re.compile(
    r"at://did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]/"
    + re.escape(ids.POST_NSID)
    + r"/(?!\.{1,2}\Z)[a-zA-Z0-9_~.:-]{1,512}"
)
# Nearly all are of this form, 70 characters long: a page of them, a line each, is looked at in one go.
_PLAIN_URIS: Final = re.compile(rf"(?:at://did:plc:[a-z2-7]{{24}}/{re.escape(ids.POST_NSID)}/[2-7a-z]{{13}}(?:\n|\Z))*")

dropped_items = Counter("feedgen_serve_dropped_items_total", "Items that the last check kept off a page", "reason")


class SkeletonItem(Protocol):
    """What a feed gives for one post."""

    @property
    def uri(self) -> str: ...
    @property
    def context(self) -> str | None: ...
    @property
    def pin(self) -> bool: ...


class SkeletonPage(Protocol):
    """What a feed gives for one page."""

    @property
    def items(self) -> Iterable[SkeletonItem]: ...
    @property
    def cursor(self) -> str | None: ...
    @property
    def req_id(self) -> str | None: ...


class _Pin(msgspec.Struct, frozen=True):
    type: str = msgspec.field(name="$type", default="app.bsky.feed.defs#skeletonReasonPin")


_PIN: Final = _Pin()


class _Post(msgspec.Struct, frozen=True, omit_defaults=True):
    post: str
    reason: _Pin | msgspec.UnsetType = UNSET
    feedContext: str | msgspec.UnsetType = UNSET


class _Skeleton(msgspec.Struct, frozen=True, omit_defaults=True):
    feed: list[_Post]
    cursor: str | msgspec.UnsetType = UNSET
    reqId: str | msgspec.UnsetType = UNSET


_encoder = msgspec.json.Encoder()


def encode_page(page: SkeletonPage, limit: int, sent_cursor: str | None) -> bytes:
    """At most `limit` sound items, and a cursor only where one makes sense."""
    items = list(page.items)
    few = items[:limit]
    posts = list(map(_post, few)) if _all_sound(few) else _sound(items, limit)
    return _encoder.encode(_Skeleton(posts, _cursor(page, posts, sent_cursor), _req_id(page.req_id)))


def _all_sound(items: list[SkeletonItem]) -> bool:
    """What `_fault` says of each, of all at once; False only means that each has to be looked at."""
    try:
        uris, contexts = [item.uri for item in items], {item.context for item in items}
        text = "\n".join(uris)
        if len(set(uris)) < len(uris) or len(text) != max(71 * len(uris) - 1, 0) or not _PLAIN_URIS.fullmatch(text):
            return False
    except TypeError:  # not even their types are believed
        return False
    return not any(c and not _is_context(c) for c in contexts)


def _sound(items: list[SkeletonItem], limit: int) -> list[_Post]:
    posts: list[_Post] = []
    seen: set[str] = set()
    for item in items:
        if len(posts) == limit:
            break
        reason = _fault(item.uri, item.context, seen)
        if reason:
            dropped_items.add(1, reason)
            continue
        seen.add(item.uri)
        posts.append(_post(item))
    return posts


def _post(item: SkeletonItem) -> _Post:
    return _Post(item.uri, _PIN if item.pin else UNSET, item.context or UNSET)


def _fault(uri: object, context: object, seen: set[str]) -> str:
    """Why this item may not go out; empty when it may. Not even its types are believed."""
    if not isinstance(uri, str) or not is_post_uri(uri):
        return "uri"
    if uri in seen:
        return "duplicate"
    if context and not _is_context(context):
        return "context"
    return ""


def _is_context(context: object) -> bool:
    return isinstance(context, str) and _sendable_context(context)


@lru_cache(maxsize=1024)
def _sendable_context(context: str) -> bool:
    """The same few words stand on all pages."""
    return _sendable(context, MAX_CONTEXT)


def is_post_uri(uri: str) -> bool:
    """What `ids.parse_at_uri` says of a post, in one pass: a page has up to a hundred, and is made many times a
    second.
    """
    return _POST_URI.fullmatch(uri) is not None and len(uri) <= MAX_URI


def _sendable(text: str, max_length: int) -> bool:
    if len(text) > max_length or "|" in text:
        return False
    # A lone surrogate can't be encoded. Lengths in lexicons are counted in UTF-8 bytes.
    return _is_unicode(text) and (text.isascii() or len(text.encode()) <= max_length)


def _is_unicode(text: str) -> bool:
    return text.isascii() or not any(0xD800 <= ord(c) <= 0xDFFF for c in text)


def _cursor(page: SkeletonPage, posts: list[_Post], sent: str | None) -> str | msgspec.UnsetType:
    """Paging ends at an empty page, and at a cursor equal to the one sent: say neither."""
    cursor = page.cursor
    if not cursor or not posts:
        return UNSET
    if cursor == sent or len(cursor) > MAX_CURSOR or not _is_unicode(cursor):
        dropped_items.add(1, "cursor")
        return UNSET
    return cursor


def _req_id(req_id: str | None) -> str | msgspec.UnsetType:
    if not req_id:
        return UNSET
    if not _sendable(req_id, MAX_REQ_ID):
        dropped_items.add(1, "req_id")
        return UNSET
    return req_id
