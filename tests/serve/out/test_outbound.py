"""What we ask of others is bounded, whoever asks: time, bytes, redirects, packing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from feedgen.core.errors import UpstreamError
from feedgen.serve.http.server import Server
from feedgen.serve.out.outbound import Outbound, TooLong
from tests.serve.who.test_identity import Directory, answering

MAX_BYTES = 64 * 1024


@pytest.fixture
async def far() -> AsyncIterator[tuple[Directory, str]]:
    directory = Directory()
    server = Server(directory, ["127.0.0.1:0"])
    await server.start()
    yield directory, f"http://127.0.0.1:{server.port}/x"
    await server.stop(1.0)


async def test_status_and_body(far: tuple[Directory, str]) -> None:
    directory, url = far
    out = Outbound()
    for status, body, found in ((200, b"{}", b"{}"), (404, b"reasons", b""), (302, b"moved", b"")):
        directory.answer = answering(status, body, (b"location", b"/elsewhere"))
        assert await out.get(url, 5.0, MAX_BYTES, {"a": "b c"}) == (status, found)
    assert directory.asked == ["x"] * 3  # nobody was followed
    await out.close()


async def test_the_most_that_is_read() -> None:
    """And no waiting for the rest."""
    over = asyncio.Event()

    async def without_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * (MAX_BYTES + 1))
        await over.wait()
        writer.close()

    server = await asyncio.start_server(without_end, "127.0.0.1", 0)
    url, out = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", Outbound()
    with pytest.raises(TooLong):
        await out.get(url, 20.0, MAX_BYTES)
    over.set()
    await out.close()
    server.close()


async def test_what_is_packed_is_refused_unless_asked_for(far: tuple[Directory, str]) -> None:
    directory, url = far
    directory.answer = answering(200, b"\x1f\x8b", (b"content-encoding", b"gzip"))
    out = Outbound()
    with pytest.raises(UpstreamError, match="packed"):
        await out.get(url, 5.0, MAX_BYTES)
    await out.close()


async def test_one_bound_for_all_steps_together(far: tuple[Directory, str]) -> None:
    directory, url = far
    directory.hold = asyncio.Event()
    out, began_s = Outbound(), time.monotonic()
    with pytest.raises(UpstreamError, match="Timeout"):
        await out.get(url, 0.2, MAX_BYTES)
    assert time.monotonic() - began_s >= 0.2
    directory.hold.set()
    await out.close()
    with pytest.raises(UpstreamError):
        await Outbound().get("http://127.0.0.1:1/", 5.0, MAX_BYTES)
