"""From the socket's thread to the pipeline's: messages as they came, in bounded supply.

The event loop only moves bytes; inflating and decoding them is the pipeline's work, so that pages need not wait for it.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import zstandard

from feedgen.core.jit import i64, njit
from feedgen.core.telemetry import Counter
from feedgen.ingest.batch import Told
from feedgen.ingest.events import MAX_FRAME_BYTES, NOT_ZSTD, TOO_BIG, Dropped

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

MAX_WAITING_BYTES: Final = 16 << 20  # then the socket is not read any more
ROOM_SHARE: Final = 16  # of it must be free before the socket is read again: little, so that it is read evenly
MERGE_MESSAGES: Final = 2_000
SMALL_BYTES: Final = 8 << 10  # frames that do not say how large they are, are small
MAX_WINDOW_BYTES: Final = 8 << 20
_LONGEST_HEADER: Final = 18
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"

DROPPED = Counter("feedgen_ingest_dropped_total", "Messages that are no event we keep, by reason.", "reason")


@dataclass(frozen=True, slots=True)
class Frames:
    """Messages of one connection, in order. `connection` counts up: a new one may repeat what the last one brought."""

    host: str
    connection: int
    messages: list[bytes]
    dictionary: bytes | None = None  # what compressed messages were compressed with
    same_host: bool = False  # it was resumed by sequence where the last one ended: hardly anything is repeated
    bytes: int = field(default=0)


class Inflater:
    """Undoes one dictionary's compression; not for two threads at once. Anything that is not zstd passes unchanged."""

    def __init__(self, dictionary: bytes) -> None:
        self.dictionary = dictionary
        self._decompressor = zstandard.ZstdDecompressor(
            dict_data=zstandard.ZstdCompressionDict(dictionary), max_window_size=MAX_WINDOW_BYTES
        )
        self._inflate = self._decompressor.decompress

    def __call__(self, message: bytes) -> bytes | None:
        """None for what can't be read, or would be too large."""
        plain = self._read(message)
        return plain if isinstance(plain, bytes) else None

    def _read(self, message: bytes) -> bytes | Dropped:
        if not message.startswith(_ZSTD_MAGIC):
            return message
        try:
            # A frame may claim any size, and that much would be allocated.
            size = zstandard.frame_content_size(message)
            if size > MAX_FRAME_BYTES:
                return TOO_BIG
            return self._inflate(message) if size >= 0 else self._inflate_unsized(message)
        except zstandard.ZstdError:
            return NOT_ZSTD

    def many(self, messages: list[bytes], dropped: Tally[str]) -> list[bytes]:
        """All that can be read, in order; the others are counted in `dropped`."""
        sizes = np.zeros(len(messages), np.int64)
        _content_sizes(np.frombuffer(b"".join((*messages, bytes(_LONGEST_HEADER))), np.uint8), _starts(messages), sizes)
        if sizes.size and sizes.min() >= 0 and sizes.max() <= MAX_FRAME_BYTES:
            with contextlib.suppress(zstandard.ZstdError):
                return list(map(self._inflate, messages))
        plain = []
        for found in map(self._read, messages):
            if isinstance(found, bytes):
                plain.append(found)
            else:
                dropped[found.reason] += 1
        return plain

    def _inflate_unsized(self, message: bytes) -> bytes | Dropped:
        try:
            return self._inflate(message, max_output_size=SMALL_BYTES)
        except zstandard.ZstdError:
            pass
        with self._decompressor.stream_reader(message) as reader:
            plain = reader.read(MAX_FRAME_BYTES + 1)
        return TOO_BIG if len(plain) > MAX_FRAME_BYTES else self._inflate(message, max_output_size=MAX_FRAME_BYTES)


@njit
def _content_sizes(text: U8, starts: I64, out: I64) -> None:
    """The content size in each zstd frame's header; -1 if it is missing, or if this is not a zstd frame."""
    for i in range(out.size):
        p = starts[i]
        out[i] = -1
        length = starts[i + 1] - p
        if length < 6 or text[p] != 0x28 or text[p + 1] != 0xB5 or text[p + 2] != 0x2F or text[p + 3] != 0xFD:
            continue
        flags = np.int64(text[p + 4])
        single, bytes_of_size = flags >> 5 & 1, 1 << (flags >> 6)
        if flags >> 6 == 0:
            bytes_of_size = single
        bytes_of_dictionary = (1 << (flags & 3)) >> 1
        at = p + 5 + (1 - single) + bytes_of_dictionary
        if bytes_of_size == 0 or at + bytes_of_size > starts[i + 1]:
            continue
        size = 0
        for k in range(bytes_of_size - 1, -1, -1):
            size = size << 8 | i64(text[at + k])
        out[i] = size + 256 if bytes_of_size == 2 else size


def _starts(messages: list[bytes]) -> I64:
    starts = np.zeros(len(messages) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, messages), np.int64, len(messages)), out=starts[1:])
    return starts


def _ignore_room() -> None:
    """Callback for producers that ignore back-pressure."""


class Inlet:
    """The queue between the two threads, limited by bytes. One thread puts, one takes."""

    def __init__(self, max_bytes: int = MAX_WAITING_BYTES) -> None:
        self.max_bytes = max_bytes
        self.waiting_bytes = 0
        self._on_room: Callable[[], None] = _ignore_room
        self._queue: deque[Frames | Told] = deque()
        self._condition = threading.Condition()
        self._full = False
        self._awake = False
        self.idle = False  # the taker waits: what it took before is digested

    def put(self, frames: Frames | Told, on_room: Callable[[], None] = _ignore_room) -> bool:
        """Takes the frames in any case; False says that no more should come until `on_room` was called.

        It is called in the taking thread. It belongs to the producer that was asked to wait: a new connection may fill
        the inlet with its first read.
        """
        with self._condition:
            self._on_room = on_room
            self._queue.append(frames)
            self.idle = False
            self.waiting_bytes += frames.bytes
            self._full = self.waiting_bytes >= self.max_bytes
            self._condition.notify()
            return not self._full

    def take(self, timeout_s: float | None) -> Frames | Told | None:
        """The oldest frames; None after the time, or when somebody calls `wake`."""
        with self._condition:
            if not self._queue and not self._awake:
                self.idle = True
                self._condition.wait(timeout_s)
                self.idle = False
            self._awake = False
            if not self._queue:
                return None
            frames = self._pop()
            self.waiting_bytes -= frames.bytes
            room = self._full and self.waiting_bytes <= self.max_bytes - self.max_bytes // ROOM_SHARE
            if room:
                self._full = False
            on_room = self._on_room
        if room:
            on_room()
        return frames

    def _pop(self) -> Frames | Told:
        """The oldest frames, and more of the same connection if there are only few: many at once cost less."""
        queue = self._queue
        first = queue.popleft()
        if isinstance(first, Told):
            return first
        parts, messages = [first], len(first.messages)
        while queue and queue[0].connection == first.connection and messages < MERGE_MESSAGES:
            more = queue.popleft()
            assert isinstance(more, Frames)  # a connection is of one kind
            parts.append(more)
            messages += len(more.messages)
        if len(parts) == 1:
            return first
        joined = [message for part in parts for message in part.messages]
        return replace(first, messages=joined, bytes=sum(part.bytes for part in parts))

    def wake(self) -> None:
        with self._condition:
            self._awake = True
            self._condition.notify()

    @property
    def pieces(self) -> int:
        return len(self._queue)
