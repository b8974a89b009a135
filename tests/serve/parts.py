"""Parts for the real application: feeds, verifier and sink that a test can look into, and the server around them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from feedgen.core.clock import Clock, SystemClock
from feedgen.feeds.contract import Ask, Feed, Item, Page
from feedgen.serve.http.documents import ServiceIdentity
from feedgen.serve.http.limits import Limits
from feedgen.serve.http.routes import Health, Parts, make_app
from feedgen.serve.http.server import Server
from feedgen.serve.readers.interactions import Interaction
from feedgen.serve.who.auth import NeedsLookUp, TokenError, Unverifiable

READER = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
AT_HAND = (READER, "did:plc:other")
PUBLISHER = "did:plc:pppppppppppppppppppppppp"
SERVICE = ServiceIdentity(did="did:web:feed.example.com", hostname="feed.example.com", publisher_did=PUBLISHER)
SKELETON = "/xrpc/app.bsky.feed.getFeedSkeleton"
INTERACTIONS = "/xrpc/app.bsky.feed.sendInteractions"
FEED_URI = SERVICE.feed_uri("test")


def post_uri(n: int) -> str:
    return f"at://did:plc:{'b' * 24}/app.bsky.feed.post/3kpost{n:07d}"


class CountingFeed(Feed):
    """Gives numbered posts, two hundred of them, and remembers what it was asked."""

    name = "test"

    def __init__(self, answer: Callable[[Ask], Page] | None = None) -> None:
        self.answer = answer
        self.asks: list[Ask] = []

    async def page(self, ask: Ask) -> Page:
        self.asks.append(ask)
        if self.answer is not None:
            return self.answer(ask)
        start = int(ask.cursor) if ask.cursor and ask.cursor.isdigit() else 0
        items = [Item(post_uri(n), "because") for n in range(start, min(start + ask.limit, 200))]
        cursor = str(start + ask.limit) if start + ask.limit < 200 else None
        return Page(items, cursor, "req-1", ("en",))


class NamedVerifier:
    """A token that is a DID proves that DID; `down` can't be checked, `forged` is costly; anything else is bad. Only
    the keys of `READER` and `did:plc:other` are at hand.
    """

    async def verify(self, token: str, methods: frozenset[str], once: bool = False, may_look_up: bool = True) -> str:
        if token == "down":
            raise Unverifiable("down")
        if not may_look_up and (token == "forged" or token.startswith("did:")) and token not in AT_HAND:
            raise NeedsLookUp
        if token == "forged":
            raise TokenError("BadJwtSignature", "jwt signature does not match jwt issuer")
        if not token.startswith("did:"):
            raise TokenError("BadJwt", "poorly formatted jwt")
        return token


@dataclass
class Sink:
    calls: list[tuple[str, str | None, list[Interaction], int]] = field(default_factory=list)

    async def __call__(self, reader_did: str, feed: str | None, interactions: list[Interaction], now_us: int) -> None:
        self.calls.append((reader_did, feed, interactions, now_us))


def parts_with(
    feed: Feed | None = None,
    sink: Sink | None = None,
    limits: Limits | None = None,
    health: Callable[[], Health] | None = None,
    service: ServiceIdentity = SERVICE,
    clock: Clock | None = None,
) -> Parts:
    clock = clock or SystemClock()
    feed = feed or CountingFeed()
    return Parts(
        service=service,
        feeds={feed.name: feed},
        verifier=NamedVerifier(),
        person_of=lambda did: 7 if did == READER else None,
        sink=sink or Sink(),
        health=health or (lambda: Health(True, {"version": "test"})),
        clock=clock,
        limits=limits or Limits(clock),
    )


@asynccontextmanager
async def serving(parts: Parts) -> AsyncIterator[httpx.AsyncClient]:
    """The application on a socket of its own, and a client of it."""
    server = Server(make_app(parts), ["127.0.0.1:0"])
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=10) as client:
            yield client
    finally:
        await server.stop(2.0)
