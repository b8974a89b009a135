"""The log behind the hosts: order, memory, and finding one's place."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgen.core.clock import ManualClock
from feedgen.simnet.faults import Faults
from feedgen.simnet.history import CHUNK_EVENTS, HOT_CHUNKS, History
from feedgen.simnet.jetstream import Dictionary, HostOptions, JetstreamHost, first_frames
from tests.simnet.wiretap import NOW_US, like, likes


@given(st.lists(st.integers(0, 3), min_size=1, max_size=300), st.lists(st.integers(1, 100), min_size=1))
@settings(deadline=None)
def test_every_place_is_found(gaps: list[int], pieces: list[int]) -> None:
    """Times repeat, sequences have gaps."""
    events, time_us, seq = [], NOW_US, 0
    for gap in gaps * 8:
        time_us, seq = time_us + gap, seq + 1 + gap
        events.append(like(seq, time_us))
    history, at, turn = History(), 0, 0
    while at < len(events):
        step = pieces[turn % len(pieces)]
        history.append(events[at : at + step])
        at, turn = at + step, turn + 1
    assert history.tip == len(events)
    times, seqs = [e.time_us for e in events], [e.seq for e in events]
    for wanted in (NOW_US - 1, NOW_US, times[len(times) // 2], times[-1], times[-1] + 1, times[0] + 2):
        assert history.ordinal_of_time(wanted) == bisect_left(times, wanted)
    for wanted in (0, 1, seqs[len(seqs) // 3], seqs[-1], seqs[-1] + 1, seqs[0] + 1):
        assert history.ordinal_of_seq(wanted) == bisect_left(seqs, wanted)


def test_packed_chunks_are_the_same() -> None:
    events = likes((HOT_CHUNKS + 4) * CHUNK_EVENTS + 5, step_us=10)
    history = History()
    history.append(events)
    assert history._chunks[0].events is None
    assert [history.event(i) for i in range(0, len(events), 97)] == events[::97]
    assert history.next_seq == len(events) + 1


def test_the_memory_is_bounded() -> None:
    history = History(max_events=3 * CHUNK_EVENTS)
    for i in range(10):
        history.append(likes(CHUNK_EVENTS, first_seq=1 + i * CHUNK_EVENTS, step_us=10))
    assert (history.floor, history.tip) == (7 * CHUNK_EVENTS, 10 * CHUNK_EVENTS)
    assert history.event(history.floor).seq == history.floor + 1


def test_an_empty_history() -> None:
    history = History()
    assert (history.tip, history.floor, history.next_seq, history.last_us) == (0, 0, 1, 0)
    assert history.ordinal_of_time(NOW_US) == history.ordinal_of_seq(5) == 0


def test_encoded_frames_keep_step() -> None:
    history, made = History(), []

    def encode(events: object) -> list[bytes]:
        made.append(len(events))  # type: ignore[arg-type]
        return [b"%d" % e.seq for e in events]  # type: ignore[attr-defined]

    history.append(likes(3))
    assert history.encoded(0, "a", encode) == [b"1", b"2", b"3"]
    history.append(likes(2, first_seq=4))
    assert history.encoded(0, "a", encode) == [b"1", b"2", b"3", b"4", b"5"]
    assert history.encoded(0, "a", encode) is history.encoded(0, "a", encode)
    assert made == [3, 2]


async def test_whoever_waits_is_woken() -> None:
    history = History()
    waiting = asyncio.create_task(history.changed())
    await asyncio.sleep(0)
    assert not waiting.done()
    history.append(likes(1))
    await asyncio.wait_for(waiting, 5)


@given(st.integers(1, 10**9), st.lists(st.tuples(st.integers(1, 20), st.integers(1, 10**6)), max_size=6))
@settings(deadline=None)
async def test_numbers_of_a_host_and_back(first_seq: int, jumps: list[tuple[int, int]]) -> None:
    history, faults = History(), Faults()
    options = HostOptions(first_seq=first_seq)
    host = JetstreamHost(
        "jetstream/0", history, faults, ManualClock().now_us, options, Dictionary(first_frames(history))
    )
    for events, by in jumps:
        history.append(likes(events, first_seq=history.next_seq))
        faults.add("jump", by=by)
    history.append(likes(3, first_seq=history.next_seq))
    numbers = [host.seq(i) for i in range(1, history.next_seq + 1)]
    assert numbers == sorted(set(numbers))
    assert numbers[0] == first_seq or jumps == []
    for event_seq, seq in enumerate(numbers, 1):
        assert host.event_seq(seq) == event_seq
    for low, high in pairwise(numbers):
        assert host.event_seq((low + high + 1) // 2) == host.event_seq(high)


@pytest.mark.parametrize("n", [0, 1, 50])
async def test_a_small_network_has_a_dictionary_too(n: int) -> None:
    history = History()
    history.append(likes(n))
    history.complete.set()
    dictionary = Dictionary(first_frames(history))
    data = await dictionary.ready()
    assert data == await dictionary.ready()
    assert dictionary.compress(b"{}" * 100)
