"""The made-up network as archive blocks, and what the live wire says of the same events."""

from __future__ import annotations

from functools import cache

from msgspec import structs

from feedgen.archive import block as b
from feedgen.archive.block import Rows
from feedgen.archive.rows import deletion_of, frame_of
from feedgen.core import languages
from feedgen.core.ids import US_PER_DAY, int_to_tid
from feedgen.ingest.events import Follow, Post, Rating, decode
from feedgen.ingest.scan import language_of
from feedgen.simnet import wire
from feedgen.simnet.lively import LivelyWorld
from feedgen.simnet.records import SimEvent
from feedgen.store.uris import unpack_plc

NOW_US = 1_780_000_000_000_000
FOREVER_US = 0


@cache
def network(events: int = 8_200, odd: float = 0.02) -> list[SimEvent]:
    """Some of everything, odd things included."""
    world = LivelyWorld(3, 300, NOW_US - US_PER_DAY, odd, 120.0, US_PER_DAY // 8)
    told = list(world.events(NOW_US))[:events]
    for seq, event in enumerate(told, 1):
        event.seq = seq
    return told


def live(event: SimEvent) -> object:
    """The event as the socket gives it."""
    return settled(decode(wire.v2(event)))


def settled(event: object) -> object:
    """Without what columns don't keep."""
    return structs.replace(event, created_us=0) if isinstance(event, Post) else event


def event_of(rows: Rows, row: int) -> object:
    """A row as an event, however it was read."""
    kind = int(rows.numbers[b.KIND, row])
    n, w = rows.numbers[:, row].tolist(), rows.words[:, row].tolist()
    if kind > b.RARE:
        return None
    if kind == b.RARE:
        return settled(decode(frame_of(rows, row)))
    if kind >= b.DELETE:
        return deletion_of(rows, row)
    did, rkey = unpack_plc(w[b.HIGH], w[b.LOW]), int_to_tid(n[b.KEY])
    subject = unpack_plc(w[b.SUBJECT_HIGH], w[b.SUBJECT_LOW])
    uri = f"at://{subject}/app.bsky.feed.post/{int_to_tid(n[b.SUBJECT_KEY])}" if n[b.SUBJECT_KEY] >= 0 else None
    time_us, seq = n[b.WITNESSED], n[b.SEQ]
    if kind == b.FOLLOW:
        return Follow(did=did, time_us=time_us, seq=seq, rkey=rkey, subject=subject)
    if kind == b.POST:
        language = language_of(n[b.LANGUAGE]) if n[b.LANGUAGE] else languages.UNKNOWN
        return Post(did=did, time_us=time_us, seq=seq, rkey=rkey, flags=n[b.FLAGS], language=language, about=uri)
    assert uri is not None
    return Rating(did=did, time_us=time_us, seq=seq, kind=kind, rkey=rkey, subject=uri)
