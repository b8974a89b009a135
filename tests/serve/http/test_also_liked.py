"""`/also-liked`: how a post may be named, and what is answered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from feedgen.core.clock import ManualClock
from feedgen.core.errors import UpstreamError
from feedgen.feeds.contract import Item, Page
from feedgen.rank.paging import BadCursor
from feedgen.serve.http.also_liked import AlsoLikedRoute
from feedgen.serve.http.limits import Limits
from feedgen.serve.http.server import Server
from feedgen.serve.out.handles import Handles, UnknownHandle
from tests.serve.parts import READER, parts_with, post_uri, serving
from tests.serve.who.test_identity import Directory, answering

URI = f"at://{READER}/app.bsky.feed.post/3kaaaaaaaaa2a"


class Finder:
    def __init__(self) -> None:
        self.asked: list[tuple[str, int, str | None]] = []

    async def __call__(self, uri: str, limit: int, cursor: str | None) -> Page | None:
        self.asked.append((uri, limit, cursor))
        if cursor == "bad":
            raise BadCursor("no")
        return Page([Item(post_uri(n)) for n in range(limit)], "next") if uri == URI else None


class Names:
    async def did(self, handle: str) -> str:
        if handle == "down.example.com":
            raise UpstreamError("down")
        if handle != "alice.example.com":
            raise UnknownHandle(handle)
        return READER


async def test_answers() -> None:
    clock = ManualClock()
    finder, limits = Finder(), Limits(clock)
    parts = replace(parts_with(clock=clock, limits=limits), also_liked=AlsoLikedRoute(finder, Names(), limits))
    web = "https://bsky.app/profile/{}/post/3kaaaaaaaaa2a"
    async with serving(parts) as client:
        good = await client.get("/also-liked", params={"post": URI, "limit": 3})
        assert good.status_code == 200 and good.headers["access-control-allow-origin"] == "*"
        assert good.json() == {"post": URI, "posts": [post_uri(n) for n in range(3)], "cursor": "next"}
        by_handle = await client.get("/also-liked", params={"post": web.format("alice.example.com"), "cursor": "c"})
        assert by_handle.json()["post"] == URI and finder.asked[-1] == (URI, 30, "c")
        for query, status, name in [
            ({}, 400, "InvalidRequest"),
            ({"post": "x"}, 400, "InvalidRequest"),
            ({"post": URI, "limit": "101"}, 400, "InvalidRequest"),
            ({"post": URI, "cursor": "bad"}, 400, "InvalidRequest"),
            ({"post": URI, "cursor": "c" * 2000}, 400, "InvalidRequest"),
            ({"post": post_uri(1)}, 404, "NotFound"),
            ({"post": web.format("nobody.example.com")}, 400, "InvalidRequest"),
            ({"post": web.format("down.example.com")}, 502, "UpstreamFailure"),
        ]:
            answer = await client.get("/also-liked", params=query)
            assert (answer.status_code, answer.json()["error"]) == (status, name), query
        codes = [(await client.get("/also-liked", params={"post": URI})).status_code for _ in range(60)]
        assert codes[0] == 200 and codes[-1] == 429
        assert (await client.post("/also-liked")).status_code == 405


async def test_handles_are_asked_seldom() -> None:
    appview, clock = Directory(), ManualClock()
    server = Server(appview, ["127.0.0.1:0"])
    await server.start()
    handles = Handles(f"http://127.0.0.1:{server.port}/", clock)
    try:
        appview.answer = answering(200, b'{"did":"%b"}' % READER.encode())
        assert [await handles.did("alice.example.com") for _ in range(3)] == [READER] * 3
        assert len(appview.asked) == 1
        clock.advance(3601)
        assert await handles.did("alice.example.com") == READER and len(appview.asked) == 2
        appview.answer = answering(400, b'{"error":"InvalidRequest"}')
        for _ in range(2):
            with pytest.raises(UnknownHandle):
                await handles.did("nobody.example.com")
        assert len(appview.asked) == 3
        for answer in (
            answering(500),
            answering(302, b"", (b"location", b"http://127.0.0.1:1/")),
            answering(200, b"[]"),
            answering(200, b'{"did":"me"}'),
            answering(200, b'{"did":"' + b"a" * 100_000 + b'"}'),
        ):
            appview.answer = answer
            with pytest.raises(UpstreamError):
                await handles.did("odd.example.com")
        appview.answer = answering(500)
        for n in range(100):
            with pytest.raises(UpstreamError):
                await handles.did(f"h{n}.example.com")
        assert len(appview.asked) < 70  # a flood of links is no flood of questions
    finally:
        await handles.close()
        await server.stop(1.0)
