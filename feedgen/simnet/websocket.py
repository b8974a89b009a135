"""RFC 6455 from the server's side: the handshake, frames out, frames in.

Frames from a server carry no mask, so a frame can be built once and written to any number of sockets, or glued to its
neighbours and written in one piece. That is where simnet's speed comes from, and why it needs no websocket library.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Final, NamedTuple

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

GOING_AWAY: Final = 1001
PROTOCOL_ERROR: Final = 1002
POLICY_VIOLATION: Final = 1008
TOO_BIG: Final = 1009

MAX_CLIENT_FRAME_BYTES: Final = 10 << 20  # v1 allows options updates of up to 10 MB
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TINY: Final = [bytes([0x80 | TEXT, n]) for n in range(126)]


class Frame(NamedTuple):
    opcode: int
    payload: bytes
    final: bool


class ProtocolError(Exception):
    """The client broke the protocol; `code` is what it is told."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def accept_key(key: str) -> str:
    """The answer to a client's Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """One whole unmasked frame."""
    n = len(payload)
    if n < 126:
        return (_TINY[n] if opcode == TEXT else bytes([0x80 | opcode, n])) + payload
    if n < 65536:
        return bytes([0x80 | opcode, 126]) + n.to_bytes(2, "big") + payload
    return bytes([0x80 | opcode, 127]) + n.to_bytes(8, "big") + payload


def split(frames: memoryview) -> Iterator[memoryview]:
    """Whole unmasked frames that were glued together."""
    at, end = 0, len(frames)
    while at < end:
        n, start = frames[at + 1], at
        at += 2 + n
        if n == 126:
            at = start + 4 + int.from_bytes(frames[start + 2 : start + 4], "big")
        elif n == 127:
            at = start + 10 + int.from_bytes(frames[start + 2 : start + 10], "big")
        yield frames[start:at]


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(code.to_bytes(2, "big") + reason.encode()[:123], CLOSE)


class FrameReader:
    """Collects what a client sends and gives whole frames; raises ProtocolError for anything a client may not send."""

    def __init__(self, max_bytes: int = MAX_CLIENT_FRAME_BYTES) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        self._buffer += data
        frames = []
        while (found := self._next()) is not None:
            frames.append(found)
        return frames

    def _next(self) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        if buffer[0] & 0x70:
            raise ProtocolError(PROTOCOL_ERROR, "reserved bits are set")
        if not buffer[1] & 0x80:
            raise ProtocolError(PROTOCOL_ERROR, "a client's frame must be masked")
        length, at = buffer[1] & 0x7F, 2
        if length >= 126:
            width = 2 if length == 126 else 8
            if len(buffer) < 2 + width:
                return None
            length, at = int.from_bytes(buffer[2 : 2 + width], "big"), 2 + width
        if length > self._max_bytes:
            raise ProtocolError(TOO_BIG, f"a frame of {length} bytes is too long")
        if len(buffer) < at + 4 + length:
            return None
        payload = _unmask(bytes(buffer[at + 4 : at + 4 + length]), bytes(buffer[at : at + 4]))
        found = Frame(buffer[0] & 0x0F, payload, bool(buffer[0] & 0x80))
        del buffer[: at + 4 + length]
        return found


def _unmask(payload: bytes, mask: bytes) -> bytes:
    n = len(payload)
    key = (mask * (n // 4 + 1))[:n]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(n, "big")
