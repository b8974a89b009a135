from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.core.cbor import MAX_DEPTH, MAX_ITEMS, CborError, Reader, encode

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 64), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.binary()
    | st.text()
)
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@given(values)
def test_what_is_written_is_read(value: Any) -> None:
    reader = Reader(encode(value) + encode(1))
    assert reader.read() == value and not reader.done
    assert reader.read() == 1 and reader.done


@given(st.binary(max_size=200))
def test_nothing_that_arrives_does_harm(data: bytes) -> None:
    reader = Reader(data)
    try:
        value = reader.read()
    except CborError:
        return
    if b"\xd8\x2a" not in data:
        assert encode(value) == data[: len(encode(value))]  # every value has one spelling


BAD = {
    "nothing": "",
    "cut short": "19",
    "text cut short": "6361",
    "no UTF-8": "61ff",
    "a long spelling": "1800",
    "a longer one": "190017",
    "the longest": "1b00000000ffffffff",
    "an endless list": "9f00ff",
    "an endless text": "7f6161ff",
    "half a float": "f93c00",
    "a short float": "fa3f800000",
    "NaN": "fb7ff8000000000000",
    "infinity": "fb7ff0000000000000",
    "undefined": "f7",
    "a simple value": "f820",
    "a date": "c074323031332d30332d32315432303a30343a30305a",
    "a link of no bytes": "d82a60",
    "a link without its prefix": "d82a420171",
    "a key that is a number": "a10000",
    "keys out of order": "a2616200616100",
    "the same key twice": "a2616100616100",
    "a longer key first": "a262616100616200",
    "a list that promises much": "9b7fffffffffffffff",
    "a map that promises much": "bb7fffffffffffffff",
    "a text that promises much": "7b7fffffffffffffff00",
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_dag_cbor(name: str) -> None:
    with pytest.raises(CborError):
        Reader(bytes.fromhex(BAD[name])).read()


def test_limits() -> None:
    assert Reader(b"\x81" * MAX_DEPTH + b"\x00").read()
    with pytest.raises(CborError, match="deep"):
        Reader(b"\x81" * 1_000_000).read()
    many = b"\x99" + (MAX_ITEMS + 1).to_bytes(2, "big") + b"\x00" * (MAX_ITEMS + 1)
    with pytest.raises(CborError, match="many"):
        Reader(many).read()


def test_a_link_is_its_bytes() -> None:
    assert Reader(bytes.fromhex("d82a43000171")).read() == b"\x01\x71"
