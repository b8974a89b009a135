"""Each rule between the inlet and the sink."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any

import pytest

from feedgen.core.errors import StoreFull
from feedgen.core.ids import US_PER_DAY, US_PER_S, make_tid, rkey_to_int
from feedgen.ingest import replacement
from feedgen.ingest.batch import Batch, Cursor, Piece
from feedgen.ingest.events import Replaced
from feedgen.ingest.frames import Frames, Inlet
from feedgen.ingest.gather import gather
from feedgen.ingest.pipeline import DROPPED, FUTURE_US, Pipeline
from feedgen.ingest.repeats import REPEAT_US
from feedgen.simnet.jetstream import HostOptions
from tests.ingest import listening, wires
from tests.ingest.listening import TestClock, likes
from tests.ingest.wires import NOW_US, commit, dump
from tests.simnet.wiretap import stage

MIDNIGHT_US = (NOW_US // US_PER_DAY) * US_PER_DAY


class MemorySink:
    """Keeps what it is given; does what a test tells it to before that."""

    def __init__(self, high_water_us: int = 0, cursor: Cursor | None = None) -> None:
        self.batches: list[Batch] = []
        self.before: Callable[[Batch], None] = lambda batch: None
        self._high_water_us, self._cursor = high_water_us, cursor

    def apply(self, batch: Batch) -> None:
        self.before(batch)
        self.batches.append(batch)
        self._cursor, self._high_water_us = batch.cursor, max(self._high_water_us, batch.last_us)

    def cursor(self) -> Cursor | None:
        return self._cursor

    def high_water_us(self) -> int:
        return self._high_water_us

    @property
    def rkeys(self) -> list[str]:
        return [rkey for batch in self.batches for rkey in batch.ratings.rkeys]


def like(rkey: str, time_us: int = NOW_US, seq: int = 0, did: str = wires.DID) -> bytes:
    return dump(commit("v1", record=wires.like(), rkey=rkey, time_us=time_us, seq=seq, did=did))


class Bench:
    """A pipeline with an inlet to push into."""

    def __init__(self, sink: MemorySink, clock: Any = None, **options: Any) -> None:
        self.sink, self.inlet = sink, Inlet()
        self.clock = clock or TestClock()
        self.pipeline = Pipeline(sink, self.inlet, self.clock, **options)
        self.connection = 1

    def push(self, *messages: bytes, host: str = "host", **more: Any) -> None:
        self.inlet.put(Frames(host, self.connection, list(messages), bytes=sum(map(len, messages)), **more))

    def until(self, done: Callable[[], bool], timeout_s: float = 60.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline_s, "nothing happened"
            assert self.pipeline.failure is None
            time.sleep(0.002)

    def until_applied(self, n: int) -> None:
        self.until(lambda: sum(b.events for b in self.sink.batches) >= n)


@contextmanager
def running(sink: MemorySink | None = None, **options: Any) -> Iterator[Bench]:
    bench = Bench(sink or MemorySink(), **{"batch_s": 0.02, **options})
    bench.pipeline.start()
    try:
        yield bench
    finally:
        bench.pipeline.stop()


def test_events_become_a_batch_with_its_cursor() -> None:
    with running() as b:
        b.push(like("a", NOW_US, 1), like("b", NOW_US + 5, 2))
        b.until_applied(2)
        [batch] = b.sink.batches
        assert batch.ratings.rkeys == ["a", "b"]
        assert batch.cursor == Cursor("host", 2, NOW_US + 5)
        assert (batch.day, batch.replayed) == (NOW_US // US_PER_DAY, False)
        assert (b.pipeline.status.events, b.pipeline.status.last_us) == (2, NOW_US + 5)


def test_an_event_is_handed_over_within_half_a_second() -> None:
    sink = MemorySink()
    bench = Bench(sink)  # with the batch time of production
    bench.pipeline.start()
    started_s = time.monotonic()
    bench.push(like("a"))
    bench.until_applied(1)
    assert time.monotonic() - started_s < 0.5
    bench.pipeline.stop()


def test_a_steady_trickle_does_not_put_the_batch_off() -> None:
    with running(batch_s=0.1) as b:
        for i in range(40):
            b.push(like(f"k{i}", NOW_US + i, i + 1))
            time.sleep(0.01)
        assert len(b.sink.batches) >= 3


def test_batches_are_limited_and_nothing_is_lost_between_them() -> None:
    with running(max_events=100) as b:
        keys = [f"k{i}" for i in range(1_050)]
        b.push(*(like(k, NOW_US, i + 1) for i, k in enumerate(keys)))
        b.until_applied(1_050)
        assert b.sink.rkeys == keys
        assert max(x.events for x in b.sink.batches) == 100


def test_batches_are_larger_while_we_are_behind() -> None:
    sink = MemorySink()
    sink.before = lambda batch: time.sleep(0.005)
    with running(sink, batch_s=0.01) as b:
        for i in range(200):
            b.push(like(f"k{i}", NOW_US - US_PER_DAY + i, i + 1))
            time.sleep(0.0005)
        b.until_applied(200)
        assert max(x.events for x in sink.batches) > 20


def test_an_order_that_matters_again_and_again_is_kept_and_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    taken_apart: list[int] = []

    def counting(messages: Sequence[bytes], dropped: Any, matcher: Any) -> Piece:
        taken_apart.append(len(messages))
        return gather(messages, dropped, matcher)

    monkeypatch.setattr("feedgen.ingest.pipeline.gather", counting)
    key = make_tid(NOW_US)
    deleted = dump(commit("v1", operation="delete", rkey=key))
    with running() as bench:
        bench.push(*[deleted, like(key)] * 50)
        bench.until_applied(100)
        assert bench.sink.rkeys == [key] * 50
        assert all(len(batch.ratings.rkeys) <= 1 for batch in bench.sink.batches)
        assert sum(taken_apart) < 8 * (100 + 2)


def test_midnight_closes_a_batch() -> None:
    with running() as b:
        b.push(like("a", MIDNIGHT_US - 1, 1), like("b", MIDNIGHT_US, 2))
        b.until_applied(2)
        assert [x.day for x in b.sink.batches] == [MIDNIGHT_US // US_PER_DAY - 1, MIDNIGHT_US // US_PER_DAY]
        assert b.sink.batches[0].cursor.seq == 1


def test_what_comes_from_yesterday_belongs_to_the_open_day() -> None:
    with running() as b:
        b.push(like("a", MIDNIGHT_US + 5, 1), like("late", MIDNIGHT_US - 5, 2), like("b", MIDNIGHT_US + 6, 3))
        b.until_applied(3)
        assert {x.day for x in b.sink.batches} == {MIDNIGHT_US // US_PER_DAY}
        assert b.sink.batches[0].ratings.times_us == [MIDNIGHT_US + 5, MIDNIGHT_US, MIDNIGHT_US + 6]


def test_a_day_is_not_opened_again_after_a_restart() -> None:
    with running(MemorySink(high_water_us=MIDNIGHT_US + 1)) as b:
        b.push(like("late", MIDNIGHT_US - 5, 2))
        b.until_applied(1)
        assert b.sink.batches[0].day == MIDNIGHT_US // US_PER_DAY
        assert b.sink.batches[0].replayed


@pytest.mark.parametrize(("ahead_us", "believed"), [(FUTURE_US - 30 * US_PER_S, True), (US_PER_DAY, False)])
def test_a_time_far_beyond_our_clock_is_not_believed(ahead_us: int, believed: bool) -> None:
    clock = TestClock(MIDNIGHT_US + US_PER_DAY - 60 * US_PER_S)
    with running(clock=clock) as b:
        now_us = clock.now_us()
        b.push(like("a", now_us, 1), like("b", now_us + ahead_us, 2), like("c", now_us + 1, 3))
        b.until_applied(3)
        today = MIDNIGHT_US // US_PER_DAY
        assert b.sink.batches[-1].day == today + believed
        if not believed:
            assert b.sink.batches[-1].last_us < now_us + FUTURE_US
            assert b.sink.batches[-1].cursor.seq == 3


def test_a_clock_that_is_a_day_slow_opens_no_other_day() -> None:
    clock = TestClock(NOW_US - US_PER_DAY)
    with running(MemorySink(high_water_us=NOW_US), clock=clock) as b:
        b.push(like("a", NOW_US + 5, 1), like("b", NOW_US + 6, 2))
        b.until_applied(2)
        assert {x.day for x in b.sink.batches} == {NOW_US // US_PER_DAY}


def flags(batches: Sequence[Batch]) -> list[bool]:
    return [batch.replayed for batch in batches]


def test_replayed_until_the_high_water_mark_is_passed() -> None:
    with running(MemorySink(high_water_us=NOW_US), max_events=2) as b:
        old = [like(f"a{i}", NOW_US - 5 + i, i + 1) for i in range(4)]
        near = [like(f"b{i}", NOW_US + REPEAT_US - 5 + i, i + 5) for i in range(2)]
        new = [like(f"c{i}", NOW_US + REPEAT_US + 5 + i, i + 7) for i in range(4)]
        b.push(*old, *near, *new)
        b.until_applied(10)
        assert flags(b.sink.batches) == [True, True, True, False, False]


def test_on_the_same_host_hardly_anything_is_replayed() -> None:
    with running(MemorySink(high_water_us=NOW_US), max_events=2) as b:
        b.push(like("a", NOW_US, 5), like("b", NOW_US + 1, 6), same_host=True)
        b.push(like("c", NOW_US + 2 * US_PER_S, 7), like("d", NOW_US + 2 * US_PER_S, 8), same_host=True)
        b.until_applied(4)
        assert flags(b.sink.batches) == [True, False]


def test_another_connection_may_repeat_what_the_last_one_brought() -> None:
    with running() as b:
        b.push(like("a", NOW_US, 1), like("b", NOW_US + 1, 2))
        b.until_applied(2)
        b.connection, before = 2, len(b.sink.batches)
        b.push(like("b", NOW_US + 1, 0), like("c", NOW_US + 2, 0), host="other")
        b.until_applied(4)
        assert flags(b.sink.batches[:before]) == [False] * before
        assert flags(b.sink.batches[before:]) == [True]
        assert b.sink.batches[-1].cursor == Cursor("other", 0, NOW_US + 2)


def test_a_batch_holds_events_of_one_connection() -> None:
    with running(batch_s=0.2) as b:
        b.push(like("a", NOW_US, 1))
        b.connection = 2
        b.push(like("b", NOW_US + 1, 9), host="other")
        b.until_applied(2)
        assert [x.cursor.host for x in b.sink.batches] == ["host", "other"]


@pytest.mark.parametrize(("seqs", "repeated"), [([1, 2, 3], False), ([1, 2, 2], True), ([2, 1, 3], True)])
def test_a_sequence_that_goes_back_means_a_repeat(seqs: list[int], repeated: bool) -> None:
    with running() as b:
        b.push(*(like(f"k{i}", NOW_US, seq) for i, seq in enumerate(seqs)))
        b.until_applied(3)
        assert any(flags(b.sink.batches)) is repeated


@pytest.mark.parametrize(("steps", "repeated"), [([0, 1, 2], False), ([0, 1, 1], True), ([1, 0, 2], True)])
def test_without_sequences_the_time_tells(steps: list[int], repeated: bool) -> None:
    with running() as b:
        b.push(*(like(f"k{i}", NOW_US + step, 0) for i, step in enumerate(steps)))
        b.until_applied(3)
        assert any(flags(b.sink.batches)) is repeated


def test_bad_messages_are_dropped_and_counted() -> None:
    reasons = ("not_json", "not_zstd", "not_a_post")
    before = {reason: DROPPED.value(reason) for reason in reasons}
    feed = dump(commit("v1", record=wires.like("at://did:plc:bbbbbbbbbbbbbbbbbbbbbbbb/app.bsky.feed.generator/a")))
    with running() as b:
        b.push(b"{", feed, b"\x28\xb5\x2f\xfdrubbish", b"", like("a", NOW_US, 1), dictionary=b"")
        b.until_applied(1)
        b.until(lambda: b.pipeline.status.dropped == 4)
    assert {reason: DROPPED.value(reason) - before[reason] for reason in reasons} == {
        "not_json": 2,
        "not_zstd": 1,
        "not_a_post": 1,
    }


def test_a_full_store_makes_ingest_wait_and_loses_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "feedgen")
    sink, room = MemorySink(), threading.Event()
    tries: list[Batch] = []

    def full(batch: Batch) -> None:
        tries.append(batch)
        if not room.is_set():
            raise StoreFull("the disk is full", "make room")

    sink.before = full
    with running(sink, full_backoff_s=0.005) as b:
        b.push(like("a", NOW_US, 1))
        b.until(lambda: len(tries) > 4 and b.pipeline.status.waiting_for_room)
        assert not sink.batches
        b.push(like("b", NOW_US + 1, 2))
        room.set()
        b.until_applied(2)
        assert sink.rkeys == ["a", "b"]
        b.until(lambda: not b.pipeline.status.waiting_for_room)
        assert all(t is tries[0] for t in tries[:5])
    assert [r.message for r in caplog.records] == [
        "the store has no room; ingest waits",
        "the store has room again; ingest goes on",
    ]


def test_stopping_while_the_store_is_full_is_quick_and_forgets_the_cursor() -> None:
    sink = MemorySink()

    def full(batch: Batch) -> None:
        raise StoreFull("full")

    sink.before = full
    with running(sink, full_backoff_s=60) as b:
        b.push(like("a", NOW_US, 1))
        b.until(lambda: b.pipeline.status.waiting_for_room)
        started_s = time.monotonic()
        b.pipeline.stop()
        assert time.monotonic() - started_s < 1
        assert sink.cursor() is None


def test_what_waits_behind_a_batch_that_was_given_up_is_not_applied_either() -> None:
    """There may be room again for the last one, and its cursor would skip the one that was given up."""
    sink, refused = MemorySink(), list[Batch]()

    def full(batch: Batch) -> None:
        if not refused or batch is refused[0]:
            refused.append(batch)
            raise StoreFull("full")

    sink.before = full
    with running(sink, max_events=2, full_backoff_s=60) as b:
        b.push(*(like(f"k{n}", NOW_US + n, n + 1) for n in range(5)))
        b.until(lambda: b.pipeline.status.waiting_for_room)
        b.pipeline.stop()
        assert sink.rkeys == [] and sink.cursor() is None


def test_stopping_finishes_the_batch_in_hand() -> None:
    with running(batch_s=60) as b:
        b.push(like("a", NOW_US, 1))
        b.until(lambda: not b.inlet.pieces)
        time.sleep(0.05)
        assert not b.sink.batches
        b.pipeline.stop()
        assert b.sink.rkeys == ["a"]


def broken(batch: Batch) -> None:
    raise ZeroDivisionError("our own bug")


async def test_our_own_bug_is_raised_in_run(caplog: pytest.LogCaptureFixture) -> None:
    sink = MemorySink()
    sink.before = broken
    bench = Bench(sink, batch_s=0.01)
    bench.push(like("a"))
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(bench.pipeline.run(), 5)
    assert "ingest stopped" in caplog.text


def test_our_own_bug_is_told_to_whoever_asked(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[BaseException | None] = []
    sink = MemorySink()
    sink.before = broken
    bench = Bench(sink, batch_s=0.01, on_end=ended.append)
    bench.pipeline.start()
    bench.push(like("a"))
    while not ended:
        time.sleep(0.005)
    bench.pipeline.stop()
    assert [type(e) for e in ended] == [ZeroDivisionError]


async def test_cancelling_run_stops_the_thread() -> None:
    bench = Bench(MemorySink(), batch_s=60)
    task = asyncio.create_task(bench.pipeline.run())
    bench.push(like("a"))
    while not bench.pipeline._builder.events:
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bench.sink.rkeys == ["a"]


async def test_however_long_the_sink_takes_it_is_in_use_until_run_returns() -> None:
    """Cancelled, and again: the store is closed after this, so it may not be while a batch is on its way into it."""
    begun, go_on, sink = threading.Event(), threading.Event(), MemorySink()

    def slowly(batch: Batch) -> None:
        begun.set()
        assert go_on.wait(60)

    sink.before = slowly
    bench = Bench(sink, batch_s=0.01)
    task = asyncio.create_task(bench.pipeline.run())
    bench.push(like("a"))
    assert await asyncio.to_thread(begun.wait, 60)
    for _ in range(3):
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
        assert not task.done()
    bench.push(*(like(f"late{i}") for i in range(50_000)))  # nobody looks at these any more
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sink.rkeys == ["a"] and bench.pipeline.failure is None
    assert not [thread for thread in threading.enumerate() if thread.name == "ingest"]


def test_a_pipeline_starts_once() -> None:
    with running() as b, pytest.raises(RuntimeError):
        b.pipeline.start()


def sync(did: str = wires.DID, seq: int = 5, time_us: int = NOW_US) -> bytes:
    inner = {"did": did, "rev": wires.RKEY, "seq": 1}
    return dump(wires.v2("sync", did=did, seq=seq, time=wires.iso(time_us), sync=inner))


def row(rkey: str, seq: int, did: str = wires.DID, time_us: int = NOW_US, **more: Any) -> bytes:
    return dump(commit("v2", record=wires.like(**more), rkey=rkey, time_us=time_us, seq=seq, did=did))


@pytest.mark.parametrize("together", [True, False])
def test_a_sync_and_what_replaces_the_repository(together: bool) -> None:
    """Old records are dated by their keys, too old ones are left out, and at the end stands what is there."""
    week, year = make_tid(NOW_US - 7 * US_PER_DAY), make_tid(NOW_US - 365 * US_PER_DAY)
    messages = [
        row("before", 4, time_us=NOW_US - 9),
        sync(),
        row(week, 6),
        row(year, 7),
        row("odd", 8),
        row("other", 9, did=wires.AUTHOR),
        row("after", 10, time_us=NOW_US + 5),
    ]
    with running(retention_days=90) as b:
        for message in [messages] if together else [[m] for m in messages]:
            b.push(*message)
        b.until(lambda: "after" in b.sink.rkeys)
        assert b.sink.rkeys == ["before", week, "odd", "other", "after"]
        times = {k: t for x in b.sink.batches for k, t in zip(x.ratings.rkeys, x.ratings.times_us, strict=True)}
        assert times[week] == NOW_US - 7 * US_PER_DAY
        assert {times["odd"], times["other"]} == {NOW_US}
        [replaced] = [event for x in b.sink.batches for event in x.rare]
        assert isinstance(replaced, Replaced)
        assert (replaced.did, replaced.before_us) == (wires.DID, NOW_US)
        assert replaced.keys["app.bsky.feed.like"] == {rkey_to_int(k) for k in (week, year, "odd")}
        [rows] = [x for x in b.sink.batches if "odd" in x.ratings.rkeys]
        assert rows.replayed
        assert rows.cursor == Cursor("host", 5, NOW_US)  # a restart hears the sync again
        assert b.sink.cursor() == Cursor("host", 10, NOW_US + 5)


def test_live_creates_keep_the_witnessed_time() -> None:
    """However old their keys: nobody can date a like into the past."""
    week = make_tid(NOW_US - 7 * US_PER_DAY)
    with running() as b:
        b.push(row(week, 6))
        b.until_applied(1)
        assert b.sink.batches[0].ratings.times_us == [NOW_US]


def test_a_sync_that_replaces_nothing_removes_nothing() -> None:
    with running() as b:
        b.push(sync(), row("after", 6, time_us=NOW_US + 5))
        b.until_applied(1)
        assert [x.rare for x in b.sink.batches] == [[]]


def test_a_replacement_that_was_cut_off_removes_nothing() -> None:
    with running() as b:
        b.push(sync(), row("some", 6))
        b.until(lambda: not b.inlet.pieces)
        b.connection += 1
        b.push(row("more", 7), row("after", 8, time_us=NOW_US + 5))
        b.until(lambda: "after" in b.sink.rkeys)
        assert not any(x.rare for x in b.sink.batches)
        assert b.sink.cursor() == Cursor("host", 8, NOW_US + 5)


def test_of_a_very_large_repository_nothing_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replacement, "MAX_RECORDS", 2)
    with running() as b:
        b.push(sync(), *(row(f"k{i}", 6 + i) for i in range(3)), row("after", 10, time_us=NOW_US + 5))
        b.until(lambda: "after" in b.sink.rkeys)
        assert b.sink.rkeys == ["k0", "k1", "k2", "after"]
        assert not any(x.rare for x in b.sink.batches)


async def test_from_the_socket_to_the_sink_and_on_after_a_restart(tmp_path: Path) -> None:
    """Stopped in the middle and started anew from the sink's cursor: each event is there, repeats are marked."""
    events = likes(3_000, step_us=20_000)
    sink = MemorySink()
    async with stage(events[:2_000]) as s:
        url = await s.add(HostOptions(lookback_s=inf, segment_s=0))
        for target in (700, 2_000, 3_000):
            if target == 3_000:
                s.history.append(events[2_000:])
            inlet = Inlet(max_bytes=100_000)
            pipeline = Pipeline(sink, inlet, TestClock(), batch_s=0.01, max_events=150)
            async with listening.listening(tmp_path, url, at=sink.cursor(), inlet=inlet) as h:
                running_pipeline = asyncio.create_task(pipeline.run())
                while len(sink.rkeys) < target:
                    await asyncio.sleep(0.005)
                    assert not h.task.done()
                    assert not running_pipeline.done()
                running_pipeline.cancel()
                await asyncio.gather(running_pipeline, return_exceptions=True)
    assert set(sink.rkeys) == {f"key{i}" for i in range(1, 3_001)}
    seen: set[str] = set()
    for batch in sink.batches:
        repeated = seen.intersection(batch.ratings.rkeys)
        assert batch.replayed or not repeated
        seen.update(batch.ratings.rkeys)
    assert len(sink.rkeys) - len(seen) <= 2  # the cursor is inclusive: one repeat a restart
