"""Group commit: what is slow and serves everybody who asked before it began is done once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Grouped:
    """`await` it: `call` runs in a thread, and begins after this moment. Its exception is raised to all who wait."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._running: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None  # waits for the one that runs; more may join it

    async def __call__(self) -> None:
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running))
        await asyncio.shield(self._next)  # who gives up must not take it from the others

    async def _after(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        await asyncio.to_thread(self._call)
