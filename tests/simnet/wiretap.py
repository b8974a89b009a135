"""Raw clients for the tests of simnet's servers: nothing of feedgen's own client is trusted here."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import websockets

from feedgen.core.clock import ManualClock
from feedgen.simnet.faults import Faults
from feedgen.simnet.history import History
from feedgen.simnet.httpd import HttpServer
from feedgen.simnet.jetstream import Dictionary, HostOptions, JetstreamHost, first_frames
from feedgen.simnet.records import SimEvent

NOW_US = 1_790_000_000_000_000
V2 = "/xrpc/network.bsky.jetstream.subscribeEvents"
LIKE = "app.bsky.feed.like"


def like(seq: int, time_us: int, did: str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", collection: str = LIKE) -> SimEvent:
    record = f'{{"$type":"{collection}","n":{seq}}}'.encode()
    return SimEvent(
        seq, time_us, did, "commit", "create", collection, f"3k{seq:011d}", "3kaaaaaaaaaa2", "bafyrei", record
    )


def account(seq: int, time_us: int, did: str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa") -> SimEvent:
    return SimEvent(seq, time_us, did, "account", detail=b'{"active":false,"did":"x","seq":1,"status":"deleted"}')


def likes(n: int, *, first_seq: int = 1, until_us: int = NOW_US, step_us: int = 1_000_000) -> list[SimEvent]:
    """The newest of them is `step_us` before `until_us`."""
    return [like(first_seq + i, until_us - (n - i) * step_us) for i in range(n)]


class Stage:
    """One history, one clock, and a few hosts in front of it."""

    def __init__(self, events: Sequence[SimEvent], **history: Any) -> None:
        self.clock = ManualClock(NOW_US)
        self.history = History(**history)
        self.history.append(events)
        self.history.complete.set()
        self.faults = Faults()
        self.hosts: list[JetstreamHost] = []
        self.servers: list[HttpServer] = []

    async def add(self, options: HostOptions, send_buffer_bytes: int = 0) -> str:
        name = f"jetstream/{len(self.hosts)}"
        dictionary = Dictionary(first_frames(self.history))
        host = JetstreamHost(name, self.history, self.faults, self.clock.now_us, options, dictionary)
        server = HttpServer(name, host.handle, self.faults)
        server.send_buffer_bytes = send_buffer_bytes
        await server.start()
        self.hosts.append(host)
        self.servers.append(server)
        return server.url.replace("http", "ws")


@asynccontextmanager
async def stage(events: Sequence[SimEvent], **history: Any) -> AsyncIterator[Stage]:
    made = Stage(events, **history)
    try:
        yield made
    finally:
        for host in made.hosts:
            await host.stop()
        for server in made.servers:
            await server.stop()


async def read(url: str, n: int, *, timeout_s: float = 5) -> list[dict[str, Any]]:
    """The first n messages."""
    async with websockets.connect(url, compression=None, max_size=None, max_queue=None) as ws:
        return [json.loads(await asyncio.wait_for(ws.recv(), timeout_s)) for _ in range(n)]


async def silent(url: str, *, for_s: float = 0.15) -> bool:
    """Nothing comes."""
    async with websockets.connect(url, compression=None) as ws:
        try:
            await asyncio.wait_for(ws.recv(), for_s)
        except TimeoutError:
            return True
        return False


async def refusal(url: str) -> tuple[int, bytes]:
    """Status and body of the refused upgrade."""
    try:
        async with websockets.connect(url, compression=None):
            raise AssertionError("the upgrade was not refused")
    except websockets.InvalidStatus as refused:
        return refused.response.status_code, bytes(refused.response.body)


class RawSocket:
    """Frames as they are: control frames too, and how the connection ended."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, receive_buffer_bytes: int = 0) -> AsyncIterator[RawSocket]:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 16)
        if receive_buffer_bytes:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        key = base64.b64encode(os.urandom(16)).decode()
        target = f"{parts.path}?{parts.query}"
        writer.write(
            f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        try:
            yield cls(reader, writer)
        finally:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def frame(self) -> tuple[int, bytes]:
        """IncompleteReadError at the end of the stream."""
        first, second = await self.reader.readexactly(2)
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8), "big")
        return first & 0x0F, await self.reader.readexactly(length)

    async def send(self, payload: bytes, opcode: int = 1) -> None:
        mask = b"\x01\x02\x03\x04"
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(payload))
        assert len(payload) < 126
        self.writer.write(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)
        await self.writer.drain()
