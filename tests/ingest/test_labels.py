from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.core.cbor import encode
from feedgen.ingest import labels
from feedgen.ingest.labels import Label, LabelFrame, Told, decode

SRC, DID = "did:plc:labelerlabelerlabelerlab", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
POST = f"at://{DID}/app.bsky.feed.post/3kpost0000000"


def frame(*given: Any, seq: Any = 5, header: Any = None) -> bytes:
    return encode({"op": 1, "t": "#labels"} if header is None else header) + encode({"seq": seq, "labels": list(given)})


def label(**changes: Any) -> dict[str, Any]:
    good = {"src": SRC, "uri": POST, "val": "porn", "cts": "2026-01-01T00:00:00Z", **changes}
    return {name: value for name, value in good.items() if value is not ...}


def test_labels_as_labelers_send_them() -> None:
    told = frame(
        label(),
        label(uri=DID, val="!hide", neg=True, ver=1, sig=b"x" * 64),
        label(exp="2026-01-01T00:00:00.000Z"),
        label(exp="1970-01-01T00:00:00Z"),
        label(cid="bafyreib"),
    )
    assert decode(told) == LabelFrame(
        5,
        [
            Label(SRC, POST, "porn", False, 0),
            Label(SRC, DID, "!hide", True, 0),
            Label(SRC, POST, "porn", False, 1_767_225_600),
            Label(SRC, POST, "porn", False, 1),
            Label(SRC, POST, "porn", False, 0),
        ],
        0,
    )


BAD: dict[str, Any] = {
    "no source": label(src=...),
    "source a handle": label(src="labeler.example.com"),
    "no subject": label(uri=...),
    "a list record": label(uri=f"at://{DID}/app.bsky.graph.list/3kpost0000000"),
    "a handle": label(uri="alice.example.com"),
    "a huge subject": label(uri=f"at://{DID}/app.bsky.feed.post/" + "a" * 5000),
    "no value": label(val=...),
    "an empty value": label(val=""),
    "a long value": label(val="ä" * 65),
    "value a number": label(val=5),
    "neg a text": label(neg="true"),
    "exp a number": label(exp=5),
    "exp no time": label(exp="soon"),
    "exp long": label(exp="2026-01-01" + " " * 100),
    "no map": 5,
}


@pytest.mark.parametrize("name", BAD)
def test_a_label_that_makes_no_sense_costs_no_other(name: str) -> None:
    assert decode(frame(BAD[name], label())) == LabelFrame(5, [Label(SRC, POST, "porn", False, 0)], 1)


def test_other_frames() -> None:
    info = encode({"op": 1, "t": "#info"}) + encode({"name": "OutdatedCursor", "message": "m" * 900})
    assert decode(info) == Told("OutdatedCursor", "m" * 300, False)
    error = encode({"op": -1}) + encode({"error": "FutureCursor"})
    assert decode(error) == Told("FutureCursor", "", True)
    for odd in (
        b"",
        b"{}",
        frame(header={"op": 2, "t": "#labels"}),
        frame(header={"op": 1, "t": "#more"}),
        frame(header=5),
        frame(seq=-1),
        frame(seq=True),
        frame(seq="5"),
        frame(seq=1 << 63),
        frame() + b"\x00",
        frame(*[5] * (labels.MAX_LABELS + 1)),
        b"\x00" * (labels.MAX_FRAME_BYTES + 1),
    ):
        assert decode(odd) is None


@given(st.binary(max_size=300))
def test_anything_can_be_decoded(data: bytes) -> None:
    decode(data)
    decode(encode({"op": 1, "t": "#labels"}) + data)
