"""Nothing that arrives makes decoding raise, hang, or take more than a bounded amount of memory."""

from __future__ import annotations

import json
import sys
import tracemalloc
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgen.ingest.events import MAX_FRAME_BYTES, Dropped, Event, decode
from feedgen.ingest.frames import Inflater
from feedgen.ingest.hosts import dictionary_id
from tests.ingest import fuzzing, wires
from tests.ingest.fuzzing import Report, check


def test_the_templates_are_sound() -> None:
    outcomes = [decode(wires.dump(frame)) for frame in fuzzing.templates()]
    assert sum(isinstance(o, Event) for o in outcomes) == 27
    assert outcomes.count(Dropped("unwanted_kind")) == 1


def test_every_field_replaced_by_each_of_the_zoo() -> None:
    report = Report()
    for frame in fuzzing.every_field_by_every_value():
        check(frame, report)
    assert report.frames > 20_000
    # Much of it must still be understood, else the fuzzing would test the parser alone.
    assert report.outcomes["Rating"] > 1_000
    assert report.outcomes["Post"] > 1_000
    assert len(report.outcomes) > 12


def test_mutations() -> None:
    report = Report()
    for frame in fuzzing.mutations(seed=1, count=10_000):
        check(frame, report)
    assert report.frames == 10_000
    assert report.outcomes["not_json"] > 1_000


def test_the_same_seed_gives_the_same_frames() -> None:
    assert list(fuzzing.mutations(7, 200)) == list(fuzzing.mutations(7, 200)) != list(fuzzing.mutations(8, 200))


@given(st.binary(max_size=300))
def test_any_bytes(frame: bytes) -> None:
    check(frame, Report())


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.data(), _values)
def test_any_value_in_any_place(data: st.DataObject, value: Any) -> None:
    frame = data.draw(st.sampled_from(fuzzing.templates()))
    at = data.draw(st.sampled_from(list(fuzzing.paths(frame))))
    check(fuzzing.replaced(frame, at, value), Report())
    check(json.dumps(json.loads(fuzzing.replaced(frame, at, value)), ensure_ascii=True, indent=1).encode(), Report())


def _memory(frame: bytes) -> int:
    tracemalloc.start()
    try:
        check(frame, Report())
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("wire", wires.WIRES)
def test_twenty_megabytes_are_refused_unread(wire: str) -> None:
    frame = wires.dump(wires.commit(wire, record=wires.like(padding="x" * 20_000_000)))
    assert _memory(frame) < 1 << 20


@pytest.mark.parametrize(
    "inside",
    [
        b'"' + b"x" * (MAX_FRAME_BYTES - 1_000) + b'"',
        b"[" + b"1," * (MAX_FRAME_BYTES // 2 - 1_000) + b"1]",
        b"[" + b'"",' * (MAX_FRAME_BYTES // 3 - 1_000) + b'""]',
        b"[" + b"{}," * (MAX_FRAME_BYTES // 3 - 1_000) + b"{}]",
        b'{"values":[' + b'{"val":"porn"},' * (MAX_FRAME_BYTES // 15 - 1_000) + b"{}]}",
        b"[" * (MAX_FRAME_BYTES - 1_000),
        b'{"a":' * (MAX_FRAME_BYTES // 5 - 1_000),
        b"9" * (MAX_FRAME_BYTES - 1_000),
        b"0." + b"9" * (MAX_FRAME_BYTES - 1_000),
    ],
    ids=["text", "numbers", "texts", "objects", "labels", "nested lists", "nested objects", "digits", "decimals"],
)
@pytest.mark.parametrize("field", ["langs", "labels", "embed", "reply", "subject", "createdAt", "text"])
def test_the_largest_frames_take_bounded_time_and_memory(field: str, inside: bytes) -> None:
    frame = fuzzing.replaced(wires.commit("v2", "app.bsky.feed.post", wires.post(**{field: 0})), _at(field), inside)
    assert len(frame) < MAX_FRAME_BYTES
    assert _memory(frame) < 64 << 20


def _at(field: str) -> tuple[str, ...]:
    return ("payload", "record", field)


def test_deep_nesting_at_a_deep_stack() -> None:
    """Where there is little stack left, the parser must stop as politely."""

    def deeper(n: int) -> None:
        if n:
            deeper(n - 1)
        else:
            check(b'{"commit":{"record":{"embed":' + b"[" * 1_000 + b"]" * 1_000 + b"}}}", Report())

    deeper(sys.getrecursionlimit() - 200 - _depth())


def _depth() -> int:
    frame, n = sys._getframe(), 0
    while frame.f_back is not None:
        frame, n = frame.f_back, n + 1
    return n


_SAMPLES = [wires.dump(wires.commit("v2", record=wires.like(), seq=i, rkey=f"k{i}")) for i in range(2_000)]
_DICTIONARY = zstandard.train_dictionary(8_192, [*_SAMPLES], dict_id=5).as_bytes()


def _compress(plain: bytes, sized: bool) -> bytes:
    dictionary = zstandard.ZstdCompressionDict(_DICTIONARY)
    return zstandard.ZstdCompressor(dict_data=dictionary, write_content_size=sized).compress(plain)


@pytest.mark.parametrize("sized", [True, False])
@pytest.mark.parametrize("size", [0, 1, 100, 9_000, 500_000])
def test_inflating(size: int, sized: bool) -> None:
    plain = b"x" * size
    assert Inflater(_DICTIONARY)(_compress(plain, sized)) == plain


@pytest.mark.parametrize("sized", [True, False])
def test_a_bomb_is_not_inflated(sized: bool) -> None:
    bomb = _compress(b"\0" * (200 << 20), sized)
    inflate = Inflater(_DICTIONARY)
    tracemalloc.start()
    try:
        assert inflate(bomb) is None
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_frame_that_lies_about_its_size() -> None:
    sound = bytearray(_compress(b"x" * 1_000, True))
    for i in range(4, 16):
        for value in range(0, 256, 5):
            spoilt = bytes(sound[:i]) + bytes([value]) + bytes(sound[i + 1 :])
            out = Inflater(_DICTIONARY)(spoilt)
            assert out is None or len(out) <= MAX_FRAME_BYTES


@given(st.binary(max_size=200))
def test_any_bytes_after_the_magic_number(tail: bytes) -> None:
    out = Inflater(_DICTIONARY)(b"\x28\xb5\x2f\xfd" + tail)
    assert out is None or len(out) <= MAX_FRAME_BYTES


def test_what_is_not_compressed_passes() -> None:
    assert Inflater(_DICTIONARY)(b'{"$type":"error"}') == b'{"$type":"error"}'


def test_a_dictionary_of_rubbish_is_noticed() -> None:
    assert dictionary_id(_DICTIONARY) == 5
    for rubbish in (b"", b"x" * 200, b"\x37\xa4\x30\xec\x05\0\0\0" + b"y" * 100, _DICTIONARY[:50]):
        assert dictionary_id(rubbish) == 0
