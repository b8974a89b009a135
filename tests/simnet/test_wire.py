"""Frames are what the real servers send, and plain `json` reads them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from feedgen.simnet import wire
from feedgen.simnet.records import SimEvent
from feedgen.simnet.world import World

START_US = 1_790_000_000_000_000
LIKE = SimEvent(
    7, 1_790_000_000_000_001, "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "commit", "create", "app.bsky.feed.like",
    "3jzfcijpj2z2a", "3jzfcijpj2z2b", "bafyreia", b'{"$type":"app.bsky.feed.like"}',
)  # fmt: skip


@pytest.fixture(scope="module")
def events() -> list[SimEvent]:
    world = World(5, 200, START_US, events_per_person_day=60)
    return list(world.events(START_US + 12 * 3600 * 10**6))


def test_v1_is_byte_for_byte() -> None:
    assert wire.v1(LIKE) == (
        b'{"did":"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa","time_us":1790000000000001,"kind":"commit",'
        b'"commit":{"rev":"3jzfcijpj2z2b",'
        b'"operation":"create","collection":"app.bsky.feed.like","rkey":"3jzfcijpj2z2a",'
        b'"record":{"$type":"app.bsky.feed.like"},"cid":"bafyreia"}}'
    )


def test_v1_of_a_v2_host_has_a_cursor() -> None:
    assert b'"time_us":1790000000000001,"cursor":7,"kind"' in (wire.v1(LIKE, cursor=True) or b"")


def test_v2_is_byte_for_byte() -> None:
    assert wire.v2(LIKE) == (
        b'{"$type":"message","payload":{"$type":"network.bsky.jetstream.subscribeEvents#commit","cid":"bafyreia",'
        b'"collection":"app.bsky.feed.like","did":"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa","operation":"create",'
        b'"record":{"$type":"app.bsky.feed.like"},"rev":"3jzfcijpj2z2b","rkey":"3jzfcijpj2z2a","seq":7,'
        b'"time":"2026-09-21T14:13:20.000001Z"}}'
    )


def test_a_delete_has_neither_record_nor_cid() -> None:
    event = SimEvent(8, LIKE.time_us, LIKE.did, "commit", "delete", LIKE.collection, LIKE.rkey, LIKE.rev)
    commit = json.loads(wire.v1(event) or b"")["commit"]
    assert list(commit) == ["rev", "operation", "collection", "rkey"]
    assert not {"record", "cid"} & json.loads(wire.v2(event))["payload"].keys()


def test_every_event_reads_the_same_on_both_wires(events: list[SimEvent]) -> None:
    kinds = set()
    for event in events:
        payload = json.loads(wire.v2(event))["payload"]
        assert payload["$type"].endswith("#" + event.kind)
        assert (payload["seq"], payload["did"]) == (event.seq, event.did)
        first = wire.v1(event)
        if event.kind == "sync":
            assert first is None
            continue
        assert first is not None
        message = json.loads(first)
        assert (message["time_us"], message["did"], message["kind"]) == (event.time_us, event.did, event.kind)
        kinds.add(event.kind)
        if event.kind == "commit":
            for name, value in message["commit"].items():
                assert payload[name] == value
        else:
            assert payload[event.kind] == message[event.kind]
    assert kinds == {"commit", "identity", "account"}


def test_sync_only_on_v2() -> None:
    event = SimEvent(9, LIKE.time_us, LIKE.did, "sync", detail=b'{"rev":"3jzfcijpj2z2a"}')
    payload: dict[str, Any] = json.loads(wire.v2(event))["payload"]
    assert payload["sync"] == {"rev": "3jzfcijpj2z2a"}
    assert list(payload) == ["$type", "did", "seq", "sync", "time"]


@given(st.integers(0, 4_000_000_000_000_000))
def test_times_are_rfc3339_with_microseconds(us: int) -> None:
    text = wire.rfc3339(us)
    assert len(text) == 27
    assert text.endswith(f".{us % 1_000_000:06d}Z")


def test_dictionary_and_frames(events: list[SimEvent]) -> None:
    frames = [wire.v2(event) for event in events]
    dictionary = wire.train_dictionary(frames[:4000])
    assert len(dictionary) == wire.DICTIONARY_BYTES
    reader = zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(dictionary))
    assert zstandard.ZstdCompressionDict(dictionary).dict_id() == wire.DICTIONARY_ID
    compress = wire.Compressor(dictionary)
    packed = [compress(frame) for frame in frames[:500]]
    for frame, original in zip(packed, frames, strict=False):
        assert reader.decompress(frame, max_output_size=1 << 20) == original
        assert zstandard.get_frame_parameters(frame).dict_id == wire.DICTIONARY_ID
        assert zstandard.get_frame_parameters(frame).has_checksum
    # Dictionary compression is what the wire has it for.
    assert sum(map(len, packed)) < 0.6 * sum(map(len, frames[:500]))
    with pytest.raises(zstandard.ZstdError):
        reader.decompress(compress(b'{"short":true}'))  # a small frame does not say how long it is


def test_the_error_that_ends_a_stream() -> None:
    assert json.loads(wire.v2_error("ConsumerTooSlow", "too slow")) == {
        "$type": "error", "error": "ConsumerTooSlow", "message": "too slow",
    }  # fmt: skip
