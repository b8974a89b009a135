"""What each kind of event does to the truth and to the arrays: a test for each cell of ARCHITECTURE.md's table.

Every test ends with `check`, which compares all arrays and all rows with a model in plain dicts (network.py).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedgen.core.errors import StoreFull
from feedgen.core.ids import FOLLOW_NSID, LIKE, LIKE_NSID, POST_NSID, REPOST, REPOST_NSID, day_of, make_tid
from feedgen.graph import graph
from feedgen.graph.live import MAX_ON_TOP
from feedgen.graph.recorder import UNNUMBERED
from feedgen.ingest.batch import Batch, BatchBuilder
from feedgen.ingest.events import (
    DELETED,
    IMAGE,
    INACTIVE,
    KNOWN,
    NO_UNAUTHENTICATED,
    OPTED_OUT,
    PERSON_ADULT,
    REPLY,
    Account,
    Block,
    Event,
    Identity,
)
from feedgen.store.writer import FOLLOW
from tests.graph.network import DAY_US, HOUR_US, NOON_US, Feeder, did, uri

A, B, C, D = (did(n) for n in range(4))
KEY = make_tid(NOON_US - 10_000_000)
POST_KEY = make_tid(NOON_US - 60_000_000)
OLD_KEY = make_tid(NOON_US - 30 * HOUR_US)
ODD_KEY = "not-a-tid"

RANDOM_KILLS = int(os.environ.get("FEEDGEN_RANDOM_KILLS", "4"))


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Feeder]:
    feeder = Feeder(tmp_path)
    yield feeder
    feeder.close()


def likers(feed: Feeder, author: str, rkey: str) -> list[str | None]:
    """Newest first."""
    return [feed.archive.library.did(n) for n in feed.archive.graph.view().likers_of(number(feed, author, rkey), 99)[0]]


def likes(feed: Feeder, who: str) -> list[str | None]:
    person = feed.archive.library.person(who)
    assert person is not None
    return [feed.archive.library.uri(n) for n in feed.archive.graph.view().likes_of(person, 99)[0].tolist()]


def number(feed: Feeder, author: str, rkey: str) -> int:
    from feedgen.core.ids import rkey_to_int

    person = feed.archive.library.person(author)
    assert person is not None
    return int(feed.archive.graph.view().find_posts([person], [rkey_to_int(rkey)])[0])


def flags(feed: Feeder, author: str, rkey: str) -> int:
    return int(feed.archive.graph.view().post_flags([number(feed, author, rkey)])[0])


def everywhere(feed: Feeder) -> Iterator[None]:
    """The same look three times: at the live day, after a restart, and when the day is sealed and mapped."""
    yield
    feed.reopen()
    yield
    midnight(feed)
    feed.settle()
    yield
    feed.reopen()
    yield


def midnight(feed: Feeder) -> None:
    """The next day begins, with an event that is in nobody's way."""
    feed.now_us = (feed.now_us // DAY_US + 1) * DAY_US + HOUR_US
    feed.tell(feed.rating(did(30), uri(did(31), POST_KEY)))


# --- ratings


def test_a_like_and_a_repost(feed: Feeder) -> None:
    feed.tell(feed.post(A, POST_KEY), feed.rating(B, uri(A, POST_KEY)), feed.rating(C, uri(A, POST_KEY), kind=REPOST))
    for _ in everywhere(feed):
        assert likers(feed, A, POST_KEY) == [C, B]
        assert likes(feed, B) == [uri(A, POST_KEY)]
        feed.check()


@pytest.mark.parametrize("key", [KEY, OLD_KEY, ODD_KEY])
def test_an_unlike_finds_its_like_by_name_alone(feed: Feeder, key: str) -> None:
    feed.tell(feed.rating(B, uri(A, POST_KEY), key), feed.rating(C, uri(A, POST_KEY), key))
    feed.tell(feed.delete(B, key))
    for _ in everywhere(feed):
        assert likers(feed, A, POST_KEY) == [C]
        feed.check()


@pytest.mark.parametrize("key", [KEY, OLD_KEY, ODD_KEY])
def test_an_unlike_days_later(feed: Feeder, key: str) -> None:
    feed.tell(feed.rating(B, uri(A, POST_KEY), key), feed.rating(C, uri(A, POST_KEY), key))
    midnight(feed)
    feed.settle()
    feed.tell(feed.delete(B, key))
    assert likers(feed, A, POST_KEY) == [C]
    feed.check()
    feed.reopen()
    assert likers(feed, A, POST_KEY) == [C]
    feed.check()


def test_an_unlike_of_yesterday_before_it_is_sealed(feed: Feeder) -> None:
    feed.tell(feed.rating(B, uri(A, POST_KEY), KEY), feed.rating(C, uri(A, POST_KEY), KEY))
    midnight(feed)
    feed.reopen()  # yesterday is mapped now, though its truth is still a log
    feed.tell(feed.rating(B, uri(A, POST_KEY)), feed.delete(B, KEY))
    assert likers(feed, A, POST_KEY) == [B, C]
    feed.check()
    feed.settle()
    feed.check()


def test_like_and_unlike_in_one_batch(feed: Feeder) -> None:
    feed.tell(feed.rating(B, uri(A, POST_KEY), KEY), feed.delete(B, KEY), feed.rating(C, uri(A, POST_KEY)))
    for _ in everywhere(feed):
        assert likers(feed, A, POST_KEY) == [C]
        feed.check()


def test_an_unlike_names_the_kind(feed: Feeder) -> None:
    feed.tell(feed.rating(B, uri(A, POST_KEY), KEY), feed.rating(B, uri(A, POST_KEY), KEY, kind=REPOST))
    feed.tell(feed.delete(B, KEY, REPOST_NSID))
    for _ in everywhere(feed):
        assert likers(feed, A, POST_KEY) == [B]
        feed.check()
    feed.tell(feed.delete(B, KEY))
    assert likers(feed, A, POST_KEY) == []
    feed.check()


def test_a_like_before_its_post(feed: Feeder) -> None:
    feed.tell(feed.rating(B, uri(A, POST_KEY)))
    assert flags(feed, A, POST_KEY) == 0
    feed.tell(feed.post(A, POST_KEY, KNOWN | IMAGE, 3))
    for _ in everywhere(feed):
        assert flags(feed, A, POST_KEY) == KNOWN | IMAGE
        assert likers(feed, A, POST_KEY) == [B]
        feed.check()


def test_a_like_yesterday_before_its_post_today(feed: Feeder) -> None:
    feed.tell(feed.rating(B, uri(A, POST_KEY)))
    first_us = feed.archive.graph.view().post_time_us(number(feed, A, POST_KEY))
    midnight(feed)
    feed.settle()
    feed.tell(feed.post(A, POST_KEY, KNOWN | IMAGE, 3))
    for _ in everywhere(feed):
        assert flags(feed, A, POST_KEY) == KNOWN | IMAGE
        assert feed.archive.graph.view().post_time_us(number(feed, A, POST_KEY)) == first_us
        feed.check()


def test_two_like_records_count_once_and_survive_one_deletion(feed: Feeder) -> None:
    feed.tell(feed.rating(B, uri(A, POST_KEY), KEY))
    feed.tell(feed.rating(B, uri(A, POST_KEY), make_tid(NOON_US + 1)), feed.rating(B, uri(A, POST_KEY), kind=REPOST))
    assert likers(feed, A, POST_KEY) == [B]
    feed.tell(feed.delete(B, KEY))
    for _ in everywhere(feed):
        assert likers(feed, A, POST_KEY) == [B]
        feed.check()
    feed.tell(feed.delete(B, make_tid(NOON_US + 1)))
    assert likers(feed, A, POST_KEY) == [B]
    feed.check()


def test_two_like_records_one_after_the_other_are_deleted(feed: Feeder) -> None:
    other = make_tid(NOON_US + 1)
    feed.tell(feed.rating(B, uri(A, POST_KEY), KEY), feed.rating(B, uri(A, POST_KEY), other), feed.delete(B, KEY))
    assert likers(feed, A, POST_KEY) == [B]
    feed.check()
    feed.tell(feed.delete(B, other))
    for _ in everywhere(feed):
        assert likers(feed, A, POST_KEY) == []
        feed.check()


def test_two_like_records_deleted_in_a_batch_of_their_own(feed: Feeder) -> None:
    other = make_tid(NOON_US + 1)
    feed.tell(feed.rating(B, uri(A, POST_KEY), KEY))
    feed.tell(feed.rating(B, uri(A, POST_KEY), other))
    feed.reopen()
    feed.tell(feed.delete(B, KEY), feed.delete(B, other), feed.rating(C, uri(A, POST_KEY)))
    for _ in everywhere(feed):
        assert likers(feed, A, POST_KEY) == [C]
        feed.check()


def test_two_like_records_on_two_days(feed: Feeder) -> None:
    feed.tell(feed.rating(B, uri(A, POST_KEY), KEY))
    midnight(feed)
    feed.settle()
    today = make_tid(feed.now_us + 1)
    feed.tell(feed.rating(B, uri(A, POST_KEY), today))
    assert likers(feed, A, POST_KEY) == [B]
    feed.check()
    feed.tell(feed.delete(B, KEY))
    assert likers(feed, A, POST_KEY) == [B]
    feed.tell(feed.delete(B, today))
    assert likers(feed, A, POST_KEY) == []
    feed.check()


def test_doubles_on_a_sealed_day(feed: Feeder) -> None:
    other = make_tid(NOON_US + 1)
    feed.tell(feed.rating(B, uri(A, POST_KEY), KEY), feed.rating(B, uri(A, POST_KEY), other))
    midnight(feed)
    feed.settle()
    feed.tell(feed.delete(B, other))
    assert likers(feed, A, POST_KEY) == [B]
    feed.check()
    feed.tell(feed.delete(B, KEY))
    assert likers(feed, A, POST_KEY) == []
    feed.check()


@pytest.mark.parametrize("key", [KEY, OLD_KEY])
def test_a_like_again_and_again(feed: Feeder, key: str) -> None:
    """The same record: in one batch, in the next one, on the next day."""
    again = [feed.rating(B, uri(A, POST_KEY), key) for _ in range(3)]
    feed.tell(*again[:2])
    feed.tell(again[2])
    feed.tell(feed.rating(B, uri(A, POST_KEY), key), replayed=True)
    feed.check()
    midnight(feed)
    feed.tell(feed.rating(B, uri(A, POST_KEY), key), replayed=True)
    feed.settle()
    feed.tell(feed.rating(B, uri(A, POST_KEY), key), replayed=True)
    feed.check()
    feed.tell(feed.delete(B, key))
    assert likers(feed, A, POST_KEY) == []
    feed.check()


def test_an_old_record_told_again_as_if_it_were_new(feed: Feeder) -> None:
    """A server may send old records with new numbers; nothing marks them but their own keys."""
    feed.tell(feed.rating(B, uri(A, POST_KEY), KEY))
    midnight(feed)
    feed.settle()
    feed.tell(feed.rating(B, uri(A, POST_KEY), KEY))
    feed.check()
    feed.tell(feed.delete(B, KEY))
    assert likers(feed, A, POST_KEY) == []
    feed.check()


def test_a_replay_after_a_restart(feed: Feeder) -> None:
    events: list[Event] = [
        feed.post(A, POST_KEY),
        feed.rating(B, uri(A, POST_KEY)),
        feed.rating(C, uri(A, POST_KEY), ODD_KEY),
        feed.follow(B, A),
        feed.rating(D, uri(A, POST_KEY), KEY),
        feed.delete(D, KEY),
        feed.account(C, False, "deactivated"),
    ]
    feed.tell(*events)
    for _ in range(2):
        feed.reopen()
        feed.tell(*events, replayed=True)
        assert likers(feed, A, POST_KEY) == [C, B]
        feed.check()
    midnight(feed)
    feed.settle()
    feed.tell(*events, replayed=True)
    feed.check()


def test_a_delete_before_its_create(feed: Feeder) -> None:
    feed.tell(feed.rating(C, uri(A, POST_KEY)))
    feed.tell(feed.delete(C, KEY), feed.rating(C, uri(B, POST_KEY), KEY))
    for _ in everywhere(feed):
        assert uri(B, POST_KEY) not in likes(feed, C)
        feed.check()


def test_a_create_again_after_its_deletion(feed: Feeder) -> None:
    feed.tell(feed.rating(C, uri(A, POST_KEY), KEY), feed.delete(C, KEY))
    feed.tell(feed.rating(C, uri(A, POST_KEY), KEY))
    feed.reopen()
    feed.tell(feed.rating(C, uri(A, POST_KEY), KEY), feed.rating(B, uri(A, POST_KEY)))
    assert likers(feed, A, POST_KEY) == [B]
    feed.check()


def test_an_odd_key_may_be_used_again(feed: Feeder) -> None:
    feed.tell(feed.rating(C, uri(A, POST_KEY), ODD_KEY))
    feed.tell(feed.delete(C, ODD_KEY), feed.rating(C, uri(A, POST_KEY), ODD_KEY))
    for _ in everywhere(feed):
        assert likers(feed, A, POST_KEY) == [C]
        feed.check()


def test_a_deletion_is_forgotten_after_an_hour(feed: Feeder) -> None:
    feed.tell(feed.rating(B, uri(A, POST_KEY)), feed.delete(C, KEY))
    feed.now_us += 2 * HOUR_US
    feed.tell(feed.rating(B, uri(A, POST_KEY)))
    feed.tell(feed.rating(C, uri(A, POST_KEY), KEY))
    assert C in likers(feed, A, POST_KEY)
    feed.check()


def test_a_deletion_of_what_nobody_has_changes_nothing(feed: Feeder) -> None:
    feed.tell(feed.rating(B, uri(A, POST_KEY)))
    feed.tell(feed.delete(D, KEY), feed.delete(B, OLD_KEY), feed.delete(B, KEY, FOLLOW_NSID), feed.delete(A, "x~"))
    feed.check()


@pytest.mark.parametrize("key", [KEY, ODD_KEY])
def test_a_rating_that_is_written_anew(feed: Feeder, key: str) -> None:
    feed.tell(feed.rating(B, uri(A, POST_KEY), key))
    feed.tell(feed.rating(B, uri(C, POST_KEY), key, updated=True))
    for _ in everywhere(feed):
        assert likes(feed, B) == [uri(C, POST_KEY)]
        assert likers(feed, A, POST_KEY) == []
        feed.check()


def test_a_rating_is_written_and_written_anew_in_one_batch(feed: Feeder) -> None:
    feed.tell(
        feed.rating(B, uri(A, POST_KEY), KEY),
        feed.rating(B, uri(C, POST_KEY), KEY, updated=True),
        feed.rating(B, uri(D, POST_KEY), KEY, updated=True),
    )
    assert likes(feed, B) == [uri(D, POST_KEY)]
    feed.check()


def test_an_update_of_what_nobody_has_is_a_create(feed: Feeder) -> None:
    feed.tell(feed.rating(B, uri(A, POST_KEY), KEY, updated=True), feed.follow(B, A, updated=True))
    feed.tell(feed.post(A, POST_KEY, KNOWN | IMAGE, updated=True))
    assert likes(feed, B) == [uri(A, POST_KEY)]
    feed.check()


def test_events_out_of_order(feed: Feeder) -> None:
    first, second = feed.rating(B, uri(A, POST_KEY)), feed.rating(C, uri(A, POST_KEY))
    feed.tell(second, first)
    feed.tell(feed.rating(D, uri(A, POST_KEY)))
    for _ in everywhere(feed):
        assert set(likers(feed, A, POST_KEY)) == {B, C, D}
        feed.check()


def test_midnight_in_a_batch(feed: Feeder) -> None:
    feed.now_us = NOON_US + DAY_US // 2 - 3_000_000
    events = [feed.rating(did(n), uri(A, POST_KEY)) for n in range(4, 10)]
    late = feed.rating(D, uri(A, POST_KEY))
    feed.tell(*events)
    assert feed.archive.graph.days == [20_000, 20_001]
    feed.tell(late)  # and an event of yesterday arrives today
    for _ in everywhere(feed):
        assert likers(feed, A, POST_KEY) == [D, *(did(n) for n in range(9, 3, -1))]
        feed.check()


def test_an_event_of_yesterday_is_counted_to_today(feed: Feeder) -> None:
    yesterday = feed.rating(B, uri(A, POST_KEY))
    midnight(feed)
    feed.tell(yesterday)
    assert likers(feed, A, POST_KEY) == [B]
    feed.check()
    feed.tell(feed.delete(B, yesterday.rkey))
    assert likers(feed, A, POST_KEY) == []
    feed.check()


# --- posts


def test_a_post_with_all_it_says(feed: Feeder) -> None:
    feed.tell(feed.post(A, POST_KEY, KNOWN | IMAGE | REPLY, 7, about=uri(B, KEY)))
    for _ in everywhere(feed):
        facts = feed.archive.graph.view().post(number(feed, A, POST_KEY))
        assert facts is not None and (facts.flags, facts.language) == (KNOWN | IMAGE | REPLY, 7)
        assert feed.archive.library.uri(facts.about) == uri(B, KEY)
        feed.check()


@pytest.mark.parametrize("key", [ODD_KEY, OLD_KEY, make_tid(NOON_US + 40 * HOUR_US)])
def test_a_post_with_an_unusual_key(feed: Feeder, key: str) -> None:
    feed.tell(feed.rating(B, uri(A, key)), feed.post(C, key), feed.rating(B, uri(C, key)))
    feed.tell(feed.post(A, key))
    for _ in everywhere(feed):
        assert set(likes(feed, B)) == {uri(A, key), uri(C, key)}
        feed.check()
    feed.tell(feed.rating(D, uri(A, key)))
    assert likers(feed, A, key) == [D, B]
    feed.check()


def test_a_post_again(feed: Feeder) -> None:
    feed.tell(feed.post(A, POST_KEY, KNOWN, 1), feed.post(A, POST_KEY, KNOWN, 1))
    feed.tell(feed.post(A, POST_KEY, KNOWN | IMAGE, 2))  # not an update: a repeat that lies
    assert flags(feed, A, POST_KEY) == KNOWN
    feed.check()


@pytest.mark.parametrize("batches", [1, 2])
def test_a_post_that_is_written_anew(feed: Feeder, batches: int) -> None:
    events = [feed.post(A, POST_KEY, KNOWN, 1), feed.post(A, POST_KEY, KNOWN | IMAGE, 2, uri(B, KEY), updated=True)]
    for events_now in [events] if batches == 1 else [[event] for event in events]:
        feed.tell(*events_now)
    for _ in everywhere(feed):
        assert flags(feed, A, POST_KEY) == KNOWN | IMAGE
        feed.check()
    feed.tell(feed.post(A, POST_KEY, KNOWN | REPLY, 3, updated=True))  # of a sealed day
    assert flags(feed, A, POST_KEY) == KNOWN | REPLY
    feed.check()
    feed.reopen()
    feed.check()


@pytest.mark.parametrize("key", [POST_KEY, ODD_KEY])
def test_a_deleted_post(feed: Feeder, key: str) -> None:
    feed.tell(feed.post(A, key), feed.rating(B, uri(A, key)))
    feed.tell(feed.delete(A, key, POST_NSID))
    assert flags(feed, A, key) & DELETED
    feed.check()
    feed.tell(feed.post(A, key))
    for _ in everywhere(feed):
        feed.check()


def test_a_post_is_deleted_in_its_own_batch(feed: Feeder) -> None:
    feed.tell(feed.post(A, POST_KEY), feed.rating(B, uri(A, POST_KEY)), feed.delete(A, POST_KEY, POST_NSID))
    assert flags(feed, A, POST_KEY) & DELETED
    for _ in everywhere(feed):
        feed.check()


def test_a_post_is_deleted_before_it_comes(feed: Feeder) -> None:
    feed.tell(feed.rating(A, uri(B, POST_KEY)))
    feed.tell(feed.delete(A, POST_KEY, POST_NSID), feed.post(A, POST_KEY))
    feed.tell(feed.rating(C, uri(A, POST_KEY)))
    for _ in everywhere(feed):
        feed.check()


def test_a_post_of_days_ago_is_deleted(feed: Feeder) -> None:
    feed.tell(feed.post(A, POST_KEY), feed.rating(B, uri(A, POST_KEY)))
    midnight(feed)
    feed.settle()
    feed.tell(feed.delete(A, POST_KEY, POST_NSID))
    assert flags(feed, A, POST_KEY) & DELETED
    feed.check()
    feed.reopen()
    feed.check()


# --- follows


@pytest.mark.parametrize("key", [KEY, OLD_KEY, ODD_KEY])
def test_follow_and_unfollow(feed: Feeder, key: str) -> None:
    feed.tell(feed.follow(A, B, key), feed.follow(A, C), feed.follow(C, B, key), feed.follow(A, B, key))
    for _ in everywhere(feed):
        feed.check()
    feed.tell(feed.delete(A, key, FOLLOW_NSID))
    for _ in everywhere(feed):
        feed.check()


def test_a_follow_that_is_written_anew(feed: Feeder) -> None:
    feed.tell(feed.follow(A, B, KEY))
    feed.tell(feed.follow(A, C, KEY, updated=True))
    for _ in everywhere(feed):
        feed.check()


def test_two_follow_records_of_one_person(feed: Feeder) -> None:
    other = make_tid(NOON_US + 1)
    feed.tell(feed.follow(A, B, KEY), feed.follow(A, B, other))
    midnight(feed)
    today = make_tid(feed.now_us + 1)
    feed.tell(feed.follow(A, B, today))
    feed.settle()
    for key in (KEY, today, other):
        feed.tell(feed.delete(A, key, FOLLOW_NSID))
        feed.check()


@pytest.mark.parametrize("key", [KEY, ODD_KEY])
def test_an_unfollow_before_its_follow(feed: Feeder, key: str) -> None:
    feed.tell(feed.follow(C, A))
    feed.tell(feed.delete(C, key, FOLLOW_NSID))
    feed.tell(feed.follow(C, B, key), feed.follow(C, D))
    for _ in everywhere(feed):
        feed.check()


def test_a_follow_again_and_in_another_order(feed: Feeder) -> None:
    first, second = feed.follow(A, B, KEY), feed.follow(A, C)
    feed.tell(second, first, first)
    feed.tell(second)
    feed.reopen()
    feed.tell(first, second, replayed=True)
    midnight(feed)
    feed.settle()
    feed.tell(first, second, replayed=True)
    feed.check()
    feed.tell(feed.delete(A, KEY, FOLLOW_NSID))
    for _ in everywhere(feed):
        feed.check()


# --- people


def test_profiles_and_declarations(feed: Feeder) -> None:
    feed.tell(feed.profile(A, NO_UNAUTHENTICATED | PERSON_ADULT), feed.visibility(A, True), feed.profile(B, 0))
    assert feed.archive.library.person(B) is None  # nothing to say of somebody we don't know
    for _ in everywhere(feed):
        feed.check()
    feed.tell(feed.profile(A, PERSON_ADULT), feed.visibility(A, False))
    person = feed.archive.library.person(A)
    assert person is not None and feed.archive.graph.view().arrays.person_flags[person] == PERSON_ADULT
    for _ in everywhere(feed):
        feed.check()


def test_what_people_say_of_themselves_again_and_in_another_order(feed: Feeder) -> None:
    """What was told last holds: such an event says all there is to say, and has no key to tell a repeat by."""
    feed.tell(feed.rating(B, uri(A, POST_KEY)))
    early, late = feed.profile(A, PERSON_ADULT), feed.profile(A, NO_UNAUTHENTICATED)
    shown, hidden = feed.visibility(A, False), feed.visibility(A, True)
    feed.tell(late, late, hidden)
    feed.tell(early, shown, hidden)
    feed.tell(early, hidden, replayed=True)
    person = feed.archive.library.person(A)
    assert person is not None
    for _ in everywhere(feed):
        assert feed.archive.graph.view().arrays.person_flags[person] == PERSON_ADULT | OPTED_OUT
        feed.check()


def test_what_a_deleted_account_said_of_itself_is_gone(feed: Feeder) -> None:
    feed.tell(feed.rating(A, uri(B, POST_KEY)), feed.profile(A, PERSON_ADULT), feed.visibility(A, True))
    feed.tell(feed.account(A, False, "deactivated"))
    feed.tell(feed.account(A, False, "deleted"))
    feed.tell(feed.account(A, True), feed.rating(A, uri(B, POST_KEY)))
    person = feed.archive.library.person(A)
    assert person is not None
    for _ in everywhere(feed):
        assert feed.archive.graph.view().arrays.person_flags[person] == 0
        feed.check()


def test_states_of_an_account_again_and_in_another_order(feed: Feeder) -> None:
    """What comes from a hidden account is remembered for when it is back."""
    feed.tell(feed.account(A, True))
    assert feed.archive.library.person(A) is None  # nothing to say of somebody we don't know
    away, back = feed.account(A, False, "deactivated"), feed.account(A, True)
    feed.tell(feed.rating(A, uri(B, POST_KEY)), back, away, away)
    feed.tell(feed.rating(A, uri(C, POST_KEY)), feed.follow(A, B), feed.post(A, POST_KEY))
    person = feed.archive.library.person(A)
    assert person is not None
    for _ in everywhere(feed):
        assert feed.archive.graph.view().arrays.person_flags[person] == INACTIVE
        feed.check()
    feed.tell(back, back)
    for _ in everywhere(feed):
        assert likers(feed, C, POST_KEY) == [A] and likers(feed, B, POST_KEY) == [A]
        feed.check()


def test_handles_and_blocks_leave_nothing(feed: Feeder) -> None:
    feed.tell(feed.rating(B, uri(A, POST_KEY)))
    seq, time_us = feed.moment()
    block = Block(did=C, time_us=time_us, seq=seq, rkey=KEY, subject=A)
    feed.tell(block, Identity(did=D, time_us=time_us + 1, seq=seq + 1, handle="d.test"), block)
    assert feed.archive.library.person(C) is None and feed.archive.library.person(D) is None
    for _ in everywhere(feed):
        feed.check()


@pytest.mark.parametrize("status", ["deactivated", "suspended", "takendown", None])
def test_an_account_is_hidden_and_comes_back_whole(feed: Feeder, status: str | None) -> None:
    feed.tell(feed.post(A, POST_KEY), feed.rating(A, uri(B, POST_KEY)), feed.follow(A, B), feed.visibility(A, True))
    feed.tell(feed.account(A, False, status))
    person = feed.archive.library.person(A)
    assert person is not None
    for _ in everywhere(feed):
        assert feed.archive.graph.view().arrays.person_flags[person] == INACTIVE | OPTED_OUT
        feed.check()
    feed.tell(feed.account(A, True))
    for _ in everywhere(feed):
        assert feed.archive.graph.view().arrays.person_flags[person] == OPTED_OUT
        feed.check()


def test_a_deleted_account_leaves_nothing(feed: Feeder) -> None:
    feed.tell(feed.post(A, POST_KEY), feed.rating(B, uri(A, POST_KEY)), feed.rating(A, uri(C, POST_KEY), ODD_KEY))
    midnight(feed)
    feed.settle()
    feed.tell(feed.rating(A, uri(C, POST_KEY)), feed.follow(A, B), feed.follow(B, A), feed.rating(B, uri(C, POST_KEY)))
    told: list[str] = []
    feed.archive.recorder.on_erased = told.append
    post = number(feed, A, POST_KEY)
    feed.tell(feed.account(A, False, "deleted"))
    assert told == [A] and feed.archive.library.person(A) is None
    assert likers(feed, C, POST_KEY) == [B] and feed.archive.library.uri(post) is None
    for _ in everywhere(feed):
        assert likers(feed, C, POST_KEY) == [B]
        feed.check()
    feed.reopen()
    for path in feed.folder.rglob("*"):
        if path.is_file():
            assert A.encode() not in path.read_bytes(), path.name


def test_an_account_is_deleted_twice_and_comes_back(feed: Feeder) -> None:
    feed.tell(feed.post(A, POST_KEY), feed.rating(A, uri(B, POST_KEY), KEY))
    feed.tell(feed.account(A, False, "deleted"), feed.account(A, False, "deleted"))
    feed.check()
    feed.tell(feed.account(A, True), feed.post(A, POST_KEY), feed.rating(A, uri(B, POST_KEY), KEY))
    for _ in everywhere(feed):
        assert likers(feed, B, POST_KEY) == [A]
        feed.check()
    feed.tell(feed.account(A, False, "deleted"))
    for _ in everywhere(feed):
        assert likers(feed, B, POST_KEY) == []
        feed.check()


@pytest.mark.parametrize("status", ["deactivated", "suspended", "takendown", None])
def test_a_deleted_account_is_not_hidden_as_well(feed: Feeder, status: str | None) -> None:
    """A state that is told too late makes nobody new. An account that is back can be hidden again."""
    feed.tell(feed.post(A, POST_KEY), feed.rating(A, uri(B, POST_KEY), KEY))
    feed.tell(feed.account(A, False, "deleted"), feed.account(A, False, status))
    feed.tell(feed.account(A, False, status))
    for _ in everywhere(feed):
        assert feed.archive.library.person(A) is None
        feed.check()
    feed.tell(feed.account(A, False, "deleted"), feed.account(A, True), feed.account(A, False, status))
    person = feed.archive.library.person(A)
    assert person is not None
    for _ in everywhere(feed):
        assert feed.archive.graph.view().arrays.person_flags[person] == INACTIVE
        feed.check()


def test_that_an_account_was_deleted_is_forgotten_after_an_hour(feed: Feeder) -> None:
    feed.tell(feed.rating(A, uri(B, POST_KEY)), feed.account(A, False, "deleted"))
    feed.now_us += 2 * HOUR_US
    feed.tell(feed.account(A, False, "deactivated"))
    person = feed.archive.library.person(A)
    assert person is not None and feed.archive.graph.view().arrays.person_flags[person] == INACTIVE
    feed.check()


@pytest.mark.parametrize("key", [KEY, OLD_KEY, ODD_KEY])
@pytest.mark.parametrize("days", [0, 1])
def test_what_a_replaced_repository_lacks_is_gone(feed: Feeder, key: str, days: int) -> None:
    """A record of each kind that is there still, and one that is not; on the open day, and after it was sealed."""
    posts = [make_tid(NOON_US - (60 + i) * 1_000_000) for i in range(3)]
    feed.tell(
        *(feed.post(A, rkey) for rkey in posts),
        feed.rating(B, uri(A, posts[0]), key),
        feed.rating(B, uri(A, posts[1]), "2222222222222"),
        feed.rating(B, uri(A, posts[2]), key, REPOST),
        feed.rating(C, uri(A, posts[0]), key),
        feed.post(B, key),
        feed.post(B, "3jzfcijpj2z2a"),
        feed.follow(B, A, key),
        feed.follow(B, C, "3jzfcijpj2z2a"),
    )
    if days:
        midnight(feed)
        feed.settle()
    feed.tell(feed.replaced(B, likes=["2222222222222"], posts=["3jzfcijpj2z2a"], follows=["3jzfcijpj2z2a"]))
    assert likes(feed, B) == [uri(A, posts[1])]
    assert likers(feed, A, posts[0]) == [C]
    feed.check()
    feed.reopen()
    feed.check()


def test_a_repository_that_lacks_nothing_stays(feed: Feeder) -> None:
    feed.tell(feed.post(A, POST_KEY), feed.rating(B, uri(A, POST_KEY), KEY), feed.rating(B, uri(C, "odd"), ODD_KEY))
    feed.tell(feed.replaced(B, likes=[KEY, ODD_KEY]))
    for _ in everywhere(feed):
        assert likes(feed, B) == [uri(C, "odd"), uri(A, POST_KEY)]
        feed.check()


def test_a_replaced_repository_again_and_in_another_order(feed: Feeder) -> None:
    """What was liked since stays, also when the sync is told again; what was gone does not come back by itself."""
    feed.tell(feed.post(A, POST_KEY), feed.rating(B, uri(A, POST_KEY), KEY))
    sync = feed.replaced(B, likes=["3jzfcijpj2z2a"])
    since = feed.rating(B, uri(C, POST_KEY))
    feed.tell(sync, since)
    feed.tell(sync, since, replayed=True)
    for _ in everywhere(feed):
        assert likes(feed, B) == [uri(C, POST_KEY)]
        feed.check()
    feed.tell(feed.rating(B, uri(A, POST_KEY), KEY))
    assert likes(feed, B) == [uri(A, POST_KEY), uri(C, POST_KEY)]
    feed.check()


def test_a_replaced_repository_of_somebody_unknown(feed: Feeder) -> None:
    feed.tell(feed.replaced(D, likes=[KEY]))
    assert feed.archive.library.person(D) is None
    feed.check()


def test_old_records_of_a_replacement_are_dated_before_all_of_the_day(feed: Feeder) -> None:
    """A like of last week that is told only now is one of its liker's, but nobody's who was seen to like the post."""
    feed.now_us = NOON_US // DAY_US * DAY_US - 999_000  # so B's like is of the day's first moment
    feed.tell(feed.rating(B, uri(A, POST_KEY)), feed.post(A, POST_KEY))
    feed.now_us = NOON_US
    feed.tell(feed.rating(D, uri(A, POST_KEY)))
    old = feed.rating(C, uri(A, POST_KEY), make_tid(NOON_US - 7 * DAY_US))
    feed.tell(msgspec.structs.replace(old, made_us=NOON_US - 7 * DAY_US))
    for _ in everywhere(feed):
        view, did_of = feed.archive.graph.view(), feed.archive.library.did
        people, times_us = view.likers_of(number(feed, A, POST_KEY), 9)
        times = dict(zip(map(did_of, people.tolist()), times_us.tolist(), strict=True))
        assert times[C] == NOON_US // DAY_US * DAY_US < times[B] < times[D]
        assert list(map(did_of, view.likers_of(number(feed, A, POST_KEY), 9, dated=False)[0].tolist())) == [D, B]
        assert likes(feed, C) == [uri(A, POST_KEY)]
        person = feed.archive.library.person(C)
        assert person is not None and view.likes_of(person, 9, dated=False)[0].size == 0
        feed.check()


def test_an_account_is_deleted_in_the_batch_of_its_likes(feed: Feeder) -> None:
    feed.tell(
        feed.rating(C, uri(B, POST_KEY)),
        feed.rating(A, uri(B, POST_KEY), KEY),
        feed.account(A, False, "deleted"),
        feed.rating(A, uri(B, POST_KEY)),
    )
    for _ in everywhere(feed):
        assert likers(feed, B, POST_KEY) == [A, C]
        feed.check()


def test_a_deletion_is_repeated_when_the_disk_was_full(feed: Feeder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch is applied again as a whole; the first try must not hide anything from the second."""
    feed.tell(feed.post(A, POST_KEY), feed.rating(A, uri(B, POST_KEY)), feed.rating(C, uri(A, POST_KEY), KEY))
    names = feed.archive.names
    flush = names.flush
    tries = 0

    def full_at_first() -> None:
        nonlocal tries
        tries += 1
        if tries <= 2:
            raise StoreFull("no room")
        flush()

    monkeypatch.setattr(names, "flush", full_at_first)
    events = (
        feed.rating(A, uri(B, KEY)),
        feed.delete(C, KEY),
        feed.profile(B, PERSON_ADULT),
        feed.account(A, False, "deleted"),
    )
    apply = feed.archive.recorder.apply

    def persistent(batch: object) -> None:
        while True:
            try:
                return apply(batch)  # type: ignore[arg-type]
            except StoreFull:
                assert likers(feed, B, POST_KEY) == [None]  # the DID is forgotten at once; the rest waits

    monkeypatch.setattr(feed.archive.recorder, "apply", persistent)
    feed.tell(*events)
    assert tries == 3
    for _ in everywhere(feed):
        feed.check()


# --- any sequence

PEOPLE = [did(n) for n in range(6)]
SITUATIONS = (
    "rate", "rate", "rate", "post", "post", "follow", "unrate", "unpost", "unfollow", "update", "update_other",
    "account", "erase", "flags", "replay", "reopen", "midnight", "settle", "sync",
)  # fmt: skip


class Storm:
    """Random events; keys are drawn from few, so that everything meets everything."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.feed = Feeder(folder, erase_after_us=5_000_000)
        self.told: list[Event] = []
        self.said: dict[tuple[str, str, int], str] = {}  # what a record says; nobody says two things without an update
        self.waiting: list[Event] = []
        self.erased: set[str] = set()

    def spoke_of_the_erased(self, who: str, key: str, kind: int) -> bool:
        """Whether this record names somebody who was deleted since: their name stands for another number now."""
        said = self.said.get((who, key, kind), "")
        return any(name in said for name in self.erased)

    def run(self, name: str) -> None:
        if name in ("reopen", "midnight", "settle", "replay", "sync"):
            self.flush()
            getattr(self, name)()
        else:
            self.waiting += self.events(name)
            # What others say of somebody later in the batch of their deletion is lost with them; not so in the model.
            if name == "erase" or self.rng.random() < 0.3:
                self.flush()

    def events(self, name: str) -> list[Event]:
        rng, feed = self.rng, self.feed
        who, whom, key = rng.choice(PEOPLE), rng.choice(PEOPLE), self.key()
        post, kind = uri(whom, self.key()), rng.randrange(2)
        if name == "rate":
            if (who, key, kind) in self.said and (key.startswith("odd") or self.spoke_of_the_erased(who, key, kind)):
                return []  # a repeat that shows neither by its time nor by its subject is looked up in replays only
            return [feed.rating(who, self.said.setdefault((who, key, kind), post), key, kind)]
        if name == "post":
            return [
                feed.post(who, key, KNOWN | rng.choice((0, IMAGE, REPLY)), rng.randrange(5), rng.choice((None, post)))
            ]
        if name == "follow":
            if self.spoke_of_the_erased(who, key, FOLLOW):
                return []
            return [feed.follow(who, self.said.setdefault((who, key, FOLLOW), whom), key)]
        if name == "update":
            self.said[who, key, kind] = post
            return [feed.rating(who, post, key, kind, updated=True)]
        if name == "update_other":
            self.said[who, key, FOLLOW] = whom
            post_event = feed.post(who, key, KNOWN | IMAGE, rng.randrange(5), updated=True)
            return [post_event, feed.follow(who, whom, key, updated=True)]
        if name == "account":
            return [feed.account(who, rng.random() < 0.6, "deactivated")]
        if name == "erase":
            if rng.random() >= 0.3:
                return []
            self.erased.add(who)
            return [feed.account(who, False, "deleted")]
        if name == "flags":
            return [
                rng.choice((feed.profile(who, rng.choice((0, PERSON_ADULT))), feed.visibility(who, rng.random() < 0.5)))
            ]
        collection = {"unrate": rng.choice((LIKE_NSID, REPOST_NSID)), "unpost": POST_NSID, "unfollow": FOLLOW_NSID}
        return [feed.delete(who, key, collection[name])]

    def key(self) -> str:
        rng = self.rng
        if rng.random() < 0.15:
            return f"odd~{rng.randrange(2)}"
        # Near a few moments of today and of the days before, far enough from all limits of an hour or a day.
        day_us = (self.feed.now_us // DAY_US - rng.choice((0, 0, 0, 0, 1, 3))) * DAY_US
        return make_tid(day_us + DAY_US // 2 + rng.randrange(4) * 1_000, rng.randrange(2))

    def flush(self) -> None:
        if self.waiting:
            self.feed.tell(*self.waiting)
            self.told += self.waiting
            self.waiting = []
            self.feed.check_arrays()

    def replay(self) -> None:
        """What a new connection brings: the last events once more, all of them."""
        batch: list[Event] = []
        for event in self.told[-self.rng.randrange(1, 8) :]:
            batch.append(event)
            if isinstance(event, Account):
                self.feed.tell(*batch, replayed=True)
                batch = []
        self.feed.tell(*batch, replayed=True)
        self.feed.check_arrays()

    def sync(self) -> None:
        """A repository read again: some of its records are gone, and an old one was missed until now."""
        rng, feed, model = self.rng, self.feed, self.feed.model
        who, whom, kind = rng.choice(PEOPLE), rng.choice(PEOPLE), rng.randrange(2)
        kept = {k: v[0] for k, v in model.ratings.items() if k[0] == who and rng.random() < 0.7}
        told: list[Event] = [
            feed.rating(who, uri(ref[0], ref[2]), rkey, of)
            for (_, of, rkey), ref in kept.items()
            if ref[1] == model.life(ref[0])
        ]
        made_us = (feed.now_us // DAY_US - 9) * DAY_US + rng.randrange(3)
        old, post = (who, make_tid(made_us), kind), uri(whom, self.key())
        if not self.spoke_of_the_erased(*old):
            missed = feed.rating(who, self.said.setdefault(old, post), old[1], kind)
            told.append(msgspec.structs.replace(missed, made_us=made_us))
            kept[who, kind, old[1]] = whom, 0, ""
        feed.tell(*told, replayed=True)
        replaced = feed.replaced(
            who,
            likes=[rkey for _, of, rkey in kept if of == LIKE],
            reposts=[rkey for _, of, rkey in kept if of == REPOST],
            posts=[ref[2] for ref in sorted(model.numbered) if ref[0] == who and rng.random() < 0.8],
            follows=[rkey for name, rkey in model.follows if name == who and rng.random() < 0.8],
        )
        feed.tell(replaced)
        self.told += [*told, replaced]
        feed.check_arrays()

    def reopen(self) -> None:
        self.feed.check_truth()
        self.feed.reopen()
        self.feed.check_arrays()

    def midnight(self) -> None:
        if self.rng.random() < 0.4:
            midnight(self.feed)
            self.feed.now_us += 11 * HOUR_US
            self.told.clear()

    def settle(self) -> None:
        self.feed.settle()
        self.feed.check_arrays()


# The same storms in every run, so that a red run is a change's doing; FEEDGEN_STORMS=1000 looks for new ones.
@settings(
    max_examples=int(os.environ.get("FEEDGEN_STORMS", "12")),
    derandomize="FEEDGEN_STORMS" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 1 << 32),
    situations=st.lists(st.sampled_from(SITUATIONS), min_size=20, max_size=150),
    on_top=st.sampled_from([3, 20, MAX_ON_TOP]),
)
def test_any_sequence_agrees_with_the_model(
    seed: int,
    situations: list[str],
    on_top: int,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graph, "MAX_ON_TOP", on_top)  # so that most of a day lies in layers below
    storm = Storm(tmp_path_factory.mktemp("storm"), seed)
    try:
        for name in situations:
            storm.run(name)
        storm.flush()
        storm.feed.check()
        storm.reopen()
        storm.feed.check()
    finally:
        storm.feed.close()


# --- a day with too many posts


def test_posts_beyond_the_numbers_of_a_day_are_left_out(
    feed: Feeder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All else goes on: ratings of the posts that have numbers, removals, restarts; and the next day has new ones."""
    monkeypatch.setattr(graph, "MAX_POSTS", 3)
    keys = [make_tid(NOON_US - n * 1_000_000) for n in range(5)]
    left_out = UNNUMBERED.value()
    with caplog.at_level("WARNING"):
        for key in keys:
            feed.archive.recorder.apply(batch(feed.post(A, key), feed.rating(B, uri(A, key), key)))
    assert UNNUMBERED.value() == left_out + 2
    assert caplog.text.count("no more post numbers") == 1
    assert likes(feed, B) == [uri(A, key) for key in (keys[2], keys[1], keys[0])]
    feed.archive.recorder.apply(
        batch(feed.delete(B, keys[0]), feed.delete(B, keys[4]), feed.delete(A, keys[4], POST_NSID))
    )
    feed.reopen()
    assert likes(feed, B) == [uri(A, key) for key in (keys[2], keys[1])]
    feed.now_us = (feed.now_us // DAY_US + 1) * DAY_US + HOUR_US
    feed.archive.recorder.apply(batch(feed.post(A, KEY), feed.rating(B, uri(A, KEY)), feed.rating(C, uri(A, keys[3]))))
    assert likes(feed, B) == [uri(A, key) for key in (KEY, keys[2], keys[1])]
    assert flags(feed, A, keys[3]) & KNOWN == 0  # its record was left out: it is referred to, and not shown


def batch(*events: Event) -> Batch:
    builder = BatchBuilder("host")
    for event in events:
        assert builder.add(event, day_of(event.time_us))
    return builder.take()


# --- sudden death


def tale(feed: Feeder, steps: int) -> Iterator[list[Event]]:
    """Always the same events, over three days, in small batches; with what changes days that are sealed."""
    rng = random.Random(1)
    known: list[tuple[str, str, str]] = []
    for step in range(steps):
        if step % (steps // 3) == steps // 3 - 1:
            feed.now_us = (feed.now_us // DAY_US + 1) * DAY_US + 12 * HOUR_US
        batch: list[Event] = []
        for _ in range(6):
            who, author = rng.choice(PEOPLE), rng.choice(PEOPLE)
            event = feed.rating(who, uri(author, make_tid(NOON_US - rng.randrange(9) * 1_000)))
            batch.append(event)
            known.append((LIKE_NSID, who, event.rkey))
        batch.append(feed.post(rng.choice(PEOPLE)))
        collection, who, rkey = known.pop(rng.randrange(len(known)))
        batch.append(feed.delete(who, rkey, collection))
        if step % 13 == 7:
            batch.append(feed.account(rng.choice(PEOPLE), False, "deleted"))
        yield batch


STEPS = 60


def live(folder: Path) -> None:
    """Tell the tale from where the folder is: what the process does that the tests kill."""
    feed = Feeder(folder, erase_after_us=3_000_000)
    cursor = feed.archive.recorder.cursor()
    done = cursor.seq if cursor else 0
    print("begun", flush=True)
    for batch in tale(feed, STEPS):
        if batch[-1].seq > done:
            feed.tell(*[event for event in batch if event.seq >= done], replayed=batch[0].seq <= done)
            feed.archive.days.tend(feed.day, feed.now_us)
    feed.settle()
    feed.close()
    print("done", flush=True)


def child(folder: Path, crash_at: str = "") -> subprocess.Popen[str]:
    env = dict(os.environ, FEEDGEN_CRASH_AT=crash_at)
    command = [sys.executable, "-c", f"from tests.graph.test_recorder import *; live(Path({str(folder)!r}))"]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def survived(folder: Path) -> None:
    """After the rest of the tale, everything is as if nothing had happened."""
    output, errors = child(folder).communicate(timeout=120)
    assert output.endswith("done\n"), errors
    feed = Feeder(folder)
    try:
        teller = Feeder.__new__(Feeder)
        teller.now_us, teller.seq = NOON_US, 0
        for batch in tale(teller, STEPS):
            for event in batch:
                feed.model.apply(event, event.time_us // DAY_US)
        feed.check()
    finally:
        feed.close()


def test_the_arrays_agree_after_random_deaths(tmp_path: Path) -> None:
    rng = random.Random(3)
    for _ in range(RANDOM_KILLS):
        process = child(tmp_path)
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        time.sleep(rng.random() * 0.5)
        process.kill()
        process.communicate()
    survived(tmp_path)


def test_a_day_without_numbers_leaves_posts_out(feed: Feeder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ratings of what has a number still count; nothing dies."""
    feed.tell(feed.post(A, POST_KEY))
    monkeypatch.setattr("feedgen.graph.graph.MAX_POSTS", 1)
    feed.tell(feed.post(B, POST_KEY), feed.rating(C, uri(A, POST_KEY)), feed.rating(C, uri(B, POST_KEY)))
    view = feed.archive.library.view()
    names = feed.archive.names
    posts, _ = view.likes_of(names.find(C) or 0, 10)
    assert [feed.archive.library.uri(int(post)) for post in posts] == [uri(A, POST_KEY)]


def lower_the_limit(monkeypatch: pytest.MonkeyPatch, people: int, subjects: int) -> None:
    for module in ("store.names", "graph.people", "graph.graph", "graph.build", "graph.archive"):
        monkeypatch.setattr(f"feedgen.{module}.MAX_PEOPLE", people)
    monkeypatch.setattr("feedgen.store.names.MAX_SUBJECTS", subjects)


def test_people_beyond_the_limit_are_left_out(feed: Feeder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whom strangers invent first; all others go on."""
    feed.tell(feed.post(A, POST_KEY), feed.rating(B, uri(A, POST_KEY)))
    lower_the_limit(monkeypatch, 4, 3)
    invented = [did(n) for n in range(20, 40)]
    apply = feed.archive.recorder.apply
    apply(batch(*(feed.rating(B, uri(who, KEY)) for who in invented), *(feed.follow(B, who) for who in invented)))
    apply(batch(feed.rating(C, uri(A, POST_KEY)), feed.rating(D, uri(A, POST_KEY)), feed.delete(did(50), KEY)))
    for _ in range(2):
        assert feed.archive.names.count == 4
        assert likers(feed, A, POST_KEY) == [C, B]
        feed.settle()
        feed.reopen()


def test_a_folder_with_people_beyond_the_limit_opens(feed: Feeder, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older version gave numbers that the arrays have no room for."""
    feed.tell(feed.post(A, POST_KEY), *(feed.rating(did(n), uri(A, POST_KEY)) for n in range(1, 9)))
    feed.tell(feed.profile(did(7), PERSON_ADULT), feed.account(did(8), False, "deleted"))
    lower_the_limit(monkeypatch, 4, 3)
    for _ in range(2):
        feed.reopen()
        assert likers(feed, A, POST_KEY) == [D, C, B]
        feed.archive.recorder.apply(
            batch(feed.profile(did(6), PERSON_ADULT), feed.rating(did(6), uri(A, POST_KEY)), feed.delete(did(5), KEY))
        )
        feed.archive.recorder.apply(batch(feed.account(did(4), False, "deleted")))
        assert likers(feed, A, POST_KEY) == [D, C, B]
        feed.now_us += DAY_US
        feed.tell(feed.post(A))
        feed.settle()


@pytest.mark.parametrize("days", [100, 150, 300, 10_000])
def test_a_long_stop(feed: Feeder, days: int) -> None:
    """What left the window meanwhile goes before the new day begins."""
    feed.tell(feed.post(A, POST_KEY), feed.rating(B, uri(A, POST_KEY)))
    feed.now_us += days * 86_400_000_000
    feed.tell(feed.post(A))
    assert len(feed.archive.writer.days()) == 1 == len(feed.archive.graph.days)
