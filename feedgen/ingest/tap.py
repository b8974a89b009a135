"""Messages passed on as they come, while somebody listens: from the pipeline's thread to the event loop, bounded.

While nobody listens a piece of messages costs one look at `listening`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from feedgen.ingest.connection import READ_EVERY_S

MAX_TAPPED_BYTES: Final = 16 << 20  # that wait for the event loop; more is lost to listeners, and counted
LISTENED_READ_EVERY_S: Final = 0.025  # of a live stream: listeners want to hear of it soon


class Tapped(NamedTuple):
    """Inflated messages of one connection, in order; so many were lost before them."""

    host: str
    messages: list[bytes]
    lost: int


class Tap:
    """One listener. `pass_on` is called by the pipeline's thread, all else by the event loop's."""

    def __init__(self, max_bytes: int = MAX_TAPPED_BYTES) -> None:
        self.listening = False
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._queue: deque[tuple[Tapped, int]] = deque()
        self._bytes = self._lost = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: Callable[[], None] = lambda: None

    @property
    def read_every_s(self) -> float:
        """How often a live socket is read."""
        return LISTENED_READ_EVERY_S if self.listening else READ_EVERY_S

    def open(self, wake: Callable[[], None]) -> None:
        """From now on; `wake` is called in the running event loop when there is something to take."""
        self._loop, self._wake, self.listening = asyncio.get_running_loop(), wake, True

    def close(self) -> None:
        with self._lock:
            self.listening = False
            self._queue.clear()
            self._bytes = self._lost = 0

    def pass_on(self, host: str, messages: list[bytes]) -> None:
        """Never waits, never fails."""
        size = sum(map(len, messages))
        with self._lock:
            loop = self._loop
            if not self.listening or loop is None:
                return
            if self._bytes + size > self._max_bytes:
                self._lost += len(messages)
                return
            idle = not self._queue
            self._queue.append((Tapped(host, messages, self._lost), size))
            self._bytes, self._lost = self._bytes + size, 0
        if idle and not loop.is_closed():
            loop.call_soon_threadsafe(self._wake)

    def take(self) -> Tapped | None:
        with self._lock:
            if not self._queue:
                return None
            tapped, size = self._queue.popleft()
            self._bytes -= size
            return tapped
