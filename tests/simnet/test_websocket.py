"""Frames in pieces, and what a client may not send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.simnet import websocket
from feedgen.simnet.websocket import Frame, FrameReader, ProtocolError


def masked(payload: bytes, opcode: int = 1, mask: bytes = b"\x37\xfa\x21\x3d", final: bool = True) -> bytes:
    n = len(payload)
    if n < 126:
        size = bytes([0x80 | n])
    else:
        size = b"\xfe" + n.to_bytes(2, "big") if n < 65_536 else b"\xff" + n.to_bytes(8, "big")
    body = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return bytes([opcode | 0x80 * final]) + size + mask + body


def test_the_handshake_of_the_rfc() -> None:
    assert websocket.accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


FRAMES = st.tuples(st.binary(max_size=300), st.sampled_from([1, 2, 8, 9, 10]), st.binary(min_size=4, max_size=4))


@given(st.lists(FRAMES), st.lists(st.integers(1, 50), min_size=1))
def test_frames_come_whole_however_they_are_cut(sent: list[tuple[bytes, int, bytes]], cuts: list[int]) -> None:
    stream = b"".join(masked(payload, opcode, mask) for payload, opcode, mask in sent)
    reader, got, at, turn = FrameReader(), [], 0, 0
    while at < len(stream):
        step = cuts[turn % len(cuts)]
        got += reader.feed(stream[at : at + step])
        at, turn = at + step, turn + 1
    assert got == [Frame(opcode, payload, True) for payload, opcode, _ in sent]


@pytest.mark.parametrize("n", [0, 1, 125, 126, 65_535, 65_536])
def test_sizes(n: int) -> None:
    assert FrameReader().feed(masked(b"x" * n)) == [Frame(1, b"x" * n, True)]
    head = len(websocket.frame(b"x" * n)) - n
    assert head == (2 if n < 126 else 4 if n < 65_536 else 10)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (websocket.frame(b"not masked"), 1002),
        (bytes([0x91, 0x80]) + b"mask", 1002),
        (b"\x81\xff" + (1 << 40).to_bytes(8, "big"), 1009),
    ],
)
def test_what_a_client_may_not_send(data: bytes, code: int) -> None:
    with pytest.raises(ProtocolError) as broken:
        FrameReader().feed(data)
    assert broken.value.code == code


def test_a_close_says_why() -> None:
    assert websocket.close_frame(1001, "bye") == b"\x88\x05\x03\xe9bye"
    assert len(websocket.close_frame(1001, "x" * 500)) == 2 + 125  # a control frame is short
