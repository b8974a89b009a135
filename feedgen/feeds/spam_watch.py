"""Looks for accounts that like as no person does, every few minutes, and takes the weight of their likes away."""

from __future__ import annotations

import asyncio
from typing import Final

from feedgen.core.clock import Clock
from feedgen.graph.archive import Archive
from feedgen.rank.spam import Spammers

EVERY_S: Final = 300.0


async def watch_for_spam(archive: Archive, clock: Clock) -> None:
    """Until cancelled."""
    spammers = Spammers()

    def look() -> None:
        archive.graph.set_spammers(spammers.look(archive.library.view(), clock.now_us()))

    while True:
        await asyncio.sleep(EVERY_S)
        await asyncio.to_thread(look)
