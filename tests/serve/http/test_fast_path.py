"""The short way for ordinary requests gives what the long way gives, and takes nothing else."""

from __future__ import annotations

import asyncio
import re

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from feedgen.serve.http import fast_path
from feedgen.serve.http.server import Server

ORDINARY = b"GET /x/%c3%a9?a=1&b=%20 HTTP/1.1\r\nHost: feed.example.com\r\nX-A:  b \r\nx-a: c:d\r\n\r\n"


def test_an_ordinary_request() -> None:
    request = fast_path.parse(ORDINARY)
    assert request is not None
    assert request.headers == [(b"host", b"feed.example.com"), (b"x-a", b"b"), (b"x-a", b"c:d")]
    scope = fast_path.scope_of(request, ("127.0.0.1", 5), None)
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/x/é", b"/x/%c3%a9", b"a=1&b=%20")
    assert scope["method"] == "GET"


POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"


def test_an_ordinary_post() -> None:
    whole = fast_path.parse(POST + b"hello")
    assert whole is not None and (whole.method, whole.target, whole.body, whole.missing) == (
        b"POST",
        b"/x",
        b"hello",
        0,
    )
    assert fast_path.scope_of(whole, None, None)["method"] == "POST"
    half = fast_path.parse(POST + b"he")
    assert half is not None and half.missing == 3
    longest = POST.replace(b"5", b"%d" % fast_path.MAX_BODY_BYTES)
    found = fast_path.parse(longest + b"x" * fast_path.MAX_BODY_BYTES)
    assert found is not None and len(found.body) == fast_path.MAX_BODY_BYTES


@pytest.mark.parametrize(
    "data",
    [
        b"",
        ORDINARY[:-1],
        ORDINARY + b"x",
        ORDINARY * 2,
        ORDINARY.replace(b"GET", b"POST"),
        ORDINARY.replace(b"GET", b"HEAD"),
        POST + b"hello!",
        POST.replace(b"5", b"+5") + b"hello",
        POST.replace(b"5", b"5, 5") + b"hello",
        POST.replace(b"5", b"%d" % (fast_path.MAX_BODY_BYTES + 1)),
        POST.replace(b"Host", b"Content-Length: 5\r\nHost") + b"hello",
        POST.replace(b"Host", b"Transfer-Encoding: chunked\r\nHost") + b"hello",
        POST.replace(b"Host", b"Expect: 100-continue\r\nHost") + b"hello",
        ORDINARY.replace(b"/1.1", b"/1.0"),
        ORDINARY.replace(b"GET /x", b"GET  /x"),
        ORDINARY.replace(b"GET /x", b"GET http://y/x"),
        ORDINARY.replace(b"\r\n", b"\n"),
        ORDINARY.replace(b"X-A:", b"X-A :"),
        ORDINARY.replace(b"X-A:", b" X-A:"),
        ORDINARY.replace(b"X-A:  b", b"X-A: \tb"),
        ORDINARY.replace(b"X-A:  b", b"X-A: \xe9"),
        ORDINARY.replace(b"X-A:  b", b"X-A: \0"),
        ORDINARY.replace(b"X-A:  b", b"Host: other"),
        ORDINARY.replace(b"Host", b"Hots"),
        ORDINARY.replace(b"X-A:  b", b"Content-Length: 0"),
        ORDINARY.replace(b"X-A:  b", b"Transfer-Encoding: chunked"),
        ORDINARY.replace(b"X-A:  b", b"Connection: close"),
        ORDINARY.replace(b"X-A:  b", b"Connection: keep-alive, upgrade"),
        ORDINARY.replace(b"X-A:  b", b"Upgrade: h2c"),
        ORDINARY.replace(b"X-A:  b", b"Expect: 100-continue"),
        ORDINARY.replace(b"X-A:  b", b"X-A: " + b"b" * fast_path.MAX_HEAD_BYTES),
        ORDINARY.replace(b"X-A:  b \r\n", b"a: b\r\n" * fast_path.MAX_HEADERS),
    ],
)
def test_what_is_not_ordinary(data: bytes) -> None:
    assert fast_path.parse(data) is None


WORDS = [b"GET ", b"/", b"a?b=c", b" HTTP/1.1", b"\r\n", b"\n", b"Host: x", b"host:y", b": ", b" ", b"\t", b"a", b"\0"]
WORDS += [b"\xff", b"Content-Length: 1", b"Transfer-Encoding: chunked", b"Connection: keep-alive", b"Connection: close"]
PIECES = st.sampled_from(WORDS)


METHODS = st.sampled_from([b"GET", b"POST"])


@given(st.lists(PIECES, max_size=14).map(b"".join), st.booleans(), METHODS, st.sampled_from([b"", b"x", b"xy"]))
def test_it_reads_nothing_that_h11_reads_otherwise(pieces: bytes, framed: bool, method: bytes, body: bytes) -> None:
    data = method + b" /" + pieces + b" HTTP/1.1\r\nHost: x\r\n" + pieces + b"\r\n\r\n" + body if framed else pieces
    request = fast_path.parse(data)
    if request is None or request.missing:
        return
    other = h11.Connection(h11.SERVER)
    other.receive_data(data)
    event = other.next_event()
    assert isinstance(event, h11.Request)
    headers = [(bytes(n), bytes(v)) for n, v in event.headers]
    assert (bytes(event.method), bytes(event.target), headers) == request[:3]
    got = b""
    while isinstance(event := other.next_event(), h11.Data):
        got += event.data
    assert isinstance(event, h11.EndOfMessage) and got == request.body
    assert other.trailing_data == (b"", False)


def test_no_head_of_ours_is_split() -> None:
    answer = fast_path.Answer()
    start = {"type": "http.response.start", "status": 200, "headers": [(b"x", b"a\r\nb: c")]}
    asyncio.run(answer.send(start))
    with pytest.raises(ValueError, match="two lines"):
        answer.to_bytes(close=False)


@pytest.mark.parametrize("ordinary", [ORDINARY, POST + b"hello"])
async def test_both_ways_answer_alike(ordinary: bytes) -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        request = Request(scope, receive)  # type: ignore[arg-type]
        text = f"{request.method} {request.url} {request.headers.items()} {await request.body()!r}"
        response = Response(text, 201, {"x-a": "b"}, "text/plain")
        await response(scope, receive, send)  # type: ignore[arg-type]

    server = Server(app, ["127.0.0.1:0"])
    await server.start()
    try:
        answers = []
        for pieces in ([ordinary], [ordinary[:9], ordinary[9:]]):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            for _ in range(2):
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(0.02)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(re.findall(rb"content-length: (\d+)", head)[0])
                lines = {line for line in head.split(b"\r\n") if not line.startswith(b"date: ")}
                assert head.count(b"date: ") == 1
                answers.append((lines, await reader.readexactly(length)))
            writer.close()
        assert answers[0] == answers[1] == answers[2] == answers[3]
        assert answers[0][0] >= {b"HTTP/1.1 201 ", b"x-a: b", b"content-type: text/plain; charset=utf-8"}
    finally:
        await server.stop(1.0)
