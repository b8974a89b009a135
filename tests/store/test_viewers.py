from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from feedgen.core.errors import StoreError
from feedgen.store import viewers as viewers_module
from feedgen.store.viewers import FILE_NAME, Account, Viewers


def account(n: int, fetched_s: int = 100) -> Account:
    return Account(f"did:plc:{n:024d}", "Multikey", f"z{n}", "https://pds.example.com", "a.example.com", fetched_s)


async def test_accounts_outlive_the_process(tmp_path: Path) -> None:
    async with await Viewers.open(tmp_path) as viewers:
        assert await viewers.account(account(1).did) is None
        await viewers.put_account(account(1))
        await viewers.put_account(account(2))
        await viewers.put_account(account(1, fetched_s=200))
    async with await Viewers.open(tmp_path) as viewers:
        assert await viewers.account(account(1).did) == account(1, fetched_s=200)
        await viewers.mark_account_stale(account(1).did)
        await viewers.mark_account_stale("did:plc:unknown")
        assert await viewers.account(account(1).did) == account(1, fetched_s=0)
        await viewers.forget_account(account(2).did)
        assert await viewers.count_accounts() == 1


async def test_the_longest_unseen_accounts_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with await Viewers.open(tmp_path) as viewers:
        for n in range(10):
            await viewers.put_account(account(n, fetched_s=n))
        await viewers.prune_accounts(keep=3)
        assert [n for n in range(10) if await viewers.account(account(n).did)] == [7, 8, 9]


async def test_pruning_comes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers_module, "PRUNE_EVERY", 5)
    monkeypatch.setattr(Viewers.prune_accounts, "__defaults__", (2,))
    async with await Viewers.open(tmp_path) as viewers:
        for n in range(14):
            await viewers.put_account(account(n, fetched_s=n))
        assert await viewers.count_accounts() == 6  # two that were kept at the tenth write, and four since


async def test_notes(tmp_path: Path) -> None:
    async with await Viewers.open(tmp_path) as viewers:
        assert await viewers.note("a") is None
        await viewers.put_note("a", b"1")
        await viewers.put_note("a", b"\x00\xff")
        assert await viewers.note("a") == b"\x00\xff"
        await viewers.forget_note("a")
        assert await viewers.note("a") is None


async def test_a_file_that_can_not_be_used_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database, but long enough to be looked at as one" * 50)
    with pytest.raises(StoreError, match="Can't use"):
        await Viewers.open(tmp_path)
    with pytest.raises(StoreError, match="Can't use"):
        await Viewers.open(tmp_path / "missing")


async def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / FILE_NAME)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="newer version"):
        await Viewers.open(tmp_path)


async def test_a_closed_or_broken_file_is_a_store_error(tmp_path: Path) -> None:
    viewers = await Viewers.open(tmp_path)
    await viewers._db.execute("DROP TABLE accounts")
    with pytest.raises(StoreError):
        await viewers.account("x")
    with pytest.raises(StoreError):
        await viewers.put_account(account(1))
    await viewers.close()
    with pytest.raises(StoreError):
        await viewers.note("x")


async def test_readers_states_and_what_was_fetched(tmp_path: Path) -> None:
    keys = [0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
    async with await Viewers.open(tmp_path) as viewers:
        await viewers.put_readers([(key, bytes([n])) for n, key in enumerate(keys)], 100)
        await viewers.put_readers([(keys[3], b"new")], 101)
        await viewers.put_fetched(keys[4], 7, b"told")
    async with await Viewers.open(tmp_path) as viewers:
        assert [await viewers.reader(key) for key in keys] == [b"\0", b"\1", b"\2", b"new", b"\4"]
        assert await viewers.fetched(keys[4]) == (7, b"told") and await viewers.fetched(keys[0]) is None
        await viewers.forget_reader(keys[4])
        await viewers.forget_fetched(keys[4])
        assert await viewers.reader(keys[4]) is None and await viewers.fetched(keys[4]) is None
        await viewers.put_readers([(n << 44, bytes(900)) for n in range(2000)], 100)
        assert await viewers.count_readers() == 2004 - 1  # key 0 is among both


async def test_damaged_states_are_kept_until_their_reader_is_forgotten(tmp_path: Path) -> None:
    async with await Viewers.open(tmp_path) as viewers:
        for reader, state in ((7, b"damaged"), (7, b"damaged again"), (8, b"damaged")):
            await viewers.put_readers([(reader, state)], 100)
            for _ in range(2):
                await viewers.set_aside(reader)
        await viewers.put_readers([(7, b"new"), (8, b"new")], 101)
        assert await viewers.damaged(7) == [b"damaged", b"damaged again"] and await viewers.damaged(8) == [b"damaged"]
        await viewers.forget_reader(7)
        assert await viewers.damaged(7) == [] and await viewers.reader(7) is None
        for slice_ in range(256):
            await viewers.prune_readers(slice_, before_day=101)
        assert await viewers.damaged(8) == [] and await viewers.reader(8) == b"new"


async def test_pruning_readers_goes_slice_by_slice(tmp_path: Path) -> None:
    async with await Viewers.open(tmp_path) as viewers:
        keys = [n << 52 for n in range(1 << 12)]  # sixteen to a slice
        await viewers.put_readers([(key, b"") for key in keys[::2]], 10)
        await viewers.put_readers([(key, b"") for key in keys[1::2]], 20)
        await viewers.prune_readers(5, before_day=20)
        assert await viewers.count_readers() == 4096 - 8
        for slice_ in range(viewers_module.READER_SLICES):
            await viewers.prune_readers(slice_, before_day=20)
        assert await viewers.count_readers() == 2048
        for slice_ in range(viewers_module.READER_SLICES):
            await viewers.prune_readers(slice_, before_day=0, keep=2 * viewers_module.READER_SLICES)
        assert await viewers.count_readers() == 2 * viewers_module.READER_SLICES
        for n in range(10):
            await viewers.put_fetched(n, n, b"")
        await viewers.prune_fetched(before_s=3)
        assert [n for n in range(10) if await viewers.fetched(n)] == list(range(3, 10))
        await viewers.prune_fetched(before_s=0, keep=2)
        assert [n for n in range(10) if await viewers.fetched(n)] == [8, 9]


async def test_numbers_of_another_folder_mean_nothing(tmp_path: Path) -> None:
    async with await Viewers.open(tmp_path) as viewers:
        await viewers.numbered_by(1 << 61)
        await viewers.put_readers([(1, b"state")], 100)
        await viewers.put_fetched(1, 5, b"told")
        await viewers.put_account(account(1))
        await viewers.numbered_by(1 << 61)
        assert await viewers.reader(1) == b"state"
        await viewers.numbered_by(5)
        assert await viewers.reader(1) is None and await viewers.fetched(1) is None
        assert await viewers.account(account(1).did) is not None
