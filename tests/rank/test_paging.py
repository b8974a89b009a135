"""Cursors can't be forged, snapshots don't change, and both are bounded."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.rank.paging import LIFE_US, MAX_OF_ONE, PRUNE_AT_ONCE, BadCursor, Cursor, Cursors, Snapshots

KEY = b"0123456789abcdef"
cursors = st.builds(
    Cursor,
    feed=st.integers(0, 2**16 - 1),
    reader=st.integers(0, 2**64 - 1),
    snapshot=st.integers(0, 2**64 - 1),
    position=st.integers(0, 2**16 - 1),
)
SOME = np.arange(3, dtype=np.uint32), np.zeros(3, np.uint8)


@given(cursors)
def test_a_cursor_comes_back_as_it_was(cursor: Cursor) -> None:
    text = Cursors(KEY).write(cursor)
    assert len(text) == 44
    assert Cursors(KEY).read(text) == cursor


@given(cursors, st.integers(0, 43), st.sampled_from("AB-_z9=+/ \n|é"))
def test_any_change_makes_it_bad(cursor: Cursor, at: int, other: str) -> None:
    text = Cursors(KEY).write(cursor)
    changed = text[:at] + other + text[at + 1 :]
    if changed != text:
        with pytest.raises(BadCursor):
            Cursors(KEY).read(changed)


@given(st.text(max_size=100) | st.binary(max_size=60).map(lambda b: base64.urlsafe_b64encode(b).decode()))
def test_garbage_is_bad_and_nothing_worse(text: str) -> None:
    with pytest.raises(BadCursor):
        Cursors(KEY).read(text)


def test_another_key_another_world() -> None:
    with pytest.raises(BadCursor):
        Cursors(b"x" * 16).read(Cursors(KEY).write(Cursor(1, 2, 3, 4)))
    with pytest.raises(ValueError, match="16 bytes"):
        Cursors(b"short")


def test_snapshots_expire_and_belong_to_somebody() -> None:
    snapshots = Snapshots()
    made = snapshots.put(1, 2, *SOME, now_us=1000)
    at = Cursor(1, 2, made.id, 1)
    assert snapshots.get(at, 1000 + LIFE_US) is made
    assert snapshots.get(at, 1001 + LIFE_US) is None
    assert snapshots.get(at._replace(reader=3), 1000) is None
    assert snapshots.get(at._replace(feed=3), 1000) is None
    assert snapshots.get(at._replace(snapshot=5), 1000) is None
    assert snapshots.latest(1, 2) is made
    assert snapshots.latest(1, 3) is None
    with pytest.raises(ValueError, match="read-only"):
        made.posts[0] = 9


def test_two_lists_of_one_moment_are_two() -> None:
    snapshots = Snapshots()
    assert snapshots.put(1, 2, *SOME, now_us=1000).id != snapshots.put(1, 2, *SOME, now_us=1000).id
    assert snapshots.put(1, 2, *SOME, now_us=900).id > 1001


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3 * LIFE_US)), max_size=60))
def test_count_and_bytes_stay_bounded(puts: list[tuple[int, int]]) -> None:
    snapshots = Snapshots(max_count=7, max_bytes=3500)
    for reader, at_us in sorted(puts, key=lambda p: p[1]):
        made = snapshots.put(1, reader, *SOME, now_us=at_us)
        assert snapshots.latest(1, reader) is made
        assert len(snapshots) <= 7
        kept = snapshots._last | snapshots._fresh
        assert list(kept) == sorted(kept)
        assert snapshots.size_bytes == sum(s.size_bytes for s in kept.values()) <= 3500
        assert sorted(id for ids in snapshots._of.values() for id in ids) == sorted(kept)
        if reader == 0:
            snapshots.prune(at_us)
            assert snapshots.latest(1, reader) is made
    snapshots.prune(10 * LIFE_US)
    assert len(snapshots) == len(snapshots._of)
    for reader in range(6):
        snapshots.forget_reader(reader)
    assert (len(snapshots), snapshots.size_bytes, snapshots._of) == (0, 0, {})


def test_pruning_looks_at_each_list_once_and_at_few_in_one_go() -> None:
    """With 90,000 readers it held the event loop for 100 ms every minute, to free nothing."""
    snapshots, n = Snapshots(), 3 * PRUNE_AT_ONCE + 7
    for reader in range(n):
        snapshots.put(1, reader, *SOME, now_us=reader)
    looked = [snapshots.prune(LIFE_US + n) for _ in range(5)]
    assert looked == [PRUNE_AT_ONCE, PRUNE_AT_ONCE, PRUNE_AT_ONCE, 7, 0]
    assert len(snapshots) == n  # each is its reader's last
    again = snapshots.put(1, 5, *SOME, now_us=2 * LIFE_US)
    assert snapshots.latest(1, 5) is again and len(snapshots) == n
    assert snapshots.prune(2 * LIFE_US) == 0


def test_one_readers_impatience_takes_no_list_of_others() -> None:
    snapshots = Snapshots(max_count=MAX_OF_ONE + 5)
    others = [snapshots.put(1, reader, *SOME, now_us=reader) for reader in range(3)]
    mine = [snapshots.put(1, 9, *SOME, now_us=100 + n) for n in range(10 * MAX_OF_ONE)]
    assert len(snapshots) == MAX_OF_ONE + 3
    for kept in (*others, *mine[-MAX_OF_ONE:]):
        assert snapshots.get(Cursor(1, kept.reader, kept.id, 0), 1000) is kept
    assert snapshots.latest(1, 9) is mine[-1]
