"""One subscriber of a Jetstream host: a position in the history, a filter, and a socket.

There is no queue: a subscriber that reads slowly moves on slowly. Frames are taken from the history's shared, encoded
chunks and written one by one, as the real hosts do: a reader gets a few of them with each read.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from feedgen.simnet import websocket, wire
from feedgen.simnet.faults import Fault
from feedgen.simnet.filters import BadRequest, Filter, make_filter
from feedgen.simnet.history import CHUNK_EVENTS
from feedgen.simnet.httpd import Connection
from feedgen.simnet.records import SimEvent

if TYPE_CHECKING:
    from feedgen.simnet.jetstream import Flood, JetstreamHost, Start

LIVE_EVENTS: Final = 256  # written at once near the tip, so that an outbox is measured finely
REPEAT_EVENTS: Final = 100
REORDER_EVENTS: Final = 5_000
INFO_ALONE_S: Final = 0.02  # before the first event: a reader may get the info frame in a read of its own
MAX_BUFFERED_BYTES: Final = 64 << 10
MAX_RKEY_BYTES: Final = 255  # v2 hosts leave out records with longer keys
_SLEEP_S: Final = 0.005  # shorter sleeps are not honoured anyway


def info_frame(name: str, message: str) -> bytes:
    """The v2 wire's advice that is not an event."""
    payload = {"$type": "network.bsky.jetstream.subscribeEvents#info", "name": name, "message": message}
    return msgspec.json.encode({"$type": "message", "payload": payload})


class _Gone(Exception):
    """This reader is finished; nothing more is to be sent."""


@dataclass(slots=True, eq=False)
class Subscriber:
    """One subscriber: a position in the history, and a socket."""

    host: JetstreamHost
    v2: bool
    zstd: bool
    filter: Filter
    start: Start
    hello: bool = False
    cursor: str = ""
    position: int = 0
    live: bool = False
    _connection: Connection = field(init=False)
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _pinged: int = 0
    _answered: int = 0  # up to which ping
    _debt_s: float = 0.0

    async def run(self, connection: Connection) -> None:
        self._connection = connection
        self.position = self.start.ordinal
        self.live = not self.cursor and self.host.history.complete.is_set()
        if not self.hello:
            self._ready.set()
        host = self.host
        host.readers.add(self)
        host.stats.readers += 1
        tasks = [asyncio.ensure_future(part) for part in (self._listen(), self._ping(), self._pour())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            host.readers.discard(self)
            host.stats.readers -= 1
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, _Gone | ConnectionError):
                connection.abort()
                raise result

    def cut(self) -> None:
        self._connection.abort()

    def cut_as_slow(self) -> None:
        self.host.stats.slow_closes += 1
        self.cut()

    async def close(self, code: int, reason: str = "") -> None:
        with contextlib.suppress(ConnectionError, TimeoutError):
            await asyncio.wait_for(self._connection.send(websocket.close_frame(code, reason)), 1)
        self._connection.writer.close()

    async def _listen(self) -> None:
        frames = websocket.FrameReader()
        while data := await self._connection.reader.read(65536):
            try:
                for frame in frames.feed(data):
                    await self._heard(frame)
            except websocket.ProtocolError as broken:
                await self.close(broken.code, str(broken))
                raise _Gone from None
        raise _Gone

    async def _heard(self, frame: websocket.Frame) -> None:
        if frame.opcode == websocket.CLOSE:
            await self._connection.send(websocket.frame(frame.payload[:2], websocket.CLOSE))
            self._connection.writer.close()
            raise _Gone
        if frame.opcode == websocket.PING:
            await self._connection.send(websocket.frame(frame.payload, websocket.PONG))
        elif frame.opcode == websocket.PONG:
            self._answered = self._pinged
        elif frame.opcode in (websocket.TEXT, websocket.BINARY):
            if self.v2:
                raise websocket.ProtocolError(websocket.POLICY_VIOLATION, "this stream takes no messages")
            self._update(frame.payload)

    def _update(self, payload: bytes) -> None:
        """An options_update: the v1 wire lets a reader change its filter on the way."""
        try:
            message = msgspec.json.decode(payload, type=_Message)
            if message.type != "options_update":
                return
            options = message.payload
            self.filter = make_filter(
                options.wantedCollections or [], options.wantedDids or [], options.maxMessageSizeBytes
            )
        except (msgspec.DecodeError, BadRequest) as bad:
            raise websocket.ProtocolError(websocket.POLICY_VIOLATION, f"invalid options_update: {bad}") from None
        self._ready.set()

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(self.host.options.ping_s)
            await self.host.faults.hold(self.host.name)
            self._pinged += 1
            await self._connection.send(websocket.frame(b"", websocket.PING))
            if self.host.pong_timeout_s:
                loop = asyncio.get_running_loop()
                loop.call_later(self.host.pong_timeout_s, self._check_pong, self._pinged)

    def _check_pong(self, number: int) -> None:
        if self._answered < number and self in self.host.readers:
            self.cut_as_slow()

    async def _in_time(self, wait: Awaitable[object], timeout_s: float) -> None:
        try:
            await asyncio.wait_for(wait, timeout_s)
        except TimeoutError:
            self.cut_as_slow()
            raise _Gone from None

    async def _write(self, data: bytes | memoryview) -> None:
        """Events, within the time that a reader may block a write."""
        writer = self._connection.writer
        if writer.transport.is_closing():
            raise _Gone
        writer.write(data)
        if writer.transport.get_write_buffer_size() > MAX_BUFFERED_BYTES:
            await self._in_time(writer.drain(), self.host.write_timeout_s)

    async def _write_each(self, frames: Iterable[bytes | memoryview]) -> None:
        for frame in frames:
            if frame:
                await self._write(frame)
                await asyncio.sleep(0)  # or the event loop would write several at once
                await self._pace(1, self.host.options.max_rate)

    async def _pour(self) -> None:
        await self._ready.wait()
        if self.host.flood is not None:
            return await self._pour_flood(self.host.flood)
        history = self.host.history
        await self._settle()
        while True:
            if self.position < history.tip:
                self.position = max(self.position, history.floor)
                await self._pour_piece()
                continue
            self.live = history.complete.is_set()
            await history.changed()
            if self.host.faults.any(self.host.name):
                await self._end_if_told()

    async def _settle(self) -> None:
        """Wait for the past to be told: until then there is no live tip to begin at."""
        history = self.host.history
        if not history.complete.is_set() and self.position >= history.tip:
            await history.complete.wait()
            self.start = self.host.resolve(self.cursor, False)
            self.position = self.start.ordinal
        if self.start.info:
            name, message = self.start.info
            await self._connection.send(self._frame(info_frame(name, message)))
            await asyncio.sleep(INFO_ALONE_S)

    async def _pour_piece(self) -> None:
        """Write the rest of the current chunk, or a piece of it."""
        host, history = self.host, self.host.history
        number, offset = divmod(self.position, CHUNK_EVENTS)
        wrong = host.faults.any(host.name)
        frames = history.encoded(number, self._key(), self._encode)
        end = len(frames)
        if self.live or host.options.max_rate or wrong:
            end = min(end, offset + LIVE_EVENTS)
        if wrong:
            return await self._pour_wrong(number, offset, end)
        piece = frames[offset:end]
        self.position += end - offset
        host.stats.events += end - offset
        host.stats.bytes += sum(map(len, piece))
        if host.options.batched:
            await self._write(b"".join(piece))
            await self._pace(end - offset, host.options.max_rate)
        else:
            await self._write_each(piece)

    async def _pour_wrong(self, number: int, offset: int, end: int) -> None:
        """The same one event at a time, with what goes wrong on the way."""
        host, faults, name = self.host, self.host.faults, self.host.name
        at = offset
        while at < end and faults.any(name):
            await faults.hold(name)
            event = host.history.chunk_events(number)[at]
            if not self.filter.wants(event):
                at += 1
                self.position += 1
                continue
            await self._end_if_told()
            if fault := faults.take("repeat", name):
                await self._connection.send(self._again(int(fault.option("events", REPEAT_EVENTS))))
            taken = 1
            if faults.take("drop", name):
                data = b""
            elif faults.take("reorder", name):
                data, taken = self._shuffled(event.time_us // 1_000_000)
            else:
                data = b"".join(self._encode([event]))
                if fault := faults.take("corrupt", name):
                    data = self._broken(self._payload(event), fault)
            at += taken
            self.position += taken
            host.stats.events += taken
            if data:
                await self._connection.send(data)
            if fault := faults.active("slow", name):
                await self._pace(taken, fault.option("rate", 100.0))

    async def _end_if_told(self) -> None:
        faults, name = self.host.faults, self.host.name
        if fault := faults.take("close", name):
            await self._end(int(fault.option("code", 0)))
        if fault := faults.take("error", name):
            if self.v2:  # v1 has no such frame
                error = wire.v2_error(fault.text("name", "ConsumerTooSlow"), "an error on command")
                await self._connection.send(self._frame(error))
            await self._end(1000 if self.v2 else 0)

    async def _end(self, code: int) -> None:
        if code:
            await self.close(code, "on command")
        else:
            self.cut()
        raise _Gone

    async def _pace(self, events: int, rate: float) -> None:
        if rate <= 0:
            return
        self._debt_s += events / rate
        if self._debt_s >= _SLEEP_S:
            started = asyncio.get_running_loop().time()
            await asyncio.sleep(self._debt_s)
            self._debt_s -= asyncio.get_running_loop().time() - started

    def _again(self, events: int) -> bytes:
        """The events before the current position, encoded once more."""
        first = max(self.host.history.floor, self.position - events)
        return b"".join(b"".join(self._encode([self.host.history.event(i)])) for i in range(first, self.position))

    def _shuffled(self, second: int) -> tuple[bytes, int]:
        """All events of a second, newest first; and how many there were."""
        history = self.host.history
        events: list[SimEvent] = []
        while len(events) < REORDER_EVENTS and self.position + len(events) < history.tip:
            event = history.event(self.position + len(events))
            if event.time_us // 1_000_000 != second:
                break
            events.append(event)
        return b"".join(self._encode(list(reversed(events)))), len(events)

    def _broken(self, payload: bytes, fault: Fault) -> bytes:
        how = fault.text("how", "cut")
        if how == "bytes":
            return self._frame(payload[: len(payload) // 2] + b"\xff\xfe\x00" + payload[len(payload) // 2 :])
        if how == "type":
            return self._frame(b'{"$type":7,"payload":[],"did":7,"time_us":"x","kind":{},"commit":null}')
        if how == "zstd":
            return websocket.frame(b"\x28\xb5\x2f\xfd\xff" + payload[:50], websocket.BINARY)
        return self._frame(payload[: len(payload) // 2])

    def _key(self) -> tuple[Any, ...]:
        numbering = self.host.epoch if self.v2 or self.host.v2 else ()
        return (self.v2, self.zstd, self.host.v2, numbering, self.filter)

    def _payload(self, event: SimEvent) -> bytes:
        host = self.host
        if host.v2 and (seq := host.seq(event.seq)) != event.seq:
            event = msgspec.structs.replace(event, seq=seq)
        return wire.v2(event) if self.v2 else wire.v1(event, host.v2) or b""

    def _frame(self, payload: bytes) -> bytes:
        if self.zstd:
            return websocket.frame(self.host.dictionary.compress(payload), websocket.BINARY)
        return websocket.frame(payload)

    def _encode(self, events: Sequence[SimEvent]) -> list[bytes]:
        wants = None if self.filter.everything else self.filter.wants
        max_bytes = self.filter.max_bytes
        frames = []
        for event in events:
            if (wants is not None and not wants(event)) or (self.host.v2 and len(event.rkey) > MAX_RKEY_BYTES):
                frames.append(b"")
                continue
            payload = self._payload(event)
            frames.append(b"" if not payload or 0 < max_bytes < len(payload) else self._frame(payload))
        return frames

    async def _pour_flood(self, flood: Flood) -> None:
        host = self.host
        cursor = int(self.cursor) if self.cursor else None
        async for events, data in flood.chunks(v2=self.v2, cursor_frames=host.v2, zstd=self.zstd, cursor=cursor):
            await host.faults.hold(host.name)
            await self._end_if_told()
            host.stats.events += events
            host.stats.bytes += len(data)
            if host.options.batched:
                await self._write(data)
                await self._pace(events, host.options.max_rate)
            else:
                await self._write_each(websocket.split(data))
        await asyncio.Event().wait()  # all was told; the stream stays open


class _Options(msgspec.Struct):
    wantedCollections: list[str] | None = None
    wantedDids: list[str] | None = None
    maxMessageSizeBytes: int = 0


class _Message(msgspec.Struct):
    type: str
    payload: _Options = msgspec.field(default_factory=_Options)
