"""Readers of whom nothing was heard: their own repository tells, through the whole service and real HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from feedgen.core.ids import LIKE_NSID
from feedgen.simnet.server import Simnet
from tests.inside import Inside, running, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEPT_EVENTS = 2048  # of some eight thousand: most of what people did was not heard


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sim() -> AsyncIterator[Simnet]:
    async with Simnet.start(
        people=150, history_days=1.0, per_person_day=60.0, live_rate=0.5, max_events=KEPT_EVENTS
    ) as sim:
        yield sim


def heard_likes(it: Inside, person: int) -> set[int]:
    library = it.runtime.archive.library
    number = library.person(it.sim.people.did(person))
    return set() if number is None else set(library.view().likes_of(number, 1000)[0].tolist())


def newcomers(it: Inside, k: int) -> list[int]:
    """People who like a lot, and of whose likes we heard the smallest part."""
    likes = [len(it.sim.world.records(it.sim.people.did(i), LIKE_NSID)) for i in range(it.sim.people.n_people)]
    shares = [(len(heard_likes(it, i)) + 1) / n if n >= 30 else 1.0 for i, n in enumerate(likes)]
    return [int(i) for i in np.argsort(shares, kind="stable")[:k]]


def contexts(page: dict[str, list[dict[str, str]]]) -> list[str]:
    return [item["feedContext"] for item in page["feed"]]


async def idle(it: Inside) -> None:
    repositories = it.runtime.readers.repositories
    await until(lambda: not repositories._flights)


async def test_older_likes_and_follows_count_from_the_first_page_on(sim: Simnet, tmp_path: Path) -> None:
    async with running(sim, tmp_path / "on") as it:
        reader = newcomers(it, 1)[0]
        did = sim.people.did(reader)
        with_pds = await it.page(reader, limit=50)
        told = it.runtime.readers.repositories.fetched(did)
        assert told is not None and told.posts.size and told.follows.size
        assert set(told.posts.tolist()) - heard_likes(it, reader)
        assert np.all(np.diff(told.times_us) <= 0)
    async with running(sim, tmp_path / "off", pds=False) as it:
        without = await it.page(reader, limit=50)
        assert it.runtime.readers.repositories.fetched(did) is None
    assert contexts(with_pds) != contexts(without)
    liked = {record.value for record in sim.world.records(did, LIKE_NSID)}
    for item in with_pds["feed"]:
        assert not any(item["post"].encode() in value for value in liked)


async def test_a_slow_pds_costs_the_first_page_little_and_the_second_is_personal(sim: Simnet, tmp_path: Path) -> None:
    async with running(sim, tmp_path) as it:
        reader, other = newcomers(it, 2)
        sim.faults.add("slow", "pds", delay_s=2.5)
        try:
            began_s = time.monotonic()
            first = await it.page(reader, limit=20)
            assert 1.0 < time.monotonic() - began_s < 2.5
            # A peek waits for nothing, and who comes again meanwhile does not ask again.
            began_s = time.monotonic()
            await it.page(other, limit=1)
            assert time.monotonic() - began_s < 1.0
            flights = dict(it.runtime.readers.repositories._flights)
            assert len(flights) == 2
        finally:
            sim.faults.clear()
        await idle(it)
        second = await it.page(reader, limit=20, cursor=first["cursor"])
        posts = [item["post"] for item in second["feed"]]
        assert len(posts) == 20 and not set(posts) & {item["post"] for item in first["feed"]}
        third = await it.page(reader, limit=20, cursor=second["cursor"])
        assert not {item["post"] for item in third["feed"]} & {*posts, *(item["post"] for item in first["feed"])}
        personal = [sum(c.startswith(("likes", "follows")) for c in contexts(page)) for page in (first, second)]
        assert personal[1] > 0 and first["reqId"] != second["reqId"] == third["reqId"]


async def test_a_dead_pds_is_not_asked_again_and_again(sim: Simnet, tmp_path: Path) -> None:
    async with running(sim, tmp_path) as it:
        reader = newcomers(it, 3)[2]
        sim.faults.add("refuse", "pds", status=500)
        try:
            began_s = time.monotonic()
            assert (await it.page(reader, limit=20))["feed"]
            assert time.monotonic() - began_s < 1.5
            await idle(it)
            asked = it.runtime.readers.repositories
            assert asked is not None and asked._quiet
            await it.page(reader, limit=20)
            assert not asked._flights
        finally:
            sim.faults.clear()


async def test_what_was_told_outlives_the_process(sim: Simnet, tmp_path: Path) -> None:
    async with running(sim, tmp_path) as it:
        reader = newcomers(it, 1)[0]
        await it.page(reader, limit=20)
        await idle(it)
        before = it.runtime.readers.repositories.fetched(sim.people.did(reader))
    sim.faults.add("refuse", "pds", status=500)
    try:
        async with running(sim, tmp_path) as it:
            await asyncio.gather(*(it.page(reader, limit=20) for _ in range(3)))
            after = it.runtime.readers.repositories.fetched(sim.people.did(reader))
    finally:
        sim.faults.clear()
    assert before is not None and after is not None
    assert after.posts.tolist() == before.posts.tolist() and after.follows.tolist() == before.follows.tolist()
    assert (after.times_us == before.times_us // 1_000_000 * 1_000_000).all()
