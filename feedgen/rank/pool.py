"""The threads that rank, and what happens when there is more to rank than they can.

As long as the queue is short, work is done in full. When requests would wait noticeably, work is done cheaply; when
the line is so long that the reader's last list, at once, is the better answer, or when they waited past the deadline,
`TooLate` tells the feed to answer with what it has. So the line is bounded by time, and by `max_waiting`.

There is a second line: requests that lie in their sockets while the event loop is busy. Each request says how long it
lay (`lag_s`). While many lie too long nobody is ranked at all: that makes the loop's work so much less that it catches
up, in the order of arrival, long before anybody leaves. A few that lay long say only that the machine had other things
to do; they are ranked.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final, Generic, TypeVar, cast

from feedgen.core.budget import RANK_S
from feedgen.core.errors import FeedgenError
from feedgen.core.telemetry import Counter, Gauge, Histogram

T = TypeVar("T")

LINE_S: Final = 0.5  # nobody joins a longer line for a thread
MAX_LAG_S: Final = 0.1  # nor is anybody ranked when requests lie longer before the loop comes to them
LAG_HALF_LIFE_S: Final = 0.1  # of how long they lay: those at the head of a long line lay only shortly
CROWD: Final = 10  # requests that lay too long, the older ones counted for less: a line, and no hiccup
CHEAP_AFTER_S: Final = 0.15  # a longer wait is felt
MAX_WAITING: Final = 2000
FIRST_GUESS_S: Final = 0.005  # what a list takes, before one was made

lists_made = Counter("feedgen_rank_lists_total", "Lists made, in full or cheaply", "mode")
lists_late = Counter("feedgen_rank_late_total", "Lists that were not made in time, and where they stood", "where")
list_seconds = Histogram("feedgen_rank_list_seconds", "From the start of ranking to the list", "mode")
waiting_now = Gauge("feedgen_rank_waiting", "Requests that wait for a ranking thread")


class TooLate(FeedgenError):
    """There is no time left to rank. The feed answers with the last list, or the popular one."""


class _Job(Generic[T]):
    """What the loop and the thread both know of one request."""

    __slots__ = ("arrived_s", "error", "given_up", "made", "result", "started", "work")

    def __init__(self, work: Callable[[bool], T], arrived_s: float, made: asyncio.Future[T]) -> None:
        self.work, self.arrived_s, self.made = work, arrived_s, made
        self.started = self.given_up = False
        self.result: T | None = None
        self.error: BaseException | None = None

    def tell(self) -> None:
        """In the loop."""
        if self.made.done():
            return
        if self.error is not None:
            self.made.set_exception(self.error)
        else:
            self.made.set_result(cast(T, self.result))


class RankPool:
    """`await run(work, arrived_s)` calls `work(cheap)` in a thread. `monotonic_s` is the clock of `arrived_s`."""

    def __init__(
        self,
        width: int | None = None,
        deadline_s: float = RANK_S,
        line_s: float = LINE_S,
        cheap_after_s: float = CHEAP_AFTER_S,
        max_lag_s: float = MAX_LAG_S,
        max_waiting: int = MAX_WAITING,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.width = width or os.cpu_count() or 1
        self.deadline_s, self.line_s = deadline_s, line_s
        self.cheap_after_s, self.max_lag_s, self.max_waiting = cheap_after_s, max_lag_s, max_waiting
        self._now_s = monotonic_s
        self._threads = ThreadPoolExecutor(self.width, "rank")
        self._lock = threading.Lock()
        self._waiting = 0
        self._lag_s = self._late = self._felt_s = 0.0
        self._finished: list[_Job[Any]] = []
        self._takes_s = {False: FIRST_GUESS_S, True: FIRST_GUESS_S / 10}  # by cheap, smoothed

    @property
    def waiting(self) -> int:
        return self._waiting

    def expected_wait_s(self, cheap: bool) -> float:
        """How long one who comes now would wait for a thread."""
        return self._waiting * self._takes_s[cheap] / self.width

    def left_s(self, arrived_s: float, lag_s: float = 0.0) -> float:
        """The time that is left to rank; `TooLate` for who had better get something else at once. Told once how long a
        request lay."""
        left_s = self.deadline_s - (self._now_s() - arrived_s)
        line_s = self.expected_wait_s(cheap=True)
        too_long = self._crowded(lag_s) or line_s >= min(left_s, self.line_s)
        if too_long or self._waiting >= self.max_waiting:
            lists_late.add(1, "at the door")
            raise TooLate("no time to rank")
        return left_s

    def _crowded(self, lag_s: float) -> bool:
        """Whether requests lie too long just now, and many of them. One more lay so long."""
        now_s = self._now_s()
        faded = math.pow(0.5, (now_s - self._felt_s) / LAG_HALF_LIFE_S)
        self._lag_s, self._late = max(lag_s, self._lag_s * faded), self._late * faded + (lag_s > self.max_lag_s)
        self._felt_s = now_s
        return self._lag_s > self.max_lag_s and self._late > CROWD

    async def run(self, work: Callable[[bool], T], arrived_s: float | None = None) -> T:
        """Raises `TooLate` when there is no time, else what `work` gives or raises."""
        arrived_s = self._now_s() if arrived_s is None else arrived_s
        left_s, loop = self.left_s(arrived_s), asyncio.get_running_loop()
        job: _Job[T] = _Job(work, arrived_s, loop.create_future())
        self._threads.submit(self._work, job)
        self._count_waiting(1)
        timer = loop.call_later(left_s, self._give_up, job)
        try:
            return await job.made
        finally:
            timer.cancel()
            self._leave(job)

    def pulse(self) -> Future[object]:
        """Done as soon as a thread has come free: a sign of life."""
        return self._threads.submit(object)

    def _work(self, job: _Job[Any]) -> None:
        """In a thread. What is finished while the loop is busy is handed over together."""
        if not self._begin(job):
            return
        try:
            job.result = self._do(job)
        except BaseException as error:
            job.error = error
        with self._lock:
            self._finished.append(job)
            first = len(self._finished) == 1
        if first:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                job.made.get_loop().call_soon_threadsafe(self._hand_over)

    def _do(self, job: _Job[T]) -> T:
        start_s = self._now_s()
        waited_s = start_s - job.arrived_s
        if waited_s > self.deadline_s:
            raise TooLate("waited too long")
        cheap = max(waited_s, self.expected_wait_s(cheap=False)) > self.cheap_after_s
        result = job.work(cheap)
        self._learn(cheap, self._now_s() - start_s)
        return result

    def _hand_over(self) -> None:
        with self._lock:
            finished, self._finished = self._finished, []
        for job in finished:
            job.tell()

    def _give_up(self, job: _Job[Any]) -> None:
        """A thread can't be stopped, but its work is bounded by the budget; one that waits still will not start."""
        if not job.made.done():
            lists_late.add(1, "working" if job.started else "waiting")
            job.made.set_exception(TooLate("ranking took too long"))

    def _begin(self, job: _Job[Any]) -> bool:
        with self._lock:
            if job.given_up:
                return False
            job.started = True
        self._count_waiting(-1)
        return True

    def _leave(self, job: _Job[Any]) -> None:
        with self._lock:
            waits, job.given_up = not job.started, True
        if waits:
            self._count_waiting(-1)

    def _count_waiting(self, change: int) -> None:
        with self._lock:
            self._waiting += change
            waiting_now.set(self._waiting)

    def _learn(self, cheap: bool, took_s: float) -> None:
        mode = "cheap" if cheap else "full"
        lists_made.add(1, mode)
        list_seconds.observe(took_s, mode)
        with self._lock:
            self._takes_s[cheap] += 0.05 * (took_s - self._takes_s[cheap])

    def close(self) -> None:
        """What runs is finished, what waits is not begun."""
        self._threads.shutdown(wait=True, cancel_futures=True)
