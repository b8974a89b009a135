"""A store that is fed by a made-up network: by its archive, its stream, or both."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feedgen.archive.source import Source, Wanted
from feedgen.graph.archive import Archive
from feedgen.ingest.frames import Inlet
from feedgen.ingest.jetstream import Behind, Client, Options
from feedgen.ingest.pipeline import Pipeline
from feedgen.simnet.archive import ArchiveOptions
from feedgen.simnet.jetstream import HostOptions
from feedgen.simnet.server import Simnet
from tests.ingest.listening import TestClock

NOW_US = 1_780_000_000_000_000
QUICK = Options(stall_s=5.0, ping_s=0.3, tick_s=0.02, backoff_s=0.02, max_backoff_s=0.1)
SMALL = ArchiveOptions(segment_events=500, block_events=64, page_segments=3)


def host(archive: ArchiveOptions = SMALL, **options: Any) -> HostOptions:
    return HostOptions("v2", archive=archive, batched=True, **options)


@dataclass
class Store:
    """What is open, and how to ask it."""

    archive: Archive
    pipeline: Pipeline
    client: Client
    source: Source
    tasks: list[asyncio.Task[Any]]

    async def until(self, us: int, timeout_s: float = 120.0) -> None:
        """Until an event of this time or later is in the store, and all that came is in the arrays too."""
        recorder, settled = self.archive.recorder, self.source.is_settled
        await self.meanwhile(lambda: recorder.high_water_us() >= us and settled(), timeout_s)

    async def meanwhile(self, holds: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Until that holds; fails with what one of our parts died of."""
        async with asyncio.timeout(timeout_s):
            while not holds():
                for task in self.tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)

    async def comes_to(self, expected: dict[str, tuple[set[str | None], set[str | None], int]]) -> None:
        """Until it holds just this. The names of posts may be behind while a day is sealed in the background."""
        with contextlib.suppress(TimeoutError):
            await self.meanwhile(lambda: self.content() == expected, 20.0)
        assert self.content() == expected

    def content(self) -> dict[str, tuple[set[str | None], set[str | None], int]]:
        """By DID: what they liked and reposted, whom they follow, their flags."""
        return content_of(self.archive)


def content_of(archive: Archive) -> dict[str, tuple[set[str | None], set[str | None], int]]:
    view, names = archive.graph.view(), archive.names
    out = {}
    for n in range(names.count):
        did = names.did(n)
        likes = {archive.library.uri(post) for post in view.likes_of(n, 100_000)[0].tolist()}
        follows = {names.did(who) for who in view.follows_of(n).tolist()}
        if did is not None and (likes or follows):
            out[did] = likes, follows, int(names.flags[n])
    return out


@asynccontextmanager
async def store(folder: Path, sim: Simnet | tuple[str, int], key: str = "", **wanted: Any) -> AsyncIterator[Store]:
    """Listens to the network's first host, as the service does. `sim`: or the host's address, and the time there."""
    url, now_us = (sim.urls.jetstream[0], sim.clock.now_us()) if isinstance(sim, Simnet) else sim
    archive, inlet, clock = Archive(folder), Inlet(), TestClock(now_us)
    try:
        pipeline = Pipeline(archive.recorder, inlet, clock)
        client = Client(
            urls=[url],
            wire="v2",
            start="oldest",
            dictionaries=folder / "dictionaries",
            inlet=inlet,
            clock=clock,
            resume_at=archive.recorder.cursor,
            options=QUICK,
        )
        asked = Wanted(**({"days": 0, "heal": True, "retention_days": 90} | wanted))
        source = Source(
            client.bases[0], lambda: key, folder, asked, pipeline, inlet, archive.recorder.cursor, client.status,
            clock, archive.graph.moment.set,
        )  # fmt: skip
        client.behind = source.is_behind

        async def listen() -> None:
            while True:
                await source.catch_up()
                try:
                    await client.run()
                except Behind:
                    continue

        tasks = [asyncio.ensure_future(pipeline.run()), asyncio.ensure_future(listen())]
        try:
            yield Store(archive, pipeline, client, source, tasks)
        finally:
            for task in reversed(tasks):
                task.cancel()
                await asyncio.wait({task})
    finally:
        archive.close()
