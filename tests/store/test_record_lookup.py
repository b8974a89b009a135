"""Looking for records by name: all that are there are found, and of others nearly none is looked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import numpy as np
import pytest

from feedgen.core.ids import US_PER_DAY
from feedgen.ingest.batch import Cursor
from feedgen.store import directory, open_day, record_lookup
from feedgen.store.open_day import OpenDay
from feedgen.store.rows import FollowRows, RatingRows, Rows
from feedgen.store.sealed_day import SealedDay
from tests.store.test_store import NOON, Store, key_at, ratings
from tests.store.world import FIRST_DAY

COMMITS, IN_EACH = 60, 500
UNKNOWN_KEY = 1 << 9  # a clock id that no record here has


def names_of(commit: int) -> RatingRows:
    """Ratings of a commit and of seven seconds, their keys up to some seconds older; a few much older."""
    chance = np.random.default_rng(commit)
    us = NOON + commit * 7_000_000 + np.sort(chance.integers(0, 7_000_000, IN_EACH))
    made_us = us - chance.choice([200_000, 2_000_000, 9_000_000, 200_000_000], IN_EACH, p=[0.7, 0.2, 0.08, 0.02])
    actor = chance.integers(0, 2_000, IN_EACH).astype(np.uint32)
    kind = chance.integers(0, 2, IN_EACH).astype(np.uint8)
    return RatingRows(actor, kind, made_us << 10 | chance.integers(0, 4, IN_EACH), actor + 7, us)


def follows_of(rows: RatingRows) -> FollowRows:
    return FollowRows(rows.actor[:50], rows.key[:50], rows.actor[:50] + 9)


def filled(path: Path) -> OpenDay:
    day = OpenDay(path, FIRST_DAY)
    day.remove_rating(1, 0, 0, key_at(NOON), True)  # so that filters grow with the commits
    for n in range(1, COMMITS + 1):
        rows = names_of(n)
        day.add_ratings(rows)
        day.add_follows(follows_of(rows))
        day.commit(n, Cursor("host", n, int(rows.time_us[-1])), int(rows.time_us[-1]))
    return day


@contextmanager
def reads(day: OpenDay) -> Iterator[list[int]]:
    """How often the log is read meanwhile."""
    count, read = [0], day._directory._read

    def counting(first: int, last: int) -> Any:
        count[0] += 1
        return read(first, last)

    day._directory._read = counting
    yield count
    day._directory._read = read


@pytest.fixture(params=["as it grew", "opened anew", "as many stretches grew", "many stretches opened anew"])
def day(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenDay]:
    if "many" in request.param:
        monkeypatch.setattr(directory, "FILTER_RECORDS", 4 * IN_EACH)  # filters are folded as the newest grow old
    made = filled(tmp_path / "day.db")
    if "anew" in request.param:
        made.close()
        made = OpenDay(tmp_path / "day.db", FIRST_DAY)
    yield made
    made.close()


def test_each_record_is_found(day: OpenDay) -> None:
    n = COMMITS + 1
    for commit in (1, 30, COMMITS):
        rows = names_of(commit)
        for actor, kind, key, post in zip(*(column[:100].tolist() for column in _columns(rows)), strict=True):
            found = day.find_rating(n, actor, kind, key)
            assert found is not None and found.post == post
        follows = follows_of(rows)
        assert day.remove_follow(n, int(follows.actor[3]), int(follows.key[3])) == [follows.subject[3]]
        assert day.remove_follow(n, int(follows.actor[3]), int(follows.key[3])) == []


def test_what_nobody_recorded_is_nearly_never_looked_for(day: OpenDay) -> None:
    rows = names_of(30)
    look_for_nobodys(day, rows)  # filters are made
    with reads(day) as count:
        look_for_nobodys(day, rows)
    assert count[0] < 0.005 * 2 * IN_EACH


def look_for_nobodys(day: OpenDay, rows: RatingRows) -> None:
    for actor, kind, key in zip(rows.actor.tolist(), rows.kind.tolist(), rows.key.tolist(), strict=True):
        assert day.find_rating(COMMITS + 1, actor, kind, key | UNKNOWN_KEY) is None
        assert day.remove_follow(COMMITS + 1, actor, key | UNKNOWN_KEY) == []


def test_a_filter_grown_old_is_as_if_made_then(day: OpenDay) -> None:
    held, stretches = day._directory, day._directory._stretches
    look_for_nobodys(day, names_of(30))
    for i, stretch in enumerate(stretches):
        wide = i >= len(stretches) - directory.WIDE_STRETCHES
        before, stretch.words = stretch.words, None
        assert before is None or np.array_equal(before, held._filter(i))
        assert held._filter(i).size == (record_lookup.WIDE_WORDS if wide else record_lookup.FILTER_WORDS)


def test_many_at_once_are_found_like_one_by_one(day: OpenDay) -> None:
    n = COMMITS + 1
    rows = names_of(20)
    rows.key[::3] |= UNKNOWN_KEY
    for i in range(1, 200, 4):
        day.remove_rating(n, int(rows.actor[i]), int(rows.kind[i]), int(rows.key[i]), True)
    out = np.zeros(IN_EACH, np.bool_)
    day.have_ratings(n, rows, out)
    columns = (rows.actor.tolist(), rows.kind.tolist(), rows.key.tolist())
    alone = [day.find_rating(n, *name) is not None for name in zip(*columns, strict=True)]
    assert out.tolist() == alone and 200 < sum(alone) < 340
    held = np.zeros(IN_EACH, np.bool_)
    day.have_follows(n, rows.actor, rows.key, held)
    assert held[:50].tolist() == [i % 3 != 0 for i in range(50)] and not held[50:].any()


def _columns(rows: RatingRows) -> tuple[Any, ...]:
    return rows.actor, rows.kind, rows.key, rows.post


# --- sealed days

FAR = key_at(NOON - 40 * US_PER_DAY)


@pytest.fixture
def ninety(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Store, list[int]]]:
    """Sealed days, each with a like, a like with a key of long ago, and such a follow, by somebody else; and which of
    them were asked.
    """
    store, asked = Store(tmp_path / "data"), list[int]()
    people = store.people(30)
    for i in range(10):
        day = FIRST_DAY + i
        store.writer.begin(day)
        us = day * US_PER_DAY + 1_000
        store.writer.add(ratings((people[i], 0, key_at(us), 1), (people[i + 10], 0, FAR, 1), time_us=us))
        follow = np.array([people[i + 20]], np.uint32), np.array([FAR]), np.array([people[0]], np.uint32)
        store.writer.add(Rows(follows=FollowRows(*follow)))
        store.commit(us)
        if i:
            store.writer.seal(day - 1)
    store.writer.close()
    for name in ("remove_rating", "remove_follow"):
        before = getattr(SealedDay, name)

        def noting(held: SealedDay, *name: Any, before: Any = before) -> Any:
            asked.append(held.day)
            return before(held, *name)

        monkeypatch.setattr(SealedDay, name, noting)
    store.writer = type(store.writer)(store.folder, store.names, erase_after_us=0)
    store.writer.begin(FIRST_DAY + 9)
    yield store, asked
    store.close()


def test_a_key_of_another_day_leads_to_its_day(ninety: tuple[Store, list[int]]) -> None:
    store, asked = ninety
    people = store.people(30)
    assert [day for day, _ in store.writer.remove_rating(people[13], 0, FAR)] == [FIRST_DAY + 3]
    assert store.writer.remove_follow(people[24], FAR) == [(FIRST_DAY + 4, people[0])]
    assert asked == [FIRST_DAY + 3, FIRST_DAY + 4]


def test_what_nobody_recorded_is_looked_for_on_the_days_it_can_be_on(ninety: tuple[Store, list[int]]) -> None:
    store, asked = ninety
    people = store.people(30)
    assert store.writer.remove_rating(people[3], 0, FAR) == []
    assert store.writer.remove_follow(people[3], FAR) == []
    assert asked == []
    assert store.writer.remove_rating(people[3], 0, key_at((FIRST_DAY + 5) * US_PER_DAY)) == []
    assert asked == [FIRST_DAY + 4, FIRST_DAY + 5]  # at midnight, it can be on two


def test_repeats_are_known_on_sealed_days(ninety: tuple[Store, list[int]]) -> None:
    store, _ = ninety
    people = np.array(store.people(30), np.uint32)
    claimed = np.array([key_at((FIRST_DAY + i) * US_PER_DAY + 1_000) for i in range(10)])
    kind = np.zeros(10, np.uint8)
    assert store.writer.have_ratings(people[:10], kind, claimed).all()
    assert store.writer.have_ratings(people[10:20], kind, np.full(10, FAR)).all()
    assert not store.writer.have_ratings(people[20:], kind, np.full(10, FAR)).any()
    assert not store.writer.have_ratings(people[10:20], kind, claimed).any()
    assert store.writer.have_follows(people[20:], np.full(10, FAR)).all()
    assert not store.writer.have_follows(people[:20], np.full(20, FAR)).any()


def test_a_day_sealed_before_strays_were_noted_is_looked_through_once(ninety: tuple[Store, list[int]]) -> None:
    store, _ = ninety
    people = store.people(30)
    store.writer.close()
    path = store.folder.sealed_path(FIRST_DAY + 3)
    db = apsw.Connection(str(path))
    db.execute("DELETE FROM meta WHERE name = 'strays'")
    db.close()
    store.writer = type(store.writer)(store.folder, store.names, erase_after_us=0)
    store.writer.begin(FIRST_DAY + 9)
    assert [day for day, _ in store.writer.remove_rating(people[13], 0, FAR)] == [FIRST_DAY + 3]
    store.writer.rollback()
    held = SealedDay(path, FIRST_DAY + 3)
    assert held._noted_strays() is not None
    assert sorted(held.strays().tolist()) == sorted([people[13], people[23]])
    held.close()


def test_the_erased_are_no_strays_any_more(ninety: tuple[Store, list[int]]) -> None:
    store, _ = ninety
    people = store.people(30)
    store.writer.erase_person(people[13])
    store.commit((FIRST_DAY + 9) * US_PER_DAY + 2_000)
    held = SealedDay(store.folder.sealed_path(FIRST_DAY + 3), FIRST_DAY + 3)
    assert held.strays().tolist() == [people[23]]
    held.close()


def test_what_is_remembered_of_an_open_day_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes; what came last is still known."""
    for name in ("MAX_REMOVED", "MAX_GONE_FOLLOWS", "MAX_FAR_FOLLOWS"):
        monkeypatch.setattr(open_day, name, 20)
    day = filled(tmp_path / "day.db")
    far = np.arange(50, dtype=np.int64) << 20 | NOON // 2 << 10
    day.add_follows(FollowRows(np.arange(50, dtype=np.uint32), far, np.full(50, 9, np.uint32)))
    day.commit(COMMITS + 1, None, day.high_us)
    for commit in range(1, COMMITS + 1, 6):
        rows, follows = names_of(commit), follows_of(names_of(commit))
        for i in range(5):
            found = day.remove_rating(COMMITS + 2, int(rows.actor[i]), int(rows.kind[i]), int(rows.key[i]), True)
            assert found == [rows.post[i]]
            assert day.remove_follow(COMMITS + 2, int(follows.actor[i]), int(follows.key[i]))
    assert day.remove_rating(COMMITS + 2, int(rows.actor[4]), int(rows.kind[4]), int(rows.key[4]), True) == []
    assert day.remove_follow(COMMITS + 2, int(follows.actor[4]), int(follows.key[4])) == []
    assert day._removed_count == sum(map(len, day._removed.values())) <= 20
    assert len(day._gone_follows) == len(day._far_follows) == 20
    assert [day.remove_follow(COMMITS + 2, n, int(far[n])) for n in (0, 49)] == [[], [9]]
    day.rollback()
    day.close()
