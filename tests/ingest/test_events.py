"""Every rule of decoding, on both wires."""

from __future__ import annotations

from typing import Any

import pytest

from feedgen.core import languages
from feedgen.core.ids import LIKE, REPOST, make_tid
from feedgen.ingest import events as e
from feedgen.ingest.events import REASONS, Dropped, Event, StreamError, StreamInfo, Sync, decode
from tests.ingest import wires
from tests.ingest.wires import AUTHOR, DID, NOW_US, POST_URI, RKEY, ROOT_URI, WIRES, commit, dump, iso, ref

HOUR_US = 3_600_000_000


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def of(frame: Any) -> Event | Dropped | StreamError | StreamInfo:
    return decode(dump(frame))


def of_post(wire: str, **more: Any) -> e.Post:
    event = of(commit(wire, "app.bsky.feed.post", wires.post(**more)))
    assert isinstance(event, e.Post)
    return event


def test_like(wire: str) -> None:
    assert of(commit(wire, record=wires.like())) == e.Rating(
        did=DID, time_us=NOW_US, seq=7, kind=LIKE, rkey=RKEY, subject=POST_URI
    )


def test_repost(wire: str) -> None:
    event = of(commit(wire, "app.bsky.feed.repost", wires.like(collection="app.bsky.feed.repost")))
    assert isinstance(event, e.Rating)
    assert event.kind == REPOST


def test_a_legacy_frame_has_no_sequence() -> None:
    frame = commit("v1", record=wires.like())
    del frame["cursor"]
    event = of(frame)
    assert isinstance(event, e.Rating)
    assert event.seq == 0


def test_the_order_of_keys_does_not_matter(wire: str) -> None:
    frame = commit(wire, record=wires.like())
    turned = {k: dict(reversed(v.items())) if isinstance(v, dict) else v for k, v in reversed(frame.items())}
    assert of(turned) == of(frame)


def test_unknown_keys_are_ignored(wire: str) -> None:
    frame = commit(wire, record=wires.like(via=ref(), extra={"a": [1, {"b": None}]}))
    frame["new"] = {"x": 1}
    assert isinstance(of(frame), e.Rating)


def test_witnessed_at_counts_more_than_an_edited_time() -> None:
    frame = commit("v2", record=wires.like())
    frame["payload"]["witnessedAt"] = iso(NOW_US + 5)
    event = of(frame)
    assert isinstance(event, Event)
    assert event.time_us == NOW_US + 5


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        (f"at://{AUTHOR}/app.bsky.feed.generator/aaa", "not_a_post"),
        (f"at://{AUTHOR}/app.bsky.labeler.service/self", "not_a_post"),
        ("at://alice.example.com/app.bsky.feed.post/3kaaaaaaaaaa2", "bad_subject"),
        (f"https://{AUTHOR}/app.bsky.feed.post/3kaaaaaaaaaa2", "bad_subject"),
        (f"at://{AUTHOR}/app.bsky.feed.post", "bad_subject"),
        (f"at://{AUTHOR}/app.bsky.feed.post/a/b", "bad_subject"),
        (f"at://{AUTHOR}/app.bsky.feed.post/a\0", "bad_subject"),
        (POST_URI + "\n", "bad_subject"),
        ("", "bad_subject"),
        ("at://" + "d" * 5000, "bad_subject"),
    ],
)
def test_subjects_of_likes(wire: str, uri: str, reason: str) -> None:
    assert of(commit(wire, record=wires.like(uri))) == Dropped(reason)


def test_subjects_with_unusual_names_are_fine(wire: str) -> None:
    uri = "at://did:web:example.com/app.bsky.feed.post/not-a-tid"
    event = of(commit(wire, record=wires.like(uri), did="did:web:example.org", rkey="own.key_1"))
    assert isinstance(event, e.Rating)
    assert (event.subject, event.did, event.rkey) == (uri, "did:web:example.org", "own.key_1")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"did": "did:plc:"}, "bad_did"),
        ({"did": DID + "\n"}, "bad_did"),
        ({"did": "alice.example.com"}, "bad_did"),
        ({"did": "did:web:" + "a" * 3000}, "bad_did"),
        ({"rkey": ""}, "bad_rkey"),
        ({"rkey": ".."}, "bad_rkey"),
        ({"rkey": "a/b"}, "bad_rkey"),
        ({"rkey": "a" * 513}, "bad_rkey"),
        ({"rkey": RKEY + "\n"}, "bad_rkey"),
        ({"time_us": 1_500_000_000_000_000}, "bad_time"),
        ({"time_us": 5_000_000_000_000_000}, "bad_time"),
        ({"seq": -1}, "malformed"),
        ({"seq": 10**15}, "malformed"),
        ({"operation": "move"}, "unwanted_operation"),
        ({"collection": "app.bsky.feed.threadgate"}, "unwanted_collection"),
        ({"did": 5}, "malformed"),
        ({"rkey": None}, "malformed"),
    ],
)
def test_common_fields(wire: str, change: dict[str, Any], reason: str) -> None:
    change = {"collection": "app.bsky.feed.like", **change}
    assert of(commit(wire, record=wires.like(), **change)) == Dropped(reason)


@pytest.mark.parametrize("time", ["", "now", "2026-09-21T14:13:19", "9999-99-99T00:00:00Z", 5, None])
def test_times_of_v2(time: object) -> None:
    frame = commit("v2", record=wires.like())
    frame["payload"]["time"] = time
    assert of(frame) in (Dropped("malformed"), Dropped("bad_time"))


@pytest.mark.parametrize(
    ("embed", "flags", "about"),
    [
        ({"$type": "app.bsky.embed.images", "images": [{"alt": ""}]}, e.IMAGE, None),
        ({"$type": "app.bsky.embed.video", "video": {}}, e.VIDEO, None),
        ({"$type": "app.bsky.embed.external", "external": {"uri": "https://example.com"}}, e.LINK, None),
        ({"$type": "app.bsky.embed.record", "record": ref()}, e.QUOTE, POST_URI),
        ({"$type": "app.bsky.embed.record", "record": ref(f"at://{AUTHOR}/app.bsky.graph.list/a")}, 0, None),
        (
            {
                "$type": "app.bsky.embed.recordWithMedia",
                "media": {"$type": "app.bsky.embed.video"},
                "record": {"$type": "app.bsky.embed.record", "record": ref()},
            },
            e.QUOTE | e.VIDEO,
            POST_URI,
        ),
        ({"$type": "app.bsky.embed.recordWithMedia", "media": {"$type": "app.bsky.embed.images"}}, e.IMAGE, None),
        ({"$type": "com.example.embed", "record": "of any shape", "media": [1]}, 0, None),
        ({"$type": 5}, 0, None),
        (None, 0, None),
        ([], 0, None),
    ],
)
def test_embeds(wire: str, embed: Any, flags: int, about: str | None) -> None:
    event = of_post(wire, embed=embed)
    assert (event.flags, event.about) == (e.KNOWN | flags, about)


def test_a_reply_is_about_its_root(wire: str) -> None:
    event = of_post(wire, reply={"root": ref(ROOT_URI), "parent": ref()})
    assert (event.flags, event.about) == (e.KNOWN | e.REPLY, ROOT_URI)


def test_a_quoting_reply_is_about_the_quoted_post(wire: str) -> None:
    embed = {"$type": "app.bsky.embed.record", "record": ref()}
    event = of_post(wire, reply={"root": ref(ROOT_URI)}, embed=embed)
    assert (event.flags, event.about) == (e.KNOWN | e.REPLY | e.QUOTE, POST_URI)


def test_a_reply_to_something_else_is_still_a_reply(wire: str) -> None:
    event = of_post(wire, reply={"root": ref("at://alice.example.com/app.bsky.feed.post/a")})
    assert (event.flags, event.about) == (e.KNOWN | e.REPLY, None)


@pytest.mark.parametrize(
    ("values", "flags"),
    [
        (["porn"], e.ADULT),
        (["sexual"], e.ADULT),
        (["nudity"], e.ADULT),
        (["graphic-media"], e.ADULT),
        (["!hide"], e.HIDDEN),
        (["!hide", "porn"], e.HIDDEN | e.ADULT),
        (["!no-unauthenticated", "cats"], 0),
        ([], 0),
    ],
)
def test_labels_of_posts(wire: str, values: list[str], flags: int) -> None:
    labels = {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": v} for v in values]}
    assert of_post(wire, labels=labels).flags == e.KNOWN | flags


@pytest.mark.parametrize(
    ("values", "flags"),
    [(["!no-unauthenticated"], e.NO_UNAUTHENTICATED), (["porn", "!hide"], e.PERSON_ADULT | e.PERSON_HIDDEN), ([], 0)],
)
def test_labels_of_profiles(wire: str, values: list[str], flags: int) -> None:
    record = {"$type": "app.bsky.actor.profile", "labels": {"values": [{"val": v} for v in values]}}
    event = of(commit(wire, "app.bsky.actor.profile", record, operation="update", rkey="self"))
    assert event == e.Profile(did=DID, time_us=NOW_US, seq=7, flags=flags)


@pytest.mark.parametrize(
    ("created_us", "rkey_us", "late"),
    [
        (NOW_US - 5 * HOUR_US, NOW_US, False),
        (NOW_US - 7 * HOUR_US, NOW_US, True),
        (NOW_US, NOW_US - 7 * HOUR_US, True),
        (NOW_US, NOW_US - 5 * HOUR_US, False),
        (NOW_US + 9 * HOUR_US, NOW_US, False),
    ],
)
def test_late_posts(wire: str, created_us: int, rkey_us: int, late: bool) -> None:
    record = wires.post(createdAt=iso(created_us))
    event = of(commit(wire, "app.bsky.feed.post", record, rkey=make_tid(rkey_us)))
    assert isinstance(event, e.Post)
    assert bool(event.flags & e.LATE) is late


@pytest.mark.parametrize(
    ("created", "us"),
    [
        (iso(NOW_US - 5), NOW_US - 5),
        (iso(NOW_US)[:-4] + "Z", NOW_US),
        ("2026-09-21T16:13:20+02:00", NOW_US),
        ("2026-09-21T14:13:20", NOW_US),
        (iso(NOW_US + 300_000_000), NOW_US + 300_000_000),
        (iso(NOW_US + HOUR_US), 0),
        ("0001-01-01T00:00:00.000Z", 0),
        ("yesterday", 0),
        ("2026-09-21T14:13:20.12x456Z", 0),
        ("9" * 100, 0),
        ("", 0),
    ],
)
def test_what_a_post_claims_as_its_time(wire: str, created: str, us: int) -> None:
    assert of_post(wire, createdAt=created).created_us == us


@pytest.mark.parametrize(
    ("langs", "code"), [(["pt-BR", "en"], "pt"), (["EN"], "en"), ([], ""), (None, ""), (["xx-unknown"], "")]
)
def test_language(wire: str, langs: Any, code: str) -> None:
    assert languages.code(of_post(wire, langs=langs).language) == code


@pytest.mark.parametrize(
    ("collection", "kind"), [("app.bsky.graph.follow", e.Follow), ("app.bsky.graph.block", e.Block)]
)
def test_follows_and_blocks(wire: str, collection: str, kind: type[Event]) -> None:
    record = {"$type": collection, "subject": AUTHOR, "createdAt": iso(NOW_US)}
    assert of(commit(wire, collection, record)) == kind(did=DID, time_us=NOW_US, seq=7, rkey=RKEY, subject=AUTHOR)  # type: ignore[call-arg]
    assert of(commit(wire, collection, record | {"subject": "alice.example.com"})) == Dropped("bad_subject")
    assert of(commit(wire, collection, record | {"subject": ref()})) == Dropped("malformed")


@pytest.mark.parametrize(
    "collection",
    [
        "app.bsky.feed.like",
        "app.bsky.feed.repost",
        "app.bsky.feed.post",
        "app.bsky.graph.follow",
        "app.bsky.graph.block",
    ],
)
def test_deletes(wire: str, collection: str) -> None:
    event = of(commit(wire, collection, operation="delete"))
    assert event == e.Delete(did=DID, time_us=NOW_US, seq=7, collection=collection, rkey=RKEY)


def test_a_deleted_profile_says_nothing_about_its_person(wire: str) -> None:
    event = of(commit(wire, "app.bsky.actor.profile", operation="delete", rkey="self"))
    assert event == e.Profile(did=DID, time_us=NOW_US, seq=7, flags=0)
    assert of(commit(wire, "app.bsky.actor.profile", operation="delete", rkey="other")) == Dropped("bad_rkey")


@pytest.mark.parametrize("hide", [True, False])
def test_visibility(wire: str, hide: bool) -> None:
    collection = "app.bsky.actor.contentVisibilityDeclaration"
    record = {"$type": collection, "hideFromAlgorithmicRecommendations": hide}
    event = of(commit(wire, collection, record, rkey="self"))
    assert event == e.Visibility(did=DID, time_us=NOW_US, seq=7, hide=hide)
    gone = of(commit(wire, collection, operation="delete", rkey="self"))
    assert gone == e.Visibility(did=DID, time_us=NOW_US, seq=7, hide=False)


@pytest.mark.parametrize(
    ("handle", "kept"),
    [("alice.example.com", "alice.example.com"), (None, None), ("no dots", None), ("a.b\0", None), ("x" * 300, None)],
)
def test_identity(wire: str, handle: str | None, kept: str | None) -> None:
    assert of(wires.identity(wire, handle)) == e.Identity(did=DID, time_us=NOW_US, seq=7, handle=kept)


@pytest.mark.parametrize(
    ("active", "status", "event"),
    [
        (False, "deleted", e.Account(did=DID, time_us=NOW_US, seq=7, active=False, status="deleted")),
        (True, None, e.Account(did=DID, time_us=NOW_US, seq=7, active=True)),
        (False, "x" * 100, e.Account(did=DID, time_us=NOW_US, seq=7, active=False)),
        (None, "deleted", Dropped("malformed")),
        ("yes", None, Dropped("malformed")),
    ],
)
def test_account(wire: str, active: Any, status: Any, event: Event | Dropped) -> None:
    assert of(wires.account(wire, active, status)) == event


def test_other_kinds() -> None:
    sync = wires.v2("sync", seq=1, did=DID, time=iso(NOW_US), sync={"blocks": ""})
    assert of(sync) == Sync(did=DID, time_us=NOW_US, seq=1)
    assert of({"did": DID, "time_us": NOW_US, "kind": "novel"}) == Dropped("unwanted_kind")
    assert of({"did": DID, "time_us": NOW_US, "kind": "commit"}) == Dropped("malformed")


def test_what_the_server_says_about_the_stream() -> None:
    error = {"$type": "error", "error": "ConsumerTooSlow", "message": "you are slow"}
    assert of(error) == StreamError("ConsumerTooSlow", "you are slow")
    info = wires.v2("info", name="OutdatedCursor", message="resumed from seq 5")
    assert of(info) == StreamInfo("OutdatedCursor", "resumed from seq 5")


@pytest.mark.parametrize(
    "frame", [b"", b"{", b"\xff\xfe", b"null", b"[]", b"5", b'{"did":"\\ud800"}', b"{}{}", b"[" * 9000]
)
def test_what_is_no_event_at_all(frame: bytes) -> None:
    assert isinstance(decode(frame), Dropped)


def test_a_frame_that_is_too_large_is_not_even_parsed() -> None:
    frame = dump(commit("v1", record=wires.like(padding="x" * e.MAX_FRAME_BYTES)))
    assert decode(frame) == Dropped("too_big")


def test_every_reason_is_declared() -> None:
    assert set(REASONS) == set(e._DROPPED)
