"""The public side alone, in a process of its own: sockets, limits, tokens, identity, interactions and every XRPC route.

    python -m scripts.benchmarks._public FOLDER PLC_URL APPVIEW_URL

It is what strangers reach; behind it stands a feed of numbered posts, so that a million requests take minutes. Prints
its port.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from feedgen.core.clock import SystemClock
from feedgen.feeds.contract import Ask, Feed, Item, Page
from feedgen.serve.http.also_liked import AlsoLikedRoute
from feedgen.serve.http.documents import ServiceIdentity
from feedgen.serve.http.limits import Limits
from feedgen.serve.http.routes import Health, Parts, make_app
from feedgen.serve.http.server import Server
from feedgen.serve.out.fetch import PlcFetcher
from feedgen.serve.out.handles import Handles
from feedgen.serve.readers.interactions import Interaction
from feedgen.serve.who.identity import Resolver
from feedgen.serve.who.tokens import TokenVerifier
from feedgen.store.viewers import Viewers
from tests.serve.parts import post_uri

from ._service import AUDIENCE, HOST, PUBLISHER


class Numbered(Feed):
    name = "for-you"

    async def page(self, ask: Ask) -> Page:
        items = [Item(post_uri(n), "likes 3") for n in range(ask.limit)]
        return Page(items, "next", "1-1", ask.languages)


async def _ignore(reader_did: str, feed: str | None, interactions: list[Interaction], now_us: int) -> None:
    """What readers tell goes nowhere."""


async def _liked(uri: str, limit: int, cursor: str | None) -> Page | None:
    return Page([Item(post_uri(n)) for n in range(limit)])


async def main(folder: str, plc_url: str, appview_url: str) -> None:
    clock = SystemClock()
    async with await Viewers.open(Path(folder)) as viewers:
        limits = Limits(clock)
        parts = Parts(
            service=ServiceIdentity(AUDIENCE, HOST, PUBLISHER),
            feeds={"for-you": Numbered()},
            verifier=TokenVerifier(AUDIENCE, Resolver(PlcFetcher(plc_url), None, viewers, clock), clock),
            person_of=lambda did: None,
            sink=_ignore,
            health=lambda: Health(True),
            clock=clock,
            limits=limits,
            also_liked=AlsoLikedRoute(_liked, Handles(appview_url, clock), limits),
        )
        server = Server(make_app(parts), ["127.0.0.1:0"])
        await server.start()
        print(server.port, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
