"""A repository that says two things under one key: rows and arrays stay equal, and one deletion takes back both."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedgen.core.ids import FOLLOW_NSID, make_tid
from feedgen.graph import graph
from feedgen.graph.live import MAX_ON_TOP
from feedgen.ingest.events import GONE, Event
from feedgen.store.reader import DayReader
from tests.graph.network import DAY_US, NOON_US, Feeder, did, uri
from tests.graph.test_recorder import KEY, OLD_KEY, SITUATIONS, Storm, likers, likes, midnight

A, B, C = (did(n) for n in range(3))
STORM_SITUATIONS = (*SITUATIONS, "unrate", "unrate", "unfollow")


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feeder]:
    feeder = Feeder(tmp_path)
    yield feeder
    feeder.close()


def agree(feed: Feeder) -> None:
    """Every edge of the rows is in the arrays, in both directions, and no other."""
    archive, view = feed.archive, feed.archive.graph.view()
    likes_by_person: dict[int, set[int]] = defaultdict(set)
    likers_by_post: dict[int, set[int]] = defaultdict(set)
    follows: dict[int, set[int]] = defaultdict(set)
    ratings: dict[int, int] = defaultdict(int)
    for day in archive.writer.days():
        path = archive.folder.day_path(day)
        assert path is not None
        with DayReader(path) as reader:
            rows, followed = reader.ratings(), reader.follows()
        for person, post in set(zip(rows.actor.tolist(), rows.post.tolist(), strict=True)):
            if not archive.names.flags[person] & GONE:
                likes_by_person[person].add(post)
                likers_by_post[post].add(person)
                ratings[person] += 1
        for person, subject in zip(followed.actor.tolist(), followed.subject.tolist(), strict=True):
            if not archive.names.flags[person] & GONE:
                follows[person].add(subject)
    for person in range(archive.names.count):
        assert set(view.likes_of(person, 1_000)[0].tolist()) == likes_by_person[person]
        assert set(view.follows_of(person).tolist()) == follows[person]
        assert view.arrays.person_ratings[person] == ratings[person]
    for post, people in likers_by_post.items():
        assert set(view.likers_of(post, 1_000)[0].tolist()) == people


class Lies(Storm):
    """What a record says is drawn each time, whatever its key said before."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self.feed.check_arrays = self.feed.check_truth = lambda: agree(self.feed)  # type: ignore[method-assign]

    def events(self, name: str) -> list[Event]:
        self.said.clear()
        self.erased.clear()
        return super().events(name)

    def key(self) -> str:
        """So few that most records meet another one."""
        if self.rng.random() < 0.2:
            return "odd"
        day_us = (self.feed.now_us // DAY_US - self.rng.choice((0, 0, 1))) * DAY_US
        return make_tid(day_us + DAY_US // 2)


# FEEDGEN_STORMS=1000 looks for new ones.
@settings(
    max_examples=int(os.environ.get("FEEDGEN_STORMS", "8")),
    derandomize="FEEDGEN_STORMS" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 1 << 32),
    situations=st.lists(st.sampled_from(STORM_SITUATIONS), min_size=20, max_size=150),
    on_top=st.sampled_from([3, MAX_ON_TOP]),
)
def test_rows_and_arrays_agree_whatever_is_said(
    seed: int,
    situations: list[str],
    on_top: int,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graph, "MAX_ON_TOP", on_top)
    storm = Lies(tmp_path_factory.mktemp("lies"), seed)
    try:
        for name in situations:
            storm.run(name)
        storm.flush()
        storm.reopen()
        storm.settle()
    finally:
        storm.feed.close()


@pytest.mark.parametrize("key", [KEY, OLD_KEY, "not-a-tid"])
@pytest.mark.parametrize("later", ["at once", "after a restart", "when the day is sealed"])
def test_one_deletion_takes_back_all_that_a_key_said(feed: Feeder, key: str, later: str) -> None:
    feed.tell(feed.rating(A, uri(B, KEY), key))
    feed.tell(feed.rating(A, uri(C, KEY), key), feed.rating(B, uri(C, KEY)))
    feed.tell(feed.follow(A, B, key))
    feed.tell(feed.follow(A, C, key))
    assert {*likes(feed, A)} <= {uri(B, KEY), uri(C, KEY)}
    if later == "after a restart":
        feed.reopen()
    elif later == "when the day is sealed":
        midnight(feed)
        feed.settle()
    agree(feed)
    feed.tell(feed.delete(A, key), feed.delete(A, key, FOLLOW_NSID))
    agree(feed)
    assert likes(feed, A) == [] and likers(feed, C, KEY) == [B]
    feed.reopen()
    agree(feed)
    assert likes(feed, A) == []


def test_a_key_that_was_used_on_two_days(feed: Feeder) -> None:
    """Around midnight a key can be of either day."""
    feed.now_us = (NOON_US // DAY_US + 1) * DAY_US - 30_000_000
    key = feed.rating(A, uri(B, KEY)).rkey
    feed.tell(feed.rating(A, uri(B, KEY), key))
    feed.now_us += 60_000_000
    feed.tell(feed.rating(A, uri(C, KEY), key))
    agree(feed)
    feed.tell(feed.delete(A, key))
    agree(feed)
    assert likes(feed, A) == []
