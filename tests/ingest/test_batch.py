"""When a batch must be closed, and what is in it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from feedgen.core.ids import LIKE, LIKE_NSID, POST_NSID, US_PER_DAY
from feedgen.ingest.batch import Batch, BatchBuilder, Cursor, Follows, Posts, Ratings
from feedgen.ingest.events import KNOWN, Account, Delete, Event, Follow, Identity, Post, Rating
from tests.ingest.wires import AUTHOR, DID, NOW_US, POST_URI

DAY = NOW_US // US_PER_DAY


def rating(rkey: str = "a", did: str = DID, time_us: int = NOW_US, seq: int = 0) -> Rating:
    return Rating(did=did, time_us=time_us, seq=seq, kind=LIKE, rkey=rkey, subject=POST_URI)


def post(rkey: str = "a", did: str = DID, time_us: int = NOW_US) -> Post:
    return Post(did=did, time_us=time_us, rkey=rkey, flags=KNOWN, language=3, about=POST_URI)


def follow(rkey: str = "a", did: str = DID) -> Follow:
    return Follow(did=did, time_us=NOW_US, rkey=rkey, subject=AUTHOR)


def delete(rkey: str = "a", did: str = DID, collection: str = LIKE_NSID) -> Delete:
    return Delete(did=did, time_us=NOW_US, collection=collection, rkey=rkey)


def account(did: str = DID) -> Account:
    return Account(did=did, time_us=NOW_US, active=False)


def test_columns() -> None:
    builder = BatchBuilder("host")
    gone, named = delete("z"), Identity(did=DID, time_us=NOW_US + 9, seq=5)
    for event in (rating("a"), post("b"), follow("c"), rating("d", AUTHOR, NOW_US - 1), gone, named):
        assert builder.add(event, DAY)
    batch = builder.take()
    assert batch == Batch(
        day=DAY,
        events=6,
        cursor=Cursor("host", 5, NOW_US + 9),
        first_us=NOW_US - 1,
        last_us=NOW_US + 9,
        ratings=Ratings([DID, AUTHOR], [LIKE, LIKE], ["a", "d"], [POST_URI] * 2, [NOW_US, NOW_US - 1]),
        posts=Posts([DID], ["b"], [NOW_US], [KNOWN], [3], [POST_URI], [False], [()]),
        follows=Follows([DID], ["c"], [AUTHOR]),
        rare=[gone, named],
    )


def test_an_empty_builder_is_empty_again_after_take() -> None:
    builder = BatchBuilder("host")
    builder.add(account(), DAY)
    builder.add(delete("x", AUTHOR), DAY)
    builder.take()
    assert builder.add(rating("x", AUTHOR), DAY)
    assert builder.add(rating("y"), DAY + 0)
    assert builder.take().events == 2


def test_another_day_needs_another_batch() -> None:
    builder = BatchBuilder()
    assert builder.add(rating("a"), DAY)
    assert not builder.add(rating("b"), DAY + 1)
    builder.take()
    assert builder.add(rating("b"), DAY + 1)


def test_a_batch_has_a_limit() -> None:
    builder = BatchBuilder(max_events=3)
    assert [builder.add(rating(str(i)), DAY) for i in range(5)] == [True, True, True, False, False]


def test_a_record_made_again_after_its_deletion_waits_for_the_next_batch() -> None:
    builder = BatchBuilder()
    assert builder.add(rating("a"), DAY)
    assert builder.add(delete("a"), DAY)
    assert not builder.add(rating("a"), DAY)
    assert not builder.add(post("a"), DAY)
    assert not builder.add(follow("a"), DAY)
    assert builder.add(rating("a", AUTHOR), DAY)
    assert builder.add(rating("b"), DAY)


def test_nothing_of_a_changed_account_joins_its_change() -> None:
    builder = BatchBuilder()
    assert builder.add(rating("a"), DAY)
    assert builder.add(account(), DAY)
    for event in (rating("b"), post("c"), follow("d"), delete("e"), account()):
        assert not builder.add(event, DAY)
    assert builder.add(rating("b", AUTHOR), DAY)


def test_late_events_get_times_of_the_day_they_are_counted_to() -> None:
    builder = BatchBuilder()
    yesterday_us, tomorrow_us = DAY * US_PER_DAY - 5, (DAY + 1) * US_PER_DAY + 5
    for i, us in enumerate((yesterday_us, NOW_US, tomorrow_us)):
        builder.add(rating(str(i), time_us=us), DAY)
    builder.add(post("p", time_us=yesterday_us), DAY)
    batch = builder.take()
    first, last = DAY * US_PER_DAY, (DAY + 1) * US_PER_DAY - 1
    assert batch.ratings.times_us == [first, NOW_US, last]
    assert batch.posts.times_us == [first]
    assert (batch.first_us, batch.last_us, batch.cursor.time_us) == (yesterday_us, tomorrow_us, yesterday_us)


_people = st.sampled_from([DID, AUTHOR])
_keys = st.sampled_from("ab")
_events = st.one_of(
    st.builds(rating, _keys, _people),
    st.builds(post, _keys, _people),
    st.builds(delete, _keys, _people, st.sampled_from([LIKE_NSID, POST_NSID])),
    st.builds(account, _people),
)


def apply(state: set[tuple[str, str, str]], event: Event) -> None:
    """What is left of likes and posts when events are applied one by one."""
    if isinstance(event, Rating):
        state.add((event.did, LIKE_NSID, event.rkey))
    elif isinstance(event, Post):
        state.add((event.did, POST_NSID, event.rkey))
    elif isinstance(event, Delete):
        state.discard((event.did, event.collection, event.rkey))
    else:
        state -= {s for s in state if s[0] == event.did}


@given(st.lists(_events, max_size=30))
def test_creates_first_and_the_rest_after_equals_the_order_of_arrival(events: list[Event]) -> None:
    one_by_one: set[tuple[str, str, str]] = set()
    batched: set[tuple[str, str, str]] = set()
    builder = BatchBuilder(max_events=10)

    def flush() -> None:
        batch = builder.take()
        batched.update((d, LIKE_NSID, k) for d, k in zip(batch.ratings.actors, batch.ratings.rkeys, strict=True))
        batched.update((d, POST_NSID, k) for d, k in zip(batch.posts.authors, batch.posts.rkeys, strict=True))
        for rare in batch.rare:
            apply(batched, rare)

    for event in events:
        apply(one_by_one, event)
        if not builder.add(event, DAY):
            flush()
            assert builder.add(event, DAY)
    flush()
    assert batched == one_by_one
