"""What a pattern matches, in which script, and that nothing that arrives can make matching raise or take long."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from feedgen.core.errors import SettingsError
from feedgen.ingest import matcher as m
from feedgen.ingest.gather import gather
from feedgen.ingest.matcher import MAX_PATTERNS, Matcher, hashtag, host_of, link, list_of, word

AUTHOR = "did:plc:" + "a" * 24
LIST = f"at://{AUTHOR}/app.bsky.graph.list/3kabc"


def message(text: Any = "", wire: str = "v1", **record: Any) -> bytes:
    made = {"$type": "app.bsky.feed.post", "text": text, "createdAt": "2026-11-20T12:00:00.000Z", **record}
    commit: dict[str, Any] = {"operation": "create", "collection": "app.bsky.feed.post", "rkey": "3lbcdefghij2k"}
    if wire == "v1":
        body = {"did": AUTHOR, "time_us": 1_795_176_000_000_000, "kind": "commit", "commit": commit | {"record": made}}
    else:
        witnessed = {"witnessedAt": "2026-11-20T12:00:00.000Z", "seq": 7, "did": AUTHOR}
        body = {"$type": "message", "payload": {"$type": "#commit", **commit, "record": made, **witnessed}}
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    ("pattern", "text", "hits"),
    [
        ("cat", "my Cat sleeps", True),
        ("cat", "concatenate", False),
        ("cat", "cats", False),
        ("cat*", "CATS and dogs", True),
        ("cat*", "bobcats", False),
        ("my cat", "My  \n cat", True),
        ("cat", "cat", True),
        ("cat", "猫cat猫", True),  # letters of a script without spaces are no part of the word
        ("straße", "STRASSE frei", True),
        ("don't panic", "Don\u2019t panic!", True),
        ("\uff43\uff41\uff54", "a cat", True),
        ("猫", "この猫かわいい", True),
        ("ラーメン", "昨日のﾗｰﾒﾝ", True),
        ("แมว", "ฉันรักแมวมาก", True),
        ("고양이", "고양이가 잔다", True),
        ("고양이", "들고양이", False),
        ("кот", "Кот спит", True),
        ("кот", "которые", False),
        ("c++", "learning C++ today", True),
        ("café", "cafe\u0301 time", True),
    ],
)  # fmt: skip
def test_words(pattern: str, text: str, hits: bool) -> None:
    assert bool(Matcher([word(pattern)]).match(message(text))) == hits


@pytest.mark.parametrize("wire", ["v1", "v2"])
def test_hashtags_come_from_text_facets_and_the_tags_of_the_record(wire: str) -> None:
    cats, of_list = hashtag("#Cats"), list_of(LIST)
    found = Matcher([cats])
    facet = {"index": {}, "features": [{"$type": "app.bsky.richtext.facet#tag", "tag": "CATS"}]}
    assert found.match(message("look #cats!", wire)) == (cats,)
    assert found.match(message("look #catsofbluesky", wire)) == ()
    assert found.match(message("a#cats", wire)) == ()
    assert found.match(message("x", wire, facets=[facet])) == (cats,)
    assert found.match(message("x", wire, tags=["dogs", "cats"])) == (cats,)
    on_list = Matcher([of_list], {LIST: [AUTHOR]})
    assert on_list.match(message("anything", wire)) == (of_list,)
    on_list.set_members({LIST: ["did:plc:" + "b" * 24]})
    assert on_list.match(message("anything", wire)) == ()


def test_links_match_a_host_and_its_subdomains() -> None:
    crates = link("https://crates.io/")
    found = Matcher([crates])

    def facet(uri: str) -> list[Any]:
        return [{"features": [{"$type": "app.bsky.richtext.facet#link", "uri": uri}]}]

    for uri in ("https://crates.io/x", "http://docs.crates.io", "https://user@crates.io:443/?q"):
        assert found.match(message("x", facets=facet(uri))) == (crates,), uri
        assert found.match(message("x", embed={"external": {"uri": uri}})) == (crates,)
        assert found.match(message("x", embed={"media": {"external": {"uri": uri}}})) == (crates,)
    for uri in (
        "https://notcrates.io",
        "https://example.com/crates.io",
        "https://crates.io.example.com",
        "ftp://crates.io",
    ):
        assert found.match(message("x", facets=facet(uri))) == (), uri
    assert host_of("https://a\\@crates.io") == "a"  # browsers take \ for /


@pytest.mark.parametrize(
    "record",
    [
        {"facets": 7}, {"facets": [{"features": "x"}]}, {"facets": [{"features": [{"tag": 1}]}]}, {"tags": {"a": 1}},
        {"tags": [1]}, {"embed": []}, {"embed": {"external": 1}}, {"embed": {"external": {"uri": "https://"}}},
    ],
)  # fmt: skip
def test_what_is_malformed_beside_the_text_hides_nothing_of_it(record: dict[str, Any]) -> None:
    found = Matcher([word("cat"), hashtag("cats"), link("crates.io")])
    assert found.match(message("cat", **record)) == (word("cat"),)


def test_nothing_that_arrives_makes_it_raise() -> None:
    found = Matcher([word("cat"), hashtag("cats"), link("crates.io")])
    nested = b'{"did":"' + b"[" * 100_000
    for hostile in (b"", b"null", b"[]", b'"x"', nested, b'{"commit":null}', b"\xff\xfe", message(7), message(None)):
        assert found.match(hostile) == ()
    assert found.match(message("cat " * 500_000)) == (word("cat"),)  # looked at as far as MAX_TEXT


@pytest.mark.parametrize(
    ("make", "bad"),
    [
        (word, "(a+)+$"), (word, "a.+b"), (word, "*"), (word, "a*b"), (word, "!!"), (word, "x"), (word, ""),
        (word, "w" * 101), (hashtag, "two words"), (hashtag, "#"), (hashtag, "a*"), (link, "crates.io/path"),
        (link, "nodots"), (list_of, "https://bsky.app/profile/x/lists/y"), (list_of, "at://did:plc:x/app.bsky.feed.post/y"),
    ],
)  # fmt: skip
def test_a_pattern_that_could_be_slow_or_means_nothing_is_refused(make: Any, bad: str) -> None:
    with pytest.raises(SettingsError) as refused:
        make(bad)
    assert refused.value.hint


def test_too_many_patterns_are_refused() -> None:
    with pytest.raises(SettingsError, match="patterns"):
        Matcher(f"w{n:06}" for n in range(MAX_PATTERNS + 1))


def test_only_the_first_letters_and_links_are_looked_at() -> None:
    found = Matcher([word("cat"), hashtag("cats")])
    assert found.match(message("x" * m.MAX_TEXT + " cat")) == ()
    assert found.match(message("x", tags=["t"] * m.MAX_LINKS + ["cats"])) == ()


def test_a_piece_of_the_stream_carries_its_hits_by_row() -> None:
    messages = [message("dog"), message("cat"), message("cat", labels={"values": []}), message("dog")]
    piece = gather(messages, Counter(), Matcher([word("cat")]))
    assert piece.posts.tags == [(), (word("cat"),), (word("cat"),), ()]
    assert gather(messages, Counter()).posts.tags == [(), (), (), ()]
