from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from feedgen.core.clock import ManualClock
from feedgen.feeds.contract import Ask, Page
from feedgen.serve.http.limits import ClientAddresses, Gate, Limits, Rate, RateLimit, refused, untrusted
from feedgen.serve.http.xrpc import XrpcError
from tests.serve.parts import FEED_URI, INTERACTIONS, READER, SKELETON, CountingFeed, parts_with, serving


def test_a_burst_then_a_rate() -> None:
    clock = ManualClock()
    limit = RateLimit(Rate(per_s=2, burst=5), clock)
    assert [limit.take("a") for _ in range(7)] == [True] * 5 + [False] * 2
    assert limit.is_spent("a") and not limit.is_spent("b")
    assert limit.take("b")
    clock.advance(0.5)
    assert [limit.take("a") for _ in range(2)] == [True, False]
    clock.advance(100)
    assert [limit.take("a") for _ in range(7)] == [True] * 5 + [False] * 2


@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from("ab")), max_size=200))
def test_never_more_than_the_burst_and_the_rate(steps: list[tuple[float, str]]) -> None:
    clock = ManualClock()
    limit = RateLimit(Rate(per_s=3, burst=4), clock)
    taken = {"a": 0, "b": 0}
    for wait_s, key in steps:
        clock.advance(wait_s)
        taken[key] += limit.take(key)
        assert taken[key] <= 4 + 3 * clock.monotonic_s() + 1e-6


def test_callers_without_end_are_forgotten() -> None:
    limit = RateLimit(Rate(per_s=1, burst=1), ManualClock(), max_keys=10)
    for n in range(1000):
        assert limit.take(str(n))
    assert len(limit) == 10


def test_who_may_ask_as_before_is_forgotten_at_once() -> None:
    clock = ManualClock()
    limit = RateLimit(Rate(per_s=10, burst=5), clock)
    for n in range(1000):
        assert limit.take(str(n))
        clock.advance(0.01)
    assert len(limit) <= 11  # those of the last tenth of a second
    for _ in range(5):
        limit.take("loud")
    clock.advance(0.05)
    assert limit.is_spent("loud") and not limit.take("loud")


def caller(peer: str | None, *forwarded: str) -> Request:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return Request({"type": "http", "client": (peer, 1) if peer else None, "headers": headers})


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("8.8.8.8", [], "8.8.8.8"),
        ("8.8.8.8", ["1.1.1.1"], "8.8.8.8"),  # not our proxy: its header is a claim
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["1.1.1.1"], "1.1.1.1"),
        ("127.0.0.1", ["9.9.9.9, 1.1.1.1"], "1.1.1.1"),  # what stands before the nearest hop is a claim
        ("127.0.0.1", ["9.9.9.9", "1.1.1.1"], "1.1.1.1"),
        ("127.0.0.1", ["9.9.9.9, 100.64.0.7"], "9.9.9.9"),
        ("127.0.0.1", ["9.9.9.9, nonsense, 100.64.0.7"], "100.64.0.7"),
        ("127.0.0.1", ["nonsense"], "127.0.0.1"),
        ("127.0.0.1", ["1.1.1.1," * 5000 + "9.9.9.9"], "9.9.9.9"),
        (None, ["1.1.1.1"], "1.1.1.1"),
        (None, [], "unknown"),
        ("2001:db8:1:2:3:4:5:6", [], "2001:db8:1:2::"),
        ("::ffff:8.8.8.8", [], "8.8.8.8"),
        ("::ffff:127.0.0.1", ["2606:4700::1111"], "2606:4700::"),
        ("127.0.0.1", ["fe80::1%eth0"], "fe80::"),
    ],
)
def test_addresses(peer: str | None, forwarded: list[str], address: str) -> None:
    addresses = ClientAddresses(["127.0.0.0/8", "100.64.0.0/10", "unix"])
    assert addresses.of(caller(peer, *forwarded)) == address
    assert addresses.of(caller(peer, *forwarded)) == address


def test_without_trust_no_header_counts() -> None:
    addresses = ClientAddresses([])
    assert addresses.of(caller("127.0.0.1", "1.1.1.1")) == "127.0.0.1"
    assert addresses.of(caller(None, "1.1.1.1")) == "unknown"


async def test_the_gate_lets_known_readers_go_first() -> None:
    gate = Gate(slots=1, places=5, anonymous_places=5)
    order: list[str] = []

    async def come(name: str, known: bool) -> None:
        async with gate.slot(known):
            order.append(name)
            await asyncio.sleep(0)

    async with gate.slot(known=True):
        coming = []
        for name, known in (("anonymous 1", False), ("known 1", True), ("anonymous 2", False), ("known 2", True)):
            coming.append(asyncio.create_task(come(name, known)))
            await asyncio.sleep(0)
        assert (gate.in_work, gate.waiting) == (1, 4)
    await asyncio.gather(*coming)
    assert order == ["known 1", "known 2", "anonymous 1", "anonymous 2"]
    assert (gate.in_work, gate.waiting) == (0, 0)


async def test_a_full_queue_refuses_anonymous_callers_first() -> None:
    gate = Gate(slots=1, places=3, anonymous_places=1, wait_s=5)

    async def come(known: bool) -> None:
        async with gate.slot(known):
            pass

    async with gate.slot(known=False):
        waiting = [asyncio.create_task(come(known)) for known in (False, True, True, True)]
        await asyncio.sleep(0)
        for known in (False, True):
            with pytest.raises(XrpcError) as caught:
                await come(known)
            assert (caught.value.status, caught.value.name) == (503, "NotEnoughResources")
    await asyncio.gather(*waiting)


async def test_nobody_waits_for_long_and_no_slot_is_lost() -> None:
    gate = Gate(slots=2, wait_s=0.02)
    async with gate.slot(True), gate.slot(True):
        with pytest.raises(XrpcError):
            async with gate.slot(True):
                pass
        gone = asyncio.create_task(gate.slot(True).__aenter__())
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert gate.waiting == 0
    assert gate.in_work == 0
    async with gate.slot(True), gate.slot(False):
        assert gate.in_work == 2


async def test_a_turn_that_comes_as_the_caller_leaves_is_passed_on() -> None:
    gate = Gate(slots=1)
    first = gate.slot(True)
    await first.__aenter__()
    leaving = asyncio.create_task(gate.slot(True).__aenter__())
    staying = asyncio.create_task(gate.slot(True).__aenter__())
    await asyncio.sleep(0)
    await first.__aexit__(None, None, None)  # the turn goes to `leaving` ...
    leaving.cancel()  # ... who is gone before it can take it
    with pytest.raises(asyncio.CancelledError):
        await leaving
    async with asyncio.timeout(1):
        await staying
    assert gate.in_work == 1


async def test_limits_are_by_reader_and_by_address() -> None:
    clock = ManualClock()
    limits = Limits(clock, reader=Rate(1, 3), anonymous=Rate(1, 2), bad_token=Rate(1, 2))
    params = {"feed": FEED_URI}
    async with serving(parts_with(limits=limits)) as client:

        async def codes(headers: dict[str, str], times: int = 5) -> list[int]:
            return [(await client.get(SKELETON, params=params, headers=headers)).status_code for _ in range(times)]

        assert await codes({"authorization": f"Bearer {READER}"}) == [200, 200, 200, 429, 429]
        assert await codes({"authorization": "Bearer did:plc:other"}, 2) == [200, 200]
        assert await codes({}) == [200, 200, 429, 429, 429]
        assert await codes({"x-forwarded-for": "1.1.1.1"}, 2) == [200, 200]
        # A token that is wrong by itself counts as an anonymous call, and locks nobody out.
        elsewhere = {"x-forwarded-for": "2.2.2.2"}
        assert await codes({"authorization": "Bearer bad", **elsewhere}) == [401, 401, 429, 429, 429]
        assert await codes({"authorization": "Bearer did:plc:third", **elsewhere}, 1) == [200]
        # An address of many forged ones may not try another; those elsewhere may.
        assert await codes({"authorization": "Bearer forged"}) == [401, 401, 429, 429, 429]
        assert await codes({"authorization": "Bearer did:plc:third"}, 1) == [429]
        assert await codes({"authorization": "Bearer did:plc:third", **elsewhere}, 1) == [200]
        answer = await client.get(SKELETON, params=params)
        assert answer.json() == {"error": "RateLimitExceeded", "message": "Rate Limit Exceeded"}
        assert int(answer.headers["retry-after"]) > 0
        clock.advance(60)
        assert await codes({"authorization": f"Bearer {READER}"}, 1) == [200]
        post = await client.post(INTERACTIONS, json={"interactions": []}, headers={"authorization": "Bearer bad"})
        assert post.status_code == 401


async def test_a_stranger_locks_nobody_out_behind_the_vps() -> None:
    """Everybody comes through one proxy. The proxy is named, so a stranger's bad tokens count against the stranger."""
    limits = Limits(ManualClock(), ClientAddresses(["127.0.0.1"]), anonymous=Rate(1, 2), bad_token=Rate(1, 2))
    async with serving(parts_with(limits=limits)) as client:

        async def codes(address: str, token: str, times: int) -> list[int]:
            headers = {"x-forwarded-for": address} | ({"authorization": f"Bearer {token}"} if token else {})
            answers = [await client.get(SKELETON, params={"feed": FEED_URI}, headers=headers) for _ in range(times)]
            return [answer.status_code for answer in answers]

        assert await codes("1.1.1.1", "forged", 4) == [401, 401, 429, 429]
        assert await codes("1.1.1.1", "", 3) == [200, 200, 429]
        assert await codes("2.2.2.2", "did:plc:third", 1) == [200]
        assert await codes("3.3.3.3", "", 1) == [200]


async def test_a_reader_whose_key_is_at_hand_is_not_refused_for_what_others_did() -> None:
    """Even where the proxy is not named and the whole world is one address."""
    limits = Limits(ManualClock(), ClientAddresses([]), anonymous=Rate(1, 2), bad_token=Rate(1, 2))
    async with serving(parts_with(limits=limits)) as client:
        for token, times in (("forged", 5), ("bad", 5)):
            for _ in range(times):
                headers = {"authorization": f"Bearer {token}"}
                assert (await client.get(SKELETON, params={"feed": FEED_URI}, headers=headers)).status_code > 400
        headers = {"authorization": f"Bearer {READER}"}
        assert (await client.get(SKELETON, params={"feed": FEED_URI}, headers=headers)).status_code == 200
        told = await client.post(INTERACTIONS, json={"interactions": []}, headers=headers)
        assert told.status_code == 200


async def test_reading_and_telling_have_budgets_of_their_own() -> None:
    limits = Limits(ManualClock(), reader=Rate(1, 3), telling=Rate(1, 2))
    headers = {"authorization": f"Bearer {READER}"}
    async with serving(parts_with(limits=limits)) as client:
        pages = [await client.get(SKELETON, params={"feed": FEED_URI}, headers=headers) for _ in range(4)]
        assert [page.status_code for page in pages] == [200, 200, 200, 429]
        told = [await client.post(INTERACTIONS, json={"interactions": []}, headers=headers) for _ in range(3)]
        assert [one.status_code for one in told] == [200, 200, 429]


def test_a_proxy_that_is_not_named_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    addresses, before = ClientAddresses(["100.64.0.2"]), untrusted.value()
    for n in range(3):
        assert addresses.of(caller("100.64.0.9", f"1.1.1.{n}")) == "100.64.0.9"
        assert addresses.of(caller("100.64.0.2", f"1.1.1.{n}")) == f"1.1.1.{n}"
    assert untrusted.value() == before + 3
    [said] = [record.getMessage() for record in caplog.records if "trusted_proxies" in record.getMessage()]
    assert said.startswith("100.64.0.9 ")


async def test_at_the_limit_anonymous_callers_are_refused_before_known_readers() -> None:
    busy, go_on = asyncio.Event(), asyncio.Event()

    class Slow(CountingFeed):
        async def page(self, ask: Ask) -> Page:
            busy.set()
            await go_on.wait()
            return await super().page(ask)

    clock = ManualClock()
    limits = Limits(clock, gate=Gate(slots=1, places=5, anonymous_places=0))
    before = refused.value("anonymous_queue")
    async with serving(parts_with(Slow(), limits=limits)) as client:
        params = {"feed": FEED_URI}
        known = {"authorization": f"Bearer {READER}"}
        first = asyncio.create_task(client.get(SKELETON, params=params))
        await busy.wait()
        second = asyncio.create_task(client.get(SKELETON, params=params, headers=known))
        third = await client.get(SKELETON, params=params)
        assert (third.status_code, third.json()["error"]) == (503, "NotEnoughResources")
        go_on.set()
        assert [(await task).status_code for task in (first, second)] == [200, 200]
    assert refused.value("anonymous_queue") == before + 1
