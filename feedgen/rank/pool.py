"""The threads that rank, and what happens when there is more to rank than they can.

As long as the queue is short, work is done in full. When requests would wait noticeably, work is done cheaply; when
the line is so long that the reader's last list, at once, is the better answer, or when they waited past the deadline,
`TooLate` tells the feed to answer with what it has. So the line is bounded by time, and by `max_waiting`.

There is a second line that nobody sees: requests that lie in their sockets while the event loop is busy. How long that
one is, is felt by how long the loop lets a finished list lie.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from feedgen.core.errors import FeedgenError
from feedgen.core.telemetry import Counter, Gauge, Histogram

T = TypeVar("T")

DEADLINE_S: Final = 3.0  # from the request's arrival; the AppView leaves at 5
LINE_S: Final = 0.5  # nobody joins a longer line for a thread
CHEAP_AFTER_S: Final = 0.15  # a longer wait is felt
LAG_SHARE: Final = 0.1  # of the newest list in what is known of the loop
MAX_WAITING: Final = 2000
FIRST_GUESS_S: Final = 0.005  # what a list takes, before one was made

lists_made = Counter("feedgen_rank_lists_total", "Lists made, in full or cheaply", "mode")
lists_late = Counter("feedgen_rank_late_total", "Lists that were not made in time, and where they stood", "where")
list_seconds = Histogram("feedgen_rank_list_seconds", "From the start of ranking to the list", "mode")
waiting_now = Gauge("feedgen_rank_waiting", "Requests that wait for a ranking thread")


class TooLate(FeedgenError):
    """There is no time left to rank. The feed answers with the last list, or the popular one."""


class _Job:
    """What the loop and the thread both know of one request."""

    __slots__ = ("done_s", "given_up", "started")

    def __init__(self) -> None:
        self.started = False
        self.given_up = False
        self.done_s = 0.0


class RankPool:
    """`await run(work, arrived_s)` calls `work(cheap)` in a thread. `monotonic_s` is the clock of `arrived_s`."""

    def __init__(
        self,
        width: int | None = None,
        deadline_s: float = DEADLINE_S,
        line_s: float = LINE_S,
        cheap_after_s: float = CHEAP_AFTER_S,
        max_waiting: int = MAX_WAITING,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.width = width or os.cpu_count() or 1
        self.deadline_s, self.line_s = deadline_s, line_s
        self.cheap_after_s, self.max_waiting = cheap_after_s, max_waiting
        self._now_s = monotonic_s
        self._threads = ThreadPoolExecutor(self.width, "rank")
        self._lock = threading.Lock()
        self._waiting = 0
        self._lag_s = 0.0
        self._takes_s = {False: FIRST_GUESS_S, True: FIRST_GUESS_S / 10}  # by cheap, smoothed

    @property
    def waiting(self) -> int:
        return self._waiting

    def expected_wait_s(self, cheap: bool) -> float:
        """How long one who comes now would wait for a thread."""
        return self._waiting * self._takes_s[cheap] / self.width

    def _line_s(self) -> float:
        """How long one who comes now would wait in both lines, if all before them got cheap lists."""
        return self._lag_s + self.expected_wait_s(cheap=True)

    async def run(self, work: Callable[[bool], T], arrived_s: float | None = None) -> T:
        """Raises `TooLate` when there is no time, else what `work` gives or raises."""
        arrived_s = self._now_s() if arrived_s is None else arrived_s
        left_s = self.deadline_s - (self._now_s() - arrived_s)
        if left_s <= 0 or self._waiting >= self.max_waiting or self._line_s() > min(left_s, self.line_s):
            self._lag_s -= LAG_SHARE * self._lag_s  # or nobody would be let in to feel that it is better
            lists_late.add(1, "at the door")
            raise TooLate("no time to rank")
        job = _Job()
        self._count_waiting(1)
        future = self._threads.submit(self._work, job, work, arrived_s)
        try:
            result = await asyncio.wait_for(asyncio.wrap_future(future), left_s)
            self._lag_s += LAG_SHARE * (self._now_s() - job.done_s - self._lag_s)
            return result
        except TimeoutError:
            # A thread can't be stopped, but its work is bounded by the budget; one that waits still will not start.
            job.given_up = True
            lists_late.add(1, "working" if job.started else "waiting")
            raise TooLate("ranking took too long") from None
        finally:
            if future.cancelled() and not job.started:
                self._count_waiting(-1)

    def pulse(self) -> Future[object]:
        """Done as soon as a thread has come free: a sign of life."""
        return self._threads.submit(object)

    def _work(self, job: _Job, work: Callable[[bool], T], arrived_s: float) -> T:
        job.started = True
        self._count_waiting(-1)
        start_s = self._now_s()
        if job.given_up or start_s - arrived_s > self.deadline_s:
            raise TooLate("waited too long")
        waited_s = start_s - arrived_s + self._lag_s
        cheap = max(waited_s, self.expected_wait_s(cheap=False)) > self.cheap_after_s
        result = work(cheap)
        job.done_s = self._now_s()
        self._learn(cheap, job.done_s - start_s)
        return result

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
