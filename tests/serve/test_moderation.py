"""What labelers and the operator say, as bits over posts and people; the store is real, the network is not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feedgen.core.clock import ManualClock
from feedgen.core.errors import StoreFull
from feedgen.core.ids import NO_POST, US_PER_S, make_tid, rkey_to_int
from feedgen.core.settings import Labels, Settings
from feedgen.core.settings import Moderation as ModerationSettings
from feedgen.graph.aside import Aside
from feedgen.ingest.events import PERSON_ADULT, PERSON_HIDDEN
from feedgen.ingest.labels import Label
from feedgen.serve import moderation as module
from feedgen.serve.moderation import DAY_TICKS, EXPIRE_TICKS, GRACE_US, Moderator
from feedgen.store.moderation import Moderation

ONE, OTHER = "wss://one.example.com", "wss://other.example.com"
SRC = "did:plc:labelerlabelerlabelerlab"
NOW_US = 1_790_000_000_000_000
DIDS = [f"did:plc:{letter * 24}" for letter in "abcdefgh"]
SLOT = 100  # of the only day


def uri(author: int, age_s: int) -> str:
    return f"at://{DIDS[author]}/app.bsky.feed.post/{make_tid(NOW_US - age_s * US_PER_S)}"


class Network:
    """Who has a number, which posts are known, and what was said over people."""

    def __init__(self) -> None:
        self.people: list[str] = []
        self.posts: dict[tuple[int, int], int] = {}
        self.given: dict[int, int] = {}
        self.heard_us = NOW_US

    def meet(self, *authors: int) -> None:
        self.people += [DIDS[author] for author in authors]

    def post(self, text: str) -> int:
        """Its author is somebody whom we met."""
        _, _, did, _, rkey = text.split("/")
        number = SLOT << 24 | len(self.posts)
        self.posts[self.people.index(did), rkey_to_int(rkey)] = number
        return number

    # As Archive and Names

    def set_aside(self, person: int, given: int) -> None:
        self.given[person] = given

    def person(self, did: str) -> int | None:
        return self.people.index(did) if did in self.people else None

    def did(self, person: int) -> str | None:
        return self.people[person]

    def view(self) -> Any:
        return self

    def find_posts(self, authors: Any, keys: Any) -> Any:
        pairs = zip(authors.tolist(), keys.tolist(), strict=True)
        return np.array([self.posts.get(pair, NO_POST) for pair in pairs], np.uint32)

    @property
    def arrays(self) -> Any:
        return self

    day_numbers = np.array([SLOT])


class World:
    def __init__(self, store: Moderation, settings: Settings, network: Network | None = None) -> None:
        self.store, self.network, self.aside, self.clock = store, network or Network(), Aside(), ManualClock(NOW_US)
        net = self.network
        heard = lambda: net.heard_us  # noqa: E731
        count = lambda: len(net.people)  # noqa: E731
        self.it = Moderator(store, settings, net, net, self.aside, self.clock, count, heard)

    async def say(self, *labels: tuple[str, str], url: str = ONE, neg: bool = False, until_s: int = 0) -> None:
        said = [Label(SRC, subject, val, neg, until_s) for subject, val in labels]
        await self.it._keep(url, said, 1 + (await self.it._resume(url) or 0))

    async def start(self) -> World:
        await self.it.load()
        await self.it._load_labels()
        await self.it.tick()
        return self


def settings(*urls: str, block: tuple[str, ...] = (), **labels: Any) -> Settings:
    return Settings(labels=Labels(urls=urls or (ONE, OTHER), **labels), moderation=ModerationSettings(block=block))


@asynccontextmanager
async def world(folder: Path, given: Settings | None = None, network: Network | None = None) -> AsyncIterator[World]:
    async with await Moderation.open(folder) as store:
        yield await World(store, given or settings(), network).start()


async def test_posts_and_people_and_what_does_not_count(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.network.meet(0, 1)
        hidden, adult, other = uri(0, 10), uri(0, 20), uri(1, 30)
        numbers = [w.network.post(text) for text in (hidden, adult, other)]
        await w.say((hidden, "!hide"), (adult, "porn"), (other, "rude"), (DIDS[1], "!takedown"), (DIDS[0], "sexual"))
        assert (list(w.aside.hidden), list(w.aside.adult)) == ([numbers[0]], [numbers[1]])
        assert w.network.given == {1: PERSON_HIDDEN, 0: PERSON_ADULT}
        assert await w.store.count() == 4  # "rude" is not even kept
        await w.say((hidden, "!hide"), (DIDS[1], "!takedown"), neg=True)
        assert not w.aside.hidden and w.network.given[1] == 0
        old = uri(0, 100 * 86_400)
        await w.say((old, "!hide"))
        assert await w.store.values_of([old]) == {}  # left the window long ago


async def test_no_labeler_takes_back_anothers_word(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.network.meet(0)
        number = w.network.post(uri(0, 10))
        await w.say((uri(0, 10), "!hide"), url=ONE)
        await w.say((uri(0, 10), "!hide"), url=OTHER)
        await w.say((uri(0, 10), "!hide"), url=OTHER, neg=True)  # in the very name of the first
        assert list(w.aside.hidden) == [number]
        await w.say((uri(0, 10), "!hide"), url=ONE, neg=True)
        assert not w.aside.hidden


async def test_a_post_that_is_spoken_of_early_waits_until_it_can_no_longer_come(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.network.heard_us = NOW_US - 3600 * US_PER_S  # catching up
        early, never = uri(0, 5), uri(1, 10)
        await w.say((early, "!hide"), (never, "!hide"))
        await w.it.tick()
        assert len(w.it._pending) == 2
        w.network.meet(0)
        number = w.network.post(early)
        await w.it.tick()
        assert list(w.aside.hidden) == [number] and list(w.it._pending) == [never]
        w.network.heard_us = NOW_US + GRACE_US
        await w.it.tick()
        assert not w.it._pending
        # Of what our stream has passed nobody waits for.
        await w.say((uri(2, 3600), "!hide"))
        assert not w.it._pending


async def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 3)
    monkeypatch.setattr(module, "PENDING_AT_ONCE", 2)
    async with world(tmp_path) as w:
        posts = [uri(0, n) for n in range(6)]
        for post in posts:
            await w.say((post, "!hide"))
        assert list(w.it._pending) == posts[3:]
        await w.it.tick()  # two at a time: those go to the end
        assert next(iter(w.it._pending)) == posts[5] and set(w.it._pending) == set(posts[3:])


async def test_people_who_are_met_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MET_AT_ONCE", 2)
    async with world(tmp_path) as w:
        await w.say((DIDS[3], "!hide"), (DIDS[4], "!hide"))
        await w.say((DIDS[4], "!hide"), neg=True)
        w.network.meet(0, 1, 2, 3, 4)
        for _ in range(3):
            await w.it.tick()
        assert w.network.given == {3: PERSON_HIDDEN, 4: 0}


async def test_the_operators_blocks_come_from_settings_and_commands(tmp_path: Path) -> None:
    always = uri(1, 10)
    async with world(tmp_path, settings(block=(DIDS[0], always))) as w, await Moderation.open(tmp_path) as command:
        w.network.meet(0, 1)
        number = w.network.post(always)
        await w.it.tick()
        assert w.network.given == {0: PERSON_HIDDEN} and list(w.aside.hidden) == [number]
        await command.block(DIDS[1], 5)
        await w.it.tick()
        assert w.network.given[1] == PERSON_HIDDEN
        await command.unblock(DIDS[1])
        await command.unblock(always)  # what the settings say stays
        await w.it.tick()
        assert w.network.given[1] == 0 and list(w.aside.hidden) == [number]
        # A block waits for its post as long as it is one.
        w.network.heard_us = NOW_US + 10 * GRACE_US
        await command.block(uri(2, 3600), 6)
        await w.it.tick()
        assert len(w.it._pending) == 1


async def test_labels_end_and_days_go(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        w.network.meet(0)
        number = w.network.post(uri(0, 10))
        await w.say((uri(0, 10), "porn"), until_s=NOW_US // US_PER_S + 60)
        assert list(w.aside.adult) == [number]
        w.clock.advance(61)
        await w.it.tick(EXPIRE_TICKS)
        assert not w.aside.adult and await w.store.count() == 0
        w.aside.hidden.add(number)
        w.aside.hidden.add((SLOT + 1) << 24)  # of a day that is gone
        await w.it.tick(DAY_TICKS)
        assert list(w.aside.hidden) == [number]


async def test_all_that_is_kept_counts_after_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOADED_AT_ONCE", 3)  # pieces end in the middle of a subject
    posts = [uri(0, n) for n in range(10)]
    old = uri(1, 10)
    async with world(tmp_path) as w:
        for url in (ONE, OTHER):
            await w.say(*((post, val) for post in posts for val in ("!hide", "porn")), (old, "porn"), url=url)
    network = Network()
    network.meet(0)
    numbers = [network.post(post) for post in posts]
    async with world(tmp_path, network=network) as w:
        assert list(w.aside.hidden) == list(w.aside.adult) == numbers
        assert await w.it._resume(ONE) == 1
    async with world(tmp_path, settings(ONE, hide=("!takedown",), adult=()), network) as w:
        assert not w.aside.hidden and not w.aside.adult
        assert await w.it._resume(ONE) is None  # who counts other labels hears everything again
    async with world(tmp_path, settings(enabled=False), network) as w:
        assert not w.aside.hidden and not w.it.labelers


async def test_a_labeler_that_is_no_longer_named_no_longer_counts(tmp_path: Path) -> None:
    network = Network()
    network.meet(0)
    first, second = network.post(uri(0, 1)), network.post(uri(0, 2))
    async with world(tmp_path, network=network) as w:
        await w.say((uri(0, 1), "!hide"), url=ONE)
        await w.say((uri(0, 2), "!hide"), url=OTHER)
        assert list(w.aside.hidden) == [first, second]
    async with world(tmp_path, settings(enabled=False), network):
        pass  # switched off: nothing is forgotten
    async with world(tmp_path, settings(OTHER), network) as w:
        assert list(w.aside.hidden) == [second] and await w.store.count() == 1
    async with world(tmp_path, settings(ONE, OTHER), network) as w:
        assert await w.it._resume(ONE) is None and await w.it._resume(OTHER) == 1


async def test_what_a_broken_disk_refused_is_done_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with world(tmp_path) as w:
        w.network.meet(0)
        early = uri(1, 1)
        await w.say((DIDS[2], "!hide"), (early, "!hide"))
        good, w.store.values_of = w.store.values_of, _broken  # type: ignore[method-assign]
        await w.store.block(DIDS[0], 1)
        w.it._version = -1  # as if another process had done it
        w.network.meet(2, 1)
        w.network.post(early)
        for tick in range(1, 4):
            assert not await w.it._guarded(w.it.tick(tick))
        assert not w.network.given and len(w.it._pending) == 1
        w.store.values_of = good  # type: ignore[method-assign]
        assert await w.it._guarded(w.it.tick())
        assert w.network.given == {0: PERSON_HIDDEN, 1: PERSON_HIDDEN} and len(w.aside.hidden) == 1
        assert len([line for line in caplog.records if line.levelno == logging.WARNING]) == 1


async def _broken(subjects: Any) -> Any:
    raise StoreFull("full")


async def test_a_start_with_a_broken_disk_is_made_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK_S", 0.01)
    network = Network()
    network.meet(0)
    number = network.post(uri(0, 1))
    async with world(tmp_path, network=network) as w:
        await w.say((uri(0, 1), "!hide"))
    async with await Moderation.open(tmp_path) as store:
        w = World(store, settings(), network)
        await w.it.load()
        w.it.labelers = []  # nobody to be heard here
        good, broken = store.after, 0

        async def after(subject: str, limit: int) -> Any:
            nonlocal broken
            broken += 1
            if broken < 3:
                raise StoreFull("full")
            return await good(subject, limit)

        store.after = after  # type: ignore[method-assign]
        running = asyncio.create_task(w.it.run())
        async with asyncio.timeout(20):
            while not w.aside.hidden:
                await asyncio.sleep(0.005)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert list(w.aside.hidden) == [number] and broken >= 3
