"""While a day is open, its older edges become compact behind the backs of readers and of whoever removes some."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgen.core.ids import NO_POST
from feedgen.graph import compact
from feedgen.graph.access import COMPACT, KIND, U32
from feedgen.graph.graph import Graph
from feedgen.rank.spam import SpamRules, find_spammers
from tests.graph.model import MemoryDay

DAY = 20_002
OWN, OLD = DAY % 256 << 24, (DAY - 1) % 256 << 24
ON_TOP = 50
PATIENCE_S = 60.0


@pytest.fixture
def graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Graph]:
    """An open day of 20 posts, and one before it that knows 20 more."""
    monkeypatch.setattr("feedgen.graph.graph.MAX_ON_TOP", ON_TOP)
    it = Graph(tmp_path)
    for day in (DAY - 1, DAY):
        it.start_day(day)
        n = np.arange(20)
        nothing = np.zeros(20, np.int64)
        it.add_posts(n | day % 256 << 24, n + 1000, n + 1, nothing, nothing + 1, nothing, np.full(20, NO_POST))
    yield it
    it.close()


def rate(graph: Graph, people: range, post: int = OWN) -> None:
    ticks = np.arange(len(people), dtype=np.uint16) + people.start
    assert graph.add_ratings(list(people), np.full(len(people), post, np.uint32), ticks).all()


def likers(graph: Graph, post: int = OWN) -> list[int]:
    found: list[int] = graph.view().likers_of(post, 1000)[0].tolist()
    return found


def layers(graph: Graph) -> int:
    return int(graph.view().arrays.days.shape[0]) - len(graph.days)


GROUPS = 3  # that a merge goes through, one after the other


def during_merge(monkeypatch: pytest.MonkeyPatch, step: Callable[[], object], after: int = GROUPS) -> list[int]:
    """The first merge is interrupted after so many of its groups. A list that grows with each group."""
    merged: list[int] = []
    merge_group = compact._merge_group

    def merge(*args: Any) -> compact.Group:
        if len(merged) == after == 0:
            step()
        made = merge_group(*args)
        merged.append(1)
        if len(merged) == after > 0:
            step()
        return made

    monkeypatch.setattr(compact, "_merge_group", merge)
    return merged


def test_old_edges_become_compact_and_say_the_same(graph: Graph) -> None:
    rate(graph, range(60))
    rate(graph, range(60, 100), OLD | 3)
    graph.add_follows([1, 1], [2, 3])
    graph.wait()
    assert layers(graph) == 1 and graph.view().arrays.days[2, KIND] == COMPACT
    rate(graph, range(100, 130), OLD | 3)
    graph.wait()
    rate(graph, range(200, 230))
    graph.add_follows([1, 2, 1], [3, 1, 4])
    graph.wait()
    assert layers(graph) == 1
    assert likers(graph) == [*range(229, 199, -1), *range(59, -1, -1)]
    assert likers(graph, OLD | 3) == [*range(129, 59, -1)]
    assert graph.view().follows_of(1).tolist() == [4, 3, 2]
    for person in (5, 70, 210):
        assert graph.view().likes_of(person, 10)[0].size == 1
    assert graph.has_edges([5, 5, 210, 70], [OWN, OWN | 1, OWN, OLD | 3]).tolist() == [True, False, True, True]
    assert graph.has_follows([1, 1, 2], [2, 5, 1]).tolist() == [True, False, True]
    for limit in (1, 29, 30, 31, 89, 90, 91):
        assert graph.view().likers_of(OWN, limit)[0].tolist() == likers(graph)[:limit]


@pytest.mark.parametrize("after", range(GROUPS + 1))
def test_what_is_removed_while_layers_are_merged_is_gone_and_what_comes_again_stays(
    after: int, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change() -> None:
        assert graph.remove_rating(DAY, 3, OWN)
        assert graph.remove_rating(DAY, 4, OWN)
        assert graph.add_ratings([4], [OWN], [900]).all()
        assert graph.remove_follow(DAY, 1, 2)
        assert graph.erase_person(5) == 1
        graph.mark_posts([OWN], 64, True)

    merged = during_merge(monkeypatch, change, after)
    graph.add_follows([1, 1], [2, 3])
    rate(graph, range(60))
    graph.wait()
    assert len(merged) == GROUPS and layers(graph) == 1
    left = [n for n in range(59, -1, -1) if n not in (3, 4, 5)]
    assert likers(graph) == [4, *left]
    assert graph.view().likes_of(3, 10)[0].size == graph.view().likes_of(5, 10)[0].size == 0
    assert graph.view().likes_of(4, 10)[0].tolist() == [OWN]
    assert graph.view().follows_of(1).tolist() == [3]
    facts = graph.view().post(OWN)
    assert facts is not None and (facts.count, facts.flags) == (58, 65)
    assert graph.has_edges([3, 4, 5], [OWN] * 3).tolist() == [False, True, False]
    assert not graph.remove_rating(DAY, 3, OWN)
    assert graph.remove_rating(DAY, 4, OWN) and likers(graph) == left


def test_removals_reach_layers_that_only_older_views_see_and_then_their_memory_goes(graph: Graph) -> None:
    rate(graph, range(60))
    graph.wait()
    rate(graph, range(60, 115))
    before = graph.view()  # its layers are merged and replaced
    old = [weakref.ref(part) for part in before.parts() if isinstance(part, compact.Compact)]
    graph.wait()
    rate(graph, range(115, 170))
    graph.wait()
    assert graph.remove_rating(DAY, 7, OWN) and graph.remove_rating(DAY, 100, OWN)
    graph.erase_person(50)
    seen = before.likers_of(OWN, 1000)[0].tolist()
    assert not {7, 100, 50} & set(seen) and {6, 101, 51} <= set(seen)
    assert not {7, 100, 50} & set(likers(graph)) and len(likers(graph)) == 167
    assert old[0]() is not None
    del before
    began = time.monotonic()
    while old[0]() is not None or graph._retired:
        assert time.monotonic() - began < PATIENCE_S
        time.sleep(0.01)


def test_too_many_changes_while_layers_are_merged_merge_them_again(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feedgen.graph.meanwhile.MAX_MISSED", 3)

    def change() -> None:
        for person in range(10):
            assert graph.remove_rating(DAY, person, OWN)

    merged = during_merge(monkeypatch, change)
    rate(graph, range(60))
    graph.wait()
    assert len(merged) == 2 * GROUPS
    assert likers(graph) == [*range(59, 9, -1)]


def test_a_day_goes_on_as_it_is_when_its_layers_can_not_be_merged(
    graph: Graph, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise MemoryError

    caplog.set_level(logging.ERROR)
    during_merge(monkeypatch, fail)
    rate(graph, range(60))
    graph.wait()
    assert [record.message for record in caplog.records] == ["today's arrays could not be made compact"]
    rate(graph, range(60, 300))
    graph.wait()
    assert layers(graph) == 1 and likers(graph) == [*range(299, -1, -1)]
    assert graph._the_open_day().settled  # there was memory for it the second time
    graph.start_day(DAY + 1)
    rated = [(person, OWN, person) for person in range(300)]
    graph.seal(DAY, MemoryDay(DAY, True, rated)).result()
    assert layers(graph) == 0 and likers(graph) == [*range(299, -1, -1)]


def test_a_day_may_end_be_sealed_or_dropped_while_its_layers_wait(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = threading.Event()
    merged = during_merge(monkeypatch, lambda: going.wait(PATIENCE_S))
    rate(graph, range(60))
    graph.start_day(DAY + 1)
    sealed = graph.seal(DAY, MemoryDay(DAY, True, [(person, OWN, person) for person in range(60) if person != 9]))
    assert graph.remove_rating(DAY, 9, OWN)
    going.set()
    sealed.result()
    assert len(merged) == GROUPS and layers(graph) == 0
    assert 9 not in likers(graph) and len(likers(graph)) == 59

    going.clear()
    monkeypatch.undo()
    monkeypatch.setattr("feedgen.graph.graph.MAX_ON_TOP", ON_TOP)
    during_merge(monkeypatch, lambda: going.wait(PATIENCE_S))
    first = graph.next_posts(1)
    graph.add_posts([first], [1], [5], [0], [1], [0], [NO_POST])
    rate(graph, range(60), first)
    graph.drop(DAY + 1)
    going.set()
    graph.wait()
    assert layers(graph) == 0 and graph.view().post(first) is None


def test_everything_is_counted_again_over_all_layers(graph: Graph) -> None:
    for start in range(0, 300, 60):
        rate(graph, range(start, start + 60), OWN | start // 60 % 2)
        graph.wait()
    graph.remove_rating(DAY, 10, OWN)
    rate(graph, range(400, 420), OLD)
    arrays = graph.view().arrays
    before = arrays.person_ratings[:420].tolist(), [graph.view().post(n).count for n in (OWN, OWN | 1, OLD)]  # type: ignore[union-attr]
    assert before[1] == [179, 120, 20]
    for _ in range(2):
        graph._rebuild(
            DAY - 1, MemoryDay(DAY - 1, True, rows={OLD | n: (n + 1000, n + 1, 0, 1, 0, NO_POST) for n in range(20)})
        )
        after = arrays.person_ratings[:420].tolist(), [graph.view().post(n).count for n in (OWN, OWN | 1, OLD)]  # type: ignore[union-attr]
        assert after == before
    graph.drop(DAY)
    assert not arrays.person_ratings[:420].any()


def test_a_filter_that_is_made_late_knows_all_layers(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedgen.graph.live.QUIET_EDGES", 150)
    for start in range(0, 240, 40):
        rate(graph, range(start, start + 40))
        graph.wait()
    assert graph._the_open_day().busy
    people: U32 = np.arange(240, dtype=np.uint32)
    assert graph.has_edges(people, np.full(240, OWN, np.uint32)).all()
    assert not graph.add_ratings(people, np.full(240, OWN, np.uint32), np.zeros(240)).any()


def test_who_likes_too_much_is_found_over_all_layers(graph: Graph) -> None:
    rules = SpamRules(likes_a_day=15)
    for post in range(20):
        busy = [1, 2] if post < 14 else [1]  # the first likes 20 posts, the second 14
        graph.add_ratings([*busy, *range(100, 104)], [OWN | post] * (len(busy) + 4), [post] * (len(busy) + 4))
        if post == 17:
            graph.add_ratings([3] * 16, [OWN | n for n in range(16)], [20] * 16)
        graph.wait()
    assert layers(graph) == 1
    assert graph.view().likes_of(3, 20)[0].size == 16
    everybody = [1, 3, *range(100, 104)]
    assert find_spammers(graph.view(), 1, rules).tolist() == everybody
