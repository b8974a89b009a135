"""Forgetting readers: whose account was deleted, or who had the operator say so. Tried again until nothing is left.

`feedgen viewer forget` erases in the file and leaves an order there; what is in memory would come back with the next
writing, so it is forgotten here, and only then the order is struck out.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from feedgen.core.errors import StoreError
from feedgen.core.telemetry import Gauge

TICK_S: Final = 1.0  # between two looks for orders, and between two attempts
MAX_WAITING: Final = 100_000

Forget = Callable[[str], Awaitable[None]]  # raises StoreError

waiting_now = Gauge("feedgen_readers_to_forget", "Readers that are still to be forgotten")

log = logging.getLogger(__name__)


class Orders(Protocol):
    """What `store.pages` does for us. Raises StoreError."""

    async def to_forget(self) -> list[str]: ...
    async def forgotten(self, did: str) -> None: ...


class Forgetting:
    """Belongs to the event loop. `readers` forget what is known of a reader, `accounts` of an account that is gone."""

    def __init__(
        self,
        orders: Orders,
        changed_by_others: Callable[[], Awaitable[int]],
        readers: Sequence[Forget],
        accounts: Sequence[Forget] = (),
    ) -> None:
        self._orders, self._changed_by_others = orders, changed_by_others
        self._readers, self._accounts = readers, accounts
        self._waiting: OrderedDict[str, bool] = OrderedDict()  # whether the account is gone, by DID
        self._wake = asyncio.Event()
        self._version = -1
        self._fails = False

    def account_is_gone(self, did: str) -> None:
        self._waiting[did] = True
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._take_orders()
                await self._work_off()
                self._fails = False
            except StoreError as error:
                if not self._fails:
                    log.error("a reader can't be forgotten yet, it is tried again: %s", error.message)
                self._fails = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()

    async def finish(self) -> None:
        """The end of the process: one last attempt."""
        try:
            await self._work_off()
        except StoreError as error:
            log.error("%d readers could not be forgotten: %s", len(self._waiting), error.message)

    async def _work_off(self) -> None:
        """Everybody who waits, or as far as the disk lets us. Whatever a part forgot is forgotten once more."""
        while self._waiting:
            waiting_now.set(len(self._waiting))
            did, is_gone = next(iter(self._waiting.items()))
            for forget in (*self._readers, *(self._accounts if is_gone else ())):
                await forget(did)
            await self._orders.forgotten(did)
            if self._waiting.get(did) == is_gone:
                del self._waiting[did]
        waiting_now.set(0)

    async def _take_orders(self) -> None:
        version = await self._changed_by_others()
        if version != self._version:
            orders = await self._orders.to_forget()
            for did in orders:
                self._waiting.setdefault(did, False)
            # There are more than it gives at once: look again when these are done.
            self._version = -1 if orders else version
