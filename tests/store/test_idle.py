"""Numbers of people to whom nothing refers are given back, and given again only when nothing can mistake them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from feedgen.graph.archive import Archive
from feedgen.ingest.events import OPTED_OUT
from feedgen.store.idle import REMEMBERED_DAYS, idle, note_day
from feedgen.store.reader import DayReader
from feedgen.store.verify import verify
from tests.graph.network import DAY_US, Feeder, did, uri
from tests.store.test_names import close, make_dids, opened

DAY = 20_000


def people(*numbers: int) -> np.ndarray:  # type: ignore[type-arg]
    return np.array(numbers, np.uint32)


def test_a_number_is_given_again_after_the_index_forgot_it(tmp_path: Path) -> None:
    names = opened(tmp_path / "data")
    dids, newcomers = make_dids(300), make_dids(8, seed=2)
    names.number(dids)
    names.set_flags(12, OPTED_OUT)
    names.flush()
    names.save_index()
    some = people(*range(10, 15))
    for _ in range(2):  # names.idx on the disk still shows them
        assert names.give_back(some).tolist() == []
        names.flush()
    assert names.find(dids[10]) is None and names.did(10) is None and names.find(dids[12]) == 12
    names.save_index()
    assert names.give_back(some).tolist() == [10, 11, 13, 14]
    assert names.number(newcomers).tolist() == [14, 13, 11, 10, 300, 301, 302, 303]
    assert names.number([dids[10]]).tolist() == [304]  # who comes back is somebody new
    assert list(names.given_again) == [10, 11, 13, 14]
    names.flush()
    names._db.close()  # as a kill leaves it
    names.folder.close()
    names = opened(tmp_path / "data")
    assert names.rebuilt == "" and names.count == 305
    assert names.number(newcomers).tolist() == [14, 13, 11, 10, 300, 301, 302, 303]
    assert [names.did(n) for n in (14, 13, 11, 10)] == newcomers[:4] and names.find(dids[12]) == 12
    assert names.flags[10:15].tolist() == [0, 0, OPTED_OUT, 0, 0]
    close(names)
    assert verify(tmp_path / "data") == []


def test_given_again_while_the_index_is_written(tmp_path: Path) -> None:
    names = opened(tmp_path / "data")
    dids, newcomers = make_dids(2_000), make_dids(600, seed=2)
    names.number(dids)
    names.flush()
    some = people(*range(500, 1_000))
    names.give_back(some)
    names.flush()
    names.save_index()
    assert len(names.give_back(some)) == 500
    names.save_soon()
    numbers = names.number(newcomers)
    names.flush()
    close(names)
    names = opened(tmp_path / "data")
    assert names.rebuilt == "" and (names.number(newcomers) == numbers).all() and names.count == 2_100
    assert (names.number(dids[:500]) == np.arange(500)).all()
    for _ in range(30):  # slots are taken, and made free again
        first = names.number(make_dids(50, seed=_ + 9))
        names.flush()
        names.give_back(first)
        names.flush()
        names.save_index()
        names.give_back(first)
    assert names.count <= 2_150
    close(names)


def test_what_is_noted_of_a_day(tmp_path: Path) -> None:
    path, limit = tmp_path / "names.seen", 10 + REMEMBERED_DAYS
    seen = note_day(path, DAY, people(1, 2), 5, [])
    assert idle(seen, DAY, 10).tolist() == []  # of what was before, nobody knows
    for day in range(DAY + 1, DAY + limit + 1):
        seen = note_day(path, day, people(2, 99), 6, [day - 1])
    assert idle(seen, day, 10).tolist() == [0, 1, 3, 4]
    assert idle(note_day(path, day, people(3), 6, [day - 1]), day, 10).tolist() == [0, 1, 4]  # sealed once more
    with_gap = note_day(path, day + 3, people(), 6, [day + 1])
    assert idle(with_gap, day + 3, 10).tolist() == []  # the day between may have named anybody
    note_day(path, day + 4, people(), 6, [])
    path.write_bytes(path.read_bytes()[:-1])
    assert idle(note_day(path, day + 5, people(), 6, []), day + 5, 10).tolist() == []


def test_a_folder_stops_growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every day other people come; what is kept always has their names."""
    monkeypatch.setattr("feedgen.store.idle.REMEMBERED_DAYS", 2)
    feed = Feeder(tmp_path / "data")
    feed.archive.close()
    feed._open = lambda: setattr(feed, "archive", Archive(tmp_path / "data", retention_days=3))  # type: ignore[method-assign]
    feed._open()
    days, counts = 20, list[int]()
    for day in range(days):
        crowd = [did(day * 10 + n) for n in range(8)]
        post = feed.post(crowd[0])
        feed.tell(post, *(feed.rating(who, uri(crowd[0], post.rkey)) for who in crowd), feed.follow(crowd[1], crowd[2]))
        feed.settle()
        feed.archive.names._take_over_index(wait=True)  # of the one that sealing began
        feed.archive.names.save_index()
        if day % 4 == 3:
            feed.reopen()
        for kept in feed.archive.writer.days():
            path = feed.archive.folder.day_path(kept)
            assert path is not None
            then = [did((kept - feed.day + day) * 10 + n) for n in range(8)]
            with DayReader(path) as reader:
                assert {feed.archive.names.did(n) for n in reader.ratings().actor.tolist()} == set(then)
            view = feed.archive.library.view()
            for who in then:
                n = feed.archive.library.person(who)
                assert n is not None and int(view.arrays.person_ratings[n]) == 1 and view.arrays.person_flags[n] == 0
                assert len(view.likes_of(n, 9)[0]) == 1
        counts.append(feed.archive.names.count)
        feed.now_us += DAY_US
    assert counts[-1] <= 100 < 8 * days, counts
    feed.close()
    assert verify(tmp_path / "data") == []
