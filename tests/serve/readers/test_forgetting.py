"""Forgetting, with parts and a disk that fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from feedgen.core.errors import StoreFull
from feedgen.serve.readers import forgetting as module
from feedgen.serve.readers.forgetting import Forgetting

DIDS = [f"did:plc:{n:024d}" for n in range(5)]


class World:
    """The orders of a command, and parts that forget."""

    def __init__(self) -> None:
        self.orders: list[str] = []
        self.version = 1
        self.full = False
        self.first: list[str] = []
        self.last: list[str] = []
        self.accounts: list[str] = []
        self.attempts = 0
        self.it = Forgetting(self, self.changed_by_others, [self.forget_first, self.forget_last], [self.forget_account])

    async def changed_by_others(self) -> int:
        return self.version

    async def to_forget(self) -> list[str]:
        return self.orders[:2]  # more than it gives at once

    async def forgotten(self, did: str) -> None:
        if did in self.orders:
            self.orders.remove(did)

    async def forget_first(self, did: str) -> None:
        self.first.append(did)

    async def forget_last(self, did: str) -> None:
        self.attempts += 1
        if self.full:
            raise StoreFull("full")
        self.last.append(did)

    async def forget_account(self, did: str) -> None:
        self.accounts.append(did)


@asynccontextmanager
async def running(world: World) -> AsyncIterator[None]:
    task = asyncio.create_task(world.it.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not look():
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK_S", 0.02)


async def test_orders_and_deleted_accounts() -> None:
    world = World()
    world.orders = DIDS[:4]
    async with running(world):
        await until(lambda: not world.orders)
        assert world.first == world.last == DIDS[:4] and not world.accounts
        world.it.account_is_gone(DIDS[4])
        await until(lambda: world.accounts)
        assert world.accounts == [DIDS[4]] and world.last[-1] == DIDS[4]
        world.orders, world.version = [DIDS[0]], 2
        await until(lambda: not world.orders)
    assert world.last[-1] == DIDS[0]


async def test_a_full_disk_puts_it_off(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.full = True
    world.orders = [DIDS[0]]
    async with running(world):
        world.it.account_is_gone(DIDS[1])
        await until(lambda: world.attempts > 3)
        assert world.orders == [DIDS[0]] and not world.last and not world.accounts
        world.full = False
        await until(lambda: not world.orders and world.accounts)
    assert sorted(world.last) == DIDS[:2] and world.accounts == [DIDS[1]]
    assert len([line for line in caplog.records if "tried again" in line.message]) == 1


async def test_the_end_of_the_process_is_one_more_attempt(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.it.account_is_gone(DIDS[0])
    world.full = True
    await world.it.finish()
    assert "1 readers could not be forgotten" in caplog.text and not world.accounts
    world.full = False
    await world.it.finish()
    assert world.accounts == world.last == [DIDS[0]]


async def test_who_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    world = World()
    for did in DIDS:
        world.it.account_is_gone(did)
    await world.it.finish()
    assert world.accounts == DIDS[3:]
