"""The small HTTP server, spoken to byte by byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest

from feedgen.simnet.faults import Faults
from feedgen.simnet.httpd import HttpServer, Request, Response, Router, answer


async def echo(request: Request) -> Response:
    return answer({"method": request.method, "path": request.path, "query": request.query, "body": len(request.body)})


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    made = HttpServer("test", Router({"/echo": echo}, {"/below/": echo}), Faults())
    await made.start()
    yield made
    await made.stop()


async def raw(server: HttpServer, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(data)
    writer.write_eof()
    found = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    return found


async def test_queries_paths_and_bodies(server: HttpServer) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        got = (await http.post("/echo", params={"a": ["1", "2"], "b": "x y"}, content=b"12345")).json()
        assert got == {"method": "POST", "path": "/echo", "query": {"a": ["1", "2"], "b": ["x y"]}, "body": 5}
        assert (await http.get("/below/did%3Aplc%3Ax")).json()["path"] == "/below/did:plc:x"
        assert (await http.get("/nothing")).status_code == 404
        assert (await http.get("/xrpc/some.method")).json()["error"] == "MethodNotImplemented"


async def test_many_requests_on_one_connection(server: HttpServer) -> None:
    one = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"
    got = await raw(server, one * 3 + one.replace(b"Host", b"Connection: close\r\nHost") + one)
    assert got.count(b"HTTP/1.1 200 OK") == 4  # nothing comes after the one that closes


async def test_head_has_no_body(server: HttpServer) -> None:
    got = await raw(server, b"HEAD /echo HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200") and got.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GET /echo",
        b"nonsense\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 300_000,
    ],
)
async def test_nonsense_ends_the_connection_and_nothing_else(server: HttpServer, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # hung up on while still talking
        assert await raw(server, data) == b""
    async with httpx.AsyncClient(base_url=server.url) as http:
        assert (await http.get("/echo")).status_code == 200
