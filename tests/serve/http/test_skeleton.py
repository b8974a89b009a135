from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.core import ids
from feedgen.serve.http.skeleton import dropped_items, encode_page, is_post_uri
from tests.serve.parts import post_uri

GOOD = post_uri(1)


def page(*items: tuple[Any, Any], cursor: Any = None, req_id: Any = None) -> Any:
    return SimpleNamespace(
        items=[SimpleNamespace(uri=uri, context=context, pin=False) for uri, context in items],
        cursor=cursor,
        req_id=req_id,
    )


def posts_of(body: bytes) -> list[str]:
    return [item["post"] for item in json.loads(body)["feed"]]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (("", None), "uri"),
        ((None, None), "uri"),
        ((b"at://x", None), "uri"),
        (("at://someone.example.com/app.bsky.feed.post/3k", None), "uri"),
        (("at://did:plc:x/app.bsky.feed.post", None), "uri"),
        (("at://did:plc:x/app.bsky.feed.post/", None), "uri"),
        (("at://did:plc:x/app.bsky.feed.post/..", None), "uri"),
        (("at://did:plc:x/app.bsky.feed.post/.", None), "uri"),
        (("at://did:plc:x/app.bsky.feed.post/a b", None), "uri"),
        (("at://did:plc:x/app.bsky.feed.post/a/b", None), "uri"),
        (("at://did:plc:x/app.bsky.feed.post/3k\n", None), "uri"),
        (("at://did:plc:x/app.bsky.feed.post/" + "a" * 513, None), "uri"),
        (("at://did:plc:x/app.bsky.feed.like/3k", None), "uri"),
        (("at://did:plc:x:/app.bsky.feed.post/3k", None), "uri"),
        (("at://did:web:" + "a" * 2050 + "/app.bsky.feed.post/3k", None), "uri"),
        ((GOOD, None), "duplicate"),
        ((post_uri(2), "a|b"), "context"),
        ((post_uri(2), "a" * 2001), "context"),
        ((post_uri(2), "é" * 1001), "context"),
        ((post_uri(2), "\ud800"), "context"),
        ((post_uri(2), 5), "context"),
    ],
)
def test_a_bad_item_is_dropped_and_counted(bad: tuple[Any, Any], reason: str) -> None:
    before = dropped_items.value(reason)
    body = encode_page(page((GOOD, None), bad, (post_uri(9), "fine")), 50, None)
    assert posts_of(body) == [GOOD, post_uri(9)]
    assert dropped_items.value(reason) == before + 1


def test_the_limit_counts_good_items() -> None:
    items = [("bad", None), *((post_uri(n), None) for n in range(10))]
    assert posts_of(encode_page(page(*items), 3, None)) == [post_uri(0), post_uri(1), post_uri(2)]


@pytest.mark.parametrize(
    ("cursor", "sent", "expected"),
    [
        (None, None, None),
        ("", None, None),
        ("c", None, "c"),
        ("c", "b", "c"),
        ("c", "c", None),
        ("c" * 1025, None, None),
        ("\udfff", None, None),
        ("a|b", None, "a|b"),
    ],
)
def test_cursors(cursor: str | None, sent: str | None, expected: str | None) -> None:
    body = encode_page(page((GOOD, None), cursor=cursor), 50, sent)
    assert json.loads(body).get("cursor") == expected
    assert b"null" not in body


def test_an_empty_page_has_no_cursor() -> None:
    assert encode_page(page(cursor="c", req_id="r"), 50, None) == b'{"feed":[],"reqId":"r"}'


@pytest.mark.parametrize("req_id", ["", None, "a|b", "r" * 101, "é" * 51, "\ud800"])
def test_odd_request_ids_are_left_out(req_id: str | None) -> None:
    assert "reqId" not in json.loads(encode_page(page((GOOD, None), req_id=req_id), 50, None))


uris = st.one_of(
    st.text(max_size=60),
    st.builds(
        "at://{}/{}/{}".format,
        st.one_of(st.just("did:plc:x"), st.text(alphabet="did:plcwebx%._-\n ", max_size=20)),
        st.sampled_from([ids.POST_NSID, ids.LIKE_NSID, ""]),
        st.text(alphabet="abc._~:-/ \n", max_size=8),
    ),
)


@given(uris)
def test_the_short_check_says_what_the_long_one_says(uri: str) -> None:
    parsed = ids.parse_at_uri(uri)
    assert is_post_uri(uri) == (parsed is not None and parsed.collection == ids.POST_NSID)


texts = st.none() | st.text(max_size=30) | st.just("é" * 1500) | st.text(alphabet="\ud800\udfff|a", max_size=5)


@given(st.lists(st.tuples(uris | st.just(GOOD), texts), max_size=12), texts, texts, st.integers(1, 100))
def test_whatever_a_feed_gives_the_page_is_sound(
    items: list[tuple[str, str | None]], cursor: str | None, req_id: str | None, limit: int
) -> None:
    answer = json.loads(encode_page(page(*items, cursor=cursor, req_id=req_id), limit, "sent"))
    assert set(answer) <= {"feed", "cursor", "reqId"}
    assert len(answer["feed"]) <= limit
    posts = [item["post"] for item in answer["feed"]]
    assert len(set(posts)) == len(posts)
    for item in answer["feed"]:
        assert set(item) <= {"post", "feedContext"} and ids.parse_at_uri(item["post"])
        assert 0 < len(item.get("feedContext", "x").encode()) <= 2000 and "|" not in item.get("feedContext", "")
    assert 0 < len(answer.get("reqId", "x").encode()) <= 100
    assert answer.get("cursor", "x") != "" and (answer["feed"] or "cursor" not in answer)


def test_a_pinned_post_says_so() -> None:
    pinned = SimpleNamespace(uri=GOOD, context=None, pin=True)
    body = encode_page(SimpleNamespace(items=[pinned], cursor=None, req_id=None), 5, None)
    reason = {"$type": "app.bsky.feed.defs#skeletonReasonPin"}
    assert json.loads(body)["feed"] == [{"post": GOOD, "reason": reason}]
