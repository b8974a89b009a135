"""Reposts as records: told from likes, newest first, gone when they are taken back; and the bounds of the ring."""

from __future__ import annotations

import numpy as np
import pytest

from feedgen.core.ids import LIKE, NO_POST, REPOST, REPOST_NSID, make_tid, rkey_to_int
from feedgen.graph import recent
from feedgen.graph.recent import Recent, Records, records_of
from tests.graph.network import NOON_US, Feeder, did, uri
from tests.graph.test_recorder import everywhere, feed, midnight

A, B, C = (did(n) for n in range(3))
FIRST, SECOND = make_tid(NOON_US - 60_000_000), make_tid(NOON_US - 50_000_000)
DAY = 20_000

__all__ = ["feed"]


def reposts(feed: Feeder, who: str) -> list[tuple[str | None, int, int]]:
    feed.archive.graph.wait()
    person = feed.archive.library.person(who)
    assert person is not None
    found = feed.archive.library.view().reposts_of(person, 99)
    posts = [feed.archive.library.uri(post) for post in found.posts.tolist()]
    return list(zip(posts, found.times_us.tolist(), found.keys.tolist(), strict=True))


def some(first: int, count: int, person: int = 1, day: int = DAY) -> Records:
    n = np.arange(first, first + count)
    return records_of(day, np.full(count, person), n, n + 1, np.zeros(count, np.uint16))


def posts(of: Recent, person: int = 1, limit: int = 99) -> list[int]:
    found: list[int] = of.newest_of(person, limit)[0].tolist()
    return found


# --- in the whole


def test_a_like_of_the_same_post_is_no_repost_and_keeps_its_edge(feed: Feeder) -> None:
    like, repost = feed.rating(B, uri(A, FIRST)), feed.rating(B, uri(A, FIRST), kind=REPOST)
    feed.tell(feed.post(A, FIRST), like, repost, feed.rating(B, uri(A, SECOND)))
    for _ in everywhere(feed):
        ((post, time_us, key),) = reposts(feed, B)
        assert (post, key) == (uri(A, FIRST), rkey_to_int(repost.rkey))
        assert abs(time_us - repost.time_us) < 1_400_000  # to a tick
        feed.check()
    feed.tell(feed.delete(B, repost.rkey, REPOST_NSID))
    assert reposts(feed, B) == []
    person = feed.archive.library.person(B)
    assert person is not None and len(feed.archive.graph.view().likes_of(person, 9)[0]) == 2
    feed.check()


@pytest.mark.parametrize("rkey", [make_tid(NOON_US - 3_600_000_000), "not-a-tid"])
def test_the_time_is_the_earlier_of_the_two_and_the_key_is_found(feed: Feeder, rkey: str) -> None:
    repost = feed.rating(B, uri(A, FIRST), rkey, kind=REPOST)
    feed.tell(repost)
    for _ in everywhere(feed):
        ((_, time_us, key),) = reposts(feed, B)
        assert key == rkey_to_int(rkey)
        assert abs(time_us - (key >> 10 if key > 0 else repost.time_us)) < 1_400_000


def test_the_newest_comes_first_over_days_and_starts(feed: Feeder) -> None:
    feed.tell(feed.rating(B, uri(A, FIRST), kind=REPOST))
    midnight(feed)
    feed.tell(feed.rating(B, uri(A, SECOND), kind=REPOST), feed.rating(B, uri(C, SECOND), kind=LIKE))
    for _ in everywhere(feed):
        assert [post for post, _, _ in reposts(feed, B)] == [uri(A, SECOND), uri(A, FIRST)]


def test_what_is_told_late_hides_nothing_newer(feed: Feeder) -> None:
    old = make_tid(NOON_US - 30 * 3_600_000_000)
    feed.tell(feed.rating(B, uri(A, FIRST), kind=REPOST), feed.rating(B, uri(A, SECOND), old, kind=REPOST))
    person = feed.archive.library.person(B)
    assert person is not None
    newest = feed.archive.library.view().reposts_of(person, 1)
    assert [feed.archive.library.uri(post) for post in newest.posts.tolist()] == [uri(A, FIRST)]


def test_a_deleted_account_has_none(feed: Feeder) -> None:
    feed.tell(feed.rating(B, uri(A, FIRST), kind=REPOST), feed.rating(C, uri(A, FIRST), kind=REPOST))
    person = feed.archive.library.person(B)
    assert person is not None
    feed.tell(feed.account(B, False, "deleted"))
    for _ in everywhere(feed):
        assert len(reposts(feed, C)) == 1
        assert not len(feed.archive.library.view().reposts_of(person, 9).posts)


# --- the ring


def test_a_full_ring_has_the_newest_of_everybody() -> None:
    ring = Recent(8)
    for first in range(0, 40, 5):
        ring.add(some(first, 5))
    ring.add(some(100, 1, person=2))
    assert posts(ring) == [39, 38, 37, 36, 35, 34, 33]
    assert posts(ring, person=2) == [100]
    ring.remove(1, 34 + 1)
    ring.remove(1, 20 + 1)  # was overwritten
    assert posts(ring) == [39, 38, 37, 36, 35, 33]


def test_a_look_passes_so_many_records_and_no_more() -> None:
    ring = Recent(1 << 16)
    ring.add(some(0, recent.MAX_STEPS + 7))
    assert len(posts(ring, limit=1 << 20)) == recent.MAX_STEPS
    assert posts(ring, limit=0) == []


def test_a_dropped_day_is_gone() -> None:
    ring = Recent(64)
    ring.add(some(1, 2))
    ring.add(some(3, 2, day=DAY + 1))
    ring.drop_until(DAY)
    assert posts(ring) == [4, 3]


def test_the_past_comes_before_what_was_heard_meanwhile() -> None:
    ring = Recent(64)
    ring.add(some(50, 2))
    ring.expect_past()
    ring.remove(1, 11)
    ring.add(some(10, 1))  # the same name once more

    def days() -> list[Records]:
        ring.add(some(60, 1))
        ring.remove(1, 12)
        ring.remove(1, 51)
        return [some(10, 3), some(1, 2, day=DAY - 1)]

    ring.recall(days())
    assert posts(ring) == [60, 10, 51, 12, 2, 1]
    ring.erase(1)
    assert posts(ring) == []


def test_no_more_of_the_past_is_read_than_has_room() -> None:
    ring, asked = Recent(8), []

    def days() -> object:
        for n in range(9):
            asked.append(n)
            yield some(100 - 5 * n, 5, day=DAY - n)

    ring.expect_past()
    ring.recall(days())  # type: ignore[arg-type]
    assert len(asked) == 2
    assert posts(ring) == [104, 103, 102, 101, 100, 99, 98, 97]


def test_too_many_removals_while_the_past_is_read_leave_it_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MAX_MISSED", 3)
    monkeypatch.setattr(recent, "_COPIED", 2)
    ring = Recent(64)
    ring.add(some(50, 1))
    ring.expect_past()
    for key in range(9):
        ring.remove(7, key)
    ring.recall([some(1, 2, day=DAY - 1)])
    assert posts(ring) == [50]
    ring.add(some(51, 1))
    assert posts(ring) == [51, 50]


def test_an_erased_person_and_a_removed_record_leave_no_trace() -> None:
    ring = Recent(8)
    ring.add(some(1, 2))
    ring.erase(1)
    assert not (ring._ring.actor == 1).any()
    assert set(ring._ring.post[:2].tolist()) == {NO_POST}
    assert not len(ring.newest_of(1, 9)[1])
