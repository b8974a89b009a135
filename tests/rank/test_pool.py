"""The pool: full work when there is time, cheap work when others wait, and an honest no when it is too late."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from feedgen.rank.pool import CROWD, RankPool, TooLate, lists_late


@pytest.fixture
def pool() -> Iterator[RankPool]:
    pool = RankPool(width=1, deadline_s=5.0, cheap_after_s=0.05)
    yield pool
    pool.close()


async def test_work_is_done_in_full_elsewhere(pool: RankPool) -> None:
    here = threading.get_ident()
    cheap, there = await pool.run(lambda cheap: (cheap, threading.get_ident()))
    assert cheap is False
    assert there != here


async def test_an_error_is_the_callers(pool: RankPool) -> None:
    def work(cheap: bool) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await pool.run(work)
    assert pool.waiting == 0


async def test_who_had_to_wait_gets_a_cheap_list(pool: RankPool) -> None:
    gate = threading.Event()
    first = asyncio.create_task(pool.run(lambda cheap: gate.wait(10)))
    others = [asyncio.create_task(pool.run(lambda cheap: cheap)) for _ in range(3)]
    await asyncio.sleep(0.1)
    assert pool.waiting == 3
    gate.set()
    assert await asyncio.gather(*others) == [True, True, True]
    await first
    assert pool.waiting == 0
    assert await pool.run(lambda cheap: cheap) is False


async def test_too_late_while_waiting_never_starts() -> None:
    pool, gate, started = RankPool(width=1, deadline_s=0.1), threading.Event(), []
    before = lists_late.value("waiting"), lists_late.value("working")
    working = asyncio.create_task(pool.run(lambda cheap: gate.wait(10)))
    await asyncio.sleep(0.02)
    with pytest.raises(TooLate):
        await pool.run(lambda cheap: started.append(1))
    with pytest.raises(TooLate):
        await working
    gate.set()
    pool.close()
    assert started == []
    assert pool.waiting == 0
    assert (lists_late.value("waiting"), lists_late.value("working")) == (before[0] + 1, before[1] + 1)


async def test_the_time_before_it_came_counts(pool: RankPool) -> None:
    loop_now = pool._now_s()
    with pytest.raises(TooLate):
        await pool.run(lambda cheap: 1, arrived_s=loop_now - 5.1)
    assert await pool.run(lambda cheap: cheap, arrived_s=loop_now - 1) is True


async def test_the_queue_has_an_end() -> None:
    pool, gate = RankPool(width=1, max_waiting=2), threading.Event()
    running = asyncio.create_task(pool.run(lambda cheap: gate.wait(10)))
    await asyncio.sleep(0.05)
    waiting = [asyncio.create_task(pool.run(lambda cheap: 1)) for _ in range(2)]
    await asyncio.sleep(0.02)
    with pytest.raises(TooLate):
        await pool.run(lambda cheap: 1)
    gate.set()
    await asyncio.gather(running, *waiting)
    pool.close()


async def test_nobody_is_let_in_who_could_not_be_served_in_time() -> None:
    pool, gate = RankPool(width=1, deadline_s=1.0, line_s=1.0), threading.Event()
    pool._takes_s = {False: 0.5, True: 0.4}
    tasks = [asyncio.create_task(pool.run(lambda cheap: gate.wait(10))) for _ in range(4)]
    await asyncio.sleep(0.05)
    assert pool.expected_wait_s(cheap=True) > 1.0
    with pytest.raises(TooLate):
        await pool.run(lambda cheap: 1)
    gate.set()
    await asyncio.gather(*tasks)
    pool.close()


async def test_a_caller_who_leaves_does_not_leave_a_hole() -> None:
    pool, gate = RankPool(width=1), threading.Event()
    running = asyncio.create_task(pool.run(lambda cheap: gate.wait(10)))
    await asyncio.sleep(0.05)
    leaver = asyncio.create_task(pool.run(lambda cheap: 1))
    await asyncio.sleep(0.02)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    gate.set()
    await running
    assert await pool.run(lambda cheap: 7) == 7
    assert pool.waiting == 0
    pool.close()


async def test_a_long_line_is_not_joined_though_there_would_be_time() -> None:
    pool, gate = RankPool(width=1, line_s=0.5), threading.Event()
    pool._takes_s = {False: 0.5, True: 0.3}
    tasks = [asyncio.create_task(pool.run(lambda cheap: gate.wait(10))) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert 0.5 < pool.expected_wait_s(cheap=True) < pool.deadline_s
    with pytest.raises(TooLate):
        await pool.run(lambda cheap: 1)
    gate.set()
    await asyncio.gather(*tasks)
    pool.close()


def left_s(pool: RankPool, lag_s: float) -> float:
    return pool.left_s(pool._now_s(), lag_s)


async def test_while_many_requests_lie_in_their_sockets_nobody_is_ranked(pool: RankPool) -> None:
    before, refused = lists_late.value("at the door"), 0
    for _ in range(10 * CROWD):
        assert left_s(pool, pool.max_lag_s / 2) > 0
    for _ in range(10 * CROWD):
        try:
            left_s(pool, pool.max_lag_s * 8)
        except TooLate:
            refused += 1
    assert refused > CROWD
    while True:  # nor those at the head of the line, for a while
        try:
            await pool.run(lambda cheap: cheap)
            break
        except TooLate:
            refused += 1
            await asyncio.sleep(0.02)
    assert lists_late.value("at the door") == before + refused


async def test_few_that_lay_long_are_ranked(pool: RankPool) -> None:
    """Another program had the processor for a moment."""
    for _ in range(CROWD):
        assert left_s(pool, 8 * pool.max_lag_s) > 0
        assert await pool.run(lambda cheap: cheap) is False


async def test_what_is_finished_while_the_loop_is_busy_comes_together(pool: RankPool) -> None:
    tasks = [asyncio.create_task(pool.run(lambda cheap, n=n: n)) for n in range(20)]  # type: ignore[misc]
    await asyncio.sleep(0)
    deadline_s = time.monotonic() + 10
    while len(pool._finished) < 20 and time.monotonic() < deadline_s:
        time.sleep(0.01)  # the loop is busy
    assert await asyncio.gather(*tasks) == list(range(20))
    assert pool._finished == []
