"""No legal request holds the event loop for long: everybody's pages stand still meanwhile.

The limit is 10 ms (`serve.longest_hold_ms` of `scripts/bench serve` times it). Time depends on the machine, so this
test counts work: the calls of functions, Python's and C's, between two turns of the event loop. 10 ms are about 22,000
of them. Compiled kernels are no calls; their arguments bound them.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

import pytest
import pytest_asyncio

from feedgen.app import build
from feedgen.core.ids import NO_POST, US_PER_DAY
from feedgen.core.settings import Settings
from feedgen.feeds.contract import reader_key
from feedgen.rank.seen import BUCKET_US, MAX_OPINIONS, MAX_SEEN, Opinion
from feedgen.serve.http import private, routes, server
from feedgen.serve.readers.interactions import MAX_INTERACTIONS
from feedgen.simnet.server import Simnet
from feedgen.simnet.tokens import SEND_INTERACTIONS
from tests.inside import EVENTS, Inside, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAX_CALLS: Final = 10_000
serving: ContextVar[bool] = ContextVar("serving", default=False)


class Longest:
    """Of all turns that served requests: how many calls the longest made."""

    calls = 0

    def take(self) -> int:
        calls, self.calls = self.calls, 0
        return calls


@contextmanager
def counting(longest: Longest) -> Iterator[None]:
    """While a turn of the event loop belongs to a connection, its calls are counted."""
    real_turn, real_connection = asyncio.Handle._run, server._Connection.run

    async def connection(self: Any) -> None:
        serving.set(True)
        await real_connection(self)

    def turn(self: Any) -> None:
        if not self._context.get(serving, False):
            real_turn(self)
            return
        calls = 0

        def count(frame: Any, event: str, argument: Any) -> None:
            nonlocal calls
            calls += event in ("call", "c_call")

        sys.setprofile(count)
        try:
            real_turn(self)
        finally:
            sys.setprofile(None)
        longest.calls = max(longest.calls, calls)

    patch = pytest.MonkeyPatch()
    patch.setattr(server._Connection, "run", connection)
    patch.setattr(asyncio.Handle, "_run", turn)
    try:
        yield
    finally:
        patch.undo()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sim() -> AsyncIterator[Simnet]:
    async with Simnet.start(people=100, history_days=1.0, per_person_day=60.0, live_rate=1.0) as sim:
        yield sim


@pytest.fixture(scope="module")
def longest() -> Iterator[Longest]:
    longest = Longest()
    with counting(longest):
        yield longest


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def it(sim: Simnet, longest: Longest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Inside]:
    async with running(sim, tmp_path_factory.mktemp("holds")) as inside:
        yield inside


def events_of(kind: str, posts: list[str], n: int) -> bytes:
    listed = [{"item": posts[i % len(posts)], "event": EVENTS + kind, "reqId": "1-1"} for i in range(n)]
    return json.dumps({"interactions": listed}).encode()


@pytest.mark.parametrize("kind", ["requestLess", "requestMore", "interactionSeen"])
async def test_a_thousand_interactions(it: Inside, sim: Simnet, longest: Longest, kind: str) -> None:
    """They made 400,000 calls in one turn, in which no page was answered."""
    posts = await it.all_posts(None, feed="popular", limit=100)
    headers = it.headers(sim.readers(3)[0], SEND_INTERACTIONS) | {"content-type": "application/json"}
    listed = [{"item": posts[n % len(posts)], "event": EVENTS + kind, "reqId": "1-1"} for n in range(MAX_INTERACTIONS)]
    body = json.dumps({"interactions": listed})
    longest.take()
    answer = await it.client.post(f"/xrpc/{SEND_INTERACTIONS}", content=body, headers=headers)
    assert answer.status_code == 200 and 0 < longest.take() <= MAX_CALLS


def fill(it: Inside, did: str, posts: list[int]) -> None:
    """All that is kept of one reader, in every place."""
    now_us, view = it.app.clock.now_us(), it.runtime.catalog.services.library.view()
    state = it.runtime.catalog.services.readers.edit(reader_key(did))
    for half_day in range(5):
        at_us = now_us - half_day * BUCKET_US
        slot = at_us // US_PER_DAY % 256
        first = half_day * MAX_SEEN // 10
        state.saw([slot << 24 | n for n in range(first, first + MAX_SEEN // 10)], at_us)
        state.was_served([slot << 24 | n for n in range(first + 100_000, first + 100_000 + MAX_SEEN // 10)], at_us)
    state.opinions = [Opinion(post, view.author(post) or 0, NO_POST, now_us // 10**6, True) for post in posts]


@pytest.mark.parametrize("feed", ["for-you", "videos-for-you", "popular"])
async def test_pages_of_a_reader_of_whom_all_is_kept(it: Inside, sim: Simnet, longest: Longest, feed: str) -> None:
    person, services = sim.readers(3)[1], it.runtime.catalog.services
    did, popular = sim.people.did(person), await it.all_posts(None, feed="popular", limit=100)
    numbers = it.runtime.catalog._posts(popular)
    fill(it, did, [numbers[n % len(numbers)] for n in range(MAX_OPINIONS)])
    turns = dict[str, int]()

    async def ask(what: str, **query: Any) -> str | None:
        longest.take()
        page = await it.page(person, feed, **query)
        turns[what] = longest.take()
        cursor: str | None = page.get("cursor")
        return cursor

    for limit in (1, 30, 100):
        cursor = await ask(f"first {limit}", limit=limit)
        if cursor:
            await ask(f"next {limit}", limit=limit, cursor=cursor)
            services.snapshots.forget_reader(reader_key(did))
            await ask(f"next {limit} of a list that is gone", limit=limit, cursor=cursor)
    services.snapshots.forget_reader(reader_key(did))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services.pool, "line_s", 0.0)  # nobody is ranked
        await ask("the popular list instead", limit=100)
    assert min(turns.values()) > 0 and max(turns.values()) <= MAX_CALLS, turns


PAGES = {row.path for row in build(Settings()).site.rows(private=True)}
XRPC = {routes.SKELETON_PATH, routes.DESCRIBE_PATH, routes.INTERACTIONS_PATH, routes.HEALTH_PATH, routes.DID_PATH}
PRIVATE = {private.METRICS_PATH, private.LIVE_PATH, private.READY_PATH, private.WHY_PATH}


@pytest.mark.parametrize("path", sorted(PAGES | XRPC | PRIVATE | {routes.ALSO_LIKED_PATH}))
async def test_every_route(it: Inside, sim: Simnet, longest: Longest, path: str) -> None:
    """On both addresses, with all that a request can bring."""
    post, reader = (await it.posts(None, feed="popular"))[0], sim.people.did(0)
    queries: list[dict[str, Any]] = [
        {},
        {"post": post, "reader": reader, "who": reader, "did": reader, "feed": "for-you", "limit": "100"},
        {"uris": [post] * 25},
        {"feed": "x" * 4000},
        {str(n): str(n) for n in range(routes.xrpc.MAX_QUERY_FIELDS)},
    ]
    much = {"authorization": f"Bearer {'a.' * 2000}", "cookie": "; ".join(["a=b"] * 500)}
    much["accept-language"] = ",".join(["en-us;q=0.9"] * 40)
    callers = itertools.count(1)  # what is looked for is not whether there are limits
    for base in ("", f"http://{it.app.private_address}"):
        for query, sent in itertools.product(queries, ({}, much)):
            headers = sent | {"x-forwarded-for": f"11.{len(path)}.0.{next(callers)}"}
            longest.take()
            await it.client.get(base + path, params=query, headers=headers)
            calls = longest.take()
            assert 0 < calls <= MAX_CALLS, (base, query, calls)
        longest.take()
        await it.client.post(base + path, content=b"a=b&" * 60_000)
        assert 0 < longest.take() <= MAX_CALLS, (base, "POST")
