"""A thread of its own for what people look at, and how much of the machine it may use: readers of feeds go first.

The thread may spend `part` of a second in every second, saved up to `burst_s`. What would be more is refused at once,
as is what would wait behind too many others. What a list usually costs is taken when it is asked for, so that many who
ask at once can't spend the same saved second; the difference is settled when it is made.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from feedgen.core.clock import Clock
from feedgen.core.telemetry import Counter
from feedgen.serve.http.xrpc import overloaded

T = TypeVar("T")

PART: Final = 0.25
BURST_S: Final = 6.0
MAX_WAITING: Final = 24
FIRST_GUESS_S: Final = 0.05  # what a list costs, before one was made
LEARN: Final = 0.2  # how much the newest list counts in that

spent = Counter("feedgen_web_cpu_seconds_total", "CPU time spent on lists for web pages")
refused = Counter("feedgen_web_refused_total", "Lists for web pages refused, by the limit that was reached", "reason")


class Allowance:
    def __init__(self, clock: Clock, part: float = PART, burst_s: float = BURST_S) -> None:
        self._clock, self._part, self._burst_s = clock, part, burst_s
        self._saved_s, self._as_of_s = burst_s, clock.monotonic_s()
        self._usual_s = FIRST_GUESS_S
        self._waiting = 0
        self._thread = ThreadPoolExecutor(1, "pages")

    async def run(self, work: Callable[[], T]) -> T:
        """Raises XrpcError (503) when there is nothing left to spend."""
        now_s = self._clock.monotonic_s()
        self._saved_s = min(self._burst_s, self._saved_s + (now_s - self._as_of_s) * self._part)
        self._as_of_s = now_s
        if self._saved_s <= 0 or self._waiting >= MAX_WAITING:
            refused.add(1, "time" if self._saved_s <= 0 else "places")
            raise overloaded()
        self._waiting += 1
        taken_s = self._usual_s
        self._saved_s -= taken_s
        try:
            result, took_s = await asyncio.wrap_future(self._thread.submit(_timed, work))
        finally:
            self._waiting -= 1
        self._saved_s += taken_s - took_s
        self._usual_s += LEARN * (took_s - self._usual_s)
        spent.add(took_s)
        return result

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began_s = time.thread_time()
    return work(), time.thread_time() - began_s
