"""The table of attacks, for `trust`: what the tests send, asked once more of the real parts, answer beside answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import NamedTuple

import msgspec

from feedgen.core.clock import ManualClock
from feedgen.core.ids import US_PER_S
from feedgen.serve.http.routes import make_app
from feedgen.serve.http.server import Server
from feedgen.serve.out.fetch import DirectWebFetcher, PlcFetcher
from feedgen.serve.who.auth import SKELETON_METHODS, TokenError, Unverifiable
from feedgen.serve.who.identity import Resolver
from feedgen.serve.who.tokens import TokenVerifier
from tests.serve.http.test_routes import BODIES, QUERIES
from tests.serve.http.test_server import ODD_REQUESTS
from tests.serve.parts import INTERACTIONS, READER, SKELETON, parts_with
from tests.serve.who.test_identity import NEVER_ASKED
from tests.serve.who.test_tokens import BAD, GOOD, NOW_S, SERVICE, Keys

A_READER = "a reader"


class Row(NamedTuple):
    what: str
    expected: str
    actual: str

    @property
    def is_wrong(self) -> bool:
        return self.expected != self.actual


async def rows() -> list[Row]:
    parts = (_tokens(), _hosts(), _requests())
    return [row for part in parts async for row in part]


async def _tokens() -> AsyncIterator[Row]:
    for name, (text, expected) in {**{name: (text, A_READER) for name, text in GOOD.items()}, **BAD}.items():
        verifier = TokenVerifier(SERVICE, Keys(), ManualClock(NOW_S * US_PER_S))
        try:
            await verifier.verify(text, SKELETON_METHODS)
            actual = A_READER
        except TokenError as error:
            actual = f"401 {error.name}"
        yield Row(f"token: {name}", expected if expected == A_READER else f"401 {expected}", actual)


async def _hosts() -> AsyncIterator[Row]:
    """With did:web switched on, and a look-up that would find every name at home."""

    async def at_home(host: str) -> list[str]:
        return ["127.0.0.1"]

    resolver = Resolver(PlcFetcher("http://127.0.0.1:1"), DirectWebFetcher(at_home), None, ManualClock())
    for did in [*NEVER_ASKED, "did:web:rebinds.example.com"]:
        try:
            await resolver.key(did)
            actual = "asked"
        except (TokenError, Unverifiable) as error:
            actual = f"401 {error.name}" if isinstance(error, TokenError) else str(error)
        yield Row(f"issuer: {did}", "401 UntrustedIss", actual)
    await resolver.close()


async def _requests() -> AsyncIterator[Row]:
    server = Server(make_app(parts_with()), ["127.0.0.1:0"])
    await server.start()
    for query, status, name in QUERIES:
        sent = f"GET {SKELETON}?{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode()
        yield Row(f"query: {_short(query)}", f"{status} {name}", await _answer(server.port, sent))
    for body, status, name in BODIES:
        head = f"POST {INTERACTIONS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {READER}\r\n"
        sent = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        yield Row(f"body: {_short(repr(body))}", f"{status} {name}", await _answer(server.port, sent))
    for sent, status in ODD_REQUESTS:
        yield Row(f"bytes: {_short(repr(sent))}", f"{status} InvalidRequest", await _answer(server.port, sent))
    await server.stop(1.0)


def _short(text: str) -> str:
    return text if len(text) <= 52 else f"{text[:36]}... ({len(text)} long)"


async def _answer(port: int, sent: bytes) -> str:
    """Status and error of the first answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    with suppress(ConnectionError):
        writer.write(sent)
        async with asyncio.timeout(20):
            while piece := await reader.read(65536):
                received += piece
    writer.close()
    head, _, body = received.partition(b"\r\n\r\n")
    with suppress(msgspec.DecodeError):
        return f"{head[9:12].decode()} {msgspec.json.decode(body)['error']}"
    return head[9:12].decode() or "closed"
