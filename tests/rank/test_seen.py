"""A reader's state: what was seen is forgotten in time, opinions fade, and all of it survives packing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.core.ids import NO_POST, US_PER_DAY, US_PER_S
from feedgen.rank.seen import (
    MAX_OPINIONS,
    MAX_SEEN,
    OVERHEAD_BYTES,
    Opinion,
    Readers,
    ReaderState,
    Taste,
    UnreadableState,
)
from tests.rank.world import World

NOW_US = 20_400 * US_PER_DAY + 5 * 3600 * US_PER_S
HOUR_US = 3600 * US_PER_S


def saw(post: int) -> ReaderState:
    state = ReaderState()
    state.saw([post], NOW_US)
    return state


def test_seen_for_48_hours_and_not_much_longer() -> None:
    for start in range(0, 24):
        state, at_us = ReaderState(), NOW_US + start * HOUR_US
        state.saw([7], at_us)
        assert 7 in state.seen.all(at_us + 48 * HOUR_US)
        assert 7 not in state.seen.all(at_us + 60 * HOUR_US)


def test_seen_again_is_remembered_anew() -> None:
    state = ReaderState()
    state.saw([7], NOW_US)
    state.saw([7], NOW_US + 40 * HOUR_US)
    assert 7 in state.seen.all(NOW_US + 80 * HOUR_US)


def test_seen_is_bounded() -> None:
    state = ReaderState()
    for i in range(10):
        state.saw(range(i * MAX_SEEN, (i + 1) * MAX_SEEN), NOW_US + i * 6 * HOUR_US)
        assert len(state.seen.all(NOW_US + i * 6 * HOUR_US)) <= 2 * MAX_SEEN


def opinion(post: int, author: int, less: bool, age_days: float = 0, about: int = NO_POST) -> Opinion:
    return Opinion(post, author, about, round((NOW_US - age_days * US_PER_DAY) / US_PER_S), less)


def test_show_less_hides_kin_and_dims_the_author() -> None:
    taste = Taste([opinion(5, 1, True, about=9)], NOW_US)
    assert taste.hidden_posts.tolist() == [5, 9]
    assert (taste.less.tolist(), taste.less_weights.tolist()) == ([5], [1.0])
    assert (taste.authors.tolist(), taste.author_factors.tolist()) == ([1], [0.4])
    assert taste.hidden_authors.tolist() == []


def test_repeated_show_less_hides_the_author_until_it_fades() -> None:
    twice = [opinion(5, 1, True), opinion(6, 1, True), opinion(7, 2, True)]
    assert Taste(twice, NOW_US).hidden_authors.tolist() == [1]
    assert Taste(twice, NOW_US + 14 * US_PER_DAY).hidden_authors.tolist() == []
    assert Taste(twice, NOW_US + 14 * US_PER_DAY).less_weights.tolist() == [0.5, 0.5, 0.5]


def test_show_more_is_the_mirror() -> None:
    taste = Taste([opinion(5, 1, False), opinion(6, 1, True), opinion(7, 2, False)], NOW_US)
    assert taste.more.tolist() == [5, 7]
    assert dict(zip(taste.authors.tolist(), taste.author_factors.tolist(), strict=True)) == {
        1: pytest.approx(0.6),
        2: 1.5,
    }


def test_the_newest_word_on_a_post_counts() -> None:
    world = World(20_400, 1)
    post = world.post(3, NOW_US)
    state = ReaderState()
    assert state.judge(world.view, [(post, True)], NOW_US)
    assert state.judge(world.view, [(post, False)], NOW_US)
    assert [(o.post, o.author, o.less) for o in state.opinions] == [(post, 3, False)]
    assert not state.judge(world.view, [(12345 << 8, True)], NOW_US)
    for at_us in (NOW_US + US_PER_DAY, NOW_US + 90 * US_PER_DAY):
        other = ReaderState.unpack(state.pack())
        other.judge(world.view, [(world.post(4, NOW_US), True)], at_us)
        assert len(other.opinions) == (2 if at_us < NOW_US + 2 * US_PER_DAY else 1)


def test_many_opinions_at_once_are_as_if_told_one_by_one() -> None:
    world = World(20_400, 1)
    a, b, c = (world.post(author, NOW_US) for author in (3, 4, 5))
    said = [(a, True), (b, True), (c, False), (b, False), (a, True)]
    together, one_by_one = ReaderState(), ReaderState()
    assert together.judge(world.view, [*said, (12345 << 8, True)], NOW_US)
    for one in said:
        one_by_one.judge(world.view, [one], NOW_US)
    assert together.opinions == one_by_one.opinions and len(together.opinions) == 3
    assert together.seen.buckets == one_by_one.seen.buckets


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 100)), max_size=30),
    st.lists(st.booleans(), max_size=MAX_OPINIONS + 5),
)
def test_packing_keeps_everything(seen: list[tuple[int, int]], less: list[bool]) -> None:
    state = ReaderState()
    for post, hours in sorted(seen, key=lambda s: s[1]):
        state.saw([post], NOW_US + hours * HOUR_US)
        state.was_served([post ^ 1], NOW_US + hours * HOUR_US)
    state.opinions = [opinion(i, i % 7, one) for i, one in enumerate(less)][-MAX_OPINIONS:]
    again = ReaderState.unpack(state.pack())
    assert again.seen.buckets == state.seen.buckets
    assert again.served.buckets == state.served.buckets
    assert again.opinions == state.opinions
    assert again.pack() == state.pack()


@given(st.binary(max_size=60))
def test_garbage_is_no_state(data: bytes) -> None:
    with pytest.raises(UnreadableState):
        ReaderState.unpack(data)


def corrupt_bitmap(data: bytes) -> bytes:
    return data.replace(b"\x3b\x30", b"\x3b\x31")


@pytest.mark.parametrize("damage", [lambda d: d[:-3], corrupt_bitmap, lambda d: d[::-1]])
def test_a_damaged_state_is_no_new_reader(damage: Callable[[bytes], bytes]) -> None:
    state = ReaderState()
    state.saw(range(100), NOW_US)
    data = damage(state.pack())
    assert data != state.pack()
    with pytest.raises(UnreadableState):
        ReaderState.unpack(data)
    readers = Readers()
    readers.edit(7).saw([1], NOW_US)
    with pytest.raises(UnreadableState):
        readers.add_older(7, data)
    assert list(readers.edit(7).seen.all(NOW_US)) == [1]


def test_memory_is_bounded_and_who_is_let_go_comes_back_from_disk() -> None:
    each = len(saw(1).pack()) + OVERHEAD_BYTES
    readers, disk = Readers(max_bytes=3 * each, max_hot=2), dict[int, bytes]()
    for reader in range(8):
        readers.edit(reader).saw([reader], NOW_US)
        disk.update(readers.take_changed())
    assert len(readers) == 5
    assert readers.get(0) is None and readers.get(4) is not None
    readers.put(0, disk[0])
    state = readers.get(0)
    assert state is not None and list(state.seen.all(NOW_US)) == [0]
    assert len(readers) == 5


def test_nobody_is_let_go_who_is_not_on_disk_unless_it_takes_nothing() -> None:
    each = len(saw(1).pack()) + OVERHEAD_BYTES
    readers = Readers(max_bytes=3 * each, max_hot=1)
    for reader in range(7):
        readers.edit(reader).saw([reader], NOW_US)
    assert len(readers) == 7  # six of them packed: twice as much as there should be
    readers.edit(7)
    assert len(readers) == 7 and readers.get(0) is None


def test_what_was_seen_is_not_kept_as_served_as_well() -> None:
    state = ReaderState()
    state.was_served([1, 2, 3], NOW_US)
    state.saw([2], NOW_US + 13 * HOUR_US)
    assert list(state.served.all(NOW_US)) == [1, 3]
    assert state.sent(NOW_US).tolist() == [1, 2, 3]


def test_changes_are_taken_once_and_can_be_put_back() -> None:
    readers = Readers(max_hot=1)
    for reader in (3, 1, 2):
        readers.edit(reader).saw([reader], NOW_US)
    taken = readers.take_changed(limit=2) + readers.take_changed()
    assert [reader for reader, _ in taken] == [1, 2, 3]
    assert readers.take_changed() == []
    after = Readers()
    for reader, packed in taken:
        after.put(reader, packed)
    again = after.get(2)
    assert again is not None
    assert list(again.seen.all(NOW_US)) == [2]
    after.put(2, b"older")
    assert list(again.seen.all(NOW_US)) == [2]
    after.forget(2)
    assert after.get(2) is None


def test_an_active_readers_state_is_small() -> None:
    state = ReaderState()
    for hour in range(0, 48, 4):  # 30 posts every four hours, spread over two days' numbers
        posts = [(200 << 24) + (hour * 1_000_003 + i * 98_377) % 3_000_000 for i in range(30)]
        state.was_served(posts, NOW_US + hour * HOUR_US)
        state.saw(posts, NOW_US + hour * HOUR_US)
    assert len(state.pack()) < 9000
