from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import httpx
import pytest

from feedgen.feeds.contract import Ask, Item, Page
from feedgen.rank.paging import BadCursor
from feedgen.serve.http.documents import ServiceIdentity
from feedgen.serve.http.routes import Health, Parts
from tests.serve.parts import (
    FEED_URI,
    INTERACTIONS,
    PUBLISHER,
    READER,
    SKELETON,
    CountingFeed,
    Sink,
    parts_with,
    post_uri,
    serving,
)


async def get(parts: Parts, path: str, **kwargs: object) -> httpx.Response:
    async with serving(parts) as client:
        return await client.get(path, **kwargs)  # type: ignore[arg-type]


def is_error(answer: httpx.Response, status: int, name: str) -> bool:
    body = answer.json()
    assert (answer.status_code, body.get("error")) == (status, name), answer.text
    assert set(body) == {"error", "message"} and isinstance(body["message"], str) and body["message"]
    assert answer.headers["content-type"] == "application/json"
    return True


async def test_a_page_is_what_the_lexicon_says_byte_for_byte() -> None:
    answer = await get(parts_with(), SKELETON, params={"feed": FEED_URI, "limit": "2"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    items = [{"post": post_uri(n), "feedContext": "because"} for n in (0, 1)]
    expected = json.dumps({"feed": items, "cursor": "2", "reqId": "req-1"}, separators=(",", ":"))
    assert answer.text == expected
    assert answer.headers["content-language"] == "en"
    assert "server" not in answer.headers
    assert answer.headers["access-control-allow-origin"] == "*"


async def test_what_is_absent_is_left_out() -> None:
    feed = CountingFeed(answer=lambda ask: Page([Item(post_uri(1), None)], None, None, ()))
    answer = await get(parts_with(feed), SKELETON, params={"feed": FEED_URI})
    assert answer.text == '{"feed":[{"post":"' + post_uri(1) + '"}]}'
    assert "content-language" not in answer.headers


async def test_the_feed_is_told_who_asks_and_how() -> None:
    feed = CountingFeed()
    async with serving(parts_with(feed)) as client:
        headers = {"authorization": f"Bearer {READER}", "accept-language": "pt-BR,pt;q=0.9,en;q=0.5,*;q=0.1,x;q=nan"}
        await client.get(SKELETON, params={"feed": FEED_URI, "cursor": "9", "limit": "100"}, headers=headers)
        await client.get(SKELETON, params={"feed": FEED_URI, "limit": "1"})
        await client.get(SKELETON, params={"feed": FEED_URI, "limit": "1", "cursor": "5"})
        await client.get(SKELETON, params={"feed": FEED_URI, "cursor": ""})
    first, second, third, fourth = feed.asks
    assert (first.reader_did, first.person, first.limit, first.cursor) == (READER, 7, 100, "9")
    assert first.languages == ("pt", "en") and not first.peek
    assert (second.reader_did, second.person, second.languages, second.peek) == (None, None, (), True)
    assert not third.peek
    assert (fourth.cursor, fourth.limit) == (None, 50)


QUERIES = [
    ("", 400, "InvalidRequest"),
    ("feed=", 400, "InvalidRequest"),
    ("feed=nonsense", 400, "InvalidRequest"),
    ("feed=at://", 400, "InvalidRequest"),
    (f"feed=at://{PUBLISHER}/app.bsky.feed.generator/other", 400, "UnknownFeed"),
    (f"feed=at://{PUBLISHER}/app.bsky.feed.post/test", 400, "UnknownFeed"),
    ("feed=at://did:plc:zzzzzzzzzzzzzzzzzzzzzzzz/app.bsky.feed.generator/test", 400, "UnknownFeed"),
    ("feed=at://someone.example.com/app.bsky.feed.generator/test", 400, "UnknownFeed"),
    (f"feed={FEED_URI}&limit=0", 400, "InvalidRequest"),
    (f"feed={FEED_URI}&limit=101", 400, "InvalidRequest"),
    (f"feed={FEED_URI}&limit=-1", 400, "InvalidRequest"),
    (f"feed={FEED_URI}&limit=", 400, "InvalidRequest"),
    (f"feed={FEED_URI}&limit=ten", 400, "InvalidRequest"),
    (f"feed={FEED_URI}&limit=1.5", 400, "InvalidRequest"),
    (f"feed={FEED_URI}&limit=%D9%A1", 400, "InvalidRequest"),
    (f"feed={FEED_URI}&limit=" + "9" * 500, 400, "InvalidRequest"),
    (f"feed={FEED_URI}&cursor=" + "c" * 1025, 400, "InvalidRequest"),
    (f"feed={FEED_URI}&x=" + "c" * 4096, 414, "InvalidRequest"),
    (f"feed={FEED_URI}&" + "&".join(f"k{n}=1" for n in range(100)), 400, "InvalidRequest"),
    ("feed=%ff%fe", 400, "InvalidRequest"),
]


@pytest.mark.parametrize(("query", "status", "name"), QUERIES)
async def test_a_question_that_makes_no_sense_gets_the_documented_error(query: str, status: int, name: str) -> None:
    assert is_error(await get(parts_with(), f"{SKELETON}?{query}"), status, name)


async def test_of_a_repeated_parameter_the_first_counts() -> None:
    feed = CountingFeed()
    await get(parts_with(feed), f"{SKELETON}?feed={FEED_URI}&limit=3&limit=200&feed=x")
    assert feed.asks[0].limit == 3


async def test_a_bad_token_is_refused_and_an_uncheckable_one_is_nobody() -> None:
    feed = CountingFeed()
    async with serving(parts_with(feed)) as client:
        for header in ("Bearer nonsense", "Bearer", "bearer x.y.z"):
            answer = await client.get(SKELETON, params={"feed": FEED_URI}, headers={"authorization": header})
            assert is_error(answer, 401, "BadJwt")
        for header in ("Basic abc", "Bearer down"):
            answer = await client.get(SKELETON, params={"feed": FEED_URI}, headers={"authorization": header})
            assert answer.status_code == 200
    assert [ask.reader_did for ask in feed.asks] == [None, None]


async def test_every_other_way_in_ends_in_an_xrpc_error() -> None:
    async with serving(parts_with()) as client:
        assert is_error(await client.get("/nothing"), 404, "NotFound")
        assert is_error(await client.get("/xrpc/app.bsky.feed.getTimeline"), 501, "MethodNotImplemented")
        assert is_error(await client.get(SKELETON + "/"), 501, "MethodNotImplemented")
        assert is_error(await client.get(INTERACTIONS), 405, "InvalidRequest")
        answer = await client.post(SKELETON)
        assert is_error(answer, 405, "InvalidRequest")
        assert "GET" in answer.headers["allow"]
        assert is_error(await client.request("DELETE", SKELETON), 405, "InvalidRequest")
        assert is_error(await client.request("BREW", "/"), 405, "InvalidRequest")


async def test_head_and_options() -> None:
    async with serving(parts_with()) as client:
        head = await client.head(SKELETON, params={"feed": FEED_URI})
        assert (head.status_code, head.content) == (200, b"") and int(head.headers["content-length"]) > 100
        options = await client.options(SKELETON, headers={"origin": "https://example.com"})
        assert (options.status_code, options.content) == (204, b"")
        assert "authorization" in options.headers["access-control-allow-headers"]
        assert "content-length" not in options.headers


async def test_a_bug_is_a_500_without_a_trace_and_the_log_has_it(caplog: pytest.LogCaptureFixture) -> None:
    def fail(ask: Ask) -> Page:
        raise RuntimeError("secret detail")

    answer = await get(parts_with(CountingFeed(answer=fail)), SKELETON, params={"feed": FEED_URI})
    assert is_error(answer, 500, "InternalServerError")
    assert "secret" not in answer.text
    assert "secret detail" in caplog.text


async def test_a_feed_that_takes_too_long_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(CountingFeed):
        async def page(self, ask: Ask) -> Page:
            await asyncio.sleep(30)
            raise AssertionError

    monkeypatch.setattr("feedgen.serve.http.routes.ANSWER_TIMEOUT_S", 0.05)
    answer = await get(parts_with(Slow()), SKELETON, params={"feed": FEED_URI})
    assert is_error(answer, 503, "NotEnoughResources")


async def test_what_is_waited_for_before_the_list_counts_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(reader_did: str, arrived_s: float | None) -> None:
        await asyncio.sleep(30)

    monkeypatch.setattr("feedgen.serve.http.routes.ANSWER_TIMEOUT_S", 0.05)
    headers = {"authorization": f"Bearer {READER}"}
    answer = await get(replace(parts_with(), meet=slow), SKELETON, params={"feed": FEED_URI}, headers=headers)
    assert is_error(answer, 503, "NotEnoughResources")


async def test_a_cursor_of_somebody_else() -> None:
    def refuse(ask: Ask) -> Page:
        raise BadCursor("not a cursor of ours")

    query = {"feed": FEED_URI, "cursor": "x"}
    assert is_error(await get(parts_with(CountingFeed(answer=refuse)), SKELETON, params=query), 400, "InvalidRequest")


async def test_documents() -> None:
    async with serving(parts_with()) as client:
        did = await client.get("/.well-known/did.json")
        assert did.headers["content-type"] == "application/json"
        assert did.json() == {
            "@context": ["https://www.w3.org/ns/did/v1"],
            "id": "did:web:feed.example.com",
            "service": [{"id": "#bsky_fg", "type": "BskyFeedGenerator", "serviceEndpoint": "https://feed.example.com"}],
        }
        described = await client.get("/xrpc/app.bsky.feed.describeFeedGenerator")
        assert described.json() == {"did": "did:web:feed.example.com", "feeds": [{"uri": FEED_URI}]}
        assert (await client.get("/xrpc/_health")).json() == {"version": "test"}


async def test_links_and_a_did_that_is_kept_elsewhere() -> None:
    service = ServiceIdentity(
        did="did:plc:ssssssssssssssssssssssss",
        hostname="feed.example.com",
        privacy_policy="https://example.com/privacy",
    )
    async with serving(parts_with(service=service)) as client:
        assert is_error(await client.get("/.well-known/did.json"), 404, "NotFound")
        described = (await client.get("/xrpc/app.bsky.feed.describeFeedGenerator")).json()
    assert described["links"] == {"privacyPolicy": "https://example.com/privacy"}
    assert described["feeds"] == [{"uri": f"at://{service.did}/app.bsky.feed.generator/test"}]


async def test_bad_health_is_a_503_with_its_reasons() -> None:
    answer = await get(parts_with(health=lambda: Health(False, {"stream": "stalled"})), "/xrpc/_health")
    assert (answer.status_code, answer.json()) == (503, {"stream": "stalled"})


def interaction(n: int = 1, event: str = "app.bsky.feed.defs#interactionSeen", **more: object) -> dict[str, object]:
    return {"item": post_uri(n), "event": event, **more}


async def test_interactions_reach_the_sink() -> None:
    sink = Sink()
    body = {
        "interactions": [
            interaction(1, feedContext="because", reqId="r"),
            interaction(2, event="app.bsky.feed.defs#requestLess", extra=1),
        ],
        "feed": FEED_URI,
    }
    async with serving(parts_with(sink=sink)) as client:
        answer = await client.post(INTERACTIONS, json=body, headers={"authorization": f"Bearer {READER}"})
    assert (answer.status_code, answer.text) == (200, "{}")
    [(reader, feed, [first, second], now_us)] = sink.calls
    assert (reader, feed) == (READER, "test") and now_us > 1_600_000_000_000_000
    assert (first.item, first.event, first.context, first.req_id) == (post_uri(1), "interactionSeen", "because", "r")
    assert (second.event, second.context, second.req_id) == ("requestLess", None, None)


async def test_odd_interactions_do_not_cost_the_others() -> None:
    sink = Sink()
    odd: list[object] = [
        None,
        1,
        {},
        {"item": 1, "event": []},
        interaction(event="interactionSeen"),
        interaction(event="app.bsky.feed.defs#unknown"),
        {"item": "at://someone.example.com/app.bsky.feed.post/1", "event": "app.bsky.feed.defs#interactionSeen"},
        interaction(3, feedContext="c" * 2001, reqId="r" * 101),
    ]
    async with serving(parts_with(sink=sink)) as client:
        answer = await client.post(
            INTERACTIONS, json={"interactions": odd}, headers={"authorization": f"Bearer {READER}"}
        )
    assert answer.status_code == 200
    [(_, feed, [one], _)] = sink.calls
    assert feed is None and (one.item, one.context, one.req_id) == (post_uri(3), None, None)


BODIES = [
    (b"", 400, "InvalidRequest"),
    (b"[]", 400, "InvalidRequest"),
    (b"{}", 400, "InvalidRequest"),
    (b'{"interactions":null}', 400, "InvalidRequest"),
    (b'{"interactions":[],"feed":1}', 400, "InvalidRequest"),
    (b'{"interactions":[],"feed":"at://did:web:other.example.com/app.bsky.feed.generator/x"}', 400, "UnknownFeed"),
    (b'{"interactions":[' + b"[" * 5000 + b"]" * 5000 + b"]}", 400, "InvalidRequest"),
    (b"\xff\xfe", 400, "InvalidRequest"),
    (json.dumps({"interactions": [1] * 1001}).encode(), 413, "PayloadTooLarge"),
    (b'{"interactions":[]' + b" " * 256 * 1024 + b"}", 413, "PayloadTooLarge"),
]


@pytest.mark.parametrize(("body", "status", "name"), BODIES)
async def test_a_body_that_is_no_batch_is_refused(body: bytes, status: int, name: str) -> None:
    sink = Sink()
    headers = {"authorization": f"Bearer {READER}", "content-type": "application/json"}
    async with serving(parts_with(sink=sink)) as client:
        assert is_error(await client.post(INTERACTIONS, content=body, headers=headers), status, name)
        chunked = await client.post(INTERACTIONS, content=_chunks(body), headers=headers)
        assert is_error(chunked, status, name)
    assert not sink.calls


async def _chunks(body: bytes):  # type: ignore[no-untyped-def]
    for at in range(0, len(body), 50_000):
        yield body[at : at + 50_000]


async def test_interactions_need_a_reader_and_json() -> None:
    async with serving(parts_with()) as client:
        assert is_error(await client.post(INTERACTIONS, json={"interactions": []}), 401, "MissingJwt")
        bad = {"authorization": "Bearer x"}
        assert is_error(await client.post(INTERACTIONS, json={}, headers=bad), 401, "BadJwt")
        down = {"authorization": "Bearer down"}
        assert is_error(await client.post(INTERACTIONS, json={}, headers=down), 502, "UpstreamFailure")
        text = {"authorization": f"Bearer {READER}", "content-type": "text/plain"}
        assert is_error(await client.post(INTERACTIONS, content=b"{}", headers=text), 400, "InvalidRequest")
