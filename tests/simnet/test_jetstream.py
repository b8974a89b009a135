"""Each rule of a Jetstream host, asked with raw clients."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from math import inf

import httpx
import msgspec
import pytest
import websockets
import zstandard

from feedgen.simnet import websocket
from feedgen.simnet.jetstream import Flavour, HostOptions
from tests.simnet.wiretap import (
    LIKE,
    NOW_US,
    V2,
    RawSocket,
    account,
    like,
    likes,
    read,
    refusal,
    silent,
    stage,
)

HOUR_US = 3_600_000_000
ALL = HostOptions(lookback_s=inf, segment_s=0)
LEGACY = HostOptions("legacy")


async def test_v1_frames_of_a_legacy_host() -> None:
    async with stage([like(7, NOW_US - 5)]) as s:
        [event] = await read(f"{await s.add(LEGACY)}/subscribe?cursor=1", 1)
    assert list(event) == ["did", "time_us", "kind", "commit"]
    assert event["time_us"] == NOW_US - 5
    assert event["commit"]["record"] == {"$type": LIKE, "n": 7}


async def test_v1_frames_of_a_v2_host_have_a_cursor() -> None:
    async with stage(likes(2)) as s:
        events = await read(f"{await s.add(ALL)}/subscribe?cursor=1", 2)
    assert [e["cursor"] for e in events] == [1, 2]


async def test_v2_frames() -> None:
    async with stage([like(1, NOW_US - 5), account(2, NOW_US - 4)]) as s:
        first, second = await read(f"{await s.add(ALL)}{V2}?cursor=1", 2)
    assert first["$type"] == "message"
    payload = first["payload"]
    assert payload["$type"] == "network.bsky.jetstream.subscribeEvents#commit"
    assert (payload["seq"], payload["operation"], payload["collection"]) == (1, "create", LIKE)
    assert payload["time"] == "2026-09-21T14:13:19.999995Z"
    assert second["payload"]["$type"] == "network.bsky.jetstream.subscribeEvents#account"
    assert second["payload"]["account"]["active"] is False


async def test_v2_echoes_its_subprotocol() -> None:
    async with stage([]) as s:
        url = await s.add(ALL)
        async with websockets.connect(url + V2, subprotocols=[websockets.Subprotocol("xrpc.v1.json")]) as socket:
            assert socket.subprotocol == "xrpc.v1.json"
        async with websockets.connect(url + V2) as socket:
            assert socket.subprotocol is None


async def test_a_legacy_host_has_no_v2() -> None:
    async with stage(likes(3)) as s:
        status, _ = await refusal(f"{await s.add(LEGACY)}{V2}?cursor=1")
    assert status == 404


@pytest.mark.parametrize("path", ["/subscribe", V2])
async def test_without_a_cursor_only_the_present_comes(path: str) -> None:
    async with stage(likes(5)) as s:
        url = await s.add(ALL)
        reading = asyncio.create_task(read(url + path, 1))
        while not s.hosts[0].readers:
            await asyncio.sleep(0.01)
        s.history.append([like(6, NOW_US)])
        [event] = await reading
    assert (event.get("payload") or event["commit"])["record"]["n"] == 6


async def test_cursors_are_inclusive() -> None:
    events = likes(10)
    async with stage(events) as s:
        legacy, modern = await s.add(LEGACY), await s.add(ALL)
        [by_time] = await read(f"{legacy}/subscribe?cursor={events[4].time_us}", 1)
        [by_seq] = await read(f"{modern}{V2}?cursor=5", 1)
        [by_seq_v1] = await read(f"{modern}/subscribe?cursor=5", 1)
    assert by_time["commit"]["record"]["n"] == by_seq["payload"]["seq"] == by_seq_v1["cursor"] == 5


async def test_a_time_cursor_between_events_starts_at_the_next_one() -> None:
    events = likes(10)
    async with stage(events) as s:
        [event] = await read(f"{await s.add(LEGACY)}/subscribe?cursor={events[4].time_us + 1}", 1)
    assert event["commit"]["record"]["n"] == 6


@pytest.mark.parametrize(("flavour", "hours"), [("legacy", 24), ("v2", 36)])
async def test_v1_clamps_an_old_time_silently(flavour: Flavour, hours: int) -> None:
    events = likes(50, step_us=HOUR_US)
    async with stage(events) as s:
        [event] = await read(f"{await s.add(HostOptions(flavour))}/subscribe?cursor={events[0].time_us}", 1)
    assert event["time_us"] == NOW_US - hours * HOUR_US


async def test_v1_clamps_an_old_seq_silently() -> None:
    async with stage(likes(50, step_us=HOUR_US)) as s:
        [event] = await read(f"{await s.add(HostOptions())}/subscribe?cursor=3", 1)
    assert event["cursor"] == 15


async def test_v2_refuses_an_old_seq() -> None:
    async with stage(likes(50, step_us=HOUR_US)) as s:
        status, body = await refusal(f"{await s.add(HostOptions())}{V2}?cursor=3")
    assert status == 400
    answer = json.loads(body)
    assert answer["error"] == "CursorTooOld"
    assert "below lookback floor 15" in answer["message"]


async def test_v2_says_so_when_it_clamps_an_old_time() -> None:
    events = likes(50, step_us=HOUR_US)
    async with stage(events) as s:
        info, event = await read(f"{await s.add(HostOptions())}{V2}?cursor={events[0].time_us}", 2)
    assert info["payload"]["$type"].endswith("#info")
    assert info["payload"]["name"] == "OutdatedCursor"
    assert event["payload"]["seq"] == 15


async def test_the_lookback_can_be_set() -> None:
    events = likes(50, step_us=HOUR_US)
    async with stage(events) as s:
        short, endless = await s.add(HostOptions("legacy", lookback_s=7200)), await s.add(ALL)
        none = await s.add(HostOptions("legacy", lookback_s=0))
        [first] = await read(f"{short}/subscribe?cursor=1000", 1)
        [oldest] = await read(f"{endless}{V2}?cursor=0", 1)
        assert await silent(f"{none}/subscribe?cursor={events[0].time_us}")
    assert first["time_us"] == NOW_US - 2 * HOUR_US
    assert oldest["payload"]["seq"] == 1


async def test_a_small_number_is_a_time_to_a_legacy_host() -> None:
    async with stage(likes(5)) as s:
        [event] = await read(f"{await s.add(LEGACY)}/subscribe?cursor=4", 1)
    assert event["commit"]["record"]["n"] == 1


async def test_the_future_means_the_present() -> None:
    async with stage(likes(5)) as s:
        modern, legacy = await s.add(ALL), await s.add(LEGACY)
        assert await silent(f"{legacy}/subscribe?cursor={NOW_US + 1}")
        assert await silent(f"{modern}/subscribe?cursor=999")
        assert await silent(f"{modern}{V2}?cursor=6")
        [info] = await read(f"{modern}{V2}?cursor=999", 1)
    assert info["payload"]["name"] == "FutureCursor"


@pytest.mark.parametrize("path", ["/subscribe", V2])
async def test_a_time_cursor_in_the_open_segment_replays_all_of_it(path: str) -> None:
    """The trap of v2 hosts: resume by time and up to an hour comes again."""
    now_us = NOW_US // HOUR_US * HOUR_US + 40 * 60_000_000
    events = likes(120, until_us=now_us, step_us=60_000_000)  # two hours, one a minute
    async with stage(events) as s:
        s.clock = type(s.clock)(now_us)
        url = await s.add(HostOptions())
        [event] = await read(f"{url}{path}?cursor={events[-2].time_us}", 1)
        [sealed] = await read(f"{url}{path}?cursor={events[5].time_us}", 1)
        [by_seq] = await read(f"{url}{path}?cursor={events[-2].seq}", 1)
    seqs = [e.get("cursor") or e["payload"]["seq"] for e in (event, sealed, by_seq)]
    assert seqs == [81, 6, 119]


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "0x10"])
async def test_what_is_not_a_cursor_is_refused(cursor: str) -> None:
    async with stage(likes(1)) as s:
        url = await s.add(ALL)
        assert (await refusal(f"{url}/subscribe?cursor={cursor}"))[0] == 400
        status, body = await refusal(f"{url}{V2}?cursor={cursor}")
    assert (status, json.loads(body)["error"]) == (400, "InvalidRequest")


async def test_every_host_counts_for_itself() -> None:
    async with stage(likes(3)) as s:
        url = await s.add(HostOptions(lookback_s=inf, first_seq=5_000))
        events = await read(f"{url}{V2}?cursor=5001", 2)
        [first] = await read(f"{url}{V2}?cursor=0", 1)
    assert [e["payload"]["seq"] for e in events] == [5001, 5002]
    assert first["payload"]["seq"] == 5000


async def test_events_that_fell_out_of_the_memory_are_too_old() -> None:
    async with stage(likes(5 * 1024), max_events=2 * 1024) as s:
        url = await s.add(ALL)
        status, body = await refusal(f"{url}{V2}?cursor=10")
        [event] = await read(f"{url}/subscribe?cursor=10", 1)
    assert (status, json.loads(body)["error"]) == (400, "CursorTooOld")
    assert event["cursor"] == 3 * 1024 + 1


async def test_a_long_history_comes_whole_and_in_order() -> None:
    """Long enough for packed chunks."""
    n = 34 * 1024 + 77
    async with stage(likes(n, step_us=1000)) as s:
        url = await s.add(ALL)
        first = await read(f"{url}{V2}?cursor=1&maxMessageSizeBytes=10000", n)
    assert [e["payload"]["seq"] for e in first] == list(range(1, n + 1))


MIXED = [
    like(1, NOW_US - 9, "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "app.bsky.feed.like"),
    like(2, NOW_US - 8, "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb", "app.bsky.feed.post"),
    like(3, NOW_US - 7, "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "app.bsky.graph.follow"),
    account(4, NOW_US - 6, "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"),
    like(5, NOW_US - 5, "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb", "app.bsky.feedx.like"),
    like(6, NOW_US - 4, "did:plc:cccccccccccccccccccccccc", "app.bsky.feed.repost"),
]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [1, 2, 3, 4, 5, 6]),
        ("collections=app.bsky.feed.like", [1, 4]),
        ("collections=app.bsky.feed.*", [1, 2, 4, 6]),
        ("collections=app.bsky.feed.like&collections=app.bsky.graph.*", [1, 3, 4]),
        ("dids=did:plc:bbbbbbbbbbbbbbbbbbbbbbbb", [2, 4, 5]),
        ("dids=did:plc:bbbbbbbbbbbbbbbbbbbbbbbb&collections=app.bsky.feed.*", [2, 4]),
        ("kinds=commit", [1, 2, 3, 5, 6]),
        ("kinds=account&kinds=identity", [4]),
        ("kinds=commit&collections=app.bsky.feed.*", [1, 2, 6]),
    ],
)
async def test_filters(query: str, expected: list[int]) -> None:
    async with stage(MIXED) as s:
        url = await s.add(ALL)
        v2 = await read(f"{url}{V2}?cursor=0&{query}", len(expected))
        assert [e["payload"]["seq"] for e in v2] == expected
        if "kinds" not in query:
            old = query.replace("collections", "wantedCollections").replace("dids", "wantedDids")
            v1 = await read(f"{url}/subscribe?cursor=1&{old}", len(expected))
            assert [e["cursor"] for e in v1] == expected


@pytest.mark.parametrize(
    "query",
    [
        "&".join(f"collections=a.b.c{i}" for i in range(101)),
        "dids=alice.example.test",
        "collections=like",
        "kinds=commits",
        "kinds=account&collections=app.bsky.feed.like",
        "wantedCollections=app.bsky.feed.like",
        "compress=true",
        "zstdDictionary=x",
        "maxMessageSizeBytes=-1",
    ],
)
async def test_filters_that_v2_refuses(query: str) -> None:
    async with stage(MIXED) as s:
        status, body = await refusal(f"{await s.add(ALL)}{V2}?{query}")
    assert (status, json.loads(body)["error"]) == (400, "InvalidRequest")


async def test_filters_that_v1_refuses() -> None:
    async with stage(MIXED) as s:
        url = await s.add(LEGACY)
        many = "&".join(f"wantedCollections=a.b.c{i}" for i in range(101))
        assert (await refusal(f"{url}/subscribe?{many}"))[0] == 400
        assert (await refusal(f"{url}/subscribe?wantedDids=bob"))[0] == 400
        assert (await refusal(f"{url}/subscribe?compress=true"))[0] == 400
        exactly = "&".join(f"wantedCollections=a.b.c{i}" for i in range(99))
        [event] = await read(f"{url}/subscribe?cursor=1&{exactly}&wantedCollections=app.bsky.feed.repost", 1)
    assert event["kind"] == "account"


async def test_v1_skips_what_is_too_large() -> None:
    async with stage([like(1, NOW_US - 2, collection="app.bsky.feed." + "x" * 300), like(2, NOW_US - 1)]) as s:
        [event] = await read(f"{await s.add(LEGACY)}/subscribe?cursor=1&maxMessageSizeBytes=400", 1)
    assert event["commit"]["record"]["n"] == 2


async def test_v1_options_update_and_hello() -> None:
    async with (
        stage(MIXED) as s,
        websockets.connect(f"{await s.add(LEGACY)}/subscribe?cursor=1&requireHello=true") as socket,
    ):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.1)
        options = {"wantedCollections": ["app.bsky.feed.repost"], "wantedDids": ["did:plc:cccccccccccccccccccccccc"]}
        await socket.send(json.dumps({"type": "options_update", "payload": options}))
        event = json.loads(await asyncio.wait_for(socket.recv(), 5))
    assert event["commit"]["collection"] == "app.bsky.feed.repost"


async def test_v2_takes_no_messages() -> None:
    async with stage([]) as s, websockets.connect((await s.add(ALL)) + V2) as socket:
        await socket.send("{}")
        with pytest.raises(websockets.ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 5)
        assert socket.close_code == websocket.POLICY_VIOLATION


async def test_zstd_with_the_dictionary_of_the_host() -> None:
    events = likes(3_000, step_us=1000)
    async with stage(events) as s:
        url = await s.add(ALL)
        async with httpx.AsyncClient() as http:
            path = f"{url.replace('ws', 'http')}/xrpc/network.bsky.jetstream.getZstdDictionary"
            current = await http.get(path)
            same = await http.get(path, params={"id": 20260811})
            other = await http.get(path, params={"id": 7})
        async with (
            RawSocket.open(f"{url}{V2}?cursor=1") as plain,
            RawSocket.open(f"{url}{V2}?cursor=1&zstdDictionary=20260811") as packed,
        ):
            context = zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(current.content))
            for _ in range(50):
                opcode, payload = await packed.frame()
                assert opcode == websocket.BINARY
                text = (await plain.frame())[1]
                assert context.decompress(payload, max_output_size=1 << 20) == text
                assert len(payload) < len(text)
            status, body = await refusal(f"{url}{V2}?cursor=1&zstdDictionary=7")
    assert current.headers["content-type"] == "application/octet-stream"
    assert zstandard.ZstdCompressionDict(current.content).dict_id() == 20260811
    assert same.content == current.content
    assert (other.status_code, other.json()["error"]) == (400, "DictionaryNotFound")
    assert (status, json.loads(body)["error"]) == (400, "UnknownZstdDictionary")
    assert "20260811" in json.loads(body)["message"]


async def test_pings_and_pongs() -> None:
    async with stage([]) as s, RawSocket.open(f"{await s.add(HostOptions(ping_s=0.05))}{V2}") as raw:
        assert await asyncio.wait_for(raw.frame(), 5) == (websocket.PING, b"")
        await raw.send(b"here", websocket.PING)
        frames = [await asyncio.wait_for(raw.frame(), 5) for _ in range(2)]
        assert (websocket.PONG, b"here") in frames


async def test_a_clean_end_is_1001() -> None:
    async with stage([]) as s:
        url = await s.add(ALL)
        async with websockets.connect(url + V2) as socket:
            await s.hosts[0].stop()
            with pytest.raises(websockets.ConnectionClosed):
                await asyncio.wait_for(socket.recv(), 5)
            assert socket.close_code == 1001


async def test_a_close_is_answered() -> None:
    async with stage([]) as s, RawSocket.open((await s.add(ALL)) + V2) as raw:
        await raw.send((1000).to_bytes(2, "big"), websocket.CLOSE)
        assert await asyncio.wait_for(raw.frame(), 5) == (websocket.CLOSE, (1000).to_bytes(2, "big"))
        assert await asyncio.wait_for(raw.reader.read(), 5) == b""


async def test_who_reads_too_slowly_is_cut_off_without_a_close_frame() -> None:
    async with stage([]) as s:
        url = await s.add(HostOptions("legacy", outbox_events=10_000), send_buffer_bytes=65536)
        async with RawSocket.open(f"{url}/subscribe", receive_buffer_bytes=65536) as raw:
            for i in range(20):
                s.history.append(likes(1_000, first_seq=1 + 1_000 * i, step_us=10))
                await asyncio.sleep(0)
            opcodes = []
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                while True:
                    opcodes.append((await asyncio.wait_for(raw.frame(), 5))[0])
            assert websocket.CLOSE not in opcodes
            assert len(opcodes) < 10_000
            assert s.hosts[0].stats.slow_closes == 1


async def test_a_v2_host_lets_a_slow_reader_fall_behind() -> None:
    async with stage([]) as s:
        url = await s.add(ALL, send_buffer_bytes=65536)
        async with RawSocket.open(f"{url}{V2}", receive_buffer_bytes=65536) as raw:
            for i in range(20):
                s.history.append(likes(1_000, first_seq=1 + 1_000 * i, step_us=10))
                await asyncio.sleep(0)
            seqs = [json.loads((await asyncio.wait_for(raw.frame(), 5))[1])["payload"]["seq"] for _ in range(20_000)]
            assert seqs == list(range(1, 20_001))


async def test_a_replay_is_never_too_slow() -> None:
    """The outbox is for those who were at the tip; whoever is catching up is only held back."""
    async with stage(likes(30_000, step_us=1000)) as s:
        url = await s.add(HostOptions("legacy", outbox_events=1_000), send_buffer_bytes=65536)
        async with RawSocket.open(f"{url}/subscribe?cursor=1", receive_buffer_bytes=65536) as raw:
            await asyncio.sleep(0.1)
            s.history.append([like(30_001, NOW_US)])
            for n in range(1, 30_002):
                _, payload = await asyncio.wait_for(raw.frame(), 5)
                assert json.loads(payload)["commit"]["record"]["n"] == n


async def test_a_host_can_limit_its_rate() -> None:
    async with stage(likes(1_000, step_us=1000)) as s:
        url = await s.add(HostOptions("legacy", max_rate=1_000))
        loop = asyncio.get_running_loop()
        started = loop.time()
        await read(f"{url}/subscribe?cursor=1", 700)
        assert 0.3 < loop.time() - started < 5


@pytest.mark.parametrize("path", [V2, "/subscribe"])
async def test_each_event_is_a_write_of_its_own(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    writes: list[int] = []
    write = asyncio.StreamWriter.write

    def noting(writer: asyncio.StreamWriter, data: bytes) -> None:
        writes.append(len(data))
        write(writer, data)

    monkeypatch.setattr(asyncio.StreamWriter, "write", noting)
    async with stage(likes(50, step_us=1000)) as s:
        for batched in (False, True):
            url = await s.add(replace(ALL, batched=batched))
            writes.clear()
            await read(f"{url}{path}?cursor=1", 50)
            assert (len(writes) > 50) is not batched


@pytest.mark.parametrize(("flavour", "path"), [("v2", V2), ("legacy", "/subscribe")])
async def test_who_blocks_one_write_for_too_long_is_cut(flavour: Flavour, path: str) -> None:
    async with stage(likes(20_000, step_us=10)) as s:
        url = await s.add(HostOptions(flavour, lookback_s=inf, write_timeout_s=0.1), send_buffer_bytes=65536)
        async with RawSocket.open(f"{url}{path}?cursor=1", receive_buffer_bytes=65536) as raw:
            await _until(lambda: s.hosts[0].stats.slow_closes == 1)
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                while True:
                    opcode, _ = await asyncio.wait_for(raw.frame(), 5)
                    assert opcode != websocket.CLOSE


@pytest.mark.parametrize(("flavour", "path", "cut"), [("v2", V2, 1), ("legacy", "/subscribe", 0)])
async def test_who_does_not_answer_a_ping_is_cut_by_a_v2_host(flavour: Flavour, path: str, cut: int) -> None:
    async with stage([]) as s:
        timeout_s = 0.05 if flavour == "v2" else None
        url = await s.add(HostOptions(flavour, ping_s=0.02, pong_timeout_s=timeout_s))
        async with RawSocket.open(url + path) as raw:
            for _ in range(3):  # answered in time
                while (await asyncio.wait_for(raw.frame(), 5))[0] != websocket.PING:
                    pass
                await raw.send(b"", websocket.PONG)
            assert s.hosts[0].stats.slow_closes == 0
            await asyncio.sleep(0.3)
            assert s.hosts[0].stats.slow_closes == cut


async def test_the_original_server_says_nothing_at_its_end() -> None:
    async with stage([]) as s:
        url = await s.add(HostOptions("legacy"))
        async with websockets.connect(url + "/subscribe") as socket:
            await s.hosts[0].stop()
            with pytest.raises(websockets.ConnectionClosed):
                await asyncio.wait_for(socket.recv(), 5)
            assert socket.close_code == 1006


async def test_a_v2_host_leaves_out_records_with_long_keys() -> None:
    long = msgspec.structs.replace(like(2, NOW_US - 2), rkey="k" * 256)
    longest = msgspec.structs.replace(like(3, NOW_US - 1), rkey="k" * 255)
    async with stage([like(1, NOW_US - 3), long, longest]) as s:
        v2, legacy = await s.add(ALL), await s.add(HostOptions("legacy", lookback_s=inf))
        assert [m["payload"]["seq"] for m in await read(f"{v2}{V2}?cursor=1", 2)] == [1, 3]
        assert [m["cursor"] for m in await read(f"{v2}/subscribe?cursor=1", 2)] == [1, 3]
        assert len(await read(f"{legacy}/subscribe?cursor=1", 3)) == 3


async def test_the_info_frame_comes_before_the_first_event_is_written() -> None:
    """Whoever reads at once gets it alone."""
    async with stage(likes(100)) as s:
        url = await s.add(HostOptions(lookback_s=10.0))
        async with RawSocket.open(f"{url}{V2}?cursor={10**15}") as raw:
            _, payload = await asyncio.wait_for(raw.frame(), 5)
            assert json.loads(payload)["payload"]["name"] == "OutdatedCursor"
            assert not raw.reader._buffer  # type: ignore[attr-defined]


async def _until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not done():
            await asyncio.sleep(0.01)


async def test_a_plain_request_is_told_to_upgrade() -> None:
    async with stage([]) as s, httpx.AsyncClient() as http:
        url = (await s.add(ALL)).replace("ws", "http")
        assert (await http.get(f"{url}/subscribe")).status_code == 426
        assert (await http.get(f"{url}/nowhere")).status_code == 404
