"""Websocket frames as a server sends them: without a mask, so that one is made once for all consumers."""

from __future__ import annotations

_TEXT = 0x81  # one whole text message


def text_frame(payload: bytes) -> bytes:
    n = len(payload)
    if n < 126:
        return bytes((_TEXT, n)) + payload
    if n < 65_536:
        return bytes((_TEXT, 126)) + n.to_bytes(2, "big") + payload
    return bytes((_TEXT, 127)) + n.to_bytes(8, "big") + payload
