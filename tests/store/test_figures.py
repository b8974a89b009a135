from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from feedgen.core.errors import StoreError
from feedgen.store import figures
from feedgen.store.figures import FILE_NAME, HOURS, MINUTES, RINGS, TENS, Figures, Sample, Warned

HOUR_S = 3600
START_S = 500_000 * HOUR_S


def sample(
    at_s: int, events: float = 60, behind: float = 1, free: float = 9, counts: tuple[float, ...] = (1, 2)
) -> Sample:
    return Sample(at_s, 60, {"events": events}, {"behind": behind}, {"free": free}, {"page": list(counts)})


async def test_each_figure_adds_up_in_its_own_way_and_over_a_restart(tmp_path: Path) -> None:
    async with await Figures.open(tmp_path) as store:
        await store.add(sample(START_S, behind=7))
    async with await Figures.open(tmp_path) as store:
        await store.add(sample(START_S + 60, events=120, free=8))
        await store.add(Sample(START_S + 120, 60, {"pages": 5}))
        [ten] = await store.since(TENS, 0)
        assert (ten.at_s, ten.seconds, ten.sums, ten.peaks) == (
            START_S,
            180,
            {"events": 180, "pages": 5},
            {"behind": 7},
        )
        assert (ten.lasts, ten.times, ten.rate("events")) == ({"free": 8}, {"page": [2, 4]}, 1.0)
        assert await store.since(HOURS, 0) == [ten]
        assert [one.at_s - START_S for one in await store.since(MINUTES, START_S + 60)] == [60, 120]


async def test_a_row_makes_place_for_the_one_a_round_later(tmp_path: Path) -> None:
    async with await Figures.open(tmp_path) as store:
        for ring in RINGS:
            for at_s in (START_S, START_S + ring.step_s, START_S + ring.step_s * ring.rows):
                await store.add(sample(at_s))
            steps = [(one.at_s - START_S) // ring.step_s for one in await store.since(ring, START_S)]
            assert 0 not in steps and {1, ring.rows} <= set(steps)


async def test_the_file_stops_growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "RINGS", tuple(ring._replace(rows=12) for ring in RINGS))
    async with await Figures.open(tmp_path) as store:
        for minute in range(700):  # just short of a round of the hours
            await store.add(sample(START_S + 60 * minute))
        before = int((await store._rows("SELECT count(*) FROM samples"))[0][0])
        for minute in range(700, 1500):
            await store.add(sample(START_S + 60 * minute))
        assert before == int((await store._rows("SELECT count(*) FROM samples"))[0][0]) == 3 * 12


async def test_the_last_warnings_stay(tmp_path: Path) -> None:
    async with await Figures.open(tmp_path) as store:
        await store.warn([Warned(n, "warning", "jetstream", f"stalled {n}") for n in range(150)])
        await store.warn([Warned(n, "error", "app", "x" * 9000) for n in range(150, 260)])
    async with await Figures.open(tmp_path) as store:
        found = await store.warnings()
        assert [one.at_s for one in found] == list(range(259, 59, -1))
        assert (found[0].level, len(found[0].words), found[-1].words) == ("error", figures.MAX_WORDS, "stalled 60")
        assert len(await store.warnings(3)) == 3


async def test_a_row_that_cant_be_read_is_left_out(tmp_path: Path) -> None:
    async with await Figures.open(tmp_path) as store:
        await store.add(sample(START_S))
        await store.add(sample(START_S + 60))
        await store._do("UPDATE samples SET sample = '{' WHERE at_s = ? AND step_s = 60", START_S)
        assert [one.at_s for one in await store.since(MINUTES, 0)] == [START_S + 60]


async def test_a_newer_format_is_not_touched(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / FILE_NAME)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match=r"newer version \(its format is 99"):
        await Figures.open(tmp_path)
