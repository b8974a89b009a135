"""Posts asked of an AppView by the server: real sockets, and an AppView that is slow, wrong, or down."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from feedgen.core.clock import ManualClock
from feedgen.serve.http.xrpc import XrpcError
from feedgen.web import posts as posts_module
from feedgen.web.allowance import FIRST_GUESS_S, MAX_WAITING, Allowance
from feedgen.web.posts import BATCH, KEPT_S, MAX_KEPT, REST_S, Posts, app_url

URIS = [f"at://did:plc:{'a' * 24}/app.bsky.feed.post/3k{n:011d}" for n in range(80)]


class AppView:
    """Answers getPosts as `view` says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.view: Callable[[str], Any] = plain
        self.body: bytes | None = None
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                uris = parse_qs(urlsplit(head.split()[1].decode()).query).get("uris", [])
                self.asked.append(uris)
                await self.go_on.wait()
                body = (
                    self.body if self.body is not None else json.dumps({"posts": [self.view(u) for u in uris]}).encode()
                )
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()


def plain(uri: str) -> dict[str, Any]:
    return {"uri": uri, "author": {"handle": "a.example.com", "displayName": "A"}, "record": {"text": uri[-3:]}}


@asynccontextmanager
async def appview() -> AsyncIterator[tuple[AppView, Posts, ManualClock]]:
    view, clock = AppView(), ManualClock()
    server = await asyncio.start_server(view.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    posts = Posts(f"http://127.0.0.1:{port}", ["https://cdn.example.com"], clock)
    try:
        yield view, posts, clock
    finally:
        view.go_on.set()
        await posts.close()
        server.close()
        await server.wait_closed()


async def test_batches_and_a_cache() -> None:
    async with appview() as (view, posts, clock):
        found = await posts.of(URIS[:60])
        assert list(found) == URIS[:60] and found[URIS[7]].text == URIS[7][-3:]
        assert sorted(len(batch) for batch in view.asked) == [10, BATCH, BATCH]
        await posts.of(URIS[:60])
        assert len(view.asked) == 3
        clock.advance(KEPT_S + 1)
        await posts.of(URIS[:1])
        assert view.asked[3] == URIS[:1]


async def test_nobody_asks_for_what_is_being_asked_for() -> None:
    async with appview() as (view, posts, _):
        view.go_on.clear()
        asking = [asyncio.create_task(posts.of(URIS[:20])) for _ in range(10)]
        while not view.asked:
            await asyncio.sleep(0)
        view.go_on.set()
        assert all(len(found) == 20 for found in await asyncio.gather(*asking))
        assert len(view.asked) == 1


async def test_what_the_appview_does_not_have_is_not_asked_for_again() -> None:
    async with appview() as (view, posts, _):
        view.view = lambda uri: plain(uri) if uri == URIS[0] else {"uri": 7}
        assert list(await posts.of(URIS[:3])) == URIS[:1]
        assert list(await posts.of(URIS[:3])) == URIS[:1] and len(view.asked) == 1


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"\xff", b'{"posts": 7}', b'{"posts": [7, null, {}]}', b"x" * 2_000_000]
)
async def test_an_appview_that_talks_nonsense_is_left_alone_for_a_while(body: bytes) -> None:
    async with appview() as (view, posts, clock):
        view.body = body
        assert await posts.of(URIS[:2]) == {}
        view.body = None
        clock.advance(max(KEPT_S, REST_S) + 1)
        assert len(await posts.of(URIS[:2])) == 2


async def test_an_appview_that_is_down(unused_tcp_port: int) -> None:
    clock = ManualClock()
    posts = Posts(f"http://127.0.0.1:{unused_tcp_port}", [], clock)
    assert await posts.of(URIS[:30]) == {}
    assert await posts.of(URIS[:30]) == {}
    await posts.close()


async def test_the_cache_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(posts_module, "MAX_KEPT", 30)
    assert MAX_KEPT > 30
    async with appview() as (view, posts, _):
        await posts.of(URIS[:75])
        view.asked.clear()
        await posts.of(URIS[:75])
        assert sum(map(len, view.asked)) >= 45


async def test_pictures_come_from_known_hosts_alone() -> None:
    def dressed(uri: str) -> dict[str, Any]:
        images = [
            {"thumb": "https://cdn.example.com/a.jpg", "alt": "a", "aspectRatio": {"width": 3, "height": 2}},
            {"thumb": "https://tracker.example.com/b.jpg", "alt": "b"},
            {"thumb": "javascript:alert(1)"},
        ]
        view = plain(uri) | {"embed": {"$type": "app.bsky.embed.images#view", "images": images}}
        view["author"] |= {"avatar": "https://tracker.example.com/a"}
        return view

    async with appview() as (view, posts, _):
        view.view = dressed
        shown = (await posts.of(URIS[:1]))[URIS[0]]
        assert [picture.thumb for picture in shown.pictures] == ["https://cdn.example.com/a.jpg"]
        assert shown.avatar == ""


@pytest.mark.parametrize("label", ["!no-unauthenticated", "porn", "graphic-media"])
@pytest.mark.parametrize("whose", ["author", "post", "quoted"])
async def test_what_labels_veil_is_not_passed_on(label: str, whose: str) -> None:
    """Neither text nor pictures leave the server, whether the post, its author or the quoted one is labelled."""

    def labelled(uri: str) -> dict[str, Any]:
        image = {"thumb": "https://cdn.example.com/a.jpg", "alt": "secret"}
        quoted = {"author": {"handle": "q.example.com"}, "value": {"text": "secret quote"}}
        embed = {"$type": "x", "images": [image], "record": {"record": quoted}}
        view = plain(uri) | {"embed": embed}
        marked = {"author": view["author"], "post": view, "quoted": quoted["author"]}[whose]
        marked["labels"] = [{"val": label}]
        return view

    async with appview() as (view, posts, _):
        view.view = labelled
        shown = (await posts.of(URIS[:1]))[URIS[0]]
        if whose == "quoted":
            assert shown.quote is None and shown.pictures and not shown.veil
        elif (whose, label) == ("post", "!no-unauthenticated"):  # means something on accounts alone
            assert not shown.veil and shown.quote is not None
        else:
            assert shown.veil and not shown.text and not shown.pictures and shown.quote is None


def test_the_posts_page_in_the_app() -> None:
    assert app_url(URIS[0]) == f"https://bsky.app/profile/did:plc:{'a' * 24}/post/3k00000000000"


async def test_an_allowance_is_spent_and_saved_up() -> None:
    clock = ManualClock()
    allowance = Allowance(clock, part=0.5, burst_s=0.02)

    def work() -> int:
        return sum(range(3_000_000))  # some 50 ms of CPU

    try:
        assert await allowance.run(work) == sum(range(3_000_000))
        with pytest.raises(XrpcError) as refused:
            await allowance.run(work)
        assert refused.value.status == 503
        clock.advance(60)
        assert await allowance.run(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await allowance.run(lambda: 1 // 0)
    finally:
        allowance.close()
    allowance = Allowance(clock)
    try:
        answers = await asyncio.gather(
            *(allowance.run(lambda: 1) for _ in range(3 * MAX_WAITING)), return_exceptions=True
        )
        assert answers.count(1) >= MAX_WAITING and any(isinstance(answer, XrpcError) for answer in answers)
    finally:
        allowance.close()


async def test_many_at_once_do_not_spend_the_same_second() -> None:
    """What a list took was taken when it was made: all who asked before were let in."""
    allowance = Allowance(ManualClock(), burst_s=2.5 * FIRST_GUESS_S)
    let_go = threading.Event()
    try:
        asking = [asyncio.ensure_future(allowance.run(let_go.wait)) for _ in range(10)]
        await asyncio.sleep(0)
        refused = [task for task in asking if task.done()]
        let_go.set()
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert answers.count(True) == 3 and len(refused) == 7
        assert await allowance.run(lambda: 7) == 7  # they cost nothing in the end
    finally:
        let_go.set()
        allowance.close()
