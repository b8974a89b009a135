"""Identifiers: their syntax, and the numbers that stand for them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.core import ids

TIDS = st.integers(0, (1 << 63) - 1)
TID_LETTERS = "234567abcdefghijklmnopqrstuvwxyz"


@given(TIDS)
def test_a_tid_is_its_value(value: int) -> None:
    text = ids.int_to_tid(value)
    assert ids.is_tid(text) and ids.tid_to_int(text) == value == ids.rkey_to_int(text)


@given(st.text(TID_LETTERS, min_size=13, max_size=13))
def test_every_key_fits_into_an_int64(text: str) -> None:
    """The syntax has room for 64 bits and more; whatever is no TID of 63 bits is odd."""
    key = ids.rkey_to_int(text)
    assert -(1 << 63) <= key < 1 << 63
    assert (key >= 0) == ids.is_tid(text)


@pytest.mark.parametrize("text", ["j" * 13, "c222222222222", "self", "3lawxq7n5kc21", "", "3" * 12, "3" * 14])
def test_what_is_no_tid(text: str) -> None:
    assert not ids.is_tid(text)
    assert ids.rkey_to_int(text) < 0
    with pytest.raises(ValueError, match="TID"):
        ids.tid_to_int(text)


def test_a_tid_of_a_moment() -> None:
    us = 1_790_000_000_123_456
    assert ids.tid_us(ids.tid_to_int(ids.make_tid(us, 23))) == us


@given(st.integers(0, 40_000), st.integers(0, ids.TICKS_PER_DAY - 1))
def test_a_tick_begins_with_its_first_microsecond(day: int, tick: int) -> None:
    us = ids.tick_us(day, tick)
    assert (ids.day_of(us), ids.tick_of(us)) == (day, tick)
    assert (ids.day_of(us - 1), ids.tick_of(us - 1)) != (day, tick)


@pytest.mark.parametrize(
    ("uri", "good"),
    [
        ("at://did:plc:" + "a" * 24 + "/app.bsky.feed.post/3kaaaaaaaaa2a", True),
        ("at://did:web:example.com/app.bsky.feed.post/self", True),
        ("at://alice.example.com/app.bsky.feed.post/3kaaaaaaaaa2a", False),
        ("at://did:plc:" + "a" * 24 + "/app.bsky.feed.post", False),
        ("at://did:plc:" + "a" * 24 + "/app.bsky.feed.post/a/b", False),
        ("at://did:plc:" + "a" * 24 + "/post/3kaaaaaaaaa2a", False),
        ("at://did:plc:" + "a" * 24 + "/app.bsky.feed.post/..", False),
        ("https://bsky.app/profile/x/post/y", False),
        ("at://did:plc:" + "a" * 24 + "/app.bsky.feed.post/3kaaaaaaaaa2a\n", False),
    ],
)
def test_at_uris(uri: str, good: bool) -> None:
    parsed = ids.parse_at_uri(uri)
    assert (parsed is not None) == good
    if parsed is not None:
        assert str(parsed) == uri
