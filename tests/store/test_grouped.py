"""One call for all who wait, and never one that began before they asked."""

from __future__ import annotations

import asyncio
import threading

import pytest

from feedgen.store.grouped import Grouped


async def test_who_asks_while_it_runs_waits_for_the_next() -> None:
    began, go = list[threading.Event](), threading.Semaphore(0)
    asked = 0
    seen: list[int] = []

    def call() -> None:
        seen.append(asked)
        began[-1].set()
        go.acquire()

    grouped = Grouped(call)
    began.append(threading.Event())
    asked = 1
    first = asyncio.create_task(grouped())
    await asyncio.to_thread(began[0].wait)
    began.append(threading.Event())
    asked = 21
    others = [asyncio.create_task(grouped()) for _ in range(20)]
    await asyncio.sleep(0)
    others[3].cancel()  # takes nothing from the others
    go.release()
    await first
    assert not any(other.done() for other in others if other is not others[3])
    go.release()
    await asyncio.gather(*others, return_exceptions=True)
    assert seen == [1, 21]


async def test_a_failure_is_told_to_all_and_the_next_is_a_new_try() -> None:
    fails = True

    def call() -> None:
        if fails:
            raise OSError("no")

    grouped = Grouped(call)
    answers = await asyncio.gather(*(grouped() for _ in range(3)), return_exceptions=True)
    assert all(isinstance(answer, OSError) for answer in answers)
    fails = False
    await grouped()
    fails = True
    with pytest.raises(OSError, match="no"):
        await grouped()
