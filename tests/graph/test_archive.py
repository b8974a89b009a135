"""A start: past days answer before today's log is read, and nobody waits for it who wants to stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from feedgen.core.ids import make_tid
from feedgen.graph.archive import Archive
from feedgen.ingest.batch import Batch, Cursor, Ratings
from tests.graph.network import DAY_US, HOUR_US, NOON_US, Feeder, did, uri

A, B = did(0), did(1)
OLD, NEW = make_tid(NOON_US - 60_000_000), make_tid(NOON_US + DAY_US - 60_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """B liked one post yesterday, which is sealed, and one today."""
    feeder = Feeder(tmp_path)
    feeder.tell(feeder.post(A, OLD), feeder.rating(B, uri(A, OLD)))
    feeder.now_us = (feeder.now_us // DAY_US + 1) * DAY_US + HOUR_US
    feeder.tell(feeder.post(A, NEW), feeder.rating(B, uri(A, NEW)))
    feeder.settle()
    feeder.close()
    return feeder.folder


@pytest.fixture
def archive(folder: Path) -> Iterator[Archive]:
    opened = Archive(folder, today_later=True)
    yield opened
    opened.close()


def likes(archive: Archive) -> list[str | None]:
    person = archive.library.person(B)
    assert person is not None
    return [archive.library.uri(n) for n in archive.graph.view().likes_of(person, 9)[0].tolist()]


def test_past_days_answer_before_today_is_read(archive: Archive) -> None:
    assert not archive.whole
    assert likes(archive) == [uri(A, OLD)]
    today = archive.writer.days()[-1]
    noon_us = today * DAY_US + DAY_US // 2
    assert archive.library.view().moment_us(noon_us) == today * DAY_US - 1  # lists are made as of then
    assert archive.library.view().moment_us(5) == 5
    archive.read_today()
    assert archive.whole
    assert archive.library.view().moment_us(noon_us) == noon_us
    assert likes(archive) == [uri(A, NEW), uri(A, OLD)]
    archive.read_today()  # once is enough
    assert likes(archive) == [uri(A, NEW), uri(A, OLD)]


def test_who_stops_does_not_wait_for_today(archive: Archive, folder: Path) -> None:
    archive.graph.stop_soon()
    archive.read_today()
    assert not archive.whole
    archive.close()
    with Archive(folder) as again:
        assert likes(again) == [uri(A, NEW), uri(A, OLD)]


def test_counts_are_the_same_whichever_way_today_was_read(archive: Archive, folder: Path) -> None:
    archive.read_today()
    archive.graph.wait()
    person = archive.library.person(B)
    counted = archive.graph.view().arrays.person_ratings[person]
    archive.close()
    with Archive(folder) as again:
        again.graph.wait()
        assert again.graph.view().arrays.person_ratings[person] == counted == 2


def test_without_past_days_today_is_read_at_once(tmp_path: Path) -> None:
    """There is nothing else to answer from."""
    feeder = Feeder(tmp_path)
    feeder.tell(feeder.post(A, OLD), feeder.rating(B, uri(A, OLD)))
    feeder.close()
    archive = Archive(feeder.folder, today_later=True)
    assert archive.whole
    assert likes(archive) == [uri(A, OLD)]
    archive.close()


def test_a_crash_after_a_day_was_begun_and_before_its_first_row(tmp_path: Path) -> None:
    """What comes again then is of the day before."""
    us = 20_782 * DAY_US - 1_000_000
    post = uri(A, make_tid(us - 5_000_000, 1))
    ratings = Ratings([B], [0], [make_tid(us, 1)], [post], [us])
    batch = Batch(20_781, 1, Cursor("host", 1, us), us, us, replayed=True, ratings=ratings)
    with Archive(tmp_path) as archive:
        archive.recorder.apply(batch)
        archive.writer.begin(20_782)
    with Archive(tmp_path) as archive:
        archive.recorder.apply(batch)
        assert archive.graph.open_day == archive.writer.day == 20_782
        assert int(archive.library.view().arrays.person_ratings.sum()) == 1
