"""Our answers against Bluesky's published lexicons: those that a real AppView was given, and fresh ones.

exchanges.json is a sample of what tests/appview left in .appview/exchanges.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.feeds.contract import Item, Page
from feedgen.serve.http.skeleton import encode_page
from tests.serve import lexicons
from tests.serve.parts import FEED_URI, INTERACTIONS, READER, SKELETON, CountingFeed, parts_with, serving
from tests.serve.parts import post_uri as uri

RECORDED: list[dict[str, Any]] = json.loads(Path(__file__).with_name("exchanges.json").read_text())
POST = {"post": uri(1)}


def test_recorded_answers_are_what_the_lexicons_say() -> None:
    for exchange in RECORDED:
        if exchange["status"] == 200:
            assert lexicons.faults(exchange["method"], exchange["body"], exchange["type"]) == []
        else:
            assert json.loads(exchange["body"]) == {"error": "UnknownFeed", "message": "Unknown feed"}
    assert {exchange["method"] for exchange in RECORDED} == {
        lexicons.GET_SKELETON,
        lexicons.DESCRIBE,
        lexicons.INTERACTIONS,
    }


async def test_fresh_answers_are_what_the_lexicons_say() -> None:
    async with serving(parts_with(CountingFeed())) as client:
        reader = {"authorization": f"Bearer {READER}"}
        cursor: dict[str, str] = {}
        while True:
            page = await client.get(SKELETON, params={"feed": FEED_URI, "limit": 30, **cursor}, headers=reader)
            assert lexicons.faults(lexicons.GET_SKELETON, page.content, page.headers["content-type"]) == []
            if "cursor" not in page.json():
                break
            cursor = {"cursor": page.json()["cursor"]}
        described = await client.get(f"/xrpc/{lexicons.DESCRIBE}")
        assert lexicons.faults(lexicons.DESCRIBE, described.content, described.headers["content-type"]) == []
        body = {"interactions": [{"item": uri(0), "event": "app.bsky.feed.defs#interactionSeen"}]}
        told = await client.post(INTERACTIONS, json=body, headers=reader)
        assert lexicons.faults(lexicons.INTERACTIONS, told.content, told.headers["content-type"]) == []


@given(
    items=st.lists(st.tuples(st.text() | st.integers(0, 9).map(uri), st.none() | st.text(max_size=2100)), max_size=20),
    cursor=st.none() | st.text(),
    req_id=st.none() | st.text(max_size=120),
    limit=st.integers(1, 100),
)
def test_whatever_a_feed_says_the_page_is_sound(
    items: list[tuple[str, str | None]], cursor: str | None, req_id: str | None, limit: int
) -> None:
    body = encode_page(Page([Item(*item) for item in items], cursor, req_id), limit, None)
    assert lexicons.faults(lexicons.GET_SKELETON, body) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"feed": None},
        {"feed": [None]},
        {"feed": {}},
        {"feed": [{}]},
        {"feed": [{"post": "at://alice.example.com/app.bsky.feed.post/3kpost"}]},
        {"feed": [{"post": "https://example.com"}]},
        {"feed": [{"post": 1}]},
        {"feed": [POST], "cursor": None},
        {"feed": [POST], "cursor": 1},
        {"feed": [POST], "reqId": "x" * 101},
        {"feed": [POST], "reqId": "é" * 51},
        {"feed": [POST | {"feedContext": "x" * 2001}]},
        {"feed": [POST | {"feedContext": None}]},
        {"feed": [POST | {"reason": {"repost": uri(2)}}]},
        {"feed": [POST | {"reason": {"$type": "app.bsky.feed.defs#skeletonReasonRepost"}}]},
        {"feed": [POST | {"other": 1}]},
    ],
)
def test_what_would_lose_a_page_is_seen(body: object) -> None:
    assert lexicons.faults(lexicons.GET_SKELETON, json.dumps(body)) != []


def test_a_good_page_with_all_that_there_is() -> None:
    repost = {"$type": "app.bsky.feed.defs#skeletonReasonRepost", "repost": uri(3).replace("post/", "repost/")}
    body = json.dumps({"feed": [POST | {"reason": repost, "feedContext": "c"}], "cursor": "c", "reqId": "r"})
    assert lexicons.faults(lexicons.GET_SKELETON, body, "application/json; charset=utf-8") == []
    assert lexicons.faults(lexicons.GET_SKELETON, body, "text/plain") != []
    assert lexicons.faults(lexicons.GET_SKELETON, b"\xff") != []
