"""What people paste: every spelling of an account and of a post, and what is neither."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.core.ids import is_did, parse_at_uri
from feedgen.core.names import Name, is_handle, parse_name

READER = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
URI = f"at://{READER}/app.bsky.feed.post/3kaaaaaaaaa2a"


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        (URI, READER),
        (f"https://bsky.app/profile/{READER}/post/3kaaaaaaaaa2a", READER),
        (f"https://bsky.app/profile/{READER.replace(':', '%3A')}/post/3kaaaaaaaaa2a", READER),
        ("https://bsky.app/profile/Alice.Example.com/post/3kaaaaaaaaa2a", "alice.example.com"),
        ("https://other.example/profile/alice.example.com/post/3kaaaaaaaaa2a/?ref=x#y", "alice.example.com"),
        ("bsky.app/profile/alice.example.com/post/3kaaaaaaaaa2a", "alice.example.com"),
        ("HTTPS://bsky.app/profile/alice.example.com/post/3kaaaaaaaaa2a/liked-by", "alice.example.com"),
        ("https://bsky.app/profile/did:web:localhost%253A80/post/3kaaaaaaaaa2a", "did:web:localhost%3A80"),
        (f"  {URI}\n", READER),
        ("at://alice.example.com/app.bsky.feed.post/3kaaaaaaaaa2a", "alice.example.com"),
    ],
)
def test_names_of_posts(text: str, authority: str) -> None:
    assert parse_name(text) == Name(authority, "3kaaaaaaaaa2a")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3kaaaaaaaaa2a",
        f"at://{READER}",
        f"at://{READER}/app.bsky.feed.like/3kaaaaaaaaa2a",
        f"at://{READER}/app.bsky.feed.post/..",
        f"at://{READER}/app.bsky.feed.post/a/b",
        "http://bsky.app/profile/alice.example.com/post/3kaaaaaaaaa2a",
        "https://bsky.app/profile/alice/post/3kaaaaaaaaa2a",
        "https://bsky.app/profile/127.0.0.1/post/3kaaaaaaaaa2a",
        "https://bsky.app/profile/alice.example.com/post/a%2Fb",
        "https://bsky.app/profile/alice.example.com/feed/3kaaaaaaaaa2a",
        "https://[bsky.app/profile/alice.example.com/post/3kaaaaaaaaa2a",
        "javascript:alert(1)",
        URI + "x" * 3000,
    ],
)
def test_what_names_no_post(text: str) -> None:
    name = parse_name(text)
    assert name is None or not name.rkey


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("alice.example.com", "alice.example.com"),
        (" @Alice.Example.com ", "alice.example.com"),
        ("\u202aalice.example.com\u202c", "alice.example.com"),  # as apps wrap handles
        ("\u2068@alice.example.com\u2069", "alice.example.com"),
        (READER, READER),
        ("did%3Aplc%3Aaaaaaaaaaaaaaaaaaaaaaaaa", READER),
        ("did:web:localhost%3A8080", "did:web:localhost%3A8080"),
        (f"at://{READER}", READER),
        ("at://alice.example.com/", "alice.example.com"),
        ("https://bsky.app/profile/alice.example.com", "alice.example.com"),
        ("https://bsky.app/profile/@alice.example.com/", "alice.example.com"),
        (f"bsky.app/profile/{READER}?a=b", READER),
    ],
)
def test_names_of_accounts(text: str, authority: str) -> None:
    assert parse_name(text) == Name(authority)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "alice",
        "127.0.0.1",
        "did:plc",
        "http://bsky.app/profile/a.example",
        "https://bsky.app/",
        "a b.example",
        f"at://{READER}/app.bsky.feed.generator/x",
        "https://bsky.app/profile/a.example/feed/x",
        "x" * 4000,
    ],
)
def test_what_names_nothing(text: str) -> None:
    assert parse_name(text) is None


def test_what_is_named_once_the_did_is_known() -> None:
    assert Name("alice.example.com").subject(READER) == READER
    assert Name("alice.example.com", "3kaaaaaaaaa2a").subject(READER) == URI


@given(st.one_of(st.text(max_size=80), st.text("@:/.%didatplcpos?#[]x", max_size=40)))
def test_anything_is_read_without_an_error(text: str) -> None:
    name = parse_name(text)
    if name is not None:
        assert is_did(name.authority) or is_handle(name.authority)
        assert not name.rkey or parse_at_uri(name.subject(READER))
