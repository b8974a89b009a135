"""One labeler on a real socket: it goes on where it was, whatever the labeler, the network or the disk does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from feedgen.core.cbor import Value
from feedgen.core.errors import StoreFull
from feedgen.ingest import labeler as module
from feedgen.ingest.labeler import Labeler, ended, heard
from feedgen.ingest.labels import MAX_FRAME_BYTES, Label
from feedgen.simnet import websocket
from feedgen.simnet.faults import Faults
from feedgen.simnet.httpd import Connection, HttpServer, Request, Response, Upgrade
from feedgen.simnet.labels import LABELER, LabelStream

POSTS = [f"at://did:plc:{'a' * 24}/app.bsky.feed.post/3kpost{n:07d}" for n in range(3000)]


class Kept:
    """Whoever keeps what comes: a list, a cursor, and a disk that may be full or slow."""

    def __init__(self, seq: int | None = None) -> None:
        self.labels: list[Label] = []
        self.batches: list[int] = []
        self.seq = seq
        self.full = False
        self.refused = 0
        self.hold: asyncio.Event | None = None

    @property
    def subjects(self) -> list[str]:
        return [label.subject for label in self.labels]

    async def keep(self, url: str, labels: list[Label], seq: int) -> None:
        if self.hold is not None:
            await self.hold.wait()
        if self.full:
            self.refused += 1
            raise StoreFull("full")
        self.labels += labels
        self.batches.append(len(labels))
        self.seq = seq

    async def resume(self, url: str) -> int | None:
        return self.seq


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not look():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(handler: Callable[[Request], object], port: int = 0) -> AsyncIterator[HttpServer]:
    server = HttpServer("labeler", handler, Faults(), port=port)  # type: ignore[arg-type]
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def listening(url: str, kept: Kept, first: int | None = 0) -> AsyncIterator[Labeler]:
    labeler = Labeler(url.replace("http://", "ws://"), kept.keep, kept.resume, first, backoff_s=0.01)
    task = asyncio.create_task(labeler.run())
    try:
        yield labeler
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def put(stream: LabelStream, *numbers: int) -> None:
    for n in numbers:
        stream.put(POSTS[n], "porn")


async def test_from_the_oldest_and_on_from_where_it_was() -> None:
    stream, kept = LabelStream(), Kept()
    put(stream, 0, 1)
    async with serving(stream.handle) as server:
        async with listening(server.url, kept) as labeler:
            await until(lambda: kept.seq == 2)
            assert labeler.live and kept.labels[0] == Label(LABELER, POSTS[0], "porn", False, 0)
            stream.cut()
            put(stream, 2)
            await until(lambda: kept.seq == 3)
        put(stream, 3)
        async with listening(server.url, kept):
            await until(lambda: kept.seq == 4)
        stream.stop()
    assert kept.subjects == POSTS[:4]
    assert stream.cursors == ["0", "2", "3"]


async def test_from_now_on_when_it_never_listened() -> None:
    stream, kept = LabelStream(), Kept()
    put(stream, 0)
    async with serving(stream.handle) as server, listening(server.url, kept, first=None):
        await until(lambda: stream._readers)
        put(stream, 1)
        await until(lambda: kept.seq == 2)
        stream.stop()
    assert kept.subjects == [POSTS[1]] and stream.cursors[0] == ""


async def test_what_a_full_disk_refused_is_heard_again() -> None:
    stream, kept = LabelStream(), Kept(seq=0)
    kept.full = True
    put(stream, 0, 1)
    async with serving(stream.handle) as server, listening(server.url, kept):
        await until(lambda: kept.refused > 2)
        put(stream, 2)
        kept.full = False
        await until(lambda: kept.seq == 3)
        stream.stop()
    assert kept.subjects == POSTS[:3]


async def test_a_labeler_that_counts_anew_is_heard_from_now_on() -> None:
    stream, kept = LabelStream(), Kept(seq=900)
    put(stream, 0)
    async with serving(stream.handle) as server, listening(server.url, kept):
        await until(lambda: stream.cursors == ["900", ""])
        await until(lambda: stream._readers)
        put(stream, 1)
        await until(lambda: kept.seq == 2)
        stream.stop()
    assert kept.subjects == [POSTS[1]]


async def test_odd_frames_cost_no_label() -> None:
    stream, kept = LabelStream(), Kept()
    unreadable, ignored = heard.value("unreadable frame"), heard.value("ignored")
    odd: list[tuple[Value, Value]] = [
        (5, 5),
        ({"op": 1, "t": "#unknown"}, {}),
        ({"op": 1, "t": "#labels"}, {"seq": -1}),
    ]
    for header, body in odd:
        stream.tell(header, body)
    stream.tell({"op": 1, "t": "#info"}, {"name": "OutdatedCursor", "message": "too old"})
    stream.tell({"op": 1, "t": "#labels"}, {"seq": 5, "labels": [5]})
    put(stream, 0)
    async with serving(stream.handle) as server, listening(server.url, kept):
        await until(lambda: kept.seq == 6)
        stream.stop()
    assert kept.subjects == POSTS[:1] and stream.cursors == ["0"]
    assert (heard.value("unreadable frame"), heard.value("ignored")) == (unreadable + 3, ignored + 1)


async def test_many_labels_are_kept_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BATCH", 100)
    stream, kept = LabelStream(), Kept()
    put(stream, *range(1000))
    async with serving(stream.handle) as server, listening(server.url, kept):
        await until(lambda: kept.seq == 1000)
        stream.stop()
    assert kept.subjects == POSTS[:1000] and max(kept.batches) <= 100


async def test_a_slow_disk_slows_the_labeler_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits in memory is bounded; the rest waits in the network, and comes."""
    monkeypatch.setattr(module, "MAX_WAITING", 20)
    most = 0

    class Counting(module._Socket):
        def on_ws_frame(self, transport: object, frame: object) -> None:
            nonlocal most
            super().on_ws_frame(transport, frame)  # type: ignore[arg-type]
            most = max(most, len(self._waiting))

    monkeypatch.setattr(module, "_Socket", Counting)
    stream, kept = LabelStream(), Kept()
    kept.hold = asyncio.Event()
    total = 2500
    body: Value = {"seq": 1, "labels": [{"src": LABELER, "uri": POSTS[0], "val": "x" * 128, "pad": "x" * 20_000}]}
    for n in range(total):
        assert isinstance(body, dict)
        stream.tell({"op": 1, "t": "#labels"}, {**body, "seq": n + 1})
    async with serving(stream.handle) as server, listening(server.url, kept):
        await until(lambda: most >= 20)
        for _ in range(20):
            await asyncio.sleep(0.01)
        # One read of the socket may bring some more than asked for, never all 50 MB.
        assert most < total // 4
        kept.hold.set()
        await until(lambda: kept.seq == total)
        stream.stop()
    assert len(kept.labels) == total


@pytest.mark.parametrize("what", ["refused", "redirect", "too large", "silent"])
async def test_hosts_that_are_no_labeler(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again after a while, and nobody else is asked in their place."""
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.3)
    asked: list[str] = []
    elsewhere = LabelStream()

    async def handle(request: Request) -> Response | Upgrade:
        asked.append(request.path)
        if what == "refused":
            return Response(b"no", 403)
        if what == "redirect":
            return Response(b"", 302, headers=(("Location", f"{other.url}{module.PATH}"),))
        if what == "silent":
            await asyncio.sleep(30)
        headers = (
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", websocket.accept_key(request.headers["sec-websocket-key"])),
        )

        async def run(connection: Connection) -> None:
            await connection.send(websocket.frame(b"x" * (MAX_FRAME_BYTES + 1), websocket.BINARY))
            await connection.reader.read()

        return Upgrade(headers, run)

    kept, before = Kept(), ended.value()
    async with serving(elsewhere.handle) as other, serving(handle) as server, listening(server.url, kept) as labeler:
        await until(lambda: len(asked) >= 3 and ended.value() >= before + 2)
        assert not kept.labels and (not labeler.live or what == "too large")
    assert not elsewhere.cursors


async def test_a_labeler_that_is_not_there_yet(caplog: pytest.LogCaptureFixture) -> None:
    stream, kept = LabelStream(), Kept()
    put(stream, 0)
    async with serving(stream.handle) as gone:
        url, port = gone.url, int(gone.url.rpartition(":")[2])
    async with listening(url, kept):
        await until(lambda: "can't be heard" in caplog.text)
        async with serving(stream.handle, port=port):
            await until(lambda: kept.seq == 1)
            stream.stop()
    assert kept.subjects == POSTS[:1]
