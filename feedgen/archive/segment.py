"""An archive segment: a file of some 256 MB with blocks of events, in the layout that Jetstream v2 publishes.

Reading is total: whatever the bytes are, the answer is the blocks they hold or a BadSegment that says what is wrong.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import xxhash
import zstandard

MAGIC: Final = b"jss0"
HEADER_BYTES: Final = 256
VERSIONS: Final = (1,)
MAX_BLOCKS: Final = 1 << 20
MAX_BLOCK_BYTES: Final = 64 << 20  # decompressed; usual ones have about 1 MB
MAX_FRAME_BYTES: Final = 64 << 20
_HEADER: Final = struct.Struct("<4sQHIIIQQqqQQQQQ")
_CHECKED_FROM: Final = 12  # magic and checksum are not part of what is summed
_PIECE: Final = 8 << 20
_LENGTH: Final = struct.Struct("<Q")

INDEX: Final = np.dtype(
    [
        ("offset", "<u8"),
        ("compressed", "<u4"),
        ("uncompressed", "<u4"),
        ("events", "<u4"),
        ("min_seq", "<u8"),
        ("max_seq", "<u8"),
        ("first_us", "<i8"),
        ("last_us", "<i8"),
    ]
)


class BadSegment(ValueError):
    """Not a segment or block as published, or one that was damaged on its way."""


@dataclass(frozen=True, slots=True)
class Header:
    checksum: int
    blocks: int
    events: int
    min_seq: int
    max_seq: int
    first_us: int
    last_us: int
    checked_bytes: int  # the checksum covers the file up to here
    index_at: int


class Segment:
    """A whole segment in memory, or mapped. Its checksum is verified before anything else of it is believed."""

    def __init__(self, data: memoryview, verified: bool = False) -> None:
        self._data = data
        self.header = read_header(data)
        if not verified and checksum(data[_CHECKED_FROM : self.header.checked_bytes]) != self.header.checksum:
            raise BadSegment("its checksum does not fit its content")
        self.index = self._read_index()

    def frame(self, block: int) -> bytes:
        """A copy of one block's zstd frame."""
        entry = self.index[block]
        at, size = int(entry["offset"]), int(entry["compressed"])
        if at + _LENGTH.size + size > len(self._data):
            raise BadSegment(f"block {block} lies beyond the end of the file")
        if _LENGTH.unpack_from(self._data, at)[0] != size:
            raise BadSegment(f"block {block} and the index disagree about its length")
        return bytes(self._data[at + _LENGTH.size : at + _LENGTH.size + size])

    def _read_index(self) -> npt.NDArray[np.void]:
        at, size = self.header.index_at, self.header.blocks * INDEX.itemsize
        if at + size > len(self._data):
            raise BadSegment("the block index lies beyond the end of the file")
        return np.frombuffer(self._data, INDEX, self.header.blocks, at).copy()


def read_header(data: memoryview) -> Header:
    if len(data) < HEADER_BYTES or bytes(data[:4]) != MAGIC:
        raise BadSegment("not an archive segment")
    (_, summed, version, blocks, events, _, min_seq, max_seq, first_us, last_us, *offsets) = _HEADER.unpack_from(data)
    if version not in VERSIONS:
        raise BadSegment(f"version {version} of the segment format is unknown: update feedgen")
    if blocks > MAX_BLOCKS or max(offsets) > len(data):
        raise BadSegment("the header's numbers can't be right")
    _, _, _, collections_at, index_at = offsets
    # The checksum ends with the collection index: where the next section begins, or at the end of the file.
    end = min((at for at in offsets if at > collections_at), default=len(data))
    return Header(summed, blocks, events, min_seq, max_seq, first_us, last_us, end, index_at)


def checksum(data: memoryview) -> int:
    """xxh3-64, a piece at a time, so that other threads have turns."""
    total = xxhash.xxh3_64()
    for start in range(0, len(data), _PIECE):
        total.update(data[start : start + _PIECE])
    return total.intdigest()


def inflate(frame: bytes | memoryview, max_bytes: int = MAX_BLOCK_BYTES) -> bytes:
    """A block's bytes. zstd verifies its own checksum; a frame that claims or becomes too much is refused."""
    if len(frame) > MAX_FRAME_BYTES:
        raise BadSegment("a block is too large")
    try:
        size = zstandard.frame_content_size(bytes(frame[:32]))
        if size > max_bytes:
            raise BadSegment("a block claims to be too large")
        decompressor = zstandard.ZstdDecompressor()
        if size >= 0:
            return decompressor.decompress(frame, read_across_frames=False, allow_extra_data=False)
        with decompressor.stream_reader(frame, read_across_frames=False) as reader:
            plain = reader.read(max_bytes + 1)
    except zstandard.ZstdError as error:
        raise BadSegment(f"a block can't be decompressed: {error}") from None
    if len(plain) > max_bytes:
        raise BadSegment("a block is too large")
    return plain
