"""A flood behind a Jetstream host: chunks of ready-made frames, made one ahead of the socket, and its people."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from feedgen.simnet.jetstream import DICTIONARY_SAMPLES, SEQ_LIMIT, Dictionary
from scripts.benchmarks.flood.plan import V1, V1_CURSOR, V2, Chunk, Encoder, FloodPlan, flood

PACED_CHUNK_EVENTS: Final = 256  # small, so that a paced flood comes evenly


class Torrent:
    """The `Flood` of a plan. Every subscriber has its own; a cursor may start anywhere.

    The first `ready` events for a subscriber are made before the first of them is sent, so that making them takes no
    CPU from whoever listens: for measuring on a small machine.
    """

    def __init__(self, plan: FloodPlan, *, paced: bool = False, ready: int = 0) -> None:
        self.plan, self.ready, self.people = plan, ready, FloodPeople(plan)
        self.dictionary = Dictionary(self._samples)
        self._chunk = {"chunk_events": PACED_CHUNK_EVENTS} if paced else {}

    async def warm_up(self) -> None:
        """Load (or compile, the first time) the loops, so that the first subscriber is not the one who waits."""
        await self._frames(V1, 1)

    async def chunks(
        self, *, v2: bool, cursor_frames: bool, zstd: bool, cursor: int | None
    ) -> AsyncIterator[tuple[int, memoryview]]:
        wire = V2 if v2 else V1_CURSOR if cursor_frames else V1
        dictionary = await self.dictionary.ready() if zstd else b""
        source = flood(
            self.plan, Encoder(wire, True, dictionary, threads=os.cpu_count() or 1), self._first(cursor), **self._chunk
        )
        loop = asyncio.get_running_loop()
        for chunk in await loop.run_in_executor(None, _take, source, self.ready):
            yield chunk.n_events, chunk.data
        # The compiled loops let go of the GIL: the next chunk is made while this one is sent.
        coming = loop.run_in_executor(None, next, source, None)
        try:
            while (chunk_made := await coming) is not None:
                coming = loop.run_in_executor(None, next, source, None)
                yield chunk_made.n_events, chunk_made.data
        finally:
            await asyncio.wait([coming])  # a generator must not be dropped while a thread is in it

    def _first(self, cursor: int | None) -> int:
        """No cursor means the beginning: in a flood there is no "now"."""
        if cursor is None:
            return 0
        event = self.plan.event_at(cursor) if cursor >= SEQ_LIMIT else cursor - 1
        return min(max(event, 0), self.plan.events)

    async def _samples(self) -> list[bytes]:
        return await self._frames(V2, DICTIONARY_SAMPLES)

    async def _frames(self, wire: int, n: int) -> list[bytes]:
        def frames() -> list[bytes]:
            chunk: Chunk = next(flood(self.plan, Encoder(wire), 0, n, chunk_events=n))
            return [bytes(frame) for frame in chunk.frames()]

        return await asyncio.get_running_loop().run_in_executor(None, frames)


def _take(source: Iterator[Chunk], events: int) -> list[Chunk]:
    """Chunks of so many events, or a few more."""
    made: list[Chunk] = []
    while events > 0 and (chunk := next(source, None)) is not None:
        made.append(chunk)
        events -= chunk.n_events
    return made


class FloodPeople:
    """The people of a plan, for the directory: nobody ever leaves, and a handle is the DID's own text."""

    def __init__(self, plan: FloodPlan) -> None:
        self._plan = plan

    @property
    def n_people(self) -> int:
        return self._plan.people

    def did(self, i: int) -> str:
        return self._plan.did(i)

    def handle(self, i: int) -> str:
        return f"{self._plan.did(i)[8:]}.simnet.test"

    def index(self, did: str) -> int | None:
        return self._plan.index(did)

    def by_handle(self, handle: str) -> int | None:
        return self._plan.index(f"did:plc:{handle.removesuffix('.simnet.test')}")

    def signing_key(self, i: int) -> ec.EllipticCurvePrivateKey:
        return self._plan.signing_key(i)

    def account(self, did: str) -> tuple[bool, str]:
        return True, ""
