"""Background work whose death is the process's: nobody waits for its result, so somebody must look at it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


class Watch:
    """Keeps the first failure, and tells it to the one listener, however late that comes."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self._lock = threading.Lock()
        self._listener: Callable[[BaseException], None] | None = None

    def over(self, future: Future[Any], expected: tuple[type[BaseException], ...] = ()) -> None:
        """Failures of the `expected` kinds are looked at by others."""

        def look(done: Future[Any]) -> None:
            failure = None if done.cancelled() else done.exception()
            if failure is not None and not isinstance(failure, expected):
                self.failed(failure)

        future.add_done_callback(look)

    def failed(self, failure: BaseException) -> None:
        with self._lock:
            if self.failure is not None:
                return
            self.failure, listener = failure, self._listener
        if listener is not None:
            listener(failure)

    def listen(self, listener: Callable[[BaseException], None]) -> None:
        """`listener` is called once, in any thread; at once if something failed already."""
        with self._lock:
            self._listener, failure = listener, self.failure
        if failure is not None:
            listener(failure)

    async def wait(self) -> None:
        """Raises the first failure; until then it waits."""
        loop = asyncio.get_running_loop()
        died: asyncio.Future[None] = loop.create_future()

        def die(failure: BaseException) -> None:
            if not died.done():
                died.set_exception(failure)

        def tell(failure: BaseException) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(die, failure)

        self.listen(tell)
        await died
