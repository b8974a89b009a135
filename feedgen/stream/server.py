"""The stream's own address: one websocket, and two answers for monitors. The protocol is the `websockets` library's.

Messages go out as finished frames, made once for all consumers and glued together; the library speaks the handshake,
pings and closing.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import InvalidState
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from feedgen.stream.formats import dump

PATH: Final = "/stream"
HEALTH_PATH: Final = "/stream/health"
STATS_PATH: Final = "/stream/stats"
MAX_CONNECTIONS: Final = 500
MAX_INCOMING_BYTES: Final = 4 << 10  # of one message: consumers have nothing to say
WRITE_HIGH_BYTES: Final = 256 << 10
HEAD_S: Final = 10.0  # for a request
PING_S: Final = 30.0
CLOSE_S: Final = 2.0
GOING_AWAY: Final = 1001

_quiet = logging.getLogger("feedgen.stream.websockets")
_quiet.setLevel(logging.ERROR)


class Refused(Exception):
    """Answered instead of a stream."""

    def __init__(self, status: int, error: str, message: str) -> None:
        super().__init__(message)
        self.status, self.error, self.message = status, error, message


class Asked:
    """A request for the stream: its parameters and its token."""

    def __init__(self, request: Request) -> None:
        self.params: Mapping[str, list[str]] = parse_qs(urlsplit(request.path).query, max_num_fields=20_000)
        authorization = request.headers.get_all("Authorization")
        given = authorization[0].removeprefix("Bearer ") if len(authorization) == 1 else ""
        self.token = given or (self.params.get("token") or [""])[0]


class Peer(asyncio.Protocol):
    """One connection. `on_pause`, `on_resume` and `on_end` are set by whoever serves it."""

    def __init__(self, server: StreamServer) -> None:
        self._server = server
        self._protocol = ServerProtocol(max_size=MAX_INCOMING_BYTES, logger=_quiet)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._answered_ping = True
        self.on_pause: Callable[[], None] = lambda: None
        self.on_resume: Callable[[], None] = lambda: None
        self.on_end: Callable[[], None] = lambda: None
        self.ended = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        if not self._server.come(self):
            transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(HEAD_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Request):
                self._asked(event)
            elif isinstance(event, Frame):
                self._answered_ping = True
        self._send()

    def eof_received(self) -> bool:
        self._protocol.receive_eof()
        self._send()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.ended.set()
        self.on_end()
        self._server.gone(self)

    def pause_writing(self) -> None:
        self.on_pause()

    def resume_writing(self) -> None:
        self.on_resume()

    # A consumer's socket.

    def write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self, code: int, reason: str) -> None:
        if self._protocol.state is OPEN:
            try:
                self._protocol.send_close(code, reason.encode()[:120].decode("utf-8", "ignore"))
            except InvalidState:
                return
            self._send()
        self._hang_up_later()

    def _hang_up_later(self) -> None:
        """A consumer that does not read would keep what is written for ever."""
        if self._transport is not None:
            asyncio.get_running_loop().call_later(CLOSE_S, self._transport.abort)

    def answer(self, status: int, body: Any) -> None:
        headers = Headers(
            [("Content-Type", "application/json"), ("Cache-Control", "no-store"), ("Connection", "close")]
        )
        text = dump(body) + b"\n"
        headers["Content-Length"] = str(len(text))
        self._protocol.send_response(Response(status, HTTPStatus(status).phrase, headers, text))
        self._send()

    def accept(self, request: Request) -> bool:
        response = self._protocol.accept(request)
        self._protocol.send_response(response)
        self._send()
        return self._protocol.state is OPEN

    def _asked(self, request: Request) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._server.serve(self, request)

    def begin_pings(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(PING_S, self._ping)

    def _ping(self) -> None:
        if not self._answered_ping and self._transport is not None:
            self._transport.abort()
            return
        self._answered_ping = False
        if self._protocol.state is OPEN:
            self._protocol.send_ping(b"")
            self._send()
            self.begin_pings()

    def _send(self) -> None:
        assert self._transport is not None
        for data in self._protocol.data_to_send():
            if data:
                self.write(data)
            else:
                self._transport.close()


class StreamServer:
    """`health` and `stats` are asked for their answers; `stream` serves one consumer until it returns."""

    def __init__(
        self,
        sock: socket.socket,
        stream: Callable[[Peer, Request], Awaitable[None]],
        health: Callable[[], dict[str, Any]],
        stats: Callable[[Request], dict[str, Any]],
    ) -> None:
        self._sock, self._stream, self._health, self._stats = sock, stream, health, stats
        self._server: asyncio.Server | None = None
        self._peers: set[Peer] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(lambda: Peer(self), sock=self._sock)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for peer in list(self._peers):
            peer.close(GOING_AWAY, "the service is stopping")
        ends = [asyncio.ensure_future(peer.ended.wait()) for peer in self._peers]
        if ends:
            await asyncio.wait(ends, timeout=CLOSE_S + 1)
        for task in [*self._tasks, *ends]:
            task.cancel()
        await asyncio.gather(*self._tasks, *ends, return_exceptions=True)

    def come(self, peer: Peer) -> bool:
        if len(self._peers) >= MAX_CONNECTIONS:
            return False
        self._peers.add(peer)
        return True

    def gone(self, peer: Peer) -> None:
        self._peers.discard(peer)

    def serve(self, peer: Peer, request: Request) -> None:
        path = urlsplit(request.path).path
        try:
            if path == HEALTH_PATH:
                health = self._health()
                peer.answer(200 if health["ok"] else 503, health)
            elif path == STATS_PATH:
                peer.answer(200, self._stats(request))
            elif path == PATH:
                task = asyncio.create_task(self._run(peer, request), name="stream consumer")
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            else:
                raise Refused(404, "NotFound", f"there are {PATH}, {HEALTH_PATH} and {STATS_PATH}")
        except Refused as no:
            peer.answer(no.status, {"error": no.error, "message": no.message})

    async def _run(self, peer: Peer, request: Request) -> None:
        try:
            await self._stream(peer, request)
        except Refused as no:
            peer.answer(no.status, {"error": no.error, "message": no.message})
        except asyncio.CancelledError:
            raise
        except Exception:
            logging.getLogger(__name__).exception("a consumer ended by an unexpected error")
            peer.close(1011, "an error of ours; it is in the log")


__all__ = ["Asked", "Opcode", "Peer", "Refused", "StreamServer"]
