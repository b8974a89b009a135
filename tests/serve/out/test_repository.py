"""What a repository tells, however odd its server: bounds, failures, and what is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.core.clock import ManualClock
from feedgen.core.errors import StoreError, UpstreamError
from feedgen.core.ids import FOLLOW_NSID, LIKE_NSID, NO_POST, US_PER_DAY, make_tid, tid_to_int
from feedgen.feeds.contract import Fetched, reader_key
from feedgen.serve.out import repository
from feedgen.serve.out.client import HostClient
from feedgen.serve.out.fetched import pack, unpack
from feedgen.serve.out.repository import Repositories
from feedgen.store.viewers import Account

READER = "did:plc:" + "r" * 24
NOW_US = ManualClock().now_us()
PDS = "https://pds.example.com"


def author(n: int) -> str:
    return f"did:plc:{n:024d}".replace("0", "a").replace("1", "b").replace("8", "c").replace("9", "d")


class FakeView:
    def __init__(self, heard: int) -> None:
        self.heard = heard

    def likes_of(self, person: int, limit: int) -> tuple[Any, Any]:
        n = min(self.heard, limit)
        return np.zeros(n, np.uint32), np.zeros(n, np.int64)

    def find_posts(self, authors: Any, keys: Any) -> Any:
        """Every author's posts are known, but for those of number 5."""
        return np.where(authors == 5, NO_POST, authors * 1000 + (keys >> 10) % 1000).astype(np.uint32)


class FakeLibrary:
    """Authors 0 to 9 are known."""

    def __init__(self) -> None:
        self.heard = 0
        self.people = {author(n): n for n in range(10)} | {READER: 99}

    def view(self) -> Any:
        return FakeView(self.heard)

    def person(self, did: str) -> int | None:
        return self.people.get(did)


class FakeAccounts:
    def __init__(self, pds: str = PDS) -> None:
        self.pds = pds

    async def account(self, did: str) -> Account:
        return Account(did, "Multikey", "z", self.pds, "", 0)


def like(n: int, age_us: int = 0, rkey: str = "", **value: object) -> dict[str, object]:
    uri = f"at://{author(n)}/app.bsky.feed.post/{make_tid(n)}"
    rkey = rkey or make_tid(NOW_US - age_us)
    return {"uri": f"at://{READER}/{LIKE_NSID}/{rkey}", "value": {"subject": {"uri": uri}, **value}}


def follow(subject: object) -> dict[str, object]:
    return {"uri": f"at://{READER}/{FOLLOW_NSID}/x", "value": {"subject": subject}}


class FakeHosts:
    """`answers` gives a page for (collection, number of the page)."""

    def __init__(self, answers: Callable[[str, int], object]) -> None:
        self.answers, self.asked, self.visited = answers, list[tuple[str, int]](), list[str]()
        self.hold: asyncio.Event | None = None

    @asynccontextmanager
    async def visit(self, origin: str) -> AsyncIterator[HostClient]:
        self.visited.append(origin)
        yield self  # type: ignore[misc]

    async def get(self, method: str, query: dict[str, str], max_bytes: int) -> bytes:
        if self.hold is not None:
            await self.hold.wait()
        await asyncio.sleep(0)
        at = int(query.get("cursor", "0"))
        self.asked.append((query["collection"], at))
        answer = self.answers(query["collection"], at)
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, bytes) else msgspec.json.encode(answer)


class FakeStore:
    def __init__(self) -> None:
        self.rows: dict[int, tuple[int, bytes]] = {}
        self.broken = False

    async def fetched(self, reader: int) -> tuple[int, bytes] | None:
        if self.broken:
            raise StoreError("broken")
        return self.rows.get(reader)

    async def put_fetched(self, reader: int, fetched_s: int, told: bytes) -> None:
        if self.broken:
            raise StoreError("broken")
        self.rows[reader] = (fetched_s, told)

    async def forget_fetched(self, reader: int) -> None:
        self.rows.pop(reader, None)


def made(
    hosts: FakeHosts, store: FakeStore | None = None, accounts: FakeAccounts | None = None
) -> tuple[Repositories, FakeLibrary, ManualClock]:
    library, clock = FakeLibrary(), ManualClock()
    repositories = Repositories(accounts or FakeAccounts(), hosts, library, store, clock)  # type: ignore[arg-type]
    return repositories, library, clock


def one_page(collection: str, at: int) -> object:
    if collection == FOLLOW_NSID:
        return {"records": [follow(author(n)) for n in (3, 4, 3, 77)] + [follow(7), follow("x"), {"uri": "u"}][:2]}
    odd = [
        {"uri": "u", "value": []},
        {"uri": "u", "value": {"subject": {"uri": "at://x"}}},
        like(1, rkey="odd key", createdAt="2025-10-01T00:00:00Z"),
        like(6, rkey="odd", createdAt="when?"),
    ]
    return {"records": [like(2, 5_000_000), like(3), like(2, 1_000), like(5), like(77), like(4, -US_PER_DAY), *odd]}


async def test_what_is_understood_and_what_is_left_out() -> None:
    hosts = FakeHosts(one_page)
    repositories, _, _ = made(hosts, store := FakeStore())
    await repositories.meet(READER, 5.0)
    told = repositories.fetched(READER)
    assert told is not None and hosts.visited == [PDS]
    assert told.posts.tolist() == [3003, 4004, 2002, 1001]  # newest first, a future one is now
    assert told.times_us.max() == NOW_US and told.times_us[2] == tid_to_int(make_tid(NOW_US - 5_000_000)) >> 10
    assert told.follows.tolist() == [3, 4]
    assert list(store.rows) == [reader_key(READER)]
    await repositories.close()


async def test_an_endless_repository_is_left_at_the_limit() -> None:
    hosts = FakeHosts(lambda collection, at: {"records": [like(at % 5)] * 500, "cursor": str(at + 1)})
    repositories, _, _ = made(hosts)
    await repositories.meet(READER, 5.0)
    counts = [sum(c == collection for c, _ in hosts.asked) for collection in (LIKE_NSID, FOLLOW_NSID)]
    assert counts == [repository.LIKE_PAGES, repository.FOLLOW_PAGES]


async def test_likes_beyond_the_window_end_the_reading() -> None:
    def answers(collection: str, at: int) -> object:
        return {"records": [like(at % 5, (at + 1) * 40 * US_PER_DAY)], "cursor": str(at + 1)}

    hosts = FakeHosts(answers)
    repositories, _, _ = made(hosts)
    await repositories.meet(READER, 5.0)
    assert [at for collection, at in hosts.asked if collection == LIKE_NSID] == [0, 1, 2]


@pytest.mark.parametrize(
    "answer",
    [UpstreamError("down"), b"", b"\xff", b"[]", b'{"records":{}}', b'{"records":[1]}', b"[" * 100_000, RuntimeError()],
)
async def test_failures_are_remembered_for_an_hour(answer: object) -> None:
    hosts = FakeHosts(lambda collection, at: answer if collection == FOLLOW_NSID else one_page(collection, at))
    repositories, _, clock = made(hosts, store := FakeStore())
    await repositories.meet(READER, 5.0)
    asked = len(hosts.asked)
    told = repositories.fetched(READER)
    assert told is not None and told.posts.size == 4  # the likes came
    assert not store.rows
    await repositories.meet(READER, 5.0)
    assert len(hosts.asked) == asked
    clock.advance(repository.RETRY_S + 1)
    hosts.answers = one_page
    await repositories.meet(READER, 5.0)
    told = repositories.fetched(READER)
    assert told is not None and told.follows.size == 2 and store.rows


async def test_what_was_known_stays_when_a_later_reading_ends_half_way() -> None:
    hosts = FakeHosts(one_page)
    repositories, _, clock = made(hosts)
    await repositories.meet(READER, 5)
    before = repositories.fetched(READER)
    assert before is not None and before.posts.size and before.follows.size
    clock.advance(8 * 86_400)
    hosts.answers = lambda collection, at: StoreError("x") if collection == FOLLOW_NSID else {"records": [like(3)]}
    await repositories.meet(READER, 5)
    after = repositories.fetched(READER)
    assert after is not None
    assert after.posts.tolist() == before.posts.tolist() and after.follows.tolist() == before.follows.tolist()


async def test_one_look_however_many_ask_and_nobody_waits_for_ever() -> None:
    hosts = FakeHosts(one_page)
    hosts.hold = asyncio.Event()
    repositories, _, _ = made(hosts)
    async with asyncio.timeout(2):
        await asyncio.gather(*(repositories.meet(READER, 0.02) for _ in range(20)), repositories.meet(READER, 0.0))
    assert hosts.visited == [PDS] and repositories.fetched(READER) is None
    hosts.hold.set()
    await repositories.meet(READER, 5.0)
    assert hosts.visited == [PDS] and repositories.fetched(READER) is not None


async def test_who_need_not_or_must_not_be_asked() -> None:
    hosts = FakeHosts(one_page)
    repositories, library, clock = made(hosts)
    library.heard = repository.ENOUGH_HEARD
    await repositories.meet(READER, 5.0)
    assert not hosts.visited
    library.heard = 10
    await repositories.meet(READER, 5.0)
    assert not hosts.visited  # counted again in an hour
    clock.advance(repository.RETRY_S + 1)
    await repositories.meet(READER, 5.0)
    assert len(hosts.visited) == 1
    nowhere, _, _ = made(hosts, accounts=FakeAccounts(""))
    await nowhere.meet(READER, 5.0)
    off = Repositories(FakeAccounts(), None, library, None, clock)  # type: ignore[arg-type]
    await off.meet(READER, 5.0)
    assert len(hosts.visited) == 1


async def test_a_rush_of_new_readers_is_bounded() -> None:
    hosts = FakeHosts(one_page)
    hosts.hold = asyncio.Event()
    repositories, _, clock = made(hosts)
    for n in range(200):
        await repositories.meet(author(n), 0.0)
    await asyncio.sleep(0.01)
    assert len(hosts.visited) == repository.MAX_FLIGHTS
    await repositories.close()
    assert not repositories._flights
    repositories, _, clock = made(hosts)
    hosts.hold.set()
    hosts.visited.clear()
    for n in range(300):
        await repositories.meet(author(n), 5.0)
    assert len(hosts.visited) == repository.FETCH_RATE.burst
    clock.advance(10)
    await repositories.meet(author(299), 5.0)
    assert len(hosts.visited) == repository.FETCH_RATE.burst + 1


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repository, "MAX_BYTES", 5000)
    monkeypatch.setattr(repository, "MAX_QUIET", 3)
    repositories, library, _ = made(FakeHosts(one_page), store := FakeStore())
    for n in range(20):
        await repositories.meet(author(n), 5.0)
    known = [n for n in range(20) if repositories.fetched(author(n)) is not None]
    assert 2 < len(known) < 10 and known[-1] == 19 and repositories._bytes <= 5000
    assert len(store.rows) == 20
    library.heard = repository.ENOUGH_HEARD
    for n in range(20):
        library.people[f"did:plc:{n}"] = n
        await repositories.meet(f"did:plc:{n}", 5.0)
    assert len(repositories._quiet) == 3


async def test_stored_for_a_week() -> None:
    store, hosts = FakeStore(), FakeHosts(one_page)
    first, _, _ = made(hosts, store)
    await first.meet(READER, 5.0)
    second, _, clock = made(hosts, store)
    await second.meet(READER, 5.0)
    assert len(hosts.visited) == 1 and second.fetched(READER) is not None
    clock.advance(repository.FRESH_S + 1)
    await second.meet(READER, 5.0)
    assert len(hosts.visited) == 2
    await second.forget(READER)
    assert second.fetched(READER) is None and not store.rows
    store.broken = True
    third, _, _ = made(hosts, store)
    await third.meet(READER, 5.0)
    assert third.fetched(READER) is not None


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)), max_size=20),
    st.lists(st.integers(0, 2**32 - 1), max_size=20),
)
def test_packing(likes: list[tuple[int, int]], follows: list[int]) -> None:
    posts, seconds = np.array([p for p, _ in likes], np.uint32), np.array([s for _, s in likes], np.int64)
    told = Fetched(posts, seconds * 1_000_000, np.array(follows, np.uint32), 7)
    back = unpack(pack(told), 7)
    assert back is not None and back.fetched_us == 7
    assert np.array_equal(told.posts, back.posts) and np.array_equal(told.follows, back.follows)
    assert np.array_equal(told.times_us, back.times_us) and back.times_us.dtype == np.int64


@given(st.binary(max_size=64))
def test_unpacking_anything(data: bytes) -> None:
    back = unpack(data, 7)
    assert back is None or pack(back) == data
