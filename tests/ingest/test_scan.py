"""The scanner against the decoder: whatever it reads, it reads like `decode`; and it does read what is common."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import Any

import pytest

from feedgen.core.ids import US_PER_S, make_tid
from feedgen.ingest import scan as s
from feedgen.ingest.batch import Piece, add_create
from feedgen.ingest.events import Dropped, Event, Follow, Post, Rating, decode
from feedgen.ingest.gather import gather
from scripts.benchmarks.flood.plan import V1, V1_CURSOR, V2, Encoder, FloodPlan, flood
from tests.ingest import fuzzing, wires
from tests.ingest.wires import NOW_US, WIRES, commit, dump, ref

MUTATIONS = int(os.environ.get("FEEDGEN_MUTATIONS", "30000"))


def compare(messages: list[bytes]) -> int:
    """How many the scanner read; each as `decode` does."""
    kinds = s.scan(messages).fields[s.KIND].tolist()
    dropped: Counter[str] = Counter()
    piece = gather(messages, dropped)
    decoded = [decode(message) for message in messages]
    events = [event for event in decoded if isinstance(event, Event)]
    expected: Counter[str] = Counter(event.reason for event in decoded if isinstance(event, Dropped))
    assert dropped == expected
    assert piece.events == len(events)
    one_by_one = Piece()
    for event in events:
        if isinstance(event, Rating | Post | Follow):
            add_create(one_by_one, event)
        else:
            one_by_one.rare.append(event)
    for name in ("ratings", "posts", "follows", "rare"):
        assert getattr(piece, name) == getattr(one_by_one, name), name
    assert piece.times_us.tolist() == [event.time_us for event in events]
    assert piece.seqs.tolist() == [event.seq for event in events]
    return sum(kind != s.UNREAD for kind in kinds)


def scanned(*frames: Any) -> list[int]:
    messages = [frame if isinstance(frame, bytes) else dump(frame) for frame in frames]
    compare(messages)
    kinds: list[int] = s.scan(messages).fields[s.KIND].tolist()
    return kinds


@pytest.mark.parametrize("wire", WIRES)
def test_the_common_messages_are_read(wire: str) -> None:
    media = {"$type": "app.bsky.embed.images", "images": [{"alt": '\\ " é', "image": {"ref": {"$link": wires.CID}}}]}
    reply = {"root": ref(wires.ROOT_URI), "parent": ref()}
    frames = [
        commit(wire, record=wires.like(via=ref())),
        commit(wire, "app.bsky.feed.repost", wires.like()),
        commit(wire, "app.bsky.feed.post", wires.post(reply=reply, langs=["en", "pt-BR"])),
        commit(wire, "app.bsky.feed.post", wires.post(embed=media, langs=[], tags=["a", 1, None, -2.5, {}, [[]]])),
        commit(wire, "app.bsky.graph.follow", {"subject": wires.AUTHOR}),
    ]
    deleted = ("feed.like", "feed.repost", "feed.post", "graph.follow")
    frames += [commit(wire, f"app.bsky.{name}", operation="delete") for name in deleted]
    read = [0, 1, s.POST, s.POST, s.FOLLOW]
    assert scanned(*frames) == [*read, *(s.DELETE + kind for kind in (0, 1, s.POST, s.FOLLOW))]


@pytest.mark.parametrize("wire", WIRES)
def test_the_uncommon_is_left_to_the_decoder(wire: str) -> None:
    like = wires.like()
    frames = [
        commit(wire, record=like, rkey="odd-key"),
        commit(wire, record=like, did="did:web:example.com"),
        commit(wire, record=like, operation="update"),
        commit(wire, record=wires.like(f"at://did:web:example.com/app.bsky.feed.post/{wires.RKEY}")),
        commit(wire, "app.bsky.graph.block", {"subject": wires.AUTHOR}),
        commit(wire, "app.bsky.feed.post", wires.post(embed={"$type": "app.bsky.embed.record", "record": ref()})),
        commit(wire, "app.bsky.feed.post", wires.post(labels={})),
        wires.identity(wire),
        wires.account(wire),
        json.dumps(commit(wire, record=like)).encode(),  # with spaces
        dump(commit(wire, record=like)).replace(b'"did:plc:', b'"did\\u003aplc:'),
        b"",
        b"\n",
        b"{}",
        b"{" * 300,
        b"[" * 300,
        b'"',
    ]
    assert set(scanned(*frames)) == {s.UNREAD}


def test_keys_that_begin_like_ours_are_others() -> None:
    whole = dump(commit("v2", record=wires.like()))
    for ours, other in (
        (b'"collection"', b'"collections"'), (b'"collection"', b'"collectiXX"'), (b'"operation"', b'"operations"'),
        (b'"createdAt"', b'"createdAtAll"'), (b'"did"', b'"didx"'), (b'"record"', b'"records"'), (b'"uri"', b'"uris"'),
        (b'"createdAt"', b'"createdAt and then some"'), (b'"time"', b'"timely"'), (b'"time"', b'"witnessedAt"'),
    ):  # fmt: skip
        compare([whole.replace(ours, other, 1)])


@pytest.mark.parametrize("wire", WIRES)
def test_late_posts_and_dates_of_all_kinds(wire: str) -> None:
    dates = [
        "2026-09-21T14:13:20.123Z", "2026-09-21T14:13:20.123456Z", "2026-02-29T00:00:00.000Z",
        "2024-02-29T23:59:59.999Z",
        "2026-09-21T24:00:00.000Z", "2026-04-31T00:00:00.000Z", "2026-09-21T14:60:20.123Z", "2026-09-21T14:13:60.123Z",
        "0001-01-01T00:00:00.000Z", "0000-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z",
        "2026-09-21 14:13:20.123Z", "2026-09-21T14:13:20Z", "2026-09-21T14:13:20.1Z", "2026-09-21T14:13:20.1234567Z",
        "2026-09-21T14:13:20.123+02:00", "2026-09-21T14:13:20.123z", "1900-02-29T00:00:00.000Z",
        "2000-02-29T00:00:00.000Z",
        "", "x", "2026-13-01T00:00:00.000Z", "2026-00-01T00:00:00.000Z", "2026-01-00T00:00:00.000Z",
    ]  # fmt: skip
    frames: list[Any] = [commit(wire, "app.bsky.feed.post", wires.post(createdAt=date)) for date in dates]
    for hours in (5, 6, 7):
        for us in (-1, 0, 1):
            key = make_tid(NOW_US - hours * 3600 * US_PER_S + us)
            frames.append(commit(wire, "app.bsky.feed.post", wires.post(), rkey=key))
            frames.append(
                commit(
                    wire, "app.bsky.feed.post", wires.post(createdAt=wires.iso(NOW_US - hours * 3600 * US_PER_S + us))
                )
            )
    for date in dates:
        frame = wires.v2("commit", seq=1, did=wires.DID, time=date, operation="delete", rkey=wires.RKEY)
        frame["payload"]["collection"] = "app.bsky.feed.like"
        frames.append(frame)
    kinds = scanned(*frames)
    assert kinds.count(s.POST) > len(dates) // 3 and s.DELETE in kinds


@pytest.mark.parametrize("wire", [V1, V1_CURSOR, V2])
def test_a_flood_is_read_nearly_whole(wire: int) -> None:
    plan = FloodPlan()
    messages = [bytes(frame) for chunk in flood(plan, Encoder(wire), 50_000, 58_000) for frame in chunk.frames()]
    assert compare(messages) > 0.97 * len(messages)


def test_every_field_by_every_value() -> None:
    frames = list(fuzzing.every_field_by_every_value())
    assert compare(frames) > 2_000


def test_spoilt_frames() -> None:
    frames = list(fuzzing.mutations(7, MUTATIONS))
    for start in range(0, len(frames), 5_000):
        compare(frames[start : start + 5_000])


def test_frames_cut_at_every_place_and_each_byte_another() -> None:
    whole = dump(
        commit("v2", "app.bsky.feed.post", wires.post(reply={"root": ref(wires.ROOT_URI)}, langs=["en"], text="é"))
    )
    compare([whole[:end] for end in range(len(whole))])
    for byte in b'"\\{}[]:,0\n\x00\xff ':
        compare([whole[:at] + bytes([byte]) + whole[at + 1 :] for at in range(len(whole))])
        compare([whole[:at] + bytes([byte]) + whole[at:] for at in range(len(whole))])


# --- what may not be added as it is


def cut(*frames: Any) -> int:
    return gather([dump(frame) for frame in frames], Counter()).cut


def test_order_that_matters_is_noticed() -> None:
    like = wires.like()
    created, deleted = commit("v1", record=like), commit("v1", operation="delete")
    other = commit("v1", record=like, did=wires.AUTHOR, rkey=make_tid(NOW_US))
    assert cut(created, deleted, other) == 3
    assert cut(deleted, created) == 1
    assert cut(created, deleted, other, created, deleted, created) == 3
    assert cut(deleted, commit("v1", record=like, did=wires.AUTHOR)) == 2
    assert cut(created, commit("v1", record=like, operation="update")) == 1
    assert cut(commit("v1", "app.bsky.feed.post", wires.post(), operation="update")) == 1


def test_nothing_of_a_changed_account_joins_its_change() -> None:
    created, deleted = commit("v1", record=wires.like()), commit("v1", operation="delete", rkey=make_tid(NOW_US))
    other, account, identity = (
        commit("v1", record=wires.like(), did=wires.AUTHOR),
        wires.account("v1"),
        wires.identity("v1"),
    )
    assert cut(created, deleted, account, identity, other) == 5
    assert cut(account, identity, other, created) == 3
    assert cut(other, account, other, deleted, created) == 3
    assert cut(account, other, account, created) == 2
    assert cut(deleted, identity, account) == 3
