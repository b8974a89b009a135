from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from feedgen.store import pages as pages_module
from feedgen.store import viewers as viewers_module
from feedgen.store.pages import EVENT_NUMBERS, EVENTS, Outcome, ShownPage
from feedgen.store.viewers import FILE_NAME, Viewers

READER = (1 << 64) - 5
NOW_US = 1_790_000_000_000_000


def page(n: int, reader: int = READER, posts: int = 30, feed: str = "for-you") -> ShownPage:
    numbers = list(range(n << 8, (n << 8) + posts))
    return ShownPage(NOW_US + n, reader, feed, "default", NOW_US - 5_000_000, 30 * n, numbers, [3] * posts)


def outcome(n: int, reader: int = READER, list_us: int | None = NOW_US - 5_000_000) -> Outcome:
    return Outcome(NOW_US + 60_000_000 + n, reader, list_us, [1, 0xFFFF_FFFE], [0, 1], [3, 255])


async def test_pages_and_what_came_of_them(tmp_path: Path) -> None:
    pages = [page(1), page(2, feed="popular"), page(3, reader=7)]
    outcomes = [outcome(1), outcome(2, list_us=None), outcome(3, reader=7)]
    async with await Viewers.open(tmp_path) as viewers:
        await viewers.pages.put(pages, outcomes)
        await viewers.pages.put(pages, outcomes)  # tried again: still once
    async with await Viewers.open(tmp_path) as viewers:
        assert await viewers.pages.pages_of(READER) == pages[:2]
        assert await viewers.pages.outcomes_of(READER) == outcomes[:2]
        await viewers.pages.forget(READER)
        assert await viewers.pages.pages_of(READER) == [] and await viewers.pages.outcomes_of(READER) == []
        assert await viewers.pages.pages_of(7) == pages[2:]
        await viewers.numbered_by(99)  # another names.db: its numbers mean other posts
        assert await viewers.pages.pages_of(7) == []


async def test_pages_from_before_there_were_arms(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / FILE_NAME)
    for step in viewers_module._STEPS[:3]:
        db.executescript(step)
    db.execute("PRAGMA user_version = 3")
    db.execute("INSERT INTO kinds VALUES (7, 'for-you', 'default')")
    db.execute("INSERT INTO pages VALUES (?, 5, 7, 1000, 0, ?)", (NOW_US, bytes([1, 0, 0, 0, 3])))
    db.commit()
    db.close()
    in_arm = page(1, reader=5)._replace(arm="e/fresher")
    async with await Viewers.open(tmp_path) as viewers:
        await viewers.pages.put([in_arm, page(2, reader=5)], [])
        old, *new = await viewers.pages.pages_of(5)
        assert old == ShownPage(NOW_US, 5, "for-you", "default", NOW_US - 1000, 0, [1], [3])
        assert new == [in_arm, page(2, reader=5)]


async def test_what_is_too_old_or_too_much_goes(tmp_path: Path) -> None:
    async with await Viewers.open(tmp_path) as viewers:
        await viewers.pages.put([page(n, reader=n) for n in range(450)], [outcome(n) for n in range(450)])
        assert not await viewers.pages.prune(NOW_US + 400)
        assert await viewers.pages.pages_of(399) == [] and await viewers.pages.pages_of(400) != []
        assert len(await viewers.pages.outcomes_of(READER)) == 450
        await viewers.pages.prune(0, max_bytes=1)
        assert not await viewers.pages.prune(0, max_bytes=1)
        assert await viewers.pages.pages_of(449) == [] and await viewers.pages.outcomes_of(READER) == []


async def test_more_than_goes_at_once_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages_module, "PRUNED_AT_ONCE", 100)
    async with await Viewers.open(tmp_path) as viewers:
        await viewers.pages.put([page(n, reader=n) for n in range(250)], [])
        said = [await viewers.pages.prune(NOW_US + 220) for _ in range(4)]
        assert said == [True, True, False, False]
        assert await viewers.pages.prune(0, max_bytes=1) is False  # the last thirty


async def test_a_post_served_takes_few_bytes(tmp_path: Path) -> None:
    """With everything that can come of it: each post seen, told in calls of ten."""
    async with await Viewers.open(tmp_path) as viewers:
        empty = await viewers.pages.used_bytes()
        for n in range(0, 2000, 100):
            pages = [page(at, reader=hash((at % 97, 1)) & (1 << 63) - 1) for at in range(n, n + 100)]
            told = [
                Outcome(p.at_us + 60_000_000 + i, p.reader, p.list_us, p.posts[i : i + 10], [0] * 10, [3] * 10)
                for p in pages
                for i in (0, 10, 20)
            ]
            await viewers.pages.put(pages, told)
        a_post = (await viewers.pages.used_bytes() - empty) / (2000 * 30)
        assert a_post < 40, a_post


async def test_erasures_wait_for_the_process(tmp_path: Path) -> None:
    async with await Viewers.open(tmp_path) as one, await Viewers.open(tmp_path) as other:
        before = await one.changed_by_others()
        assert await one.changed_by_others() == before
        await other.pages.ask_to_forget("did:plc:x", 5)
        assert await one.changed_by_others() != before
        assert await one.pages.to_forget() == ["did:plc:x"]
        await one.pages.forgotten("did:plc:x")
        assert await other.pages.to_forget() == []


async def test_a_file_of_the_version_before_is_brought_up(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / FILE_NAME)
    for step in viewers_module._STEPS[:2]:
        db.executescript(step)
    db.execute("INSERT INTO readers VALUES (5, 1, x'01')")
    db.execute("PRAGMA user_version = 2")
    db.commit()
    db.close()
    async with await Viewers.open(tmp_path) as viewers:
        assert await viewers.reader(5) == b"\x01"
        await viewers.pages.put([page(1)], [])
        assert await viewers.pages.pages_of(READER) == [page(1)]


def test_events_have_numbers_of_their_own() -> None:
    assert len(EVENT_NUMBERS) == len(EVENTS) < 256
