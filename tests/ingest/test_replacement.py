"""A repository that a host reads again, from the host to the arrays."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from feedgen.core.ids import LIKE_NSID, rkey_to_int
from feedgen.graph.archive import Archive
from feedgen.ingest.frames import Inlet
from feedgen.ingest.jetstream import Options
from feedgen.ingest.pipeline import Pipeline
from feedgen.simnet.records import SimEvent
from feedgen.simnet.server import Simnet
from feedgen.store.reader import DayReader
from tests.ingest.listening import NOW_US, TestClock, listening


def recorded(archive: Archive, did: str) -> set[int]:
    """The keys of all likes and reposts of somebody."""
    person, found = archive.library.person(did), set[int]()
    for day in archive.writer.days():
        path = archive.folder.day_path(day)
        assert path is not None
        with DayReader(path) as reader:
            rows = reader.ratings(keys=True)
            found.update(rows.key[rows.actor == person].tolist())
    return found


@pytest.mark.parametrize("wire", ["v2", "v1"])
async def test_what_the_host_missed_is_made_good(tmp_path: Path, wire: str) -> None:
    """On the wire that tells of it."""
    async with Simnet.start(people=40, history_days=0.3, now_us=NOW_US, odd_share=0.0) as sim:
        [person] = sim.readers(1)
        did = sim.people.did(person)
        with Archive(tmp_path / "data") as archive:
            inlet = Inlet()
            pipeline = Pipeline(archive.recorder, inlet, TestClock(), batch_s=0.01)
            async with listening(tmp_path, sim.urls.jetstream[0], wire=wire, inlet=inlet, options=Options()) as h:
                running = asyncio.create_task(pipeline.run())

                async def applied(event: SimEvent) -> None:
                    async with asyncio.timeout(30):
                        while pipeline.status.last_us < event.time_us:
                            await asyncio.sleep(0.01)
                            assert not running.done() and not h.task.done()

                try:
                    post = sim.world.post_uris(sim.world.posts_since(0)[-1:])[0]
                    await applied(sim.like(person, post))
                    before = recorded(archive, did)
                    gone = [r.rkey for r in sim.world.records(did, LIKE_NSID) if rkey_to_int(r.rkey) in before][:3]
                    sim.resync(person, set(gone))
                    await applied(sim.like((person + 1) % 40, post))
                    missing = {rkey_to_int(rkey) for rkey in gone}
                    assert missing <= before
                    assert recorded(archive, did) & missing == (missing if wire == "v1" else set())
                    assert before - missing <= recorded(archive, did)
                finally:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
