"""The flood says the same in columns and on the wire, refers to what exists, and has the network's proportions."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgen.core.ids import int_to_tid, is_plc, parse_at_uri
from feedgen.ingest import events as bits
from feedgen.simnet import wire
from scripts.benchmarks.flood import FloodProcess
from scripts.benchmarks.flood import frames as ff
from scripts.benchmarks.flood import plan as fl
from scripts.benchmarks.flood.source import Torrent
from tests.simnet.test_cli import AUD
from tests.simnet.test_tokens import unpack
from tests.simnet.wiretap import V2 as V2_PATH
from tests.simnet.wiretap import read

PLAN = fl.FloodPlan(seed=3).scaled(0.002)  # 2,000 people, 63,000 events
COMMIT_KINDS = set(range(ff.POST + 1)) - {ff.IDENTITY, ff.ACCOUNT}


def frames(plan: fl.FloodPlan, encoder: fl.Encoder, first: int = 0, n: int = 6_000) -> list[bytes]:
    return [bytes(f) for chunk in fl.flood(plan, encoder, first, first + n, 2_000) for f in chunk.frames()]


@pytest.fixture(scope="module")
def columns() -> fl.Columns:
    return fl.fill(PLAN, 0, PLAN.events)


def test_same_plan_same_bytes_wherever_one_starts() -> None:
    whole = frames(PLAN, fl.Encoder(fl.V1), 0, 6_000)
    again = fl.FloodPlan(seed=3).scaled(0.002)
    assert frames(again, fl.Encoder(fl.V1), 2_500, 3_500) == whole[2_500:]
    assert frames(fl.FloodPlan(seed=4).scaled(0.002), fl.Encoder(fl.V1), 0, 100) != whole[:100]


def test_wires_agree_with_the_columns(columns: fl.Columns) -> None:
    n = 6_000
    pairs = zip(frames(PLAN, fl.Encoder(fl.V1_CURSOR)), frames(PLAN, fl.Encoder(fl.V2)), strict=True)
    seen = set()
    for i, (one, two) in enumerate(pairs):
        v1, v2 = json.loads(one), json.loads(two)["payload"]
        kind = int(columns.kind[i])
        seen.add(kind)
        assert v1["did"] == v2["did"] == PLAN.did(int(columns.actor[i]))
        assert v1["time_us"] == columns.time_us[i]
        assert v1["cursor"] == v2["seq"] == columns.seq[i] == i + 1
        assert v2["time"] == wire.rfc3339(v1["time_us"])
        if kind == ff.IDENTITY:
            assert v1["identity"]["handle"] == PLAN.handle(int(columns.actor[i]))
        if kind not in COMMIT_KINDS:
            assert v1[v1["kind"]] == v2[v1["kind"]]
            continue
        assert all(v2[name] == value for name, value in v1["commit"].items())
        check_commit(columns, i, v1["commit"])
    assert i == n - 1
    assert seen == set(range(ff.POST + 1))


def check_commit(c: fl.Columns, i: int, commit: dict[str, Any]) -> None:
    kind, record = int(c.kind[i]), commit.get("record")
    assert commit["rkey"] == ("self" if kind == ff.PROFILE else int_to_tid(int(c.key[i])))
    assert (
        (record is None)
        == (commit["operation"] == "delete")
        == (kind in (ff.UNLIKE, ff.UNREPOST, ff.UNPOST, ff.UNFOLLOW))
    )
    if record is None:
        return
    assert record["$type"] == commit["collection"]
    if kind in (ff.LIKE, ff.REPOST):
        uri = parse_at_uri(record["subject"]["uri"])
        assert uri is not None
        assert (uri.did, uri.rkey) == (PLAN.did(int(c.author[i])), int_to_tid(int(c.post_key[i])))
    elif kind in (ff.FOLLOW, ff.BLOCK):
        assert c.whom[i] != c.actor[i]
        assert record["subject"] == PLAN.did(int(c.whom[i]))
    elif kind == ff.POST:
        flags = int(c.flags[i])
        assert ("reply" in record) == bool(flags & ff.REPLY)
        assert ("labels" in record) == bool(flags & ff.ADULT)
        names = {ff.IMAGE: "images", ff.VIDEO: "video", ff.LINK: "external", ff.QUOTE: "record"}
        expected = [name for bit, name in names.items() if flags & bit]
        assert [record["embed"]["$type"].rpartition(".")[2]] if "embed" in record else expected == []


def test_flags_are_those_of_ingest() -> None:
    names = ("KNOWN", "REPLY", "QUOTE", "IMAGE", "VIDEO", "LINK", "ADULT")
    assert [getattr(ff, name) for name in names] == [getattr(bits, name) for name in names]


def test_posts_are_referred_to_as_they_were_made(columns: fl.Columns) -> None:
    made = columns.kind == ff.POST
    keys = dict(zip(columns.post[made].tolist(), zip(columns.actor[made], columns.key[made], strict=True), strict=True))
    assert len(keys) == PLAN.posts
    hits = 0
    for kind in (ff.LIKE, ff.REPOST, ff.UNPOST):
        rows = np.flatnonzero(columns.kind == kind)
        assert (columns.post_key[rows] >> 10 < columns.time_us[rows]).all()  # nobody likes what is yet to come
        for row in rows.tolist():
            if columns.post[row] in keys:
                hits += 1
                assert keys[columns.post[row]] == (columns.author[row], columns.post_key[row])
    assert hits > 0.4 * PLAN.ratings


def test_cids_of_posts_are_those_of_references() -> None:
    cids: dict[str, str] = {}
    hits = 0
    for frame in frames(PLAN, fl.Encoder(fl.V1), 0, PLAN.events // 2):
        event = json.loads(frame)
        commit = event.get("commit", {})
        if commit.get("collection") == "app.bsky.feed.post" and "cid" in commit:
            cids[f"at://{event['did']}/app.bsky.feed.post/{commit['rkey']}"] = commit["cid"]
        subject = commit.get("record", {}).get("subject")
        if isinstance(subject, dict) and subject["uri"] in cids:
            hits += 1
            assert cids[subject["uri"]] == subject["cid"]
    assert hits > 1_000


def test_deletions_name_something_that_was_made(columns: fl.Columns) -> None:
    for kind, made in ((ff.UNLIKE, ff.LIKE), (ff.UNREPOST, ff.REPOST), (ff.UNFOLLOW, ff.FOLLOW)):
        rows = columns.kind == made
        known = set(zip(columns.actor[rows].tolist(), columns.key[rows].tolist(), strict=True))
        gone = np.flatnonzero(columns.kind == kind)
        found = [(int(columns.actor[row]), int(columns.key[row])) in known for row in gone]
        assert np.mean(found) > 0.4  # the others were made before the first event


def test_proportions(columns: fl.Columns) -> None:
    counts = np.bincount(columns.kind, minlength=12)
    assert counts[ff.POST] == PLAN.posts
    assert counts[ff.LIKE] + counts[ff.REPOST] == pytest.approx(PLAN.ratings, rel=0.01)
    assert counts[ff.FOLLOW] == pytest.approx(PLAN.follows, rel=0.1)
    assert (np.diff(columns.time_us) > 0).all()
    assert columns.time_us[0] >= PLAN.start_us
    assert columns.time_us[-1] < PLAN.start_us + PLAN.span_us
    rated = np.isin(columns.kind, (ff.LIKE, ff.REPOST))
    by_person = np.sort(np.bincount(columns.actor[rated], minlength=PLAN.people))[::-1]
    assert by_person[: PLAN.people // 100].sum() > 0.12 * PLAN.ratings  # a few do much
    assert (by_person > 0).mean() > 0.7  # and many do something
    pairs = columns.actor[rated].astype(np.int64) << 32 | columns.post[rated] & 0xFFFF_FFFF
    assert len(np.unique(pairs)) > 0.8 * rated.sum()  # by so few people


def test_ages_are_hours() -> None:
    plan = fl.FloodPlan(seed=3)
    columns = fl.fill(plan, 1_000_000, 50_000)
    liked = columns.kind == ff.LIKE
    age_s = (columns.time_us[liked] - (columns.post_key[liked] >> 10)) / 1e6
    assert 1 < np.median(age_s) / 3600 < 8
    assert (age_s > 0).all()


def test_communities_like_the_same() -> None:
    plan = fl.FloodPlan(seed=3).scaled(0.05)
    columns = fl.fill(plan, 500_000, 1 << 18)
    rows = np.flatnonzero(columns.kind == ff.LIKE)
    pairs = np.stack((columns.post[rows], columns.actor[rows] % 64), axis=1)
    pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
    same = np.flatnonzero(pairs[1:, 0] == pairs[:-1, 0])
    assert len(same) > 1_000
    assert (pairs[same, 1] == pairs[same + 1, 1]).mean() > 10 / 64


def test_compressed_frames_are_the_plain_ones() -> None:
    plain = frames(PLAN, fl.Encoder(fl.V2), 0, 3_000)
    dictionary = wire.train_dictionary(plain)
    reader = zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(dictionary))
    for threads in (1, 2):
        packed = frames(PLAN, fl.Encoder(fl.V2, dictionary=dictionary, threads=threads), 0, 3_000)
        assert [reader.decompress(frame, max_output_size=4096) for frame in packed] == plain


def test_websocket_messages_are_whole() -> None:
    plain = frames(PLAN, fl.Encoder(fl.V2), 0, 2_000)
    dictionary = wire.train_dictionary(plain)
    texts = fl.flood(PLAN, fl.Encoder(fl.V2, websocket=True), 0, 2_000)
    binaries = fl.flood(PLAN, fl.Encoder(fl.V2, websocket=True, dictionary=dictionary), 0, 2_000)
    assert [payload for chunk in texts for payload in unframe(chunk.data, 1)] == plain
    reader = zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(dictionary))
    payloads = [payload for chunk in binaries for payload in unframe(chunk.data, 2)]
    assert [reader.decompress(payload, max_output_size=4096) for payload in payloads] == plain


def unframe(data: memoryview, opcode: int) -> list[bytes]:
    """What a websocket client makes of the stream."""
    at, found = 0, []
    while at < len(data):
        assert data[at] == 0x80 | opcode
        length, at = data[at + 1], at + 2
        if length == 126:
            length, at = int.from_bytes(data[at : at + 2], "big"), at + 2
        found.append(bytes(data[at : at + length]))
        at += length
    return found


@given(st.integers(0, PLAN.people - 1))
def test_a_did_can_be_read_back(person: int) -> None:
    assert is_plc(PLAN.did(person))
    assert PLAN.index(PLAN.did(person)) == person


@given(st.text(max_size=40) | st.from_regex(r"did:plc:[a-z2-7]{24}", fullmatch=True))
def test_other_dids_are_nobody(did: str) -> None:
    assert PLAN.index(did) is None


@settings(deadline=None)  # the first call compiles
@given(st.integers(-1_000, PLAN.events + 1_000))
def test_a_time_finds_its_event(event: int) -> None:
    us = PLAN.time_us(event)
    assert PLAN.event_at(us) == event
    assert PLAN.event_at(us + 1) == event + 1


def test_days_follow_each_other() -> None:
    days = PLAN.days(3)
    assert days.events == 3 * PLAN.events
    assert days.time_us(days.events - 1) < PLAN.start_us + 3 * PLAN.span_us
    assert sum(len(c.seq) for c in fl.flood_columns(days, days.events - 5_000)) == 5_000


def test_impossible_plans_are_refused() -> None:
    with pytest.raises(ValueError, match="fewer events than microseconds"):
        fl.FloodPlan(span_us=1_000)
    with pytest.raises(ValueError, match="at a time"):
        fl.fill(PLAN, 0, fl.MAX_CHUNK_EVENTS + 1)


async def test_a_torrent_that_was_made_before_is_the_same_torrent() -> None:
    plan = fl.FloodPlan(seed=3).scaled(0.0004)
    sent = [
        b"".join(
            [
                bytes(data)
                async for _, data in Torrent(plan, paced=True, ready=ready).chunks(
                    v2=True, cursor_frames=True, zstd=False, cursor=None
                )
            ]
        )
        for ready in (0, 3_000, 1 << 30)
    ]
    assert sent[0] == sent[1] == sent[2] and len(sent[0]) > 100 * plan.events


def test_a_process_with_all_its_services() -> None:
    words = ("--ratings", "20000", "--people", "1000", "--hosts", "v2,legacy", "--span-h", "1")
    with FloodProcess(*words) as sim:
        first = asyncio.run(read(f"{sim.urls.jetstream[0]}{V2_PATH}", 9_000))
        again = asyncio.run(read(f"{sim.urls.jetstream[0]}{V2_PATH}?cursor=8000", 10))
        old = asyncio.run(read(f"{sim.urls.jetstream[1]}/subscribe", 100))
        by_time = asyncio.run(read(f"{sim.urls.jetstream[1]}/subscribe?cursor={old[50]['time_us']}", 1))
        did = first[0]["payload"]["did"]
        assert httpx.get(f"{sim.urls.plc}/{did}").json()["id"] == did
        claims = json.loads(unpack(sim.control(f"token?person={did}&aud={AUD}")["token"].split(".")[1]))
        answer = httpx.post(f"{sim.urls.control}/_ctl/chances", json={"person": 0, "posts": []})
        assert (answer.status_code, answer.json()["error"]) == (409, "NotNow")
    assert [e["payload"]["seq"] for e in first] == list(range(1, 9_001))
    assert again == first[7_999:8_009]
    assert [(e["did"], e["time_us"]) for e in by_time] == [(old[50]["did"], old[50]["time_us"])]
    assert [e["did"] for e in old] == [e["payload"]["did"] for e in first[:100]]
    assert claims["iss"] == did
