"""Each rule of listening, against simnet's hosts on real sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest

from feedgen.core.ids import US_PER_S
from feedgen.ingest.batch import Cursor
from feedgen.ingest.connection import READ_BYTES, Connection, connect
from feedgen.ingest.frames import DROPPED, Frames, Inlet
from feedgen.ingest.hosts import OLDEST, host_name, subscription_url
from feedgen.ingest.jetstream import Options, State
from feedgen.simnet.httpd import HttpServer, Request, Response
from feedgen.simnet.jetstream import HostOptions
from feedgen.simnet.websocket import accept_key, frame
from tests.ingest import wires
from tests.ingest.listening import NOW_US, QUICK, TestClock, like, likes, listening
from tests.simnet.wiretap import stage

HOUR_US = 3600 * US_PER_S
ALL = HostOptions(lookback_s=inf, segment_s=0)
LEGACY = HostOptions("legacy", lookback_s=inf)


def keys(first: int, last: int) -> list[str]:
    return [f"key{i}" for i in range(first, last + 1)]


@pytest.mark.parametrize(
    ("options", "wire", "spoken"),
    [(ALL, "auto", "v2"), (ALL, "v2", "v2"), (ALL, "v1", "v1"), (LEGACY, "auto", "v1"), (LEGACY, "v1", "v1")],
)
async def test_the_first_start_begins_at_the_oldest(
    tmp_path: Path, options: HostOptions, wire: str, spoken: str
) -> None:
    async with stage(likes(300)) as s, listening(tmp_path, await s.add(options), wire=wire) as h:
        await h.until_heard(300)
        assert h.rkeys == keys(1, 300)
        assert h.client.status.wire == spoken
        assert h.client.status.gaps_total == 0


@pytest.mark.parametrize("options", [HostOptions(), HostOptions("legacy")])
async def test_the_oldest_is_what_the_host_still_has(tmp_path: Path, options: HostOptions) -> None:
    """A clamped first start is what we asked for, not a gap."""
    async with stage(likes(50, step_us=HOUR_US)) as s, listening(tmp_path, await s.add(options)) as h:
        kept = 36 if options.flavour == "v2" else 24
        await h.until_heard(kept)
        assert h.rkeys == keys(51 - kept, 50)
        assert h.client.status.gaps_total == 0


async def test_compressed_frames_come_with_their_dictionary(tmp_path: Path) -> None:
    async with stage(likes(300)) as s, listening(tmp_path, await s.add(ALL)) as h:
        await h.until_heard(300)
        assert h.pieces[0].dictionary
        assert h.pieces[0].messages[0].startswith(b"\x28\xb5\x2f\xfd")
        [kept] = (tmp_path / "dictionaries").iterdir()
        assert kept.read_bytes() == h.pieces[0].dictionary


@pytest.mark.parametrize("options", [ALL, LEGACY])
async def test_starting_now(tmp_path: Path, options: HostOptions) -> None:
    async with stage(likes(300)) as s, listening(tmp_path, await s.add(options), start="now") as h:
        await h.until(lambda: bool(s.hosts[0].readers))
        s.history.append([like(301, NOW_US)])
        await h.until_heard(1)
        assert h.rkeys == keys(301, 301)


async def test_resuming_by_sequence_where_the_cursor_is_from(tmp_path: Path) -> None:
    events = likes(300)
    async with stage(events) as s:
        url = await s.add(ALL)
        at = Cursor(host_name(url), 200, events[199].time_us)
        async with listening(tmp_path, url, at=at) as h:
            await h.until_heard(101)
            assert h.rkeys == keys(200, 300)
            assert h.pieces[0].same_host


@pytest.mark.parametrize("options", [ALL, LEGACY])
async def test_resuming_elsewhere_by_a_rewound_time(tmp_path: Path, options: HostOptions) -> None:
    events = likes(300)
    async with stage(events) as s:
        at = Cursor("another.example.com", 5, events[199].time_us)
        async with listening(tmp_path, await s.add(options), at=at) as h:
            await h.until_heard(111)
            assert h.rkeys == keys(190, 300)
            assert not h.pieces[0].same_host
            assert h.client.status.gaps_total == 0


async def test_the_host_of_the_cursor_goes_first(tmp_path: Path) -> None:
    events = likes(30)
    async with stage(events) as s:
        other, ours = await s.add(ALL), await s.add(ALL)
        async with listening(tmp_path, other, ours, at=Cursor(host_name(ours), 20, events[19].time_us)) as h:
            await h.until_heard(11)
            assert h.client.status.host == host_name(ours)


@pytest.mark.parametrize(
    ("kind", "options", "reason"),
    [
        ("close", {}, "without a word"),
        ("close", {"code": 1001}, "shutting down"),
        ("close", {"code": 1008}, "1008"),
        ("close", {"code": 4000}, "4000"),
        ("error", {"name": "ConsumerTooSlow"}, "ConsumerTooSlow"),
    ],
)
@pytest.mark.parametrize("host", [ALL, LEGACY])
async def test_a_stream_that_ends_is_taken_up_again(
    tmp_path: Path, kind: str, options: dict[str, Any], reason: str, host: HostOptions, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "feedgen")
    async with stage(likes(300)) as s, listening(tmp_path, await s.add(host)) as h:
        await h.until_heard(300)
        s.faults.add(kind, "jetstream", **options)
        s.history.append(likes(20, first_seq=301, until_us=NOW_US + 20 * US_PER_S))
        await h.until(lambda: "key320" in h.rkeys)
        assert set(h.rkeys) == set(keys(1, 320))
        assert h.client.status.reconnects == 1
        assert h.client.status.gaps_total == 0
    ended = [r for r in caplog.records if r.message == "stream ended"]
    assert len(ended) == 1
    if host is ALL or kind == "close":  # the old wire has no error frames
        assert reason in str(vars(ended[0])["detail"])


async def test_a_stalled_stream_is_left(tmp_path: Path) -> None:
    """Also when the host still answers pings, as simnet does here."""
    async with stage(likes(300)) as s:
        options = Options(stall_s=0.4, ping_s=0.1, tick_s=0.02, backoff_s=0.02, max_backoff_s=0.1)
        async with listening(tmp_path, await s.add(ALL), options=options) as h:
            await h.until_heard(300)
            s.faults.add("stall", "jetstream", duration_s=0.8)
            s.history.append([like(301, NOW_US)])
            await h.until(lambda: "nothing came" in h.client.status.last_error)
            await h.until(lambda: "key301" in h.rkeys)


async def test_a_host_that_is_gone_is_noticed_by_its_missing_answers(tmp_path: Path) -> None:
    """A server that shakes hands and then neither sends nor reads."""
    options = Options(stall_s=60, ping_s=0.1, tick_s=0.02, backoff_s=0.02, max_backoff_s=0.1)
    async with talking(b"") as url, listening(tmp_path, url, wire="v1", options=options) as h:
        await h.until(lambda: "ping" in h.client.status.last_error)


@pytest.mark.parametrize(
    ("options", "by_seq", "reason"),
    [
        (HostOptions(), True, "refused as too old"),
        (HostOptions(), False, "began with what it still has"),
        (HostOptions("legacy"), False, "silently"),
    ],
)
async def test_a_cursor_that_is_too_old_is_a_gap(
    tmp_path: Path, options: HostOptions, by_seq: bool, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    events = likes(50, step_us=HOUR_US)
    async with stage(events) as s:
        url = await s.add(options)
        at = Cursor(host_name(url) if by_seq else "elsewhere", 3, events[2].time_us)
        async with listening(tmp_path, url, at=at) as h:
            kept = 36 if options.flavour == "v2" else 24
            await h.until_heard(kept)
            assert h.rkeys == keys(51 - kept, 50)
            await h.until(lambda: h.client.status.gaps_total > 0)
            [gap] = h.client.status.gaps
            assert (gap.from_us, gap.to_us) == (events[2].time_us, events[50 - kept].time_us)
            assert reason in gap.reason
    assert any(r.levelno == logging.ERROR and "missing" in r.message for r in caplog.records)


async def test_a_host_that_counts_anew_is_resumed_by_time(tmp_path: Path) -> None:
    events = likes(300)
    async with stage(events) as s:
        url = await s.add(ALL)
        at = Cursor(host_name(url), 90_000, events[249].time_us)
        async with listening(tmp_path, url, at=at) as h:
            await h.until(lambda: set(keys(240, 300)) <= set(h.rkeys))


async def test_a_host_that_counts_anew_without_saying_so_is_resumed_by_time(tmp_path: Path) -> None:
    """The old wire has no info frames: a first sequence below the one that was asked for is all there is to see."""
    events = likes(300)
    async with stage(events) as s:
        url = await s.add(ALL)
        at = Cursor(host_name(url), 90_000, events[249].time_us)
        async with listening(tmp_path, url, at=at, wire="v1") as h:
            await h.until(lambda: bool(s.hosts[0].readers))
            s.history.append([like(301, NOW_US)])
            await h.until(lambda: set(keys(240, 301)) <= set(h.rkeys))


@pytest.mark.parametrize("wire", ["v1", "v2"])
async def test_a_killed_host_may_use_sequences_twice(tmp_path: Path, wire: str) -> None:
    """After an end without a close frame the newest sequences may stand for other events: they are asked for again."""
    async with stage(likes(300)) as s, listening(tmp_path, await s.add(ALL), wire=wire) as h:
        await h.until_heard(300)
        await h.until(lambda: h.client.status.last_event_us >= NOW_US - US_PER_S)
        s.faults.add("jump", "jetstream", by=-20)
        s.faults.add("close", "jetstream")
        s.history.append(likes(40, first_seq=301, until_us=NOW_US + 40 * US_PER_S))
        await h.until(lambda: set(keys(301, 340)) <= set(h.rkeys))


async def test_an_end_with_a_close_frame_is_resumed_exactly(tmp_path: Path) -> None:
    async with stage(likes(300)) as s, listening(tmp_path, await s.add(ALL)) as h:
        await h.until_heard(300)
        await h.until(lambda: h.client.status.last_event_us >= NOW_US - US_PER_S)
        s.faults.add("close", "jetstream", code=1001)
        s.history.append([like(301, NOW_US)])
        await h.until(lambda: "key301" in h.rkeys)
        assert h.pieces[-1].same_host
        assert h.rkeys[300:] == ["key300", "key301"]


async def test_the_preferred_host_is_taken_again(tmp_path: Path) -> None:
    quick = replace(QUICK, prefer_after_s=0.1)
    async with stage(likes(30)) as s:
        first, second = await s.add(ALL), await s.add(LEGACY)
        s.faults.add("refuse", "jetstream/0", duration_s=60.0)
        async with listening(tmp_path, first, second, options=quick) as h:
            await h.until_heard(30)
            assert h.client.status.host == host_name(second)
            await asyncio.sleep(0.5)  # it is tried meanwhile, and the stream of the other goes on
            assert h.client.status.host == host_name(second)
            assert h.client.status.reconnects == 0
            s.faults.clear("jetstream/0")
            await h.until(lambda: h.client.status.host == host_name(first))
            s.history.append([like(31, NOW_US)])
            await h.until(lambda: "key31" in h.rkeys)
            assert h.client.status.gaps_total == 0


async def test_our_own_suspend_is_not_the_hosts_fault(tmp_path: Path) -> None:
    clock = TestClock()
    async with stage(likes(300)) as s:
        first, second = await s.add(ALL), await s.add(ALL)
        async with listening(tmp_path, first, second, clock=clock) as h:
            await h.until_heard(300)
            clock.sleep(3_600)
            await asyncio.sleep(0.3)
            assert (h.client.status.reconnects, h.client.status.last_error) == (0, "")
            for i in range(4):  # as often as it takes to give a host up
                clock.sleep(3_600)
                for reader in list(s.hosts[0].readers):
                    reader.cut()
                s.history.append([like(301 + i, NOW_US + i)])
                await h.until_heard(301 + i)
            assert h.client.status.failures == 0
            assert h.client.status.host == host_name(first)


async def test_messages_that_are_too_large_are_passed_over(tmp_path: Path) -> None:
    """In one frame or in many; a host that does not know `maxMessageSizeBytes` would send them with each connection."""
    small = [frame(wires.dump(wires.commit("v1", record=wires.like(), rkey=rkey))) for rkey in ("first", "last")]
    part = b"\x7f" + (1 << 20).to_bytes(8, "big") + bytes(1 << 20)
    in_parts = b"\x01" + part + b"\x00" + part + b"\x00" + part + b"\x80\x00"
    before = DROPPED.value("too_big")
    data = b"".join((small[0], frame(bytes(5_900_000)), in_parts, small[1]))
    async with talking(data) as url, listening(tmp_path, url, wire="v1") as h:
        await h.until_heard(2)
        assert h.rkeys == ["first", "last"]
        assert h.client.status.reconnects == 0
    assert DROPPED.value("too_big") == before + 2


@asynccontextmanager
async def talking(data: bytes) -> AsyncIterator[str]:
    """A server that shakes hands, sends this and stays."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(
            line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
        )
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        writer.write(f"Sec-WebSocket-Accept: {accept_key(key.decode())}\r\n\r\n".encode() + data)
        await gone.wait()
        writer.close()

    gone = asyncio.Event()
    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        gone.set()
        server.close()
        await server.wait_closed()


async def test_the_next_host_after_repeated_failures(tmp_path: Path) -> None:
    async with stage(likes(30)) as s:
        first, second = await s.add(ALL), await s.add(LEGACY)
        s.faults.add("refuse", "jetstream/0", duration_s=60.0)
        async with listening(tmp_path, first, second) as h:
            await h.until_heard(30)
            assert h.client.status.host == host_name(second)
            assert s.hosts[0].stats.accepted == 0


async def test_with_no_network_it_says_so_once_and_goes_on_trying(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "feedgen")
    async with stage(likes(30)) as s:
        url = await s.add(ALL)
        await s.servers[0].stop()
        async with listening(tmp_path, url) as h:
            await h.until(lambda: h.client.status.failures > 5)
            assert h.client.status.state in (State.WAITING, State.CONNECTING)
            warnings = [r for r in caplog.records if r.levelno >= logging.WARNING]
            assert [r.message for r in warnings] == ["Can't reach Jetstream; retrying."]
            server = HttpServer("jetstream/0", s.hosts[0].handle, s.faults, port=int(url.rsplit(":", 1)[1]))
            s.servers.append(server)
            await server.start()
            await h.until_heard(30)


async def test_backoff_grows_jittered_up_to_its_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await real_sleep(0)

    async with stage([]) as s:
        url = await s.add(ALL)
        await s.servers[0].stop()
        monkeypatch.setattr("feedgen.ingest.jetstream.asyncio.sleep", sleep)
        options = Options(backoff_s=1.0, max_backoff_s=20.0)
        async with listening(tmp_path, url, wire="v1", options=options) as h:
            while len(pauses) < 40:
                await real_sleep(0.005)
                assert not h.task.done()
        monkeypatch.undo()
    pauses = [p for p in pauses if p > 0.1]
    assert 0.5 <= pauses[0] <= 1.0
    assert 1.0 <= pauses[1] <= 2.0
    assert all(10 <= p <= 20 for p in pauses[6:])
    assert len(set(pauses)) == len(pauses)


async def test_a_full_inlet_stops_the_reading(tmp_path: Path) -> None:
    """However much the host has to tell, no more than the inlet and the socket's buffers hold is taken."""
    events = likes(60_000, step_us=1_000)
    inlet = Inlet(max_bytes=200_000)
    async with stage(events) as s, listening(tmp_path, await s.add(LEGACY), inlet=inlet) as h:
        while inlet.waiting_bytes < inlet.max_bytes:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert inlet.waiting_bytes < inlet.max_bytes + (1 << 20)
        taken = h.client.status.messages
        assert 0 < taken < 30_000
        await h.until(lambda: len(h.events) >= 60_000, timeout_s=20)
        assert h.rkeys == keys(1, 60_000)
        assert h.client.status.reconnects == 0


async def test_the_first_read_may_fill_the_inlet(tmp_path: Path) -> None:
    """Who is held is who is let go: at that moment nobody but the connection itself knows of it."""
    inlet, clock = Inlet(max_bytes=1), TestClock()
    async with stage(likes(5_000, step_us=1_000)) as s:
        url = subscription_url(await s.add(LEGACY), "v1", OLDEST, 0)
        transport, _ = await connect(
            url, lambda: Connection(inlet, clock, host="h", number=1), "feedgen", subprotocol=False
        )
        heard = 0
        async with asyncio.timeout(10):
            while heard < 5_000:
                if frames := inlet.take(0):
                    heard += len(frames.messages)
                await asyncio.sleep(0.001)
        transport.disconnect(False)


async def test_a_reader_that_is_too_slow_comes_back(tmp_path: Path) -> None:
    """A legacy host cuts it off without a word; everything is heard nevertheless."""
    inlet = Inlet(max_bytes=50_000)
    options = HostOptions("legacy", lookback_s=inf, outbox_events=2_000)
    async with stage(likes(100)) as s:
        url = await s.add(options, send_buffer_bytes=50_000)
        async with listening(tmp_path, url, inlet=inlet) as h:
            await h.until_heard(100)
            seq, time_us = 101, NOW_US
            while not s.hosts[0].stats.slow_closes:
                s.history.append(likes(1_000, first_seq=seq, until_us=time_us + 1_000_000, step_us=1_000))
                seq, time_us = seq + 1_000, time_us + 1_000_000
                await asyncio.sleep(0.01)
            await h.until(lambda: f"key{seq - 1}" in h.rkeys, timeout_s=20)
            assert set(h.rkeys) == set(keys(1, seq - 1))
            assert h.client.status.gaps_total == 0


async def test_corrupt_frames_do_not_end_the_stream(tmp_path: Path) -> None:
    async with stage(likes(300)) as s, listening(tmp_path, await s.add(ALL)) as h:
        await h.until_heard(300)
        for how in ("cut", "bytes", "type", "zstd"):
            s.faults.add("corrupt", "jetstream", how=how)
        s.history.append(likes(20, first_seq=301, until_us=NOW_US + 20 * US_PER_S))
        await h.until(lambda: "key320" in h.rkeys)
        assert h.client.status.reconnects == 0
        assert h.rkeys == [*keys(1, 300), *keys(305, 320)]


async def test_a_dictionary_that_the_host_retired_is_fetched_anew(tmp_path: Path) -> None:
    async with stage(likes(300)) as s:
        url = await s.add(ALL)
        async with listening(tmp_path, url) as h:
            await h.until_heard(300)
            monkey: Any = s.hosts[0].dictionary
            type(monkey).id, before = 5, monkey.id  # the host retires the dictionary that we hold
            try:
                s.faults.add("close", "jetstream")
                s.history.append([like(301, NOW_US)])
                await h.until(lambda: "UnknownZstdDictionary" in h.client.status.last_error)
            finally:
                type(monkey).id = before
            await h.until(lambda: "key301" in h.rkeys)


async def test_redirects_are_not_followed(tmp_path: Path) -> None:
    """The configured hosts are the only ones that may learn our address."""
    seen: list[str] = []

    async def away(request: Request) -> Response:
        seen.append(request.path)
        location = f"http://127.0.0.1:{server.url.rsplit(':', 1)[1]}/elsewhere"
        return Response(b"", 302, headers=(("location", location),))

    async with stage([]) as s:
        server = HttpServer("elsewhere", away, s.faults)
        await server.start()
        s.servers.append(server)
        async with listening(tmp_path, server.url.replace("http", "ws"), wire="v1") as h:
            await h.until(lambda: h.client.status.failures > 2)
    assert set(seen) == {"/subscribe"}


async def test_our_own_bug_ends_the_client(tmp_path: Path) -> None:
    class Broken(Inlet):
        def put(self, frames: Frames, on_room: Any = None) -> bool:
            raise ZeroDivisionError("our own bug")

    async with stage(likes(10)) as s, listening(tmp_path, await s.add(LEGACY), inlet=Broken()) as h:
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(asyncio.shield(h.task), 5)


async def test_status_tells_how_it_goes(tmp_path: Path) -> None:
    async with stage(likes(300, until_us=NOW_US - HOUR_US)) as s, listening(tmp_path, await s.add(ALL)) as h:
        await h.until_heard(300)
        status = h.client.status
        await h.until(lambda: status.messages >= 300 and status.last_event_us > 0)
        assert status.state is State.CATCHING_UP
        assert 3_600 <= status.lag_s < 3_700
        assert status.events_s > 0
        s.history.append(likes(5, first_seq=301, until_us=NOW_US))
        await h.until(lambda: status.state is State.LIVE)
        assert status.lag_s < 10


async def test_a_live_socket_is_read_now_and_then(tmp_path: Path) -> None:
    """Many small messages, few wake-ups; and none is late by more than the pause."""
    async with stage(likes(3, until_us=NOW_US)) as s, listening(tmp_path, await s.add(LEGACY)) as h:
        await h.until(lambda: h.client.status.state is State.LIVE)
        await asyncio.sleep(0.1)
        before = len(h.pieces)
        for i in range(100):
            s.history.append([like(4 + i, NOW_US + i * 5_000)])
            await asyncio.sleep(0.005)
        await h.until(lambda: "key103" in h.rkeys)
        assert len(h.pieces) - before < 30


async def test_catching_up_brings_many_with_each_read(tmp_path: Path) -> None:
    """Hosts write each event by itself, and a wake-up for each would cost more than the events."""
    old = likes(3_000, until_us=NOW_US - HOUR_US)
    async with stage(old) as s, listening(tmp_path, await s.add(replace(ALL, max_rate=5_000.0))) as h:
        await h.until_heard(3_000)
        assert h.client.status.state is State.CATCHING_UP
        assert h.reads < 150


async def test_a_burst_in_the_live_stream_is_not_put_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause is for little that comes; while more waits there is none."""
    holds: list[str] = []
    hold = Connection._hold

    def noting(connection: Connection, why: str) -> None:
        holds.append(why)
        hold(connection, why)

    monkeypatch.setattr(Connection, "_hold", noting)
    async with stage(likes(3, until_us=NOW_US)) as s, listening(tmp_path, await s.add(LEGACY)) as h:
        await h.until(lambda: h.client.status.state is State.LIVE)
        holds.clear()
        s.history.append(likes(6_000, first_seq=4, until_us=NOW_US + US_PER_S))
        await h.until(lambda: "key6003" in h.rkeys)
    assert holds.count("turn") > holds.count("pace")


async def test_much_is_read_in_small_pieces(tmp_path: Path) -> None:
    """So that pages have their turn in between, however much waits in the socket."""
    sizes: list[int] = []

    class Noting(Inlet):
        def put(self, frames: Frames, on_room: Any = None) -> bool:
            sizes.append(frames.bytes)
            return super().put(frames, on_room)

    async with stage(likes(40_000, until_us=NOW_US - HOUR_US)) as s:
        url = await s.add(LEGACY)
        async with listening(tmp_path, url, inlet=Noting()) as h:
            await h.until(lambda: sum(sizes) > 8_000_000)
    assert max(sizes) <= 2 * READ_BYTES  # and what was left of a message before


async def test_cancelling_closes_the_socket(tmp_path: Path) -> None:
    async with stage(likes(3)) as s, listening(tmp_path, await s.add(LEGACY), options=QUICK) as h:
        await h.until_heard(3)
        h.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await h.task
        async with asyncio.timeout(5):
            while s.hosts[0].readers:
                await asyncio.sleep(0.01)
