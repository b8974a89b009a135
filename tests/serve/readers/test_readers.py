"""Readers' states on their way to the disk and back, with a disk that may fail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from feedgen.core.clock import ManualClock
from feedgen.core.errors import StoreError, StoreFull
from feedgen.core.ids import US_PER_DAY
from feedgen.feeds.contract import reader_key
from feedgen.rank.seen import Opinion, Readers, ReaderState
from feedgen.serve.readers import readers as readers_module
from feedgen.serve.readers.readers import AT_ONCE, KeptReaders

DIDS = [f"did:plc:{n:024d}" for n in range(250)]


class Disk:
    def __init__(self) -> None:
        self.states: dict[int, bytes] = {}
        self.synced: dict[int, bytes] = {}
        self.days: set[int] = set()
        self.aside: list[bytes] = []
        self.calls = 0
        self.full = False
        self.unreadable = False
        self.hold: asyncio.Event | None = None
        self.read_hold: asyncio.Event | None = None
        self.pruned: list[tuple[int, int]] = []

    async def reader(self, reader: int) -> bytes | None:
        if self.read_hold is not None:
            await self.read_hold.wait()
        if self.full or self.unreadable:
            raise StoreFull("full")
        return self.states.get(reader)

    async def set_aside(self, reader: int) -> None:
        self.aside.append(self.states[reader])

    async def put_readers(self, states: Sequence[tuple[int, bytes]], day: int) -> None:
        self.calls += 1
        assert len(states) <= AT_ONCE
        if self.hold is not None:
            await self.hold.wait()
        if self.full:
            raise StoreFull("full")
        self.days.add(day)
        self.states.update(states)

    async def sync(self) -> None:
        if self.full:
            raise StoreFull("full")
        self.synced = dict(self.states)

    async def forget_reader(self, reader: int) -> None:
        self.states.pop(reader, None)

    async def prune_readers(self, slice_: int, before_day: int) -> None:
        self.pruned.append((slice_, before_day))

    async def prune_fetched(self, before_s: int) -> None:
        pass


def kept(disk: Disk) -> tuple[Readers, KeptReaders]:
    readers = Readers()
    return readers, KeptReaders(readers, disk, ManualClock())


def seen(state: ReaderState | None) -> list[int]:
    return [] if state is None else sorted(state.seen.all(ManualClock().now_us()))


async def test_states_come_back() -> None:
    disk = Disk()
    readers, keeper = kept(disk)
    for n, did in enumerate(DIDS):
        await keeper.load(did)
        readers.edit(reader_key(did)).saw([n, 1000 + n], ManualClock().now_us())
    await keeper.flush()
    assert len(disk.states) == 250 and disk.calls == 3 and disk.days == {ManualClock().now_us() // US_PER_DAY}
    await keeper.flush()
    assert disk.calls == 3  # nothing changed
    readers, keeper = kept(disk)
    await asyncio.gather(*(keeper.load(DIDS[7]) for _ in range(5)))
    assert seen(readers.get(reader_key(DIDS[7]))) == [7, 1007]
    assert len(readers) == 1 and not readers.changed


async def test_what_could_not_be_written_is_written_later() -> None:
    disk = Disk()
    readers, keeper = kept(disk)
    for did in DIDS:
        readers.edit(reader_key(did)).saw([1], ManualClock().now_us())
    disk.full = True
    await keeper.flush()
    assert not disk.states and disk.calls == 1
    await keeper.load("did:plc:unknown")  # can't be read: goes on without
    disk.full = False
    await keeper.flush()
    assert len(disk.states) == 250


@pytest.mark.parametrize("when", ["load", "flush", "hurry", "cancelled"])
async def test_a_failed_read_erases_no_opinion(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """What was asked for before stays, and what was done meanwhile is added once the disk answers."""
    monkeypatch.setattr(readers_module, "TICK_S", 0.01)
    monkeypatch.setattr(readers_module, "TICKS", 1_000_000)
    disk, now_us, reader = Disk(), ManualClock().now_us(), reader_key(DIDS[0])
    before = ReaderState()
    before.saw([1, 2], now_us)
    before.opinions = [Opinion(post, 6, 7, now_us // 1_000_000, True) for post in (5, 8)]
    disk.states[reader] = before.pack()
    readers, keeper = kept(disk)
    if when == "cancelled":  # the page did not wait for the disk
        disk.read_hold = asyncio.Event()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await keeper.load(DIDS[0])
        disk.read_hold = None
    else:
        disk.unreadable = True
        await keeper.load(DIDS[0])
    state = readers.edit(reader)
    state.was_served([2, 3], now_us)
    state.saw([4], now_us)
    state.opinions.append(Opinion(8, 6, 7, now_us // 1_000_000, False))
    if disk.unreadable:
        await keeper.flush()
        assert disk.states[reader] == before.pack()  # not replaced by a part
    disk.unreadable = False
    if when == "load":
        await keeper.load(DIDS[0])
        assert {o.post for o in readers.edit(reader).opinions} == {5, 8}
    if when == "hurry":
        keeper.hurry(DIDS[0])
        running = asyncio.create_task(keeper.run())
        async with asyncio.timeout(5):
            while disk.states[reader] == before.pack():
                await asyncio.sleep(0.005)
        running.cancel()
    await keeper.flush()
    after = ReaderState.unpack(disk.states[reader])
    assert [(o.post, o.less) for o in after.opinions] == [(5, True), (8, False)]  # the newest word on a post
    assert seen(after) == [1, 2, 4] and list(after.served.all(now_us)) == [3]


@pytest.mark.parametrize("late", [False, True])
async def test_damaged_bytes_are_set_aside_before_they_are_replaced(late: bool) -> None:
    disk, reader, now_us = Disk(), reader_key(DIDS[0]), ManualClock().now_us()
    disk.states[reader] = b"damaged"
    readers, keeper = kept(disk)
    if late:
        disk.unreadable = True
        await keeper.load(DIDS[0])
        readers.edit(reader).saw([1], now_us)
        disk.unreadable = False
    await keeper.load(DIDS[0])
    readers.edit(reader).saw([2], now_us)
    await keeper.flush()
    assert disk.aside == [b"damaged"]
    assert seen(ReaderState.unpack(disk.states[reader])) == ([1, 2] if late else [2])


async def test_damaged_bytes_that_can_not_be_set_aside_are_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, reader = Disk(), reader_key(DIDS[0])
    disk.states[reader] = b"damaged"
    readers, keeper = kept(disk)

    async def refuses(reader: int) -> None:
        raise StoreFull("full")

    monkeypatch.setattr(disk, "set_aside", refuses)
    await keeper.load(DIDS[0])
    readers.edit(reader).saw([2], ManualClock().now_us())
    await keeper.flush()
    assert disk.states[reader] == b"damaged"
    monkeypatch.undo()
    await keeper.flush()
    assert disk.aside == [b"damaged"] and seen(ReaderState.unpack(disk.states[reader])) == [2]


async def test_an_opinion_that_can_not_be_kept_is_said_at_once() -> None:
    """The state could not be read, so it can't be written: the caller is told, and the disk is not asked in a loop."""
    disk, reads = Disk(), 0
    readers, keeper = kept(disk)
    disk.unreadable = True
    await keeper.load(DIDS[0])
    readers.edit(reader_key(DIDS[0])).opinions.append(Opinion(5, 6, 7, 8, True))
    read = disk.reader

    async def counted(reader: int) -> bytes | None:
        nonlocal reads
        reads += 1
        return await read(reader)

    disk.reader = counted  # type: ignore[method-assign]
    async with asyncio.timeout(5):
        with pytest.raises(StoreError):
            await keeper.keep(DIDS[0])
    assert reads == 1


async def test_states_that_can_not_be_read_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers_module, "MAX_UNREAD", 10)
    disk = Disk()
    disk.states = {reader_key(did): b"kept" for did in DIDS}
    disk.unreadable = True
    readers, keeper = kept(disk)
    for did in DIDS:
        await keeper.load(did)
        readers.edit(reader_key(did)).saw([1], ManualClock().now_us())
    assert len(readers) == 10
    await keeper.flush()
    assert set(disk.states.values()) == {b"kept"}  # those let go are not written either


async def test_opinions_are_written_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers_module, "TICK_S", 0.01)
    monkeypatch.setattr(readers_module, "TICKS", 1_000_000)
    monkeypatch.setattr(readers_module, "PRUNE_TICKS", 2)
    disk = Disk()
    readers, keeper = kept(disk)
    for did in DIDS:
        readers.edit(reader_key(did)).saw([1], ManualClock().now_us())
    hurried = readers.edit(reader_key(DIDS[3]))
    hurried.opinions.append(Opinion(5, 6, 7, ManualClock().now_us() // 1_000_000, True))
    keeper.hurry(DIDS[3])
    running = asyncio.create_task(keeper.run())
    async with asyncio.timeout(5):
        while not (disk.states and len(disk.pruned) > 2):
            await asyncio.sleep(0.005)
    running.cancel()
    assert list(disk.states) == [reader_key(DIDS[3])]
    assert ReaderState.unpack(disk.states[reader_key(DIDS[3])]).opinions[0].post == 5
    assert [slice_ for slice_, _ in disk.pruned[:3]] == [1, 2, 3]
    assert disk.pruned[0][1] == ManualClock().now_us() // US_PER_DAY - 90


async def test_an_opinion_is_durable_when_it_is_answered() -> None:
    """Many at once are written together; a disk that refuses is no success for any of them."""
    disk = Disk()
    readers, keeper = kept(disk)
    for did in DIDS[:50]:
        readers.edit(reader_key(did)).opinions.append(Opinion(5, 6, 7, 8, True))
    disk.full = True
    answers = await asyncio.gather(*(keeper.keep(did) for did in DIDS[:50]), return_exceptions=True)
    assert all(isinstance(answer, StoreError) for answer in answers) and not disk.synced
    disk.full, disk.calls = False, 0
    disk.hold = asyncio.Event()
    keeping = [asyncio.create_task(keeper.keep(did)) for did in DIDS[:50]]
    await asyncio.sleep(0.01)
    disk.hold.set()
    await asyncio.gather(*keeping)
    assert len(disk.synced) == 50 and disk.calls <= 2


async def test_a_forgotten_reader_stays_forgotten() -> None:
    disk = Disk()
    disk.hold = asyncio.Event()
    readers, keeper = kept(disk)
    readers.edit(reader_key(DIDS[0])).saw([1], ManualClock().now_us())
    writing = asyncio.create_task(keeper.flush())
    await asyncio.sleep(0.01)
    forgetting = asyncio.create_task(keeper.forget(DIDS[0]))
    await asyncio.sleep(0.01)
    disk.hold.set()
    await asyncio.gather(writing, forgetting)
    await keeper.flush()
    assert not disk.states and readers.get(reader_key(DIDS[0])) is None
