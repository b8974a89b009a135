"""Readers as the routes meet them: brought into memory before a page, heard after it, and forgotten on demand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from feedgen.core.budget import MET_S
from feedgen.core.clock import Clock
from feedgen.feeds.catalog import Catalog
from feedgen.graph.recorder import Recorder
from feedgen.serve.out.repository import Repositories
from feedgen.serve.readers.forgetting import Forget, Forgetting
from feedgen.serve.readers.history import History
from feedgen.serve.readers.interactions import Interaction
from feedgen.serve.readers.readers import KeptReaders
from feedgen.serve.readers.wishes import KeptWishes
from feedgen.serve.who.identity import Resolver
from feedgen.store.grouped import Grouped
from feedgen.store.viewers import Viewers


@dataclass(frozen=True, slots=True)
class KnownReaders:
    """All parts that know something of readers."""

    catalog: Catalog
    kept: KeptReaders
    history: History
    wishes: KeptWishes
    repositories: Repositories
    resolver: Resolver
    sync_truth: Grouped
    clock: Clock

    async def meet(self, reader_did: str, arrived_s: float | None) -> None:
        """Before a page. With None nothing is waited for."""
        await self.kept.load(reader_did)
        waited_s = 0.0 if arrived_s is None else self.clock.monotonic_s() - arrived_s
        await self.repositories.meet(reader_did, 0.0 if arrived_s is None else MET_S - waited_s)

    async def heard(self, reader_did: str, feed: str | None, interactions: list[Interaction], now_us: int) -> None:
        await self.kept.load(reader_did)
        if self.catalog.heard(reader_did, interactions, now_us):
            await self.sync_truth()  # the posts that it is about
            await self.kept.keep(reader_did)

    async def why(self, reader_did: str, post: str, feed: str) -> dict[str, object]:
        await self.kept.load(reader_did)
        return await self.catalog.why(reader_did, post, feed)

    async def flush(self) -> None:
        """What is known of readers, to the disk."""
        await self.kept.flush()
        await self.history.flush()

    def forgetting(self, viewers: Viewers, recorder: Recorder, accounts: Sequence[Forget]) -> Forgetting:
        """Takes readers out of every part; `accounts` hear of erased accounts only. In the event loop."""
        parts = (self.catalog, self.resolver, self.repositories, self.kept, self.history, self.wishes)
        forgetting = Forgetting(
            viewers.pages, viewers.changed_by_others, [part.forget for part in parts], list(accounts)
        )
        loop = asyncio.get_running_loop()

        def on_erased(did: str) -> None:  # in the ingest thread
            loop.call_soon_threadsafe(forgetting.account_is_gone, did)

        recorder.on_erased = on_erased
        return forgetting
