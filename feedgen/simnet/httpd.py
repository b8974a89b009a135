"""A small HTTP/1.1 server on asyncio streams: what the made-up directory, hosts and AppView answer with.

Own code rather than a framework because the faults have to reach below HTTP (a refused connection, half an answer, a
socket that closes without a word), and because an upgraded connection is handed to Jetstream as it is. Loopback only,
so it is short rather than hardened.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from feedgen.simnet.faults import Faults

MAX_HEAD_BYTES: Final = 1 << 20  # ten thousand DIDs fit in a query
MAX_BODY_BYTES: Final = 16 << 20
IDLE_S: Final = 120.0
BACKLOG: Final = 1024


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""

    def first(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[0]

    @property
    def host(self) -> str:
        return self.headers.get("host", "")


@dataclass(frozen=True, slots=True)
class Response:
    body: bytes = b""
    status: int = 200
    content_type: str = "application/json; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


class Connection:
    """One accepted socket. Whoever upgrades it owns it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes | memoryview) -> None:
        """Write, and wait while the other side is not reading."""
        self.writer.write(data)
        await self.writer.drain()

    def abort(self) -> None:
        """Gone at once: no close frame, nothing flushed."""
        self.writer.transport.abort()


@dataclass(frozen=True, slots=True)
class Upgrade:
    """Instead of an answer: these headers, then `run` with the socket."""

    headers: tuple[tuple[str, str], ...]
    run: Callable[[Connection], Awaitable[None]]


Handler = Callable[[Request], Awaitable[Response | Upgrade]]


def answer(value: Any, status: int = 200, **headers: str) -> Response:
    """A JSON answer."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, status, headers=tuple((k.replace("_", "-"), v) for k, v in headers.items()))


def failure(status: int, error: str, message: str) -> Response:
    """An XRPC error."""
    return answer({"error": error, "message": message}, status)


class HttpServer:
    """One listening socket, one handler, and the faults that are addressed to `name`."""

    def __init__(self, name: str, handler: Handler, faults: Faults, host: str = "127.0.0.1", port: int = 0) -> None:
        self.name, self.host, self.port = name, host, port
        self.send_buffer_bytes = 0  # 0: the system's own choice
        self._handler = handler
        self._faults = faults
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._accept, self.host, self.port, limit=MAX_HEAD_BYTES, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=2)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        connection = Connection(reader, writer)
        if self.send_buffer_bytes:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.send_buffer_bytes)
        try:
            await self._serve(connection)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError):
            connection.abort()
        except asyncio.CancelledError:
            connection.abort()  # the server is stopping: ending the task quietly is what was asked for
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _serve(self, connection: Connection) -> None:
        while True:
            request = await self._read(connection.reader)
            response = await self._respond(request) if request is not None else None
            if request is None or response is None:
                return connection.abort()
            if isinstance(response, Upgrade):
                await connection.send(_head(101, response.headers))
                return await response.run(connection)
            keep = request.headers.get("connection", "").lower() != "close"
            await connection.send(_encode(response, keep, request.method == "HEAD"))
            if not keep:
                return None

    async def _respond(self, request: Request) -> Response | Upgrade | None:
        """The handler's answer, or what a fault makes of it; None: hang up."""
        if request.path.startswith("/_ctl"):  # faults never lock out whoever would clear them
            return await self._handler(request)
        if fault := self._faults.take("refuse", self.name):
            status = int(fault.option("status", 0))
            return failure(status, "Unavailable", "refused on command") if status else None
        await self._faults.hold(self.name)
        response = await self._handler(request)
        return response if isinstance(response, Upgrade) else await self._spoil(response)

    async def _read(self, reader: asyncio.StreamReader) -> Request | None:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), IDLE_S)
        except asyncio.IncompleteReadError:
            return None
        lines = head.decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
        length = int(headers.get("content-length", "0"))
        if length > MAX_BODY_BYTES:
            raise ConnectionError("body too long")
        body = await reader.readexactly(length) if length else b""
        url = urlsplit(target)
        return Request(method, unquote(url.path), parse_qs(url.query, keep_blank_values=True), headers, body)

    async def _spoil(self, response: Response) -> Response | None:
        """Faults of an answer: late, replaced, broken, or none at all."""
        if slow := self._faults.take("slow", self.name):
            await asyncio.sleep(slow.option("delay_s", 1.0))
        if fault := self._faults.take("error", self.name):
            spoiled = failure(int(fault.option("status", 500)), "InternalServerError", "an error on command")
            reset_s = fault.option("reset_s", 0)
            told = (("ratelimit-reset", str(math.ceil(time.time() + reset_s))),) if reset_s else ()
            return replace(spoiled, headers=spoiled.headers + told)
        if self._faults.take("corrupt", self.name):
            return replace(response, body=response.body[: len(response.body) // 2] + b"\xff")
        return None if self._faults.take("close", self.name) else response


@dataclass(slots=True)
class Router:
    """Exact paths first, then prefixes, then `fallback`."""

    exact: dict[str, Handler] = field(default_factory=dict)
    prefixes: dict[str, Handler] = field(default_factory=dict)

    async def __call__(self, request: Request) -> Response | Upgrade:
        handler = self.exact.get(request.path)
        if handler is None:
            for prefix, found in self.prefixes.items():
                if request.path.startswith(prefix):
                    handler = found
                    break
        if handler is None:
            if request.path.startswith("/xrpc/"):
                return failure(501, "MethodNotImplemented", "Method Not Implemented")
            return failure(404, "NotFound", "no such path")
        return await handler(request)


def _head(status: int, headers: tuple[tuple[str, str], ...]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _encode(response: Response, keep: bool, head_only: bool) -> bytes:
    headers = (
        ("content-type", response.content_type),
        ("content-length", str(len(response.body))),
        ("access-control-allow-origin", "*"),
        ("connection", "keep-alive" if keep else "close"),
        *response.headers,
    )
    return _head(response.status, headers) + (b"" if head_only else response.body)
