"""Archive segments in the published layout, to the byte: columns of events, zstd blocks, an index, a checksum.

What the blooms and the collection index hold is not published: here they are of a plausible size and say nothing.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import xxhash
import zstandard

from feedgen.core import cbor
from feedgen.simnet.records import SimEvent

HEADER_BYTES: Final = 256
VERSION: Final = 1
BLOCK_EVENTS: Final = 4_096
_HEADER: Final = struct.Struct("<4sQHIIIQQqqQQQQQ")
_ENTRY: Final = struct.Struct("<QIIIQQqq")
_KINDS: Final = {"create": 1, "update": 2, "delete": 3, "identity": 4, "account": 5, "sync": 6}
_FILTER_BYTES_A_PERSON: Final = 2


@dataclass(frozen=True, slots=True)
class BlockOf:
    """One block: its frame and what the index says of it."""

    frame: bytes
    uncompressed: int
    events: int
    min_seq: int = 0
    max_seq: int = 0
    first_us: int = 0
    last_us: int = 0


def columns(events: Sequence[SimEvent]) -> bytes:
    """A block before compression."""
    payloads = [_payload(event) for event in events]
    texts = [[getattr(event, name).encode() for event in events] for name in ("collection", "did", "rkey", "rev")]
    lengths = [list(map(len, column)) for column in (*texts, payloads)]
    return b"".join(
        [
            len(events).to_bytes(4, "little"),
            np.array([event.seq for event in events], "<u8").tobytes(),
            np.array([event.time_us for event in events], "<i8").tobytes(),
            np.zeros(len(events), "<i8").tobytes(),
            np.array([_KINDS[event.operation or event.kind] for event in events], "u1").tobytes(),
            *(np.array(n, kind).tobytes() for n, kind in zip(lengths, ("u1", "<u2", "u1", "u1", "<u4"), strict=True)),
            *(b"".join(column) for column in (*texts, payloads)),
        ]
    )


def block(events: Sequence[SimEvent], level: int = 3) -> BlockOf:
    plain = columns(events)
    frame = zstandard.ZstdCompressor(level, write_checksum=True).compress(plain)
    if not events:
        return BlockOf(frame, len(plain), 0)
    seqs, times = [event.seq for event in events], [event.time_us for event in events]
    return BlockOf(frame, len(plain), len(events), min(seqs), max(seqs), min(times), max(times))


def segment(blocks: Sequence[BlockOf], people: int) -> bytes:
    """The whole file."""
    at, body, index = HEADER_BYTES, [], []
    for one in blocks:
        entry = (at, len(one.frame), one.uncompressed, one.events, one.min_seq, one.max_seq, one.first_us, one.last_us)
        index.append(_ENTRY.pack(*entry))
        body += [struct.pack("<Q", len(one.frame)), one.frame]
        at += 8 + len(one.frame)
    index_at, blooms_at = at, at + _ENTRY.size * len(blocks)
    block_blooms_at = blooms_at + _FILTER_BYTES_A_PERSON * people
    collections_at = block_blooms_at + 64 * len(blocks)
    body += [*index, bytes(collections_at - blooms_at), bytes(32)]
    full = [one for one in blocks if one.events]
    numbers = (
        len(blocks),
        sum(one.events for one in blocks),
        people,
        min((one.min_seq for one in full), default=0),
        max((one.max_seq for one in full), default=0),
        min((one.first_us for one in full), default=0),
        max((one.last_us for one in full), default=0),
    )
    offsets = (index_at, blooms_at, block_blooms_at, collections_at, index_at)
    head = _HEADER.pack(b"jss0", 0, VERSION, *numbers, *offsets).ljust(HEADER_BYTES, b"\0")
    rest = b"".join([head[12:], *body])
    return b"jss0" + struct.pack("<Q", xxhash.xxh3_64_intdigest(rest)) + rest


def encode(events: Sequence[SimEvent], block_events: int = BLOCK_EVENTS) -> tuple[bytes, list[BlockOf]]:
    """A segment of these events, and its blocks."""
    blocks = [block(events[start : start + block_events]) for start in range(0, len(events), block_events)]
    return segment(blocks, len({event.did for event in events})), blocks


def _payload(event: SimEvent) -> bytes:
    if event.kind == "commit":
        return b"" if event.record is None else cbor_of(event.record)
    return cbor_of(event.detail)


def cbor_of(record: bytes) -> bytes:
    """A record's JSON as DAG-CBOR."""
    try:
        return cbor.encode(_linked(msgspec.json.decode(record)))
    except (msgspec.DecodeError, cbor.CborError):
        return b"\xff"  # odd events are broken on purpose


def _linked(value: Any) -> cbor.Value:
    if isinstance(value, list):
        return [_linked(item) for item in value]
    if not isinstance(value, dict):
        return value  # type: ignore[no-any-return]
    if value.keys() == {"$link"} and isinstance(value["$link"], str):
        text = value["$link"][1:].upper()
        return cbor.Link(base64.b32decode(text + "=" * (-len(text) % 8)))
    return {key: _linked(item) for key, item in value.items()}
