from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import pytest

from feedgen.host.life import READY, Life


class Watch:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def done() -> Future[object]:
    future: Future[object] = Future()
    future.set_result(None)
    return future


@pytest.fixture
def watch() -> Watch:
    return Watch()


async def beaten(life: Life, times: int = 3) -> None:
    """Until it beat that often."""
    task = asyncio.create_task(life.run())
    beats = 0

    def count() -> None:
        nonlocal beats
        beats += 1

    life.on_beat = count
    async with asyncio.timeout(5):
        while beats < times:
            await asyncio.sleep(0.001)
    task.cancel()


async def test_it_begins_and_ends(watch: Watch) -> None:
    life = Life(watch)
    assert life.unready() == "starting" and life.late() == []
    life.begin()
    assert life.unready() == "" and READY.value() == 1
    life.stop()
    assert life.unready() == "stopping" and READY.value() == 0


async def test_each_part_is_late_by_itself(watch: Watch) -> None:
    life = Life(watch, beat_s=0.001)
    writer_s = watch.now_s
    life.follow(lambda: writer_s, done)
    life.begin()
    await beaten(life)
    assert life.late() == []
    watch.now_s += 46
    assert life.late() == ["event loop", "ranker", "writer"]
    await beaten(life)
    assert life.late() == ["writer"] and life.unready() == "no sign of life: writer"
    writer_s = watch.now_s
    assert life.late() == []
    life.stop()
    watch.now_s += 1000
    assert life.late() == []


async def test_a_ranker_that_hangs_is_late_and_one_pulse_waits_at_most(watch: Watch) -> None:
    go_on = Event()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(go_on.wait)
        sent: list[Future[object]] = []

        def pulse() -> Future[object]:
            sent.append(threads.submit(object))
            return sent[-1]

        life = Life(watch, beat_s=0.001)
        life.follow(lambda: watch.now_s, pulse)
        await beaten(life)
        watch.now_s += 46
        await beaten(life)
        assert life.late() == ["ranker"] and len(sent) == 1
        go_on.set()
        sent[0].result(5)
        await beaten(life)
        assert life.late() == []


async def test_a_writer_that_has_not_begun_is_not_late(watch: Watch) -> None:
    life = Life(watch)
    life.follow(lambda: 0.0, done)
    assert life.late() == []
