"""The made-up network is the same for the same seed, has the real one's proportions, and answers for what it told."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from feedgen.core.ids import (
    BLOCK_NSID,
    FOLLOW_NSID,
    LIKE_NSID,
    POST_NSID,
    PROFILE_NSID,
    REPOST_NSID,
    VISIBILITY_NSID,
    is_did,
    is_plc,
    is_rkey,
    is_tid,
    parse_at_uri,
    tid_to_int,
    tid_us,
)
from feedgen.simnet import wire
from feedgen.simnet.records import SimEvent
from feedgen.simnet.world import World

START_US = 1_790_000_000_000_000
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
CREATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def small(seed: int = 9, odd_share: float = 0.02) -> World:
    return World(seed, 150, START_US, odd_share=odd_share, events_per_person_day=40, warm_up_us=6 * HOUR_US)


def decode(record: bytes | None) -> Any:
    assert record is not None
    return msgspec.json.decode(record)


@pytest.fixture(scope="module")
def lived() -> tuple[World, list[SimEvent]]:
    """A world of 800 people after three days, and all it told."""
    world = World(21, 800, START_US, odd_share=0.01, events_per_person_day=45)
    return world, list(world.events(START_US + 3 * DAY_US))


def test_the_same_seed_tells_the_same_bytes() -> None:
    until = START_US + DAY_US
    first, second = ([wire.v2(event) for event in small().events(until)] for _ in range(2))
    assert len(first) > 2_500
    assert first == second
    assert [wire.v2(event) for event in small(seed=10).events(until)] != first


def test_how_it_is_read_changes_nothing() -> None:
    whole = [wire.v2(event) for event in small().events(START_US + DAY_US)]
    world, pieces = small(), []
    for minutes in (1, 7, 90, 91, 600, 24 * 60):
        pieces += [wire.v2(event) for event in world.events(START_US + minutes * 60_000_000)]
        assert world.now_us <= START_US + minutes * 60_000_000
    assert pieces == whole
    stream = small().events()
    assert [wire.v2(next(stream)) for _ in range(100)] == whole[:100]


def test_times_and_numbers_only_grow(lived: tuple[World, list[SimEvent]]) -> None:
    world, events = lived
    times = np.array([event.time_us for event in events])
    assert (np.diff(times) > 0).all()
    assert times[0] >= START_US
    assert times[-1] <= START_US + 3 * DAY_US
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert (world.seq, world.now_us) == (len(events), times[-1])


def test_the_mix_is_the_networks(lived: tuple[World, list[SimEvent]]) -> None:
    _, events = lived
    n = len(events)
    shares = Counter((event.operation, event.collection) for event in events)
    assert n == pytest.approx(3 * 800 * 45, rel=0.12)
    for key, low, high in (
        (("create", LIKE_NSID), 0.63, 0.75),
        (("create", POST_NSID), 0.10, 0.14),
        (("create", REPOST_NSID), 0.08, 0.12),
        (("create", FOLLOW_NSID), 0.04, 0.07),
        (("delete", LIKE_NSID), 0.003, 0.012),
        (("update", PROFILE_NSID), 0.003, 0.012),
        (("create", BLOCK_NSID), 0.002, 0.008),
    ):
        assert low < shares[key] / n < high, key
    assert {event.kind for event in events} == {"commit", "identity", "account", "sync"}
    deleted = {collection for operation, collection in shares if operation == "delete"}
    assert {LIKE_NSID, REPOST_NSID, POST_NSID, FOLLOW_NSID, BLOCK_NSID} <= deleted
    assert shares["create", VISIBILITY_NSID] > 0
    odd = Counter(event.odd for event in events)
    assert set(odd) == {"", "rkey", "future", "duplicate", "malformed", "repeat"}
    assert 0.5 < (n - odd[""]) / (0.01 * n) < 1.5
    states = {decode(event.detail).get("status") for event in events if event.kind == "account"}
    assert {None, "deactivated", "suspended", "deleted"} <= states


def check(event: SimEvent) -> None:
    """What the lexicons ask of an event that is not odd."""
    assert is_did(event.did)
    if event.kind != "commit":
        assert decode(event.detail)["did"] == event.did
        return
    assert is_tid(event.rev)
    assert is_rkey(event.rkey)
    if event.operation == "delete":
        assert event.record is None
        assert not event.cid
        return
    assert re.fullmatch(r"bafyrei[a-h][a-z2-7]{50}[aeimquy4]", event.cid)
    record = decode(event.record)
    assert record["$type"] == event.collection
    assert list(record) == sorted(record)
    assert CREATED.fullmatch(record["createdAt"])
    if event.collection in (PROFILE_NSID, VISIBILITY_NSID):
        assert event.rkey == "self"
    else:
        assert is_tid(event.rkey)
        assert -1_000_000 < event.time_us - tid_us(tid_to_int(event.rkey)) < 21_000_000
    CHECKS[event.collection](record)


def check_reference(reference: Any) -> None:
    assert set(reference) == {"cid", "uri"}
    uri = parse_at_uri(reference["uri"])
    assert uri is not None
    assert is_did(uri.did)


def check_rating(record: Any) -> None:
    check_reference(record["subject"])
    assert "/app.bsky.feed.post/" in record["subject"]["uri"]
    if "via" in record:
        check_reference(record["via"])
        assert "/app.bsky.feed.repost/" in record["via"]["uri"]


def check_person(record: Any) -> None:
    assert is_did(record["subject"])


def check_post(record: Any) -> None:
    assert isinstance(record["text"], str)
    assert 0 < len(record["text"]) <= 300
    if "reply" in record:
        check_reference(record["reply"]["root"])
        check_reference(record["reply"]["parent"])
    if "langs" in record:
        assert all(re.fullmatch("[a-z]{2}", lang) for lang in record["langs"])
    if "labels" in record:
        assert record["labels"]["values"][0]["val"] in ("porn", "sexual", "nudity", "graphic-media")
    embed = record.get("embed")
    if embed is not None:
        kind = embed["$type"].removeprefix("app.bsky.embed.")
        assert set(embed) - {"$type", "aspectRatio"} == {
            {"images": "images", "video": "video", "external": "external"}.get(kind, "record")
        }


def check_profile(record: Any) -> None:
    assert len(record["displayName"]) <= 64
    assert len(record["description"]) <= 256


def check_visibility(record: Any) -> None:
    assert isinstance(record["hideFromAlgorithmicRecommendations"], bool)


CHECKS = {
    LIKE_NSID: check_rating,
    REPOST_NSID: check_rating,
    FOLLOW_NSID: check_person,
    BLOCK_NSID: check_person,
    POST_NSID: check_post,
    PROFILE_NSID: check_profile,
    VISIBILITY_NSID: check_visibility,
}


def test_every_event_is_valid_unless_odd(lived: tuple[World, list[SimEvent]]) -> None:
    _, events = lived
    for event in events:
        if not event.odd:
            check(event) if event.operation != "delete" or is_tid(event.rkey) else None


def test_odd_events_are_odd(lived: tuple[World, list[SimEvent]]) -> None:
    _, events = lived
    seen: dict[tuple[str, ...], SimEvent] = {}
    likes: dict[tuple[str, str], str] = {}
    for event in events:
        key = (event.did, event.collection, event.rkey, event.operation, event.cid, event.detail.decode())
        if event.odd == "repeat":
            assert wire.v2(seen[key])[:200] == wire.v2(event)[:200]
        seen[key] = event
        if event.odd == "rkey":
            assert is_rkey(event.rkey)
            assert not is_tid(event.rkey)
        elif event.odd == "future":
            created = decode(event.record)["createdAt"]
            assert int(created[:4]) >= 2026
            assert created > wire.rfc3339(event.time_us)
        elif event.odd == "duplicate":
            assert likes.get((event.did, decode(event.record)["subject"]["uri"]), "") != event.rkey
        elif event.odd == "malformed":
            with pytest.raises((AssertionError, TypeError, KeyError, AttributeError)):
                check(event)
        if event.collection == LIKE_NSID and event.record is not None and event.odd != "malformed":
            likes.setdefault((event.did, decode(event.record)["subject"]["uri"]), event.rkey)


def test_nothing_refers_to_what_is_not_there(lived: tuple[World, list[SimEvent]]) -> None:
    world, events = lived
    made: dict[str, str] = {}
    for event in events:
        if event.odd in ("malformed", "repeat", "duplicate") or event.kind != "commit":
            continue
        if event.operation == "create":
            made[f"at://{event.did}/{event.collection}/{event.rkey}"] = event.cid
        if event.operation == "delete":
            uri = f"at://{event.did}/{event.collection}/{event.rkey}"
            assert uri in made or event.collection == VISIBILITY_NSID or key_is_older(event)
        elif event.collection in (LIKE_NSID, REPOST_NSID):
            subject = decode(event.record)["subject"]
            if subject["uri"] in made:
                assert made[subject["uri"]] == subject["cid"]
            else:  # from before the first event
                post = world.post(subject["uri"])
                assert post is not None
                assert post.time_us < START_US
                assert post.cid == subject["cid"]


def key_is_older(event: SimEvent) -> bool:
    return not is_tid(event.rkey) or tid_us(tid_to_int(event.rkey)) < START_US


def test_nobody_acts_while_away(lived: tuple[World, list[SimEvent]]) -> None:
    world, events = lived
    away: dict[str, str] = {}
    left = returned = 0
    for event in events:
        if event.odd in ("repeat", "duplicate", "malformed"):
            continue  # late copies
        if event.kind == "account":
            detail = decode(event.detail)
            returned += detail["active"] and event.did in away
            left += not detail["active"]
            away.pop(event.did, None)
            if not detail["active"]:
                away[event.did] = detail["status"]
        else:
            assert event.did not in away
    assert left > 10
    assert returned > 1
    for did, status in away.items():
        assert world.account(did) == (False, status)
    someone = next(world.did(i) for i in range(800) if world.did(i) not in away)
    assert world.account(someone)[0]


def test_likes_come_hours_after_posts_and_seconds_at_least(lived: tuple[World, list[SimEvent]]) -> None:
    _, events = lived
    posted = {}
    ages = []
    for event in events:
        if event.collection == POST_NSID and event.operation == "create":
            posted[f"at://{event.did}/{POST_NSID}/{event.rkey}"] = event.time_us
        elif event.collection == LIKE_NSID and event.operation == "create" and event.odd == "":
            at = posted.get(decode(event.record)["subject"]["uri"])
            if at is not None and event.time_us > START_US + 2 * DAY_US:
                ages.append((event.time_us - at) / HOUR_US)
    assert 1 < np.median(ages) < 8
    assert min(ages) > 5 / 3600


def test_people_and_posts_are_heavy_tailed(lived: tuple[World, list[SimEvent]]) -> None:
    world, events = lived
    by_person = np.sort(np.array(list(Counter(e.did for e in events if e.collection == LIKE_NSID).values())))[::-1]
    assert by_person[: len(by_person) // 20].sum() > 0.15 * by_person.sum()
    assert np.median(by_person) > 10
    likes = np.sort(world.post_column("likes"))[::-1]
    assert likes[: len(likes) // 20].sum() > 0.2 * likes.sum()


def folded(events: list[SimEvent], did: str, collection: str) -> dict[str, str]:
    """What a mirror of the repository would hold after these events."""
    held: dict[str, str] = {}
    for event in events:
        if (
            event.did == did
            and event.collection == collection
            and event.odd not in ("duplicate", "malformed", "repeat")
        ):
            if event.operation == "delete":
                held.pop(event.rkey, None)
            else:
                held[event.rkey] = event.cid
    return held


def test_records_are_what_was_told(lived: tuple[World, list[SimEvent]]) -> None:
    world, events = lived
    for i in world.sample_readers(5):
        did = world.did(i)
        for collection in (LIKE_NSID, REPOST_NSID, POST_NSID, FOLLOW_NSID, BLOCK_NSID):
            listed = world.records(did, collection)
            assert [record.rkey for record in listed] == sorted(record.rkey for record in listed)
            before = [
                record
                for record in listed
                if is_tid(record.rkey) and tid_us(tid_to_int(record.rkey)) < START_US - 25_000_000
            ]
            now = {record.rkey: record.cid for record in listed}
            told = folded(events, did, collection)
            assert told.items() <= now.items()
            assert all(rkey in told or record_is_early(rkey) for rkey in now), collection
            if collection in (LIKE_NSID, FOLLOW_NSID):
                assert before  # the world did not begin with the first event
            for record in listed[:20]:
                assert decode(record.value)["$type"] == collection
                assert parse_at_uri(record.uri) == (did, collection, record.rkey)


def record_is_early(rkey: str) -> bool:
    return not is_tid(rkey) or tid_us(tid_to_int(rkey)) < START_US


def test_posts_can_be_asked_for(lived: tuple[World, list[SimEvent]]) -> None:
    world, events = lived
    made = [
        e for e in events if e.collection == POST_NSID and e.operation == "create" and e.odd in ("", "rkey", "future")
    ]
    gone = {(e.did, e.rkey) for e in events if e.collection == POST_NSID and e.operation == "delete"}
    assert any(event.odd == "rkey" for event in made)
    picked = [event for n, event in enumerate(made) if n % 40 == 0 or event.odd]
    for event in picked:
        post = world.post(f"at://{event.did}/{POST_NSID}/{event.rkey}")
        assert post is not None
        assert (post.cid, post.record, post.did) == (event.cid, event.record, event.did)
        assert abs(post.time_us - event.time_us) < 1_000
        assert post.deleted == ((event.did, event.rkey) in gone or not world.account(event.did)[0])
    for uri in (
        "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/3jzfcijpj2z2a",
        "at://x",
        "",
        f"at://{world.did(1)}/{LIKE_NSID}/3jzfcijpj2z2a",
    ):
        assert world.post(uri) is None


def test_state_is_as_of_the_last_event_told() -> None:
    world = small()
    events = list(world.events(START_US + 6 * HOUR_US))
    upcoming = small()
    for event in upcoming.events(START_US + 6 * HOUR_US):
        if event.seq == len(events) // 2:
            break
    later = next(
        e for e in events[event.seq + 5 :] if e.collection == POST_NSID and e.operation == "create" and not e.odd
    )
    uri = f"at://{later.did}/{POST_NSID}/{later.rkey}"
    assert upcoming.post(uri) is None
    assert world.post(uri) is not None
    assert uri not in {record.uri for record in upcoming.records(later.did, POST_NSID)}


def test_counts_of_likes_are_those_of_events(lived: tuple[World, list[SimEvent]]) -> None:
    world, _ = lived
    column = world.post_column("likes")
    alive = np.zeros(len(column), np.int64)
    for i in range(world.n_people):
        np.add.at(alive, world.liked(i), 1)
    # Steps are lived as a whole, so what is not told yet may be counted already.
    assert abs(int(alive.sum()) - int(column.sum())) < 0.03 * column.sum()
    assert world.counts()["likes"] == alive.sum()


@pytest.fixture(scope="module")
def names() -> Iterator[World]:
    yield World(3, 3_000, START_US, warm_up_us=0)


def test_everybody_has_a_name_of_their_own(names: World) -> None:
    dids = [names.did(i) for i in range(names.n_people)]
    assert len(set(dids)) == names.n_people
    assert all(is_plc(did) or did.startswith("did:web:") for did in dids)
    assert 0 < sum(did.startswith("did:web:") for did in dids) < 30
    handles = [names.handle(i) for i in range(names.n_people)]
    assert len(set(handles)) == names.n_people
    for i in range(0, names.n_people, 97):
        assert names.index(dids[i]) == i
        assert names.by_handle(handles[i]) == i
    assert names.by_handle("nobody.simnet.test") is None
    people = [names.person(i) for i in range(500)]
    assert len({person.languages[0] for person in people}) >= 8
    assert any(person.no_unauthenticated for person in people)
    assert any(person.adult for person in people)
    assert any(ord(char) > 0x5D0 for person in people for char in person.display_name)


def test_keys_are_of_both_curves_and_stay(names: World) -> None:
    curves = Counter(names.signing_key(i).curve.name for i in range(120))
    assert set(curves) == {"secp256k1", "secp256r1"}
    assert curves["secp256k1"] > curves["secp256r1"]
    again = World(3, 10, START_US, warm_up_us=0)
    assert names.signing_key(5).private_numbers() == again.signing_key(5).private_numbers()
    assert names.signing_key(5).private_numbers() != names.signing_key(6).private_numbers()


def test_profiles_change_and_handles_move(lived: tuple[World, list[SimEvent]]) -> None:
    world, events = lived
    last = {e.did: e for e in events if e.collection == PROFILE_NSID and e.odd == ""}
    assert last
    for did, event in list(last.items())[:50]:
        profile = world.profile(did)
        assert profile is not None
        if profile.active:
            assert (profile.record, profile.cid) == (event.record, event.cid)
            assert world.records(did, PROFILE_NSID)[0].value == event.record
    handles = {
        e.did: decode(e.detail)["handle"] for e in events if e.kind == "identity" and "handle" in decode(e.detail)
    }
    silent = {e.did for e in events if e.kind == "identity" and "handle" not in decode(e.detail)}
    assert silent
    for did, handle in handles.items():
        i = world.index(did)
        assert i is not None
        if did not in silent:
            assert world.handle(i) == handle
            assert world.by_handle(handle) == i
    assert world.profile("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa") is None


def test_a_visitor_may_like_something() -> None:
    world = small(odd_share=0)
    list(world.events(START_US + 2 * HOUR_US))
    reader = world.sample_readers(1)[0]
    post = world.post_uris(world.posts_since(world.now_us - HOUR_US)[:1])[0]
    world.like(reader, post, START_US + 2 * HOUR_US + 60_000_000)
    told = list(world.events(START_US + 3 * HOUR_US))
    mine = [e for e in told if e.did == world.did(reader) and e.record is not None and post.encode() in e.record]
    assert len(mine) == 1
    check(mine[0])
    assert (np.diff([event.time_us for event in told]) > 0).all()
    assert mine[0].rkey in [record.rkey for record in world.records(world.did(reader), LIKE_NSID)]
    with pytest.raises(KeyError):
        world.like(reader, "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/3jzfcijpj2z2a", START_US)


def test_readers_differ_and_have_likes(lived: tuple[World, list[SimEvent]]) -> None:
    world, _ = lived
    readers = world.sample_readers(8)
    assert len(set(readers)) == 8
    assert len({world.person(i).interests[0] for i in readers}) == 8
    assert all(len(world.liked(i)) >= 60 for i in readers)
    assert len(set(world.sample_readers(100))) == 100
