"""Calls code that the operator wrote, with a time limit.

The code runs in a thread of its own. At the limit an exception is raised in that thread; Python code ends there. C code
that does not return can't be ended: its thread is left alone and the feed stays off until the next start. After
`MAX_HANGING` such threads no feed's code is called any more. C code that also keeps the interpreter's lock stops the
whole process; the watchdog then restarts it.
"""

from __future__ import annotations

import ctypes
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, Protocol, TypeVar

LIMIT_S: Final = 0.25  # of one call
GRACE_S: Final = 0.25  # for the exception to take effect
MAX_HANGING: Final = 2
MAX_SLOW: Final = 3  # calls in a row, then a feed is off until its file changes

log = logging.getLogger(__name__)
T = TypeVar("T")


class _OutOfTime(BaseException):
    """Raised in the feed's own code; `except Exception` there does not catch it."""


class _Called(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def code(self) -> bool: ...


class Guard:
    def __init__(self, limit_s: float = LIMIT_S, grace_s: float = GRACE_S) -> None:
        self._limit_s, self._grace_s = limit_s, grace_s
        self._turn = threading.Lock()
        self._worker: _Worker | None = None
        self._slow: dict[str, int] = {}  # feeds that took too long, and how often in a row
        self.hanging: list[str] = []  # feeds whose threads could not be ended

    def run(self, called: _Called, work: Callable[[], T]) -> T:
        """Raises what the work raises, and TimeoutError. Feeds without code of their own are not limited."""
        if not called.code:
            return work()
        if called.name in self.hanging:
            raise TimeoutError("it did not end when it was stopped; it stays off until feedgen starts again")
        if len(self.hanging) >= MAX_HANGING:
            raise TimeoutError(f"{' and '.join(self.hanging)} did not end when stopped; feeds with code are off")
        if self._slow.get(called.name, 0) >= MAX_SLOW:
            raise TimeoutError(
                f"it took longer than {self._limit_s} s {MAX_SLOW} times; it is off until it is loaded again"
            )
        if not self._turn.acquire(timeout=self._limit_s):
            raise TimeoutError("other feeds' code took all the time")
        try:
            found = self._in_time(called.name, work)
        finally:
            self._turn.release()
        self._slow.pop(called.name, None)
        return found

    def forgive(self) -> None:
        """Feeds were loaded again: those that were slow get another chance."""
        self._slow.clear()

    def close(self) -> None:
        if self._worker is not None:
            self._worker.jobs.put(None)
            self._worker = None

    def _in_time(self, name: str, work: Callable[[], T]) -> T:
        worker = self._worker = self._worker or _Worker()
        answer: Future[T] = Future()
        worker.jobs.put((answer, work))
        try:
            return answer.result(self._limit_s)
        except TimeoutError:
            if answer.done():
                raise  # the code's own
        self._slow[name] = self._slow.get(name, 0) + 1
        worker.interrupt()
        try:
            answer.exception(self._grace_s)
        except TimeoutError:
            self.hanging.append(name)
            self._worker = None
            log.error("the feed %s does not end; it stays off until feedgen starts again", name)
        raise TimeoutError(f"it took longer than {self._limit_s} s")


class _Worker:
    def __init__(self) -> None:
        self.jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="feed code", daemon=True)
        self._thread.start()

    def interrupt(self) -> None:
        ident = ctypes.c_ulong(self._thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(_OutOfTime))

    def _run(self) -> None:
        while True:
            try:
                job = self.jobs.get()
                if job is None:
                    return
                answer, work = job
                try:
                    answer.set_result(work())
                except _OutOfTime:
                    answer.set_exception(TimeoutError("out of time"))
                except BaseException as error:
                    answer.set_exception(error)
            except _OutOfTime:  # it came too late, between two jobs
                continue
