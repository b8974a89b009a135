"""Readers' states between memory and `viewers.db`: read when a reader comes, written a little after they change.

What a reader asked for ("show less") is durable before it is answered. What they saw changes with every page, and is
written less often: that spares the disk most of the work, and a crash costs some seconds of scrolling.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Protocol

from feedgen.core.clock import Clock
from feedgen.core.errors import StoreError
from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.core.telemetry import Counter, Gauge
from feedgen.feeds.contract import reader_key
from feedgen.rank.seen import Readers, UnreadableState
from feedgen.serve.out.repository import FRESH_S

TICK_S: Final = 2.0
TICKS: Final = 8  # ticks between two writings of all that changed
PRUNE_TICKS: Final = 150  # one slice every five minutes: all of them in less than a day
AT_ONCE: Final = 100  # states packed between two looks at the sockets
KEPT_DAYS: Final = 90
MAX_HURRIED: Final = 10_000
MAX_UNREAD: Final = 20_000

written = Counter("feedgen_readers_written_total", "Readers' states written, or that could not be", "result")
read_failed = Counter(
    "feedgen_readers_reads_failed_total", "Readers' states that could not be read, and are read later"
)
damaged = Counter("feedgen_readers_damaged_total", "Readers' states that could not be decoded and were set aside")
known = Gauge("feedgen_readers_known", "Readers whose state is in memory")

log = logging.getLogger(__name__)


class StateStore(Protocol):
    """What `store.viewers` does for us. Raises StoreError."""

    async def reader(self, reader: int) -> bytes | None: ...
    async def set_aside(self, reader: int) -> None: ...
    async def put_readers(self, states: Sequence[tuple[int, bytes]], day: int) -> None: ...
    async def sync(self) -> None: ...
    async def forget_reader(self, reader: int) -> None: ...
    async def prune_readers(self, slice_: int, before_day: int) -> None: ...
    async def prune_fetched(self, before_s: int) -> None: ...


class KeptReaders:
    """Belongs to the event loop."""

    def __init__(self, readers: Readers, store: StateStore, clock: Clock) -> None:
        self._readers, self._store, self._clock = readers, store, clock
        self._hurried: set[int] = set()
        self._unread: OrderedDict[int, None] = OrderedDict()
        self._writing = asyncio.Lock()
        self._fails = self._fails_to_read = False

    async def load(self, did: str) -> None:
        """Before a reader's state is looked at or changed. In memory after their first request."""
        reader = reader_key(did)
        if reader in self._unread or self._readers.get(reader) is None:
            await self._read(reader)

    async def _read(self, reader: int) -> bool:
        """False when the disk can't answer. The state in memory is then a part only: it is not written before the rest
        was read, or it would replace what the reader asked for."""
        late = reader in self._unread
        self._unread[reader] = None  # until it is read; a request that ends meanwhile leaves it here
        if len(self._unread) > MAX_UNREAD:
            self._readers.forget(self._unread.popitem(last=False)[0])
        try:
            packed = await self._store.reader(reader)
            if packed is not None and not self._take(reader, packed, late):
                await self._store.set_aside(reader)
        except StoreError as error:
            read_failed.add(1)
            if not self._fails_to_read:
                log.warning("Can't read what readers saw and asked for; retrying: %s", error.message)
            self._fails_to_read = True
            return False
        self._fails_to_read = False
        self._unread.pop(reader, None)
        return True

    def _take(self, reader: int, packed: bytes, late: bool) -> bool:
        """False when the bytes are no state. They are set aside before this reader's next state replaces them."""
        try:
            if late and reader in self._unread:
                self._readers.add_older(reader, packed)
                self._unread.pop(reader)
            else:
                self._readers.put(reader, packed)
        except UnreadableState as error:
            damaged.add(1)
            log.error(
                "What a reader saw and asked for can't be decoded (%s). The bytes are kept in viewers.db, table "
                "damaged_readers; the reader starts afresh. Was the data folder written by a newer version?",
                error,
            )
            return False
        return True

    async def _read_late(self) -> None:
        """States whose reading failed, as far as the disk answers."""
        for reader in list(self._unread)[:AT_ONCE]:
            if reader in self._unread and not await self._read(reader):
                return

    async def keep(self, did: str) -> None:
        """This reader's state survives a power cut when this returns. Those who ask at the same time share the work.
        Raises StoreError; then it is tried again later.
        """
        self.hurry(did)
        while (reader := reader_key(did)) in self._hurried:
            if not await self._write_hurried() or reader in self._unread:
                raise StoreError("Can't keep what readers ask for.", "Is the disk full?")
        await self._store.sync()

    def hurry(self, did: str) -> None:
        """This reader's state must not wait."""
        if len(self._hurried) < MAX_HURRIED:
            self._hurried.add(reader_key(did))

    async def run(self) -> None:
        """Until cancelled."""
        tick = 0
        while True:
            await asyncio.sleep(TICK_S)
            tick += 1
            if tick % TICKS == 0:
                await self.flush()
            elif self._hurried:
                await self._write_hurried()
            if tick % PRUNE_TICKS == 0:
                await self._prune(tick // PRUNE_TICKS)

    async def flush(self) -> None:
        """Everything that changed."""
        known.set(len(self._readers))
        async with self._writing:
            await self._read_late()
            self._hurried &= self._unread.keys()
            while taken := self._readers.take_changed(AT_ONCE, self._unread.keys()):
                if not await self._put(taken):
                    return

    async def forget(self, did: str) -> None:
        """For good. A writing under way is awaited: it must not bring the reader back."""
        reader = reader_key(did)
        self._hurried.discard(reader)
        async with self._writing:
            self._unread.pop(reader, None)
            self._readers.forget(reader)
            await self._store.forget_reader(reader)

    async def _write_hurried(self) -> bool:
        async with self._writing:
            await self._read_late()
            taken: list[tuple[int, bytes]] = []
            for reader in list(self._hurried - self._unread.keys())[:AT_ONCE]:
                self._hurried.discard(reader)
                state = self._readers.get(reader)
                if state is not None:
                    self._readers.changed.discard(reader)
                    taken.append((reader, state.pack()))
            if not taken or await self._put(taken):
                return True
            self._hurried.update(reader for reader, _ in taken)
            return False

    async def _put(self, taken: list[tuple[int, bytes]]) -> bool:
        """False when it could not be done: then it is still to do."""
        try:
            await self._store.put_readers(taken, self._clock.now_us() // US_PER_DAY)
        except StoreError as error:
            self._readers.changed.update(reader for reader, _ in taken)
            written.add(len(taken), "failed")
            if not self._fails:
                log.warning("can't keep what readers saw: %s", error.message)
            self._fails = True
            return False
        written.add(len(taken), "good")
        self._fails = False
        return True

    async def _prune(self, slice_: int) -> None:
        now_us = self._clock.now_us()
        try:
            await self._store.prune_readers(slice_, now_us // US_PER_DAY - KEPT_DAYS)
            await self._store.prune_fetched(now_us // US_PER_S - FRESH_S)
        except StoreError as error:
            log.warning("can't prune what readers saw: %s", error.message)
