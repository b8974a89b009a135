"""Every route under whatever can be sent: no 500, no hang, no answer out of form, and a server as well as before."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedgen.core.clock import ManualClock
from feedgen.core.ids import US_PER_S
from feedgen.serve.http.limits import Limits, Rate
from feedgen.serve.http.routes import make_app
from feedgen.serve.http.server import Server
from feedgen.serve.who.tokens import TokenVerifier
from tests.serve.parts import FEED_URI, SERVICE, parts_with, post_uri
from tests.serve.who.test_tokens import BAD, GOOD, NOW_S, Keys, claims, token

# More of it: FUZZ_EXAMPLES=5000 scripts/test tests/serve/test_fuzz.py
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "120"))
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PLENTY = Rate(per_s=1e6, burst=10**6)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    clock = ManualClock(NOW_S * US_PER_S)
    parts = parts_with(
        clock=clock, limits=Limits(clock, reader=PLENTY, telling=PLENTY, anonymous=PLENTY, bad_token=PLENTY)
    )
    server = Server(make_app(replace(parts, verifier=TokenVerifier(SERVICE.did, Keys(), clock))), ["127.0.0.1:0"])
    await server.start()
    yield server
    assert not [code for code in (await answer_of(server, request())) if code[0] != 200]
    await server.stop(1.0)
    assert not server._open


def request(
    method: bytes = b"GET",
    target: bytes = b"/xrpc/app.bsky.feed.getFeedSkeleton?feed=" + FEED_URI.encode(),
    headers: list[tuple[bytes, bytes]] | None = None,
    body: bytes = b"",
) -> bytes:
    lines = [b"%s %s HTTP/1.1" % (method, target), b"host: x", b"connection: close"]
    lines += [name + b": " + value for name, value in headers or []]
    if body:
        lines.append(b"content-length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def answer_of(server: Server, sent: bytes) -> list[tuple[int, bytes, bytes]]:
    """Status, head and body of each answer; none of them may be out of form."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    received = b""
    with suppress(ConnectionError):
        writer.write(sent)
        writer.write_eof()
        async with asyncio.timeout(5):
            while piece := await reader.read(65536):
                received += piece
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return check(received, is_head=sent.startswith(b"HEAD "))


def check(received: bytes, is_head: bool) -> list[tuple[int, bytes, bytes]]:
    answers = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        if status == 100:
            continue
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        length = 0 if is_head else int(fields.get(b"content-length", b"0"))
        body, received = received[:length], received[length:]
        assert status in (200, 204, 400, 401, 404, 405, 408, 413, 414, 429, 431, 501, 502, 503), (head, body)
        assert b"null" not in body and b"Traceback" not in body
        if status >= 400 and not is_head:
            assert fields[b"content-type"] == b"application/json", head
            told = json.loads(body)
            assert set(told) == {"error", "message"} and told["error"] and told["message"]
        answers.append((status, head, body))
    return answers


anything = st.one_of(st.binary(max_size=40), st.text(max_size=20).map(lambda text: text.encode(errors="surrogatepass")))
numbers = st.one_of(st.integers(), st.floats(), st.text(alphabet="0123456789+-.eE_٣ ", max_size=12)).map(
    lambda value: str(value).encode(errors="ignore")
)
at_uris = st.one_of(
    st.just(FEED_URI.encode()),
    st.text(alphabet="at:/did.plcweb#?%_-~\0é", max_size=60).map(str.encode),
    st.just(b"at://" + b"a" * 3000),
)
parameters = st.one_of(
    st.tuples(st.just(b"feed"), at_uris),
    st.tuples(st.just(b"limit"), numbers),
    st.tuples(st.just(b"cursor"), st.one_of(anything, st.just(b"c" * 1500))),
    st.tuples(anything, anything),
)
paths = st.one_of(
    st.sampled_from(
        [
            b"/xrpc/app.bsky.feed.getFeedSkeleton",
            b"/xrpc/app.bsky.feed.sendInteractions",
            b"/xrpc/app.bsky.feed.describeFeedGenerator",
            b"/xrpc/_health",
            b"/.well-known/did.json",
            b"/",
        ]
    ),
    anything.map(lambda text: b"/" + quote_from_bytes(text).encode()),
    anything.map(lambda text: b"/xrpc/" + quote_from_bytes(text).encode()),
    st.sampled_from([b"*", b"http://other.example.com/", b"//", b"/..%2f..%2fetc/passwd", b"/%00", b"/xrpc//_health"]),
)
TOKENS = {**GOOD, **{name: text for name, (text, _) in BAD.items() if len(text) < 5000}}
tokens = st.one_of(
    st.sampled_from(sorted(TOKENS)).map(lambda name: TOKENS[name]),
    st.text(alphabet="abcXYZ019._-= ", max_size=80),
).map(lambda text: text.encode(errors="ignore").strip())
header_values = st.text(alphabet="abc,;=q0.9*-: \t\"'%é", max_size=60).map(lambda text: text.encode("latin-1").strip())
headers = st.lists(
    st.one_of(
        st.tuples(st.just(b"authorization"), tokens.map(lambda text: b"Bearer " + text)),
        st.tuples(st.just(b"authorization"), header_values),
        st.tuples(st.just(b"accept-language"), header_values),
        st.tuples(st.just(b"x-forwarded-for"), header_values),
        st.tuples(st.just(b"content-type"), header_values | st.just(b"application/json; charset=utf-8")),
        st.tuples(st.sampled_from([b"origin", b"expect", b"range", b"x-bsky-topics", b"upgrade"]), header_values),
    ),
    max_size=4,
    unique_by=lambda header: header[0],
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just(post_uri(1)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["interactions", "item", "event", "feed", "feedContext", "reqId"]), inner)
    ),
    max_leaves=12,
)
bodies = st.one_of(
    st.just(b""),
    anything,
    json_values.map(lambda value: json.dumps(value).encode()),
    json_values.map(lambda value: json.dumps({"interactions": [value, value], "feed": FEED_URI}).encode()),
    st.integers(1, 150_000).map(lambda n: b'{"interactions":[' + b"1," * n + b"1]}"),
    st.integers(1, 300_000).map(lambda n: b"[" * n),
)


@fuzz
@given(
    st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE", b"CONNECT", b"get", b"X"]),
    paths,
    st.lists(parameters, max_size=4),
    headers,
    bodies,
)
async def test_every_route(
    server: Server,
    method: bytes,
    path: bytes,
    query: list[tuple[bytes, bytes]],
    headers: list[tuple[bytes, bytes]],
    body: bytes,
) -> None:
    pairs = b"&".join(quote_from_bytes(key).encode() + b"=" + quote_from_bytes(value).encode() for key, value in query)
    answers = await answer_of(server, request(method, path + (b"?" + pairs if pairs else b""), headers, body))
    assert len(answers) == 1


@fuzz
@given(parameters, tokens, headers)
async def test_the_skeleton_route(
    server: Server, parameter: tuple[bytes, bytes], text: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    key, value = (quote_from_bytes(part).encode() for part in parameter)
    target = b"/xrpc/app.bsky.feed.getFeedSkeleton?feed=%s&%s=%s" % (FEED_URI.encode(), key, value)
    headers = [header for header in headers if header[0] != b"authorization"]
    if text:
        headers.append((b"authorization", b"Bearer " + text))
    [(status, _, body)] = await answer_of(server, request(b"GET", target, headers))
    if status == 200:
        assert set(json.loads(body)) <= {"feed", "cursor", "reqId"}


@fuzz
@given(st.data())
async def test_interactions_of_a_known_reader(server: Server, data: st.DataObject) -> None:
    body = data.draw(bodies)
    jti = data.draw(st.uuids()).hex
    bearer = b"Bearer " + token(**claims(lxm="app.bsky.feed.sendInteractions", jti=jti)).encode()
    target = b"/xrpc/app.bsky.feed.sendInteractions"
    [(status, _, answer)] = await answer_of(server, request(b"POST", target, [(b"authorization", bearer)], body))
    assert status in (200, 400, 401, 413)
    assert status != 200 or answer == b"{}"


@fuzz
@given(st.data())
async def test_bytes_that_are_almost_http(server: Server, data: st.DataObject) -> None:
    sent = bytearray(request(b"POST", headers=[(b"authorization", b"Bearer x")], body=b"{}"))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(sent) - 1))
        sent[at : at + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
        if not sent:
            break
    await answer_of(server, bytes(sent))
