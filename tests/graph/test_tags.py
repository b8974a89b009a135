"""Which posts match a feed's patterns is as durable as the posts: through a restart, a seal, a full window."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
from pyroaring import BitMap

from feedgen.core.ids import make_tid
from feedgen.graph.archive import Archive
from feedgen.ingest.batch import Batch
from feedgen.store.reader import DayReader
from feedgen.store.sealed_day import SealedDay
from tests.graph.network import DAY_US, HOUR_US, NOON_US, Feeder, did, uri

A = did(0)
OLD, NEW = make_tid(NOON_US - 60_000_000), make_tid(NOON_US + DAY_US - 60_000_000)


def tagged(archive: Archive, *patterns: str) -> set[str | None]:
    return {archive.library.uri(post) for post in archive.graph.tags.posts(patterns)}


def seal(feeder: Feeder, day: int) -> None:
    """It is drafted in the background, which may take a while on a busy machine."""
    deadline_s = time.monotonic() + 60
    while not feeder.archive.writer.is_sealed(day):
        feeder.settle()
        assert time.monotonic() < deadline_s


def test_tags_survive_a_restart_and_the_sealing_of_their_day(tmp_path: Path) -> None:
    feeder = Feeder(tmp_path)
    feeder.tell(msgspec.structs.replace(feeder.post(A, OLD), tags=("wcat", "#cats")))
    feeder.now_us = (feeder.now_us // DAY_US + 1) * DAY_US + HOUR_US
    feeder.tell(msgspec.structs.replace(feeder.post(A, NEW), tags=("wcat",)))
    expected = {uri(A, OLD), uri(A, NEW)}
    assert tagged(feeder.archive, "wcat") == expected
    first, second = feeder.archive.writer.days()
    seal(feeder, first)
    assert not feeder.archive.writer.is_sealed(second)
    feeder.close()
    with Archive(feeder.folder) as archive:
        assert tagged(archive, "wcat") == tagged(archive, "wcat", "#cats") == expected
        assert tagged(archive, "#cats") == {uri(A, OLD)}
        assert not archive.graph.tags.posts(["wdog"])
        archive.graph.tags.drop_day(first)
        assert tagged(archive, "wcat") == {uri(A, NEW)}


def test_days_from_before_tags_are_read_and_take_tags_later(tmp_path: Path) -> None:
    feeder = Feeder(tmp_path)
    feeder.tell(feeder.post(A, OLD))
    feeder.now_us = (feeder.now_us // DAY_US + 1) * DAY_US + HOUR_US
    feeder.tell(feeder.post(A, NEW))
    day = feeder.archive.writer.days()[0]
    seal(feeder, day)
    path = feeder.archive.truth(day).path
    feeder.close()
    held = SealedDay(path, day)
    held._db.execute("DROP TABLE tags")
    with DayReader(path) as reader:
        assert reader.tags() == {}
    for posts in (BitMap([1, 2]), BitMap([2, 3])):
        held.add_tags({"wcat": posts})
        held.commit()
    held.close()
    with DayReader(path) as reader:
        assert reader.tags() == {"wcat": BitMap([1, 2, 3])}


def test_a_batch_that_is_taken_back_takes_its_tags_along(tmp_path: Path) -> None:
    with Archive(tmp_path) as archive:
        archive.writer.begin(20_000)
        archive.writer.add_tags([("wcat", 7)])
        archive.writer.rollback()
        archive.writer.begin(20_000)
        archive.writer.commit(Batch().cursor)
        with DayReader(archive.truth(20_000).path) as reader:
            assert reader.tags() == {}
