"""Sockets: hypercorn's HTTP/1.1 in our own event loop, with its limits set by what stands in front of it.

hypercorn parses and writes HTTP, but for the ordinary request (fast_path.py). The life of a connection is ours, because
hypercorn's has no time limit for a slow head, never ends a connection whose body nobody reads, and speaks HTTP/2 and
websockets, which nothing here needs and an attacker could.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterable
from itertools import chain
from typing import Final, SupportsIndex, cast

import h11
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.asyncio.task_group import TaskGroup
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.typing import AppWrapper, ASGIFramework, ConnectionState, H11SendableEvent
from starlette.types import ASGIApp

from feedgen.core.telemetry import Counter, Gauge
from feedgen.serve.http import fast_path
from feedgen.serve.http.listening import Listener, address_of, bound
from feedgen.serve.http.xrpc import error_body

MAX_CONNECTIONS: Final = 1000
MAX_HEAD_BYTES: Final = 16 * 1024
MAX_REQUEST_BYTES: Final = 512 * 1024  # read from a connection while one request is being answered
READ_BYTES: Final = 64 * 1024
HEAD_TIMEOUT_S: Final = 10.0  # from the first byte of a request (or the connection's start) to the end of its head
BODY_TIMEOUT_S: Final = 2.0  # for the rest of a body; a slower one goes the long way, where its end has a limit, too
ANSWER_TIMEOUT_S: Final = 20.0  # from there to the last byte of the answer
KEEP_ALIVE_S: Final = 150.0  # Caddy keeps upstream connections for 2 minutes: it must be the one to close
STOP_TIMEOUT_S: Final = 8.0
LAST_WORD_S: Final = 0.5  # when we stop, a connection may still bring a request for so long
SETTLE_S: Final = 0.05  # until connections that the kernel had accepted for us are in our hands

connections = Gauge("feedgen_http_connections", "Open connections")
cut_off = Counter("feedgen_http_cut_off_total", "Connections that we ended, by reason", "reason")

log = logging.getLogger(__name__)


def _config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("hypercorn")
    config.include_server_header = False
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.keep_alive_max_requests = 1_000_000
    # A full queue of body parts that the application does not read would block its own end. MAX_REQUEST_BYTES bounds
    # it instead.
    config.max_app_queue_size = 0
    return config


class Server:
    """Serves one application on any number of addresses: `host:port`, `[v6]:port`, `unix:/path` or `fd://3`."""

    def __init__(
        self, app: ASGIApp, binds: list[str], *, max_connections: int = MAX_CONNECTIONS, setting: str = "bind"
    ) -> None:
        self._app, self._setting = app, setting
        self._binds, self._max_connections = binds, max_connections
        self._config = _config()
        self._context = WorkerContext(None)
        self._listeners: list[Listener] = []
        self._open: dict[asyncio.Task[None], _Connection] = {}  # in order of arrival
        self._unix_paths: list[str] = []
        self.addresses: list[str] = []

    async def start(self) -> None:
        """Returns when every address listens; `addresses` then has the real ports."""
        sockets, loop = list[socket.socket](), asyncio.get_running_loop()
        try:
            for bind in self._binds:
                sockets.append(bound(bind, f"[service] {self._setting}"))
            for sock in sockets:
                self._listeners.append(Listener(loop, sock, self._protocol))
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        self.addresses = [address_of(sock) for sock in sockets]
        self._unix_paths = [bind[5:] for bind in self._binds if bind.startswith("unix:")]

    @property
    def port(self) -> int:
        """The first TCP port."""
        return next(int(address.rsplit(":", 1)[1]) for address in self.addresses if not address.startswith("unix:"))

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """No new connections; what is being answered is finished, within the time; then everything is closed."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for path in self._unix_paths:
            with contextlib.suppress(OSError):
                os.unlink(path)
        await asyncio.sleep(SETTLE_S)
        await self._context.terminated.set()
        for connection in list(self._open.values()):
            connection.close_soon()
        if self._open:
            _, late = await asyncio.wait(list(self._open), timeout=timeout_s)
            if late:
                log.warning("cut off %d connections that were not done within %.0f s", len(late), timeout_s)
                cut_off.add(len(late), "stop")
            for task in late:
                self._open[task].abort()
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)

    def _protocol(self) -> asyncio.StreamReaderProtocol:
        return asyncio.StreamReaderProtocol(_Reader(READ_BYTES), self._serve)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._open) >= self._max_connections and not self._make_room():
            cut_off.add(1, "full")
            writer.transport.abort()
            return
        assert isinstance(reader, _Reader)
        connection = _Connection(self._app, self._config, self._context, reader, writer)
        self._open[task] = connection
        connections.set(len(self._open))
        try:
            await connection.run()
        except asyncio.CancelledError:
            pass  # by stop(); this is the outermost frame of the task
        except Exception:
            log.exception("a connection ended by an unexpected error")
        finally:
            self._open.pop(task, None)
            connections.set(len(self._open))

    def _make_room(self) -> bool:
        """End the connection that has been open longest without being answered.

        A flood of silent ones can't lock others out.
        """
        for task, connection in self._open.items():
            if connection.close_when_idle():
                cut_off.add(1, "room")
                del self._open[task]
                return True
        return False


class _Reader(asyncio.StreamReader):
    """Knows when its newest bytes came: they may lie for a while when the event loop has more to do than it can."""

    came_s = 0.0

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self.came_s = time.monotonic()
        super().feed_data(data)


class _Http1(H11Protocol):
    """HTTP/1.1 and nothing else: no upgrade to HTTP/2 or websockets, and errors in XRPC's form."""

    _head = b""

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        """An answer's head waits for the first of its body: one system call instead of two."""
        try:
            data = self.connection.send(event)
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return
        if isinstance(event, h11.Response):
            self._head = data or b""
            return
        data, self._head = self._head + (data or b""), b""
        if data:
            await self.send(RawData(data=data))

    async def _check_protocol(self, event: h11.Request) -> None:
        """No other protocol is spoken here."""

    async def _create_stream(self, request: h11.Request) -> None:
        if len(request.target) + sum(len(name) + len(value) for name, value in request.headers) > MAX_HEAD_BYTES:
            # h11 only bounds a head that arrives in pieces.
            await self._send_error_response(431)
            await self.send(Closed())
            return
        headers = [(name, value) for name, value in request.headers if name != b"upgrade"]
        if len(headers) != len(request.headers):
            request = h11.Request(
                method=request.method, headers=headers, target=request.target, http_version=request.http_version
            )
        await super()._create_stream(request)

    async def _send_error_response(self, status_code: int) -> None:
        body = error_body("InvalidRequest", "The request can't be read")
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        await self._send_h11_event(
            h11.Response(status_code=status_code, headers=list(chain(headers, self.config.response_headers("h11"))))
        )
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


class _Connection:
    """One client: a task that reads, tasks that answer, and one timer that says until when the present step must be
    done.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: Config,
        context: WorkerContext,
        reader: _Reader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._app, self._config, self._context = app, config, context
        self._client, self._server = _peer(writer, "peername"), _peer(writer, "sockname")
        self._reader, self._writer = reader, writer
        self._loop = asyncio.get_running_loop()
        self._busy = False
        self._closed = False
        self._http: _Http1 | None = None  # made for a request that is not plain
        self._received = 0
        self._reading: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at_s = 0.0
        self._deadline_s = 0.0
        self._reason = "head"

    async def run(self) -> None:
        try:
            async with TaskGroup(self._loop) as self._group:
                self._expect("head", LAST_WORD_S if self._context.terminated.is_set() else HEAD_TIMEOUT_S)
                self._reading = self._loop.create_task(self._read())
                # Not `await`: a cancelled reading is an end like any other, a cancelled connection is not.
                await asyncio.wait([self._reading])
                if not self._reading.cancelled():
                    self._reading.result()
                if self._http is not None:
                    await self._http.handle(Closed())
        finally:
            self._close()
            if self._timer is not None:
                self._timer.cancel()

    def close_when_idle(self) -> bool:
        """Closes now if nothing is being answered, and says so.

        Otherwise hypercorn closes after the answer once it is told to end.
        """
        if self._busy or self._closed:
            return False
        self._close()
        return True

    def close_soon(self) -> None:
        """The end of the server. A request that is on its way is still answered: Caddy can't send a POST again."""
        if not self._busy and not self._closed:
            self._expect(self._reason, LAST_WORD_S)

    def abort(self) -> None:
        """Ends it now, whatever is under way."""
        self._busy = False
        self._writer.transport.abort()
        self._close()

    async def _read(self) -> None:
        with contextlib.suppress(OSError):
            while not self._closed:
                data = await self._reader.read(READ_BYTES)
                self._received += len(data)
                if not data or self._received > MAX_REQUEST_BYTES:
                    return  # what is being answered still is
                if not self._busy and self._reason == "idle":
                    self._expect("head", HEAD_TIMEOUT_S)
                request = fast_path.parse(data) if self._http is None else None
                if request is not None and request.missing:
                    data += await self._rest(request.missing)
                    request = fast_path.parse(data)
                if request is None or request.missing:
                    self._http = self._http or self._hypercorn()  # until it has nothing of anything
                    await self._http.handle(RawData(data))
                else:
                    await self._answer(request)

    async def _rest(self, missing: int) -> bytes:
        """Of a body, when it comes soon. What came of a late one stays in the reader's buffer."""
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                return await self._reader.readexactly(missing)
        except TimeoutError:
            return b""
        except asyncio.IncompleteReadError as error:
            return error.partial

    def _hypercorn(self) -> _Http1:
        wrapper: AppWrapper = ASGIWrapper(cast(ASGIFramework, self._app))
        state, send = ConnectionState({}), self._send
        return _Http1(wrapper, self._config, self._context, self._group, state, False, self._client, self._server, send)

    async def _answer(self, request: fast_path.Request) -> None:
        """What hypercorn does with a request, for an ordinary one."""
        self._busy, self._received = True, 0
        self._expect("answer", ANSWER_TIMEOUT_S)
        answer, waited_s = fast_path.Answer(request.body), time.monotonic() - self._reader.came_s
        scope = fast_path.scope_of(request, self._client, self._server, waited_s)
        await self._app(scope, answer.receive, answer.send)
        closing = self._context.terminated.is_set()
        if not self._closed:
            self._writer.write(answer.to_bytes(closing))
            with contextlib.suppress(OSError):
                await self._writer.drain()
        self._busy = False
        self._expect("idle", KEEP_ALIVE_S)
        if closing:
            self._close()

    async def _send(self, event: Event) -> None:
        """What hypercorn wants done with the connection."""
        if isinstance(event, RawData):
            if not self._closed:
                self._writer.write(event.data)
                with contextlib.suppress(OSError):
                    await self._writer.drain()
        elif isinstance(event, Updated):
            self._busy = not event.idle
            self._received = 0
            self._expect("idle", KEEP_ALIVE_S) if event.idle else self._expect("answer", ANSWER_TIMEOUT_S)
            if event.idle and self._http is not None and self._http.connection.trailing_data == (b"", False):
                self._http = None  # the next request may be an ordinary one again
        elif isinstance(event, Closed):
            self._close()

    def _close(self) -> None:
        """What was written is still sent; nothing more is read."""
        if self._closed:
            return
        self._closed = True
        self._writer.close()
        if self._reading is not None and self._reading is not asyncio.current_task():
            self._reading.cancel()

    def _expect(self, reason: str, within_s: float) -> None:
        """Moves the deadline.

        The timer is only made anew when it would ring too late, so a busy connection rarely touches it.
        """
        self._reason = reason
        self._deadline_s = self._loop.time() + within_s
        if self._timer is None or self._timer_at_s > self._deadline_s:
            self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at_s = self._deadline_s
        self._timer = self._loop.call_at(self._deadline_s, self._ring)

    def _ring(self) -> None:
        if self._loop.time() < self._deadline_s:
            self._set_timer()
            return
        cut_off.add(1, self._reason)
        if self._reason == "answer":
            self.abort()
        else:
            self._close()


def _peer(writer: asyncio.StreamWriter, which: str) -> tuple[str, int] | None:
    """None on a unix socket."""
    name = writer.get_extra_info(which)
    return (str(name[0]), int(name[1])) if isinstance(name, tuple) else None
