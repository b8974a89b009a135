"""Every fault, on streams and on answers, and that nothing is wrong once it is over."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from math import inf

import httpx
import pytest
import websockets

from feedgen.simnet.faults import KINDS, Faults
from feedgen.simnet.httpd import HttpServer, Request, Response, answer
from feedgen.simnet.jetstream import HostOptions
from tests.simnet.wiretap import NOW_US, V2, RawSocket, Stage, like, likes, read, refusal, stage

ALL = HostOptions(lookback_s=inf, segment_s=0)
LEGACY = HostOptions("legacy", lookback_s=inf)


async def seqs(s: Stage, n: int, options: HostOptions = ALL, cursor: int = 1) -> list[int]:
    url = s.servers[0].url.replace("http", "ws") if s.servers else await s.add(options)
    return [e["payload"]["seq"] for e in await read(f"{url}{V2}?cursor={cursor}", n)]


async def test_drop() -> None:
    async with stage(likes(20)) as s:
        s.faults.add("drop", "jetstream", count=3)
        assert await seqs(s, 17) == list(range(4, 21))
        assert await seqs(s, 20) == list(range(1, 21))


async def test_repeat() -> None:
    async with stage(likes(20)) as s:
        url = await s.add(ALL)
        async with websockets.connect(f"{url}{V2}?cursor=1", max_queue=None) as ws:
            first = [json.loads(await ws.recv())["payload"]["seq"] for _ in range(20)]
            s.faults.add("repeat", "jetstream/0", events=5)
            s.history.append([like(21, NOW_US)])
            then = [json.loads(await asyncio.wait_for(ws.recv(), 5))["payload"]["seq"] for _ in range(6)]
    assert (first, then) == (list(range(1, 21)), [16, 17, 18, 19, 20, 21])


async def test_reorder_within_a_second() -> None:
    second = NOW_US // 1_000_000 * 1_000_000
    events = [like(i, second - 3_000_000 + i * 100_000) for i in range(1, 31)]
    async with stage(events) as s:
        s.faults.add("reorder", count=1)
        got = await seqs(s, 30)
    assert sorted(got) == list(range(1, 31))
    assert got[:9] == list(range(9, 0, -1))
    assert got[9:] == list(range(10, 31))


async def test_reorder_as_often_as_told() -> None:
    second = NOW_US // 1_000_000 * 1_000_000
    events = [like(i, second - 3_000_000 + i * 100_000) for i in range(1, 31)]
    async with stage(events) as s:
        s.faults.add("reorder", duration_s=60)
        got = await seqs(s, 30)
    assert got == [*range(9, 0, -1), *range(19, 9, -1), *range(29, 19, -1), 30]


@pytest.mark.parametrize("how", ["cut", "bytes", "type", "zstd"])
async def test_corrupt(how: str) -> None:
    async with stage(likes(5)) as s:
        url = await s.add(ALL)
        s.faults.add("corrupt", how=how)
        async with RawSocket.open(f"{url}{V2}?cursor=1") as raw:
            _, broken = await raw.frame()
            _, whole = await raw.frame()
    if how == "type":
        assert json.loads(broken)["$type"] == 7
    else:
        with pytest.raises(ValueError):  # of JSON, or of UTF-8
            json.loads(broken)
    assert json.loads(whole)["payload"]["seq"] == 2


async def test_corrupt_zstd_frames() -> None:
    async with stage(likes(2_000, step_us=1000)) as s:
        url = await s.add(ALL)
        s.faults.add("corrupt")
        async with RawSocket.open(f"{url}{V2}?cursor=1&zstdDictionary=20260811") as raw:
            first, second = await raw.frame(), await raw.frame()
    assert first[0] == second[0] == 2


async def test_jump() -> None:
    """The sequence jumps, later and for good; old cursors still mean what they meant."""
    async with stage(likes(10)) as s:
        url = await s.add(ALL)
        async with websockets.connect(f"{url}{V2}?cursor=8", max_queue=None) as ws:
            before = [json.loads(await ws.recv())["payload"]["seq"] for _ in range(3)]
            s.faults.add("jump", by=500)
            s.history.append([like(11, NOW_US), like(12, NOW_US + 1)])
            after = [json.loads(await asyncio.wait_for(ws.recv(), 5))["payload"]["seq"] for _ in range(2)]
        assert (before, after) == ([8, 9, 10], [511, 512])
        assert await seqs(s, 4, cursor=9) == [9, 10, 511, 512]
        assert await seqs(s, 1, cursor=512) == [512]
        assert await seqs(s, 1, cursor=300) == [511]
        s.faults.add("jump", by=1000)
        s.history.append([like(13, NOW_US + 2)])
        assert await seqs(s, 3, cursor=511) == [511, 512, 1513]


async def test_close_without_a_frame() -> None:
    async with stage(likes(5)) as s:
        url = await s.add(ALL)
        s.faults.add("close")
        async with RawSocket.open(f"{url}{V2}?cursor=1") as raw:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await asyncio.wait_for(raw.frame(), 5)
        assert await seqs(s, 5) == [1, 2, 3, 4, 5]


async def test_close_reaches_idle_readers() -> None:
    async with stage([]) as s:
        url = await s.add(ALL)
        async with RawSocket.open(f"{url}{V2}") as raw:
            while not s.hosts[0].readers:
                await asyncio.sleep(0.01)
            s.faults.add("close")
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await asyncio.wait_for(raw.frame(), 5)


async def test_close_with_a_code() -> None:
    async with stage(likes(5)) as s:
        url = await s.add(ALL)
        s.faults.add("close", code=1011)
        async with websockets.connect(f"{url}{V2}?cursor=1") as ws:
            with pytest.raises(websockets.ConnectionClosed):
                await asyncio.wait_for(ws.recv(), 5)
            assert ws.close_code == 1011


async def test_an_error_frame_ends_a_v2_stream() -> None:
    async with stage(likes(5)) as s:
        url = await s.add(ALL)
        s.faults.add("error", name="ConsumerTooSlow")
        async with websockets.connect(f"{url}{V2}?cursor=1") as ws:
            frame = json.loads(await asyncio.wait_for(ws.recv(), 5))
            with pytest.raises(websockets.ConnectionClosed):
                await asyncio.wait_for(ws.recv(), 5)
    assert (frame["$type"], frame["error"]) == ("error", "ConsumerTooSlow")


async def test_refuse() -> None:
    async with stage(likes(5)) as s:
        url = await s.add(ALL)
        s.faults.add("refuse", "jetstream", count=2)
        for _ in range(2):
            with pytest.raises((ConnectionError, websockets.InvalidMessage)):
                await read(f"{url}{V2}?cursor=1", 1)
        s.faults.add("refuse", "jetstream", count=1, status=503)
        status, _ = await refusal(f"{url}{V2}?cursor=1")
        assert status == 503
        assert await seqs(s, 1) == [1]


async def test_stall() -> None:
    async with stage(likes(5)) as s:
        url = await s.add(ALL)
        async with websockets.connect(f"{url}{V2}?cursor=1", max_queue=None) as ws:
            for _ in range(5):
                await ws.recv()
            s.faults.add("stall", duration_s=0.3)
            s.history.append([like(6, NOW_US)])
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ws.recv(), 0.15)
            assert json.loads(await asyncio.wait_for(ws.recv(), 5))["payload"]["seq"] == 6


async def test_a_stall_can_be_ended() -> None:
    async with stage(likes(5)) as s:
        s.faults.add("stall", duration_s=3600)
        reading = asyncio.create_task(seqs(s, 5))
        await asyncio.sleep(0.05)
        assert not reading.done()
        assert s.faults.clear() == 1
        assert await reading == [1, 2, 3, 4, 5]


async def test_slow() -> None:
    async with stage(likes(200)) as s:
        loop = asyncio.get_running_loop()
        await s.add(ALL)
        s.faults.add("slow", duration_s=60, rate=200)
        started = loop.time()
        assert await seqs(s, 40) == list(range(1, 41))
        assert 0.1 < loop.time() - started < 5


async def test_a_fault_stays_where_it_is() -> None:
    async with stage(likes(5)) as s:
        await s.add(ALL)
        other = await s.add(ALL)
        s.faults.add("drop", "jetstream/0", count=5)
        events = await read(f"{other}{V2}?cursor=1", 5)
        assert [e["payload"]["seq"] for e in events] == [1, 2, 3, 4, 5]
        assert s.faults.listing()[0]["left"] == 5


async def hello(request: Request) -> Response:
    return answer({"hello": "world"})


async def ask(faults: Faults, times: int = 1) -> Sequence[httpx.Response | str]:
    server = HttpServer("plc", hello, faults)
    await server.start()
    found: list[httpx.Response | str] = []
    async with httpx.AsyncClient(timeout=1) as http:
        for _ in range(times):
            try:
                found.append(await http.get(server.url))
            except httpx.TransportError as error:
                found.append(type(error).__name__)
    await server.stop()
    return found


async def test_answers_that_are_refused_replaced_broken_or_cut() -> None:
    faults = Faults()
    faults.add("refuse", "plc", count=1)
    faults.add("refuse", "plc", count=1, status=429)
    faults.add("error", "plc", status=502)
    faults.add("corrupt", "plc")
    faults.add("close", "plc")
    reset, limited, wrong, broken, cut, well = await ask(faults, 6)
    assert reset in ("RemoteProtocolError", "ReadError")
    assert isinstance(limited, httpx.Response) and limited.status_code == 429
    assert isinstance(wrong, httpx.Response) and wrong.status_code == 502
    assert isinstance(broken, httpx.Response) and broken.status_code == 200
    with pytest.raises(ValueError):
        broken.json()
    assert cut in ("RemoteProtocolError", "ReadError")
    assert isinstance(well, httpx.Response) and well.json() == {"hello": "world"}


async def test_answers_that_come_late_or_never() -> None:
    faults = Faults()
    loop = asyncio.get_running_loop()
    faults.add("slow", "plc", count=1, delay_s=0.2)
    started = loop.time()
    [late] = await ask(faults)
    assert isinstance(late, httpx.Response) and loop.time() - started >= 0.2
    faults.add("stall", "plc", duration_s=3600)
    assert await ask(faults) == ["ReadTimeout"]


async def test_other_servers_are_well() -> None:
    faults = Faults()
    faults.add("refuse", "pds", duration_s=60)
    [well] = await ask(faults)
    assert isinstance(well, httpx.Response)


def test_counts_and_times() -> None:
    now = [0.0]
    faults = Faults(lambda: now[0])
    faults.add("drop", "jetstream", count=2)
    faults.add("slow", "*", duration_s=10)
    faults.add("jump", "jetstream/1", count=5, duration_s=3)
    assert [bool(faults.take("drop", "jetstream/0")) for _ in range(3)] == [True, True, False]
    assert faults.any("plc") and faults.active("slow", "plc")
    now[0] = 5
    assert faults.take("jump", "jetstream/1") is None
    assert faults.active("slow", "jetstream/7")
    now[0] = 10
    assert not faults.any("plc")
    assert faults.listing() == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "explode"},
        {"kind": "drop", "count": 0},
        {"kind": "slow", "duration_s": -1},
        {"kind": "stall", "count": 1},
    ],
)
def test_what_is_not_a_fault(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        Faults().add(**wrong)  # type: ignore[arg-type]


def test_faults_are_bounded() -> None:
    faults = Faults()
    for _ in range(1_000):
        faults.add("drop")
    with pytest.raises(ValueError, match="waiting already"):
        faults.add("drop")


def test_the_help_names_every_kind() -> None:
    from click.testing import CliRunner

    from feedgen.simnet.cli import main

    text = CliRunner().invoke(main, ["--help"]).output
    assert all(kind in text for kind in KINDS)
