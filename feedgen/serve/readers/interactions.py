"""What the reader's app tells us about posts that we served: decoded, bounded, and handed on.

A batch comes straight from the reader's PDS and is never resent, so one odd event in it must not cost the others: it
is counted and left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

import msgspec

from feedgen.core.telemetry import Counter
from feedgen.serve.http.skeleton import MAX_CONTEXT, MAX_REQ_ID, is_post_uri
from feedgen.serve.http.xrpc import XrpcError, invalid_request

MAX_BODY_BYTES: Final = 256 * 1024
MAX_INTERACTIONS: Final = 1000
AT_ONCE: Final = 25  # decoded and remembered between two turns of the event loop

_PREFIX: Final = "app.bsky.feed.defs#"
EVENTS: Final = frozenset(
    {
        "requestLess",
        "requestMore",
        "clickthroughItem",
        "clickthroughAuthor",
        "clickthroughReposter",
        "clickthroughEmbed",
        "interactionSeen",
        "interactionLike",
        "interactionRepost",
        "interactionReply",
        "interactionQuote",
        "interactionShare",
    }
)

_EVENTS: Final = {_PREFIX + event: event for event in EVENTS}

received = Counter(
    "feedgen_serve_interactions_total",
    "Interactions received, by event; `unknown` and `malformed` are ignored",
    "event",
)


class Interaction(msgspec.Struct, frozen=True):
    """One event on one post; `event` is the bare word, such as `interactionSeen`."""

    item: str
    event: str
    context: str | None = None
    req_id: str | None = None


class InteractionSink(Protocol):
    """Where interactions go. `feed` is the name of one of our feeds, or None when the app did not say."""

    async def __call__(
        self, reader_did: str, feed: str | None, interactions: list[Interaction], now_us: int
    ) -> None: ...


class _Body(msgspec.Struct, frozen=True):
    interactions: list[msgspec.Raw]
    feed: str | None = None


class _Wire(msgspec.Struct, frozen=True):
    item: str
    event: str
    feedContext: str | None = None
    reqId: str | None = None


_body = msgspec.json.Decoder(_Body)
_wire = msgspec.json.Decoder(_Wire)


class Told(NamedTuple):
    """A call's body: the feed's at-uri, if given, and what happened, not yet looked at."""

    feed: str | None
    raw: list[msgspec.Raw]

    def pieces(self) -> Iterator[list[Interaction]]:
        """The events that make sense, a few at a time."""
        for start in range(0, len(self.raw), AT_ONCE):
            kinds: list[str] = []
            events = [_interaction(raw, kinds) for raw in self.raw[start : start + AT_ONCE]]
            for kind in set(kinds):
                received.add(kinds.count(kind), kind)
            yield [event for event in events if event is not None]


def decode_interactions(body: bytes) -> Told:
    try:
        decoded = _body.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise invalid_request("The body is not a list of interactions") from None
    if len(decoded.interactions) > MAX_INTERACTIONS:
        raise XrpcError(413, "PayloadTooLarge", f"At most {MAX_INTERACTIONS} interactions a call")
    return Told(decoded.feed, decoded.interactions)


def _interaction(raw: msgspec.Raw, kinds: list[str]) -> Interaction | None:
    """`kinds` gets what it was counted as."""
    try:
        wire = _wire.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        kinds.append("malformed")
        return None
    event = _EVENTS.get(wire.event)
    if event is None or not is_post_uri(wire.item):
        kinds.append("unknown" if event is None else "malformed")
        return None
    kinds.append(event)
    return Interaction(wire.item, event, _short(wire.feedContext, MAX_CONTEXT), _short(wire.reqId, MAX_REQ_ID))


def _short(text: str | None, max_length: int) -> str | None:
    """We never sent a longer one, so it means nothing to us."""
    return text if text and len(text) <= max_length else None
