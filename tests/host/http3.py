"""One GET over HTTP/3."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent


class _Client(QuicConnectionProtocol):
    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._http = H3Connection(self._quic)
        self._status, self._body = 0, b""
        self._answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()

    async def get(self, authority: str, path: str) -> tuple[int, bytes]:
        stream = self._quic.get_next_available_stream_id()
        head = {":method": "GET", ":scheme": "https", ":authority": authority, ":path": path}
        self._http.send_headers(stream, [(k.encode(), v.encode()) for k, v in head.items()], end_stream=True)
        self.transmit()
        return await self._answer

    def quic_event_received(self, event: QuicEvent) -> None:
        for told in self._http.handle_event(event):
            if isinstance(told, HeadersReceived):
                self._status = int(dict(told.headers)[b":status"])
            elif isinstance(told, DataReceived):
                self._body += told.data
            if getattr(told, "stream_ended", False) and not self._answer.done():
                self._answer.set_result((self._status, self._body))


async def get(port: int, path: str, authority: Path, name: str = "localhost") -> tuple[int, bytes]:
    """(status, body) of https://NAME:PORT/PATH on this machine, whose certificate this authority must have signed."""
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=name)
    configuration.load_verify_locations(str(authority))
    async with (
        asyncio.timeout(30),
        connect("127.0.0.1", port, configuration=configuration, create_protocol=_Client) as client,
    ):
        assert isinstance(client, _Client)
        return await client.get(f"{name}:{port}", path)
