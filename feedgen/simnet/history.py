"""What the made-up network has said so far: one ordered log that every Jetstream host reads.

Events get an ordinal in order of arrival and live in chunks of a fixed size, so an ordinal says where its event is.
The newest chunks are kept as objects; older ones are packed (msgpack and zstd, about a tenth of the memory) and
unpacked when somebody replays; the oldest are dropped at a limit. Encoded frames are kept per chunk and per kind of
reader for the same reason that real Jetstream does it: many readers want the same bytes.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from typing import Final

import msgspec
import zstandard

from feedgen.simnet.records import SimEvent

CHUNK_EVENTS: Final = 1024
HOT_CHUNKS: Final = 32  # kept as objects
UNPACKED_CHUNKS: Final = 8  # replays of packed chunks
ENCODED_CHUNKS: Final = 96
MAX_EVENTS: Final = 8_000_000  # about 1 GB packed

_pack = msgspec.msgpack.Encoder()
_unpack = msgspec.msgpack.Decoder(list[SimEvent])


class Chunk:
    """Up to CHUNK_EVENTS events in order."""

    __slots__ = ("count", "events", "first_seq", "first_us", "last_us", "packed")

    def __init__(self, first: SimEvent) -> None:
        self.events: list[SimEvent] | None = []
        self.packed = b""
        self.count = 0
        self.first_seq = first.seq
        self.first_us = self.last_us = first.time_us


class History:
    """Single-threaded: it belongs to the event loop."""

    def __init__(self, max_events: int = MAX_EVENTS) -> None:
        self.max_chunks = max(2, max_events // CHUNK_EVENTS)
        self.complete = asyncio.Event()  # set once the past has been told and only the present goes on
        self.listeners: list[Callable[[], None]] = []
        self._chunks: deque[Chunk] = deque()
        self._dropped = 0  # chunks gone at the left
        self._changed = asyncio.Event()
        self._unpacked: OrderedDict[int, list[SimEvent]] = OrderedDict()
        self._encoded: OrderedDict[tuple[int, Hashable], list[bytes]] = OrderedDict()
        self._compressor = zstandard.ZstdCompressor(level=1)
        self._decompressor = zstandard.ZstdDecompressor()

    @property
    def floor(self) -> int:
        """The oldest ordinal still here."""
        return self._dropped * CHUNK_EVENTS

    @property
    def tip(self) -> int:
        """The ordinal that the next event will get."""
        return self.floor + (len(self._chunks) - 1) * CHUNK_EVENTS + self._chunks[-1].count if self._chunks else 0

    @property
    def next_seq(self) -> int:
        """The sequence number that the next event will have."""
        if not self._chunks:
            return 1
        return self.event(self.tip - 1).seq + 1

    @property
    def last_us(self) -> int:
        return self._chunks[-1].last_us if self._chunks else 0

    def append(self, events: Sequence[SimEvent]) -> None:
        if not events:
            return
        at = 0
        while at < len(events):
            if not self._chunks or self._chunks[-1].count == CHUNK_EVENTS:
                self._open(events[at])
            chunk = self._chunks[-1]
            piece = events[at : at + CHUNK_EVENTS - chunk.count]
            assert chunk.events is not None
            chunk.events.extend(piece)
            chunk.count += len(piece)
            chunk.last_us = max(chunk.last_us, piece[-1].time_us)
            at += len(piece)
        self.nudge()
        for listener in self.listeners:
            listener()

    def event(self, ordinal: int) -> SimEvent:
        return self.chunk_events(ordinal // CHUNK_EVENTS)[ordinal % CHUNK_EVENTS]

    def chunk_events(self, number: int) -> list[SimEvent]:
        chunk = self._chunks[number - self._dropped]
        if chunk.events is not None:
            return chunk.events
        events = self._unpacked.get(number)
        if events is None:
            events = _unpack.decode(self._decompressor.decompress(chunk.packed))
            self._unpacked[number] = events
            if len(self._unpacked) > UNPACKED_CHUNKS:
                self._unpacked.popitem(last=False)
        return events

    def encoded(self, number: int, key: Hashable, encode: Callable[[Sequence[SimEvent]], list[bytes]]) -> list[bytes]:
        """The chunk's frames for readers of this kind, in step with its events; empty if there is nothing to send."""
        events = self.chunk_events(number)
        frames = self._encoded.get((number, key))
        if frames is None:
            frames = self._encoded[number, key] = []
            if len(self._encoded) > ENCODED_CHUNKS:
                self._encoded.popitem(last=False)
        if len(frames) < len(events):
            frames.extend(encode(events[len(frames) :]))
        return frames

    def ordinal_of_seq(self, seq: int) -> int:
        """The first event with this sequence number or a later one."""
        return self._first(lambda c: c.first_seq, lambda e: e.seq, seq)

    def ordinal_of_time(self, us: int) -> int:
        """The first event witnessed at this time or later."""
        return self._first(lambda c: c.first_us, lambda e: e.time_us, us)

    async def changed(self) -> None:
        """Wait for the next events, or a nudge."""
        await self._changed.wait()

    def nudge(self) -> None:
        """Wake whoever waits for events: something else is to be looked at."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _first(self, of_chunk: Callable[[Chunk], int], of_event: Callable[[SimEvent], int], value: int) -> int:
        # The chunk before the first one that starts at the value or later may hold it too.
        number = max(0, bisect_left(self._chunks, value, key=of_chunk) - 1) + self._dropped
        if number - self._dropped >= len(self._chunks):
            return self.tip
        return number * CHUNK_EVENTS + bisect_left(self.chunk_events(number), value, key=of_event)

    def _open(self, first: SimEvent) -> None:
        self._chunks.append(Chunk(first))
        if len(self._chunks) > HOT_CHUNKS:
            cold = self._chunks[-1 - HOT_CHUNKS]
            if cold.events is not None:
                cold.packed = self._compressor.compress(_pack.encode(cold.events))
                cold.events = None
        if len(self._chunks) > self.max_chunks:
            self._chunks.popleft()
            self._dropped += 1
