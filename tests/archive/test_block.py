"""The block decoder against the live wire: what it reads, it reads like `decode`; and it does read what is common."""

from __future__ import annotations

import os
import random
from collections import Counter

import numpy as np
import pytest

from feedgen.archive import block as b
from feedgen.archive.rows import Cutter
from feedgen.archive.segment import BadSegment, Segment, inflate
from feedgen.core import cbor
from feedgen.core.ids import (
    FOLLOW_NSID,
    LIKE_NSID,
    POST_NSID,
    PROFILE_NSID,
    REPOST_NSID,
    VISIBILITY_NSID,
    make_tid,
)
from feedgen.ingest.batch import Piece
from feedgen.ingest.events import Dropped
from feedgen.simnet import segments
from feedgen.simnet.records import SimEvent
from tests.archive.told import FOREVER_US, NOW_US, event_of, live, network
from tests.ingest import wires

MUTATIONS = int(os.environ.get("FEEDGEN_ARCHIVE_MUTATIONS", "3000"))
DID = "did:plc:" + "a" * 24
KEPT = (LIKE_NSID, REPOST_NSID, POST_NSID, FOLLOW_NSID, PROFILE_NSID, VISIBILITY_NSID)


def rows_of(*events: SimEvent) -> b.Rows:
    return b.read(segments.columns(events), FOREVER_US)


def commit(record: bytes, collection: str = "app.bsky.feed.post", **more: str) -> SimEvent:
    """A create at NOW_US of a record in JSON."""
    fields = {"operation": "create", "rkey": make_tid(NOW_US), "did": DID} | more
    return SimEvent(7, NOW_US, kind="commit", collection=collection, record=record, **fields)  # type: ignore[arg-type]


def agrees(event: SimEvent, rows: b.Rows, row: int) -> None:
    expected, found = live(event), event_of(rows, row)
    if found is None:
        assert event.kind == "identity" or event.collection not in KEPT, event
    elif isinstance(expected, Dropped):
        assert isinstance(found, Dropped), (event, found)
    else:
        assert found == expected, event


def test_the_made_up_network_is_read_as_the_live_wire_tells_it() -> None:
    events = network()
    kinds: Counter[int] = Counter()
    for start in range(0, len(events), 4_096):
        some = events[start : start + 4_096]
        made = segments.block(some)
        rows = b.read(inflate(made.frame), FOREVER_US)
        for row, event in enumerate(some):
            agrees(event, rows, row)
        kinds.update(rows.numbers[b.KIND].tolist())
    unread = kinds[b.RARE] / len(events)
    assert unread < 0.06, kinds  # odd things are 2% of this network, profiles and accounts some more
    assert min(kinds[kind] for kind in (0, 1, b.POST, b.FOLLOW, b.DELETE)) > 20, kinds


POSTS = (
    wires.post(),
    wires.post(reply={"root": wires.ref(wires.ROOT_URI), "parent": wires.ref()}, langs=["en", "pt-BR"]),
    wires.post(embed={"$type": "app.bsky.embed.record", "record": wires.ref()}),
    wires.post(
        embed={
            "$type": "app.bsky.embed.recordWithMedia",
            "media": {"$type": "app.bsky.embed.images", "images": [{"alt": "é\u202e"}]},
            "record": {"$type": "app.bsky.embed.record", "record": wires.ref()},
        },
        reply={"root": wires.ref(wires.ROOT_URI), "parent": wires.ref()},
    ),
    wires.post(embed={"$type": "app.bsky.embed.external", "external": {"uri": "https://x"}}, langs=[]),
    wires.post(embed={"$type": "app.bsky.embed.video", "video": {"uri": 5}}),
    wires.post(createdAt="2026-05-31T23:59:59.123Z"),
    wires.post(createdAt="2024-02-29T00:00:00.000001Z"),
)


@pytest.mark.parametrize("record", POSTS, ids=range(len(POSTS)))
def test_posts_are_read_here_in_all_their_usual_forms(record: dict[str, object]) -> None:
    event = commit(wires.dump(record))
    rows = rows_of(event)
    assert rows.numbers[b.KIND, 0] == b.POST
    agrees(event, rows, 0)


UNUSUAL = (
    wires.post(labels={"values": [{"val": "porn"}]}),
    wires.post(createdAt="2026-13-31T23:59:59.123Z"),
    wires.post(createdAt="2026-02-29T00:00:00.000Z"),
    wires.post(createdAt=5),
    wires.post(langs=["en", 5]),
    wires.post(langs="en"),
    wires.post(langs=["x" * 9]),
    wires.post(reply={"root": {"uri": "at://" + DID + "/app.bsky.feed.generator/x"}}),
    wires.post(embed={"$type": "app.bsky.embed.record", "record": {"uri": f"at://{DID}/app.bsky.graph.list/x"}}),
    wires.post(embed={"$type": 5}),
    wires.post(embed=[]),
    wires.post(embed={"$type": "app.bsky.embed.video", "record": {"uri": 5}}),
    wires.post(subject=5),
    wires.post(text="x" * 20_000),
    wires.post(deep=[[[[[[[[[[[[[[1]]]]]]]]]]]]]]),
    wires.post(big=2**63),
)


@pytest.mark.parametrize("record", UNUSUAL, ids=range(len(UNUSUAL)))
def test_what_is_unusual_about_a_post_is_left_to_the_decoder(record: dict[str, object]) -> None:
    event = commit(wires.dump(record))
    rows = rows_of(event)
    assert rows.numbers[b.KIND, 0] == b.RARE
    agrees(event, rows, 0)


def test_a_key_that_only_begins_like_a_known_one_is_another() -> None:
    more = {"createdAX": 5, "\0reply": 5, "subjectss": 7, "replyX": [], "Embed": 1, "lang": 5}
    event = commit(wires.dump(wires.post(**more)))
    rows = rows_of(event)
    agrees(event, rows, 0)


@pytest.mark.parametrize(
    "value",
    [b"\xa2\x61a\x00\x61a\x00", b"\xa2\x61b\x00\x61a\x00", b"\xbf\xff", b"\xa1\x61a\x18\x05", b"\xa1\x61a\xf9\x3c\x00",
     b"\xa1\x61a\xfb\x7f\xf8\x00\x00\x00\x00\x00\x00", b"\xa1\x61a\xc1\x00", b"\xa1\x61a\xd8\x2a\x41\x00",
     b"\xa1\x61a\x63\xed\xa0\x80", b"\xa1\x61a\x9b\x00\x00\x00\x7f\xff\xff\xff\xff", b"\xa0\x00", b"", b"\xa1\x61a",
     b"\xa1\x61a" + b"\x81" * 5_000, b"\xa1\x61a\x7b\x7f\xff\xff\xff\xff\xff\xff\xff"],
)  # fmt: skip
def test_what_is_not_dag_cbor_is_never_taken_for_a_record(value: bytes) -> None:
    with pytest.raises(cbor.CborError):
        _read_all(value)
    event = commit(b"{}")
    rows = b.read(_with_payload(event, value), FOREVER_US)
    assert rows.numbers[b.KIND, 0] == b.RARE
    assert isinstance(event_of(rows, 0), Dropped)


def _read_all(value: bytes) -> None:
    reader = cbor.Reader(value)
    reader.read()
    if not reader.done:
        raise cbor.CborError("something follows")


def _with_payload(event: SimEvent, payload: bytes) -> bytes:
    plain = segments.columns([event])
    old = segments.cbor_of(event.record or b"")
    assert plain.endswith(old)
    at = 4 + 8 * 3 + 1 + 1 + 2 + 1 + 1
    return plain[:at] + len(payload).to_bytes(4, "little") + plain[at + 4 : len(plain) - len(old)] + payload


def test_old_records_are_dated_by_their_keys_and_those_beyond_the_retention_not_looked_into() -> None:
    day_us = 86_400_000_000
    like = wires.dump(wires.like())
    ages = (0, 1, 20, 100)
    events = [commit(like, "app.bsky.feed.like", rkey=make_tid(NOW_US - days * day_us - 5)) for days in ages]
    rows = b.read(segments.columns(events), NOW_US - 90 * day_us)
    assert rows.numbers[b.KIND].tolist() == [0, 0, 0, b.TOO_OLD]
    assert rows.numbers[b.TIME, :3].tolist() == [NOW_US, NOW_US - day_us - 5, NOW_US - 20 * day_us - 5]


# --- whatever the bytes are, the decoder answers


def mutated(data: bytes, random_: random.Random) -> bytes:
    spoilt = bytearray(data)
    match random_.randrange(5):
        case 0:
            return bytes(spoilt[: random_.randrange(len(spoilt))])
        case 1:
            for _ in range(random_.randrange(1, 4)):
                spoilt[random_.randrange(len(spoilt))] ^= 1 << random_.randrange(8)
        case 2:
            at = random_.randrange(len(spoilt))
            spoilt[at : at + random_.choice((1, 2, 4, 8))] = random_.choice((b"\xff", b"\0", b"\x9b")) * 8
        case 3:
            at = random_.randrange(len(spoilt))
            spoilt[at:at] = random_.randbytes(random_.randrange(1, 9))
        case 4:
            at = random_.randrange(len(spoilt))
            del spoilt[at : at + random_.randrange(1, 9)]
    return bytes(spoilt)


def test_spoilt_blocks_are_refused_or_read_and_what_is_read_is_sound() -> None:
    random_ = random.Random(5)
    events = network()
    refused = 0
    for _ in range(MUTATIONS // 10):
        start = random_.randrange(len(events) - 40)
        block = segments.columns(events[start : start + 40])
        for _ in range(10):
            spoilt = mutated(block, random_)
            try:
                rows = b.read(spoilt, NOW_US - 90 * 86_400_000_000)
            except BadSegment:
                refused += 1
                continue
            for part in Cutter(NOW_US - 90 * 86_400_000_000, NOW_US).parts(rows):
                if isinstance(part, Piece):
                    assert part.plain is not None and part.times_us.size == part.events
                    assert np.isin(part.plain.kinds, (0, 1, 2, 3)).all()
                    assert (part.plain.keys >= 0).all()
    assert refused > MUTATIONS // 10


def test_spoilt_records_are_read_as_by_the_strict_reader_or_not_at_all() -> None:
    """The compiled walk takes nothing that the reader for everything refuses, and reads it alike."""
    random_ = random.Random(6)
    events = [event for event in network() if event.record and event.operation == "create"][:200]
    read = 0
    for n in range(MUTATIONS):
        event = events[n % len(events)]
        payload = mutated(segments.cbor_of(event.record or b""), random_)
        rows = b.read(_with_payload(event, payload), FOREVER_US)
        kind = int(rows.numbers[b.KIND, 0])
        if kind < b.DELETE:
            read += 1
            plain = event_of(rows, 0)
            rows.numbers[b.KIND, 0] = b.RARE
            assert event_of(rows, 0) == plain
    assert read > MUTATIONS // 20


def test_spoilt_segments_are_refused() -> None:
    random_ = random.Random(7)
    data, _ = segments.encode(network()[:600], 100)
    whole = Segment(memoryview(data))
    assert whole.header.blocks == 6 and whole.header.events == 600
    assert sum(b.read(inflate(whole.frame(i)), 0).layout.count for i in range(6)) == 600
    for _ in range(MUTATIONS // 10):
        spoilt = mutated(data, random_)
        if spoilt != data and spoilt[: len(data)] != data:
            with pytest.raises(BadSegment):
                Segment(memoryview(spoilt))


def test_a_bomb_is_refused_before_it_takes_memory() -> None:
    import zstandard

    bomb = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(200 << 20))
    for frame in (bomb, zstandard.ZstdCompressor().compress(bytes(200 << 20))):
        with pytest.raises(BadSegment, match="too large"):
            inflate(frame)


def test_a_blocks_checksum_is_verified() -> None:
    frame = bytearray(segments.block(network()[:50]).frame)
    frame[-1] ^= 1
    with pytest.raises(BadSegment):
        inflate(bytes(frame))
