from __future__ import annotations

import logging
from pathlib import Path

import feedgen.app  # noqa: F401  every metric is named when its module is imported
from feedgen.core.clock import ManualClock
from feedgen.core.errors import StoreFull
from feedgen.core.logs import Recent
from feedgen.core.telemetry import BUCKETS_S
from feedgen.host.figures import PAGES, Keeper, Reader, slowly
from feedgen.host.tunnel import TAILSCALE, UP
from feedgen.ingest.watch import GAPS
from feedgen.serve.http.middleware import requests, seconds
from feedgen.store.backup import DONE
from feedgen.store.figures import MINUTES, Figures, Sample

DID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"


def test_a_reading_tells_what_came_since_the_one_before() -> None:
    reader = Reader()
    reader.read(100, 10)
    requests.add(3, PAGES, "200")
    requests.add(2, PAGES, "503")
    requests.add(1, "describe", "500")
    requests.add(4, "other", "501")  # asked for a method that no feed has
    requests.add(9, "describe", "200")
    GAPS.add(1)
    seconds.observe(0.004, PAGES)
    seconds.observe(99.0, PAGES)
    seconds.observe(0.004, "describe")
    found = reader.read(110, 10)
    assert (found.at_s, found.sums["pages"], found.sums["failed"], found.sums["gaps"]) == (110, 3, 3, 1)
    took = found.times["page"]
    assert len(took) == len(BUCKETS_S) + 1
    assert (took[BUCKETS_S.index(0.0025)], took[BUCKETS_S.index(0.005)], took[-2], took[-1]) == (0, 1, 1, 2)
    again = reader.read(120, 10)
    assert again.sums["pages"] == 0 and not any(again.times["page"])


async def test_minutes_and_warnings_are_kept(tmp_path: Path) -> None:
    clock, recent, log = ManualClock(), Recent(), logging.getLogger("feedgen.test")
    log.addHandler(recent)
    behind = iter([4.0, 9.0, None])
    try:
        async with await Figures.open(tmp_path) as store:
            slow = slowly(tmp_path)
            keeper = Keeper(store, clock, recent, lambda: None, lambda: next(behind), slow)
            for _ in range(3):
                clock.advance(10)
                keeper.read()
            log.warning("stalled for %s", DID, extra={"host": "example.com"})
            (tmp_path / DONE).write_text("1234\n")
            await keeper.keep()
            await keeper.keep()  # nothing new
            [minute] = await store.since(MINUTES, 0)
            [warning] = await store.warnings()
    finally:
        log.removeHandler(recent)
    assert (minute.seconds, minute.peaks["behind"]) == (30, 9)
    assert minute.lasts["backup"] == 1234 and minute.lasts["data"] > 0 and minute.lasts["free"] > 0
    assert (warning.level, warning.place, warning.words) == ("warning", "test", "stalled for did:*** host=example.com")


def test_what_nobody_asked_for_is_not_told_as_nothing() -> None:
    if not UP.samples():
        assert "tunnel" not in Reader().read(0, 1).lasts
    UP.set(0, TAILSCALE)
    assert Reader().read(0, 1).lasts["tunnel"] == 0


async def test_a_disk_that_refuses_is_said_once() -> None:
    class Full:
        async def add(self, sample: Sample) -> None:
            raise StoreFull("no room", "")

    recent = Recent()
    logging.getLogger("feedgen.host.figures").addHandler(recent)
    keeper = Keeper(Full(), ManualClock(), Recent(), lambda: None, lambda: None, dict)  # type: ignore[arg-type]
    for _ in range(3):
        keeper.read()
        await keeper.keep()
    logging.getLogger("feedgen.host.figures").removeHandler(recent)
    assert [words for *_, words in recent.take()] == ["can't keep the process's figures: no room"]
