"""Cursors: what was sent is not sent again, and what was not is, over reconnects and restarts of the service."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest
import pytest_asyncio
import websockets

from feedgen.core.settings import Stream
from feedgen.rank.paging import Snapshots
from feedgen.simnet.records import SimEvent
from feedgen.simnet.server import Simnet
from feedgen.stream import cursor, tokens
from tests.inside import Inside, running, until
from tests.stream.listening import address, anybody, key_of, like, listening, say

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVENTS = int(os.environ.get("FEEDGEN_STREAM_EVENTS", "200"))
TOKEN, ROW = tokens.make("app", 0)
SLOW_TOKEN, SLOW_ROW = tokens.make("slow", 20)
HEADERS = {"authorization": f"Bearer {TOKEN}"}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sim() -> AsyncIterator[Simnet]:
    async with Simnet.start(people=60, history_days=0.1, per_person_day=60.0, live_rate=1.0, odd_share=0.0) as sim:
        yield sim


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stream")


STREAM = Stream(bind="127.0.0.1:0", tokens=(ROW, SLOW_ROW), patience_ms=300)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def it(sim: Simnet, folder: Path) -> AsyncIterator[Inside]:
    async with running(sim, folder, stream=STREAM) as inside:
        yield inside


def replying(sim: Simnet, n: int) -> SimEvent:
    """Some wait for a parent that nobody has, others for nothing."""
    person = anybody(sim)[n % 20]
    uri = f"at://{sim.people.did(anybody(sim)[21])}/app.bsky.feed.post/3lf{n:07d}2222"[:89]
    there = {"uri": uri, "cid": "bafyrei"}
    return say(sim, person, f"{n}", **({"reply": {"root": there, "parent": there}} if n % 3 == 0 else {}))


async def test_nothing_is_lost_or_doubled_over_reconnects(it: Inside, sim: Simnet) -> None:
    """A consumer that leaves after every few messages, in the middle of joins, and comes back with its last cursor."""
    got: list[tuple[str, str]] = []
    at = ""
    done = asyncio.Event()

    async def speak() -> list[SimEvent]:
        said = []
        for n in range(EVENTS):
            said.append(replying(sim, n))
            await asyncio.sleep(0.002)
        done.set()
        return said

    async with listening(it, HEADERS) as first:
        speaking = asyncio.ensure_future(speak())
        for _ in range(3):
            message = await first.next()
            got.append(key_of(message))
            at = message["cursor"]
    leaves = 0
    expected: set[tuple[str, str]] = set()
    async with asyncio.timeout(150):
        while not expected or not expected <= set(got):
            async with listening(it, HEADERS, cursor=at) as us:
                for _ in range(37):
                    try:
                        message = await asyncio.wait_for(us.next(), 0.5)
                    except TimeoutError:
                        break
                    if "cursor" in message and "event" in message:
                        got.append(key_of(message))
                        at = message["cursor"]
            leaves += 1
            if done.is_set():
                expected = {(one.did, one.rkey) for one in await speaking}
    ours = [key for key in got if key in expected]
    assert len(ours) == len(set(ours)) == EVENTS
    assert len(got) == len(set(got))
    assert leaves > 3


async def test_a_replay_goes_over_into_live(it: Inside, sim: Simnet) -> None:
    assert it.runtime.stream is not None
    hub = it.runtime.stream.hub
    missed = [say(sim, anybody(sim)[0], "missed") for _ in range(5)]
    async with listening(it, HEADERS, cursor=str(missed[0].time_us)) as us:
        keys = [key_of(await us.next()) for _ in missed]
        assert keys == [(one.did, one.rkey) for one in missed]
        later = [say(sim, anybody(sim)[1], "later") for _ in range(3)]
        for one in later:
            assert key_of(await us.of(one)) == (one.did, one.rkey)
        async with asyncio.timeout(20):
            while not hub.consumers:
                say(sim, anybody(sim)[2], "and on")
                await asyncio.sleep(0.05)
        last = say(sim, anybody(sim)[3], "live")
        seen = [key_of(await us.next())]
        while seen[-1] != (last.did, last.rkey):
            seen.append(key_of(await us.next()))
        assert len(seen) == len(set(seen))


async def test_a_cursor_from_before_a_restart(sim: Simnet, tmp_path: Path) -> None:
    async with running(sim, tmp_path, stream=STREAM) as it, listening(it, HEADERS) as us:
        before = await us.of(say(sim, anybody(sim)[4], "before"))
        with pytest.raises(websockets.ConnectionClosed) as closed:
            it.app.stop()
            while True:
                await us.next()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
    while_off = [say(sim, anybody(sim)[n], "while it was off") for n in (5, 6)]
    async with running(sim, tmp_path, stream=STREAM) as it, listening(it, HEADERS, cursor=before["cursor"]) as us:
        keys = []
        while len(keys) < 2:
            key = key_of(await us.next())
            keys += [key] if key in {(one.did, one.rkey) for one in while_off} else []
            assert key != key_of(before)


async def test_older_than_jetstream_has_says_so(it: Inside, sim: Simnet) -> None:
    old_us = sim.history.last_us - 40 * 86_400_000_000
    async with listening(it, HEADERS, cursor=str(old_us), collections="like") as us:
        got = await us.next()
    assert got["notice"] in ("gap", "failed")
    assert "older" in got["reason"]


async def test_graze_and_rs_are_told_cursors_on_demand(it: Inside, sim: Simnet) -> None:
    for form in ("graze", "rs", "raw"):
        async with listening(it, HEADERS, format=form, control="1") as us:
            said = say(sim, anybody(sim)[7], form)
            await us.of(said)
            told = await us.until(lambda message: isinstance(message, dict) and message.get("notice") == "cursor")
        place = cursor.parse(told["cursor"])
        assert place is not None
        assert place.seq >= said.seq


async def test_without_its_token_nobody_listens(it: Inside) -> None:
    for headers in ({}, {"authorization": "Bearer fgs_wrong"}):
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with websockets.connect(address(it), additional_headers=headers):
                pass
        assert refused.value.response.status_code == 401
    async with websockets.connect(address(it, token=TOKEN)):
        pass
    assert it.runtime.stream is not None
    async with httpx.AsyncClient(trust_env=False, base_url=f"http://{it.runtime.stream.address}") as client:
        assert (await client.get("/stream/health")).status_code == 200
        assert (await client.get("/stream/stats")).status_code == 401
        assert (await client.get("/stream/stats", headers=HEADERS)).status_code == 200


async def test_a_token_has_a_rate(it: Inside, sim: Simnet) -> None:
    """What is beyond it waits, in order, and is not lost."""
    assert it.runtime.stream is not None
    async with listening(it, {"authorization": f"Bearer {SLOW_TOKEN}"}, format="raw") as us:
        said = [say(sim, anybody(sim)[8], f"{n}") for n in range(30)]
        await until(lambda: any(one["queued"] for one in it.runtime.stream.stats()["consumers"]))
        keys = [key_of(await us.next()) for _ in range(30)]
    ours = [key for key in keys if key[0] == said[0].did]
    assert ours == [(one.did, one.rkey) for one in said][: len(ours)]
    assert len(ours) > 20


async def test_popular_posts_are_told_as_they_qualify(it: Inside, sim: Simnet) -> None:
    async with listening(it, HEADERS, feed="popular") as us:
        assert it.runtime.stream is not None
        followed = it.runtime.stream.qualifying
        await until(lambda: followed.begun("popular"))
        post = say(sim, anybody(sim)[9], "soon popular")
        for person in anybody(sim)[10:20]:
            last = like(sim, person, post)
        await it.heard(last)
        await it.runtime.catalog.refresh()
        it.runtime.catalog.services.snapshots = Snapshots()  # else the list of a minute ago is good enough
        got = await us.of(post)
    assert got["event"]["commit"]["record"]["text"] == "soon popular"
    assert got["author"]["handle"] == sim.people.handle(anybody(sim)[9])


async def test_a_cursor_says_what_was_sent() -> None:
    from feedgen.ingest.events import Post
    from feedgen.stream.happening import Happening

    def at(seq: int, host: str = "h") -> Happening:
        event = Post(did="did:plc:a", time_us=1_760_000_000_000_000 + seq, seq=seq, rkey="x", flags=1, language=0)
        return Happening(host, event, b"", number=seq)

    text = cursor.spell(at(10), [at(7), at(9)])
    place = cursor.parse(text)
    assert place is not None
    assert [seq for seq in range(1, 13) if not place.was_sent(at(seq))] == [7, 9, 11, 12]
    assert (place.start.seq, place.start.host) == (7, "h")
    assert not place.was_sent(at(5, "another host"))
    for rubbish in ("", "x", "1", "-1", "9" * 30, text[:-3], "AAAA" * 5000, msgspec.json.encode([1]).decode()):
        assert cursor.parse(rubbish) is None
