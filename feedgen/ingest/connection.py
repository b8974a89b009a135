"""One websocket: messages gathered into Frames, and the socket left unread while nobody needs it.

Three things hold the reading. A full inlet does, so that a slow disk slows the sender down instead of filling memory.
So does a pause after each small piece: half a second while the stream is live, some milliseconds while we catch up.
Then a wake-up of the event loop brings hundreds of messages instead of one, for a sixth of the CPU (scripts/bench
websocket). And when much waits in the socket, it is read in pieces, with a turn for others in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

import picows

from feedgen.core.clock import Clock
from feedgen.ingest.events import MAX_FRAME_BYTES, TOO_BIG
from feedgen.ingest.frames import DROPPED, Frames, Inlet

READ_EVERY_S: Final = 0.5  # of a live stream that nobody else listens to (tap.py)
CATCH_UP_EVERY_S: Final = 0.05  # of an older one: hosts write each event by itself, and few at once cost more
READ_BUFFER_BYTES: Final = 256 << 10
READ_BYTES: Final = 128 << 10  # at a time: five hundred messages, a millisecond's work
HEAD_MESSAGES: Final = 50  # the first of a connection, kept to be looked at
MAX_WIRE_BYTES: Final = 32 << 20  # the largest frame a host may send; above MAX_FRAME_BYTES it is read and dropped
CONNECT_TIMEOUT_S: Final = 15.0
SUBPROTOCOL: Final = "xrpc.v1.json"

_TEXT, _BINARY, _CONTINUATION = picows.WSMsgType.TEXT, picows.WSMsgType.BINARY, picows.WSMsgType.CONTINUATION
_CLOSE = picows.WSMsgType.CLOSE


class _Sips(asyncio.BufferedProtocol):
    """Reads little at a time. picows doubles its buffer whenever a read fills it: while we catch up, a single read
    brought megabytes, and pages waited until they were cut into messages.
    """

    def __init__(self, inner: asyncio.BufferedProtocol) -> None:
        self._inner = inner
        self.buffer_updated = inner.buffer_updated  # type: ignore[method-assign]
        self.connection_lost = inner.connection_lost  # type: ignore[method-assign]
        self.eof_received = inner.eof_received  # type: ignore[method-assign]
        self.pause_writing = inner.pause_writing  # type: ignore[method-assign]
        self.resume_writing = inner.resume_writing  # type: ignore[method-assign]

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._inner.get_buffer(sizehint))[:READ_BYTES]


class Connection(picows.WSListener):
    """The listening end. `live` may be changed at any time; `head` and `last` are messages for others to look at.

    `asked_seq` is the sequence that the host was asked to begin with, 0 if it was asked by time.
    """

    def __init__(
        self,
        inlet: Inlet,
        clock: Clock,
        *,
        host: str,
        number: int,
        dictionary: bytes | None = None,
        same_host: bool = False,
        asked_seq: int = 0,
        live: bool = False,
        live_every_s: Callable[[], float] = lambda: READ_EVERY_S,
    ) -> None:
        self.host, self.number, self.dictionary, self.same_host = host, number, dictionary, same_host
        self.asked_seq, self.live, self._live_every_s = asked_seq, live, live_every_s
        self.messages = 0
        self.bytes = 0
        self.head: list[bytes] = []
        self.last: Frames | None = None
        self.last_us = 0  # when it arrived, by the wall clock
        self.heard_s = self.alive_s = clock.monotonic_s()  # the last message; the last sign of life
        self.close_code = 0  # what the server said on leaving; 0: nothing
        self.close_reason = ""
        self._inlet, self._clock = inlet, clock
        self._loop = asyncio.get_running_loop()
        self._transport: picows.WSTransport | None = None
        self._piece: list[bytes] = []
        self._parts: list[bytes] = []  # of a fragmented message
        self._parts_bytes = 0
        self._holds: set[str] = set()

    @property
    def held(self) -> bool:
        """Waiting for our own side: silence is not the server's fault."""
        return "full" in self._holds

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport
        beneath = transport.underlying_transport
        beneath.set_protocol(_Sips(cast(asyncio.BufferedProtocol, beneath.get_protocol())))

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        kind = frame.msg_type
        if kind in (_TEXT, _BINARY):
            if frame.fin and frame.payload_size <= MAX_FRAME_BYTES:
                self._piece.append(frame.get_payload_as_bytes())
            else:
                self._parts, self._parts_bytes = [], 0
                self._continue(frame)
        elif kind == _CONTINUATION:
            self._continue(frame)
        elif kind == _CLOSE:
            self._closed(transport, frame)
        if frame.last_in_buffer:
            self._flush()

    def _closed(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        payload = frame.get_payload_as_bytes()
        self.close_code = int.from_bytes(payload[:2], "big") or 1005
        self.close_reason = payload[2:200].decode("utf-8", "replace")
        transport.send_close()
        transport.disconnect()

    def _continue(self, frame: picows.WSFrame) -> None:
        """A message of several frames, or one that is too large: that is passed over, or each new connection would
        meet it again.
        """
        self._parts_bytes += frame.payload_size
        if self._parts_bytes <= MAX_FRAME_BYTES:
            self._parts.append(frame.get_payload_as_bytes())
        elif frame.fin:
            DROPPED.add(1, TOO_BIG.reason)
        if frame.fin and self._parts_bytes <= MAX_FRAME_BYTES:
            self._piece.append(b"".join(self._parts))
        if frame.fin or self._parts_bytes > MAX_FRAME_BYTES:
            self._parts = []

    def _flush(self) -> None:
        """All that one read brought, as one piece."""
        messages = self._piece
        self.alive_s = self._clock.monotonic_s()
        if not messages:
            return
        self.heard_s = self.alive_s
        self._piece = []
        size = sum(map(len, messages))
        frames = Frames(self.host, self.number, messages, self.dictionary, self.same_host, size)
        self.messages += len(messages)
        self.bytes += size
        if len(self.head) < HEAD_MESSAGES:
            self.head += messages[: HEAD_MESSAGES - len(self.head)]
        self.last, self.last_us = frames, self._clock.now_us()
        if not self._inlet.put(frames, self._there_is_room):
            self._hold("full")
        elif size < READ_BYTES // 2:  # else more is waiting
            self._hold("pace")
            self._loop.call_later(self._live_every_s() if self.live else CATCH_UP_EVERY_S, self._release, "pace")
        else:
            self._hold("turn")
            self._loop.call_soon(self._release, "turn")

    def _there_is_room(self) -> None:
        """From any thread: the inlet is not full any more."""
        self._loop.call_soon_threadsafe(self._release, "full")

    def ping(self) -> None:
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.send_ping()

    def _hold(self, why: str) -> None:
        if not self._holds and self._transport is not None:
            self._transport.underlying_transport.pause_reading()
        self._holds.add(why)

    def _release(self, why: str) -> None:
        if why not in self._holds:
            return
        self._holds.discard(why)
        transport = self._transport
        if not self._holds and transport is not None and not transport.is_disconnected:
            if why == "full":
                self.heard_s = self.alive_s = self._clock.monotonic_s()
            transport.underlying_transport.resume_reading()


async def connect(
    url: str, make: Callable[[], Connection], user_agent: str, subprotocol: bool
) -> tuple[picows.WSTransport, Connection]:
    """OSError, TimeoutError or picows.WSError when there is no connection to be had."""
    headers = {"User-Agent": user_agent}
    if subprotocol:
        headers["Sec-WebSocket-Protocol"] = SUBPROTOCOL
    connections: list[Connection] = []

    def factory() -> Connection:
        connections.append(make())
        return connections[-1]

    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        transport, _ = await picows.ws_connect(
            factory,
            url,
            websocket_handshake_timeout=CONNECT_TIMEOUT_S,
            max_frame_size=MAX_WIRE_BYTES,
            max_redirects=0,  # nobody but the configured hosts is spoken to
            extra_headers=headers,
            read_buffer_init_size=READ_BUFFER_BYTES,
        )
    return transport, connections[-1]
