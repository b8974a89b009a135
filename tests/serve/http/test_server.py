from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import Response
from starlette.types import ASGIApp

from feedgen.core.errors import FeedgenError
from feedgen.feeds.contract import Ask, Page
from feedgen.serve.http import server as server_module
from feedgen.serve.http.fast_path import waited_s_of
from feedgen.serve.http.routes import make_app
from feedgen.serve.http.server import Server, cut_off
from tests.serve.parts import FEED_URI, SKELETON, CountingFeed, parts_with

DID_PATH = "/.well-known/did.json"


@asynccontextmanager
async def listening(app: ASGIApp | None = None, bind: str = "127.0.0.1:0", **kwargs: int) -> AsyncIterator[Server]:
    server = Server(app or make_app(parts_with()), [bind], **kwargs)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(1.0)


async def talk(server: Server, request: bytes, timeout_s: float = 5.0) -> bytes:
    """What comes back on a bare socket until the server closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    async with asyncio.timeout(timeout_s):
        answer = await reader.read()
    writer.close()
    return answer


class SlowFeed(CountingFeed):
    """Says when it was asked, and answers when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def page(self, ask: Ask) -> Page:
        self.asked.set()
        await self.go_on.wait()
        return await super().page(ask)


async def test_it_listens_when_start_returns_and_is_gone_after_stop() -> None:
    async with listening() as server:
        assert server.addresses == [f"127.0.0.1:{server.port}"] and server.port > 0
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{server.port}{DID_PATH}")).status_code == 200
        port = server.port
    with pytest.raises(OSError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_port_in_use_is_said_plainly() -> None:
    async with listening() as first:
        second = Server(make_app(parts_with()), [f"127.0.0.1:{first.port}"])
        with pytest.raises(FeedgenError, match=f"Can't listen on 127.0.0.1:{first.port}"):
            await second.start()
    with pytest.raises(FeedgenError):
        await Server(make_app(parts_with()), ["localhost:http"]).start()


async def test_a_unix_socket_replaces_a_dead_one_and_spares_a_live_one(tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.close()
    async with listening(bind=f"unix:{path}") as server:
        assert server.addresses == [f"unix:{path}"]
        transport = httpx.AsyncHTTPTransport(uds=path)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            assert (await client.get(SKELETON, params={"feed": FEED_URI})).status_code == 200
        with pytest.raises(FeedgenError, match="another process"):
            await Server(make_app(parts_with()), [f"unix:{path}"]).start()
    assert not os.path.exists(path)


async def test_an_inherited_socket() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        async with listening(bind=f"fd://{sock.fileno()}") as server, httpx.AsyncClient() as client:
            port = sock.getsockname()[1]
            assert (await client.get(f"http://127.0.0.1:{port}{DID_PATH}")).status_code == 200
            assert server.port == port


async def test_connections_are_kept() -> None:
    async with listening() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for _ in range(3):
            writer.write(b"GET /.well-known/did.json HTTP/1.1\r\nhost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
        writer.close()


async def test_pipelined_requests_are_all_answered() -> None:
    async with listening() as server:
        one = b"GET /.well-known/did.json HTTP/1.1\r\nhost: x\r\n\r\n"
        last = b"GET /xrpc/_health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        answer = await talk(server, one * 5 + last)
        assert answer.count(b"HTTP/1.1 200") == 6


async def test_stop_finishes_what_is_being_answered() -> None:
    feed = SlowFeed()
    async with listening(make_app(parts_with(feed))) as server, httpx.AsyncClient() as client:
        idle = await asyncio.open_connection("127.0.0.1", server.port)
        answer = asyncio.create_task(client.get(f"http://127.0.0.1:{server.port}{SKELETON}", params={"feed": FEED_URI}))
        await feed.asked.wait()
        stopping = asyncio.create_task(server.stop(5.0))
        assert await idle[0].read() == b""  # idle connections go at once
        idle[1].close()
        await asyncio.sleep(0.05)
        assert not stopping.done() and not answer.done()
        feed.go_on.set()
        assert (await answer).status_code == 200
        async with asyncio.timeout(1.0):
            await stopping


async def test_stop_does_not_wait_for_ever() -> None:
    feed = SlowFeed()
    async with listening(make_app(parts_with(feed))) as server, httpx.AsyncClient() as client:
        answer = asyncio.create_task(client.get(f"http://127.0.0.1:{server.port}{SKELETON}", params={"feed": FEED_URI}))
        await feed.asked.wait()
        async with asyncio.timeout(2.0):
            await server.stop(0.1)
        with pytest.raises(httpx.TransportError):
            await answer


async def test_a_slow_head_and_an_idle_connection_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEAD_TIMEOUT_S", 0.2)
    monkeypatch.setattr(server_module, "KEEP_ALIVE_S", 0.3)
    async with listening() as server:
        before = cut_off.value("head"), cut_off.value("idle")
        assert await talk(server, b"") == b""
        assert await talk(server, b"GET /xrpc/_health HTTP/1.1\r\nhost: x\r\n") == b""
        assert (await talk(server, b"GET /xrpc/_health HTTP/1.1\r\nhost: x\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert (cut_off.value("head"), cut_off.value("idle")) == (before[0] + 2, before[1] + 1)


async def test_drip_feeding_does_not_move_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEAD_TIMEOUT_S", 0.3)
    async with listening() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /xrpc/_health HTTP/1.1\r\nhost: x\r\n")

        async def drip() -> None:
            while True:
                writer.write(b"x-a: b\r\n")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(1.0):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        dripping.cancel()
        writer.close()


async def test_an_answer_that_nobody_takes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "ANSWER_TIMEOUT_S", 0.2)
    async with listening() as server:
        # The body that was promised never comes.
        request = b"POST /xrpc/app.bsky.feed.sendInteractions HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n"
        request += b"authorization: Bearer did:plc:x\r\n\r\n{"
        with suppress(ConnectionError):
            assert await talk(server, request) == b""
    assert not server._open


ODD_REQUESTS = [
    (b"GET /xrpc/_health HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 20_000 + b"\r\n\r\n", 431),
    (b"GET /?" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431),
    (b"nonsense\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    (b"GET /xrpc/_health HTTP/1.1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
    (b"PRI * HTTP/2.0\r\nconnection: close\r\n\r\n", 405),
]


@pytest.mark.parametrize(("request_bytes", "status"), ODD_REQUESTS)
async def test_what_is_not_http_gets_an_xrpc_error(request_bytes: bytes, status: int) -> None:
    async with listening() as server:
        answer = await talk(server, request_bytes)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d" % status), answer[:200]
        assert b"content-type: application/json" in head.lower()
        assert set(json.loads(body)) == {"error", "message"}


async def test_no_other_protocol_is_spoken() -> None:
    async with listening() as server:
        upgrade = b"GET /xrpc/_health HTTP/1.1\r\nhost: x\r\nconnection: upgrade, close\r\nupgrade: %s\r\n"
        upgrade += (
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\nhttp2-settings: \r\n\r\n"
        )
        for protocol in (b"websocket", b"h2c"):
            assert (await talk(server, upgrade % protocol)).startswith(b"HTTP/1.1 200")


async def test_a_body_that_nobody_reads_leaves_nothing_behind() -> None:
    async with listening() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /xrpc/_health HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\n\r\n")
        with suppress(ConnectionError):
            for _ in range(50):
                writer.write(b"x" * 100_000)
                await writer.drain()
            await reader.read()
        writer.close()
        for _ in range(100):
            if not server._open:
                break
            await asyncio.sleep(0.02)
        assert not server._open


async def test_silent_connections_make_room_for_others() -> None:
    async with listening(max_connections=5) as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(5)]
        answer = await talk(server, b"GET /xrpc/_health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200")
        assert await silent[0][0].read() == b""
        assert len(server._open) <= 5
        for _, writer in silent:
            writer.close()


async def test_busy_connections_are_not_ended_for_others() -> None:
    feed = SlowFeed()
    async with listening(make_app(parts_with(feed)), max_connections=1) as server, httpx.AsyncClient() as client:
        answer = asyncio.create_task(client.get(f"http://127.0.0.1:{server.port}{SKELETON}", params={"feed": FEED_URI}))
        await feed.asked.wait()
        with suppress(ConnectionError):
            assert await talk(server, b"GET /xrpc/_health HTTP/1.1\r\nhost: x\r\n\r\n") == b""
        feed.go_on.set()
        assert (await answer).status_code == 200


async def test_a_connection_keeps_the_fast_path_whatever_was_asked_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Caddy's connections carry everything; one POST moved them to the slow path for their lives."""
    made = list[str]()
    real = server_module._Connection._hypercorn
    monkeypatch.setattr(server_module._Connection, "_hypercorn", lambda self: made.append(what) or real(self))
    post = b"POST /xrpc/app.bsky.feed.sendInteractions HTTP/1.1\r\nhost: x\r\n%b\r\n\r\n%b"
    body = b'{"interactions":[]}' + b" " * 9000
    requests = {
        "a page": [b"GET /xrpc/_health HTTP/1.1\r\nhost: x\r\n\r\n"],
        "a body": [post % (b"content-length: %d" % len(body), body)],
        "a body in pieces": [post % (b"content-length: %d" % len(body), body[:100]), body[100:5000], body[5000:]],
        "chunks": [post % (b"transfer-encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n")],
        "a head in pieces": [b"GET /xrpc/_health HT", b"TP/1.1\r\nhost: x\r\n\r\n"],
        "a page again": [b"GET /xrpc/_health HTTP/1.1\r\nhost: x\r\n\r\n"],
    }
    async with listening() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for what, pieces in requests.items():  # noqa: B007, read by the lambda
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.02)
            head = await reader.readuntil(b"\r\n\r\n")
            status = 200 if b"_health" in pieces[0] else 401
            assert head.startswith(b"HTTP/1.1 %d" % status)
            await reader.readexactly(int(re.findall(rb"content-length: (\d+)", head)[0]))
        writer.close()
    assert made == ["chunks", "a head in pieces"]


async def test_a_body_that_comes_late_is_waited_for_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "BODY_TIMEOUT_S", 0.01)
    async with listening() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        head = b"POST /xrpc/app.bsky.feed.sendInteractions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer did:plc:a\r\n"
        body = b'{"interactions":[]}'
        writer.write(head + b"content-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 5):
            await asyncio.sleep(0.02)
            writer.write(body[at : at + 5])
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()
    async with listening() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head + b"content-length: 9\r\n\r\nx")
        writer.write_eof()
        async with asyncio.timeout(5):
            await reader.read()
        writer.close()


def test_a_busy_loop_takes_all_who_knock() -> None:
    """uvloop itself takes one connection each time that it comes around."""
    uvloop = pytest.importorskip("uvloop")
    callers, request = 200, b"GET /xrpc/_health HTTP/1.1\r\nhost: x\r\n\r\n"

    async def scenario() -> int:
        async with listening() as server:
            sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(callers)]
            for sock in sockets:
                sock.sendall(request)
                sock.setblocking(False)
            turns, waiting = 0, set(sockets)
            while waiting and turns < 10 * callers:
                await asyncio.sleep(0)
                turns += 1
                for sock in list(waiting):
                    with suppress(BlockingIOError):
                        assert sock.recv(4096).startswith(b"HTTP/1.1 200")
                        waiting.discard(sock)
            for sock in sockets:
                sock.close()
            return turns

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(scenario()) < callers // 2


async def test_how_long_a_request_lay_is_told() -> None:
    lay: list[float] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        lay.append(waited_s_of(scope))
        await Response(b"")(scope, receive, send)

    async with listening(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for busy_s in (0.0, 0.3):
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            connection = next(iter(server._open.values()), None)
            while busy_s and connection is not None and not connection._reader._buffer:  # type: ignore[attr-defined]
                await asyncio.sleep(0)
            time.sleep(busy_s)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()
    assert lay[0] < lay[1] and lay[1] >= 0.3


def test_it_works_on_uvloop_too(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")
    path = str(tmp_path / "s.sock")

    async def scenario() -> None:
        feed = SlowFeed()
        server = Server(make_app(parts_with(feed)), ["127.0.0.1:0", f"unix:{path}"])
        await server.start()
        transport = httpx.AsyncHTTPTransport(uds=path)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            assert (await client.get(DID_PATH)).status_code == 200
            assert (await client.get("/xrpc/_health", headers={"x-forwarded-for": "1.1.1.1"})).status_code == 200
            idle = await asyncio.open_connection("127.0.0.1", server.port)
            answer = asyncio.create_task(client.get(SKELETON, params={"feed": FEED_URI}))
            await feed.asked.wait()
            stopping = asyncio.create_task(server.stop(5.0))
            assert await idle[0].read() == b""
            idle[1].close()
            feed.go_on.set()
            assert (await answer).status_code == 200
            async with asyncio.timeout(2.0):
                await stopping
        assert not os.path.exists(path)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
