from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from feedgen.core.errors import StoreError
from feedgen.ingest.labels import Label
from feedgen.store import moderation
from feedgen.store.moderation import FILE_NAME, Kept, Moderation

ONE, OTHER, DID = "did:plc:one", "did:plc:other", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
POST = f"at://{DID}/app.bsky.feed.post/3kpost0000000"
NOW_S = 1_790_000_000


def label(subject: str = POST, val: str = "porn", source: str = ONE, negated: bool = False, until_s: int = 0) -> Label:
    return Label(source, subject, val, negated, until_s)


async def test_the_last_word_of_each_source_counts(tmp_path: Path) -> None:
    async with await Moderation.open(tmp_path) as store:
        assert await store.seq("stream") is None
        touched = await store.put(
            "stream", [label(), label(source=OTHER), label(negated=True), label(DID, "!hide")], 7, NOW_S
        )
        assert touched == {POST, DID}
    async with await Moderation.open(tmp_path) as store:
        assert await store.seq("stream") == 7
        assert await store.values_of([POST, DID, "x"]) == {POST: ["porn"], DID: ["!hide"]}
        await store.put("stream", [label(source=OTHER, negated=True), label(negated=True), label()], 8, NOW_S)
        assert await store.values_of([POST]) == {POST: ["porn"]}
        await store.put("stream", [], 9, NOW_S)
        assert await store.seq("stream") == 9
        await store.forget_account(DID)
        assert await store.count() == 0


async def test_labels_end(tmp_path: Path) -> None:
    async with await Moderation.open(tmp_path) as store:
        await store.put("s", [label(until_s=NOW_S + 5), label(DID, until_s=NOW_S), label(DID, "nudity")], 1, NOW_S)
        assert await store.count() == 2
        assert await store.expire(NOW_S + 4) == set()
        assert await store.expire(NOW_S + 5) == {POST}
        assert await store.values_of([POST, DID]) == {DID: ["nudity"]}


async def test_many_are_read_in_order_and_a_full_file_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await Moderation.open(tmp_path) as store:
        await store.put("s", [label(f"did:plc:{n:024d}") for n in range(1_700)], 1, NOW_S)
        rows = await store.after(f"did:plc:{1_690:024d}", 100)
        assert rows == [Kept(f"did:plc:{n:024d}", "porn") for n in range(1_691, 1_700)]
        await store.forget([f"did:plc:{n:024d}" for n in range(1_600)])
        assert await store.count() == 100
        monkeypatch.setattr(moderation, "MAX_LABELS", 1)
        await store.put("s", [label(val="new"), label(f"did:plc:{1_699:024d}", negated=True)], 2, NOW_S)
        assert await store.count() == 99 and store.full and await store.seq("s") == 2


async def test_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await Moderation.open(tmp_path) as store, await Moderation.open(tmp_path) as other:
        before = await store.changed_by_others()
        await other.block(DID, 2)
        await other.block(POST, 1)
        await other.block(DID, 3)
        assert await store.changed_by_others() != before
        assert await store.blocks() == [POST, DID]
        assert await store.unblock(DID) and not await store.unblock(DID)
        monkeypatch.setattr(moderation, "MAX_BLOCKS", 1)
        with pytest.raises(StoreError, match="full"):
            await store.block(DID, 1)


async def test_files_that_can_not_be_used(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Can't use"):
        await Moderation.open(tmp_path / "missing")
    db = sqlite3.connect(tmp_path / FILE_NAME)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="newer version"):
        await Moderation.open(tmp_path)
