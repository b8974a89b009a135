"""One labeler, listened to for ever: a websocket, a bounded queue, and whoever keeps what comes.

The socket is not read while the queue is full, so a slow disk slows the labeler down instead of filling memory.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

import picows

from feedgen.core.errors import StoreError
from feedgen.core.telemetry import Counter
from feedgen.ingest.labels import MAX_FRAME_BYTES, Label, LabelFrame, Told, decode

PATH: Final = "/xrpc/com.atproto.label.subscribeLabels"
MAX_WAITING: Final = 500  # frames; from here on the socket is not read
MAX_BATCH: Final = 2_000  # labels kept together
CONNECT_TIMEOUT_S: Final = 15.0
IDLE_S: Final = 30.0  # without a word, then a ping
REPLY_S: Final = 20.0
BACKOFF_S: Final = 1.0
MAX_BACKOFF_S: Final = 120.0

heard = Counter("feedgen_labels_total", "Labels heard, by what became of them", "what")
ended = Counter("feedgen_labelers_ended_total", "Streams and attempts that ended")

log = logging.getLogger(__name__)

# (the stream's name, labels in order, the newest sequence)
Keep = Callable[[str, list[Label], int], Awaitable[None]]
# the stream's newest sequence; None: nothing was heard yet
Resume = Callable[[str], Awaitable[int | None]]


class Labeler:
    """`run` listens until it is cancelled. `first` is where the very first start begins: 0 is the oldest, None now."""

    def __init__(
        self,
        url: str,
        keep: Keep,
        resume: Resume,
        first: int | None,
        backoff_s: float = BACKOFF_S,
        rng: random.Random | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.host = urlsplit(url).netloc
        self._keep, self._resume, self._first = keep, resume, first
        self._backoff_s, self._random = backoff_s, rng or random.Random()
        self._batch: list[Label] = []
        self._seq = -1
        self._forget_cursor = False
        self.live = False

    async def run(self) -> None:
        failures = 0
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._listen()
                reason = "it ended"
            except (OSError, TimeoutError, picows.WSError, StoreError) as error:
                reason = f"{type(error).__name__}: {error}"[:200]
            self.live = False
            ended.add(1)
            failures = 0 if asyncio.get_running_loop().time() - began > MAX_BACKOFF_S else failures + 1
            if failures == 3:
                log.warning("a labeler can't be heard; what is known of labels stays", extra={"host": self.host})
            log.debug("labeler %s: %s", self.host, reason)
            wait_s = min(MAX_BACKOFF_S, self._backoff_s * 2 ** min(failures, 10))
            await asyncio.sleep(wait_s * (0.5 + self._random.random() / 2))

    async def _listen(self) -> None:
        at = None if self._forget_cursor else await self._resume(self.url)
        at = self._first if at is None and not self._forget_cursor else at
        self._forget_cursor = False
        url = self.url + PATH + (f"?cursor={at}" if at is not None else "")
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            transport, socket = await picows.ws_connect(
                _Socket,
                url,
                websocket_handshake_timeout=CONNECT_TIMEOUT_S,
                max_frame_size=MAX_FRAME_BYTES,
                max_redirects=0,  # nobody but the configured hosts is spoken to
                extra_headers={"User-Agent": "feedgen"},
                enable_auto_ping=True,
                auto_ping_idle_timeout=IDLE_S,
                auto_ping_reply_timeout=REPLY_S,
            )
        assert isinstance(socket, _Socket)
        self.live = True
        try:
            while (frames := await socket.frames()) is not None:
                for frame in frames:
                    await self._take(frame)
                await self._flush()
        finally:
            transport.disconnect(False)
            self._batch, self._seq = [], -1

    async def _take(self, data: bytes) -> None:
        frame = decode(data)
        if isinstance(frame, LabelFrame):
            self._batch += frame.labels
            self._seq = frame.seq
            heard.add(len(frame.labels), "label")
            heard.add(frame.ignored, "ignored")
            if len(self._batch) >= MAX_BATCH:
                await self._flush()
        elif isinstance(frame, Told):
            log.info("a labeler says", extra={"host": self.host, "name_": frame.name, "said": frame.message})
            self._forget_cursor = frame.name == "FutureCursor"
        else:
            heard.add(1, "unreadable frame")

    async def _flush(self) -> None:
        if self._seq >= 0:
            batch, seq = self._batch, self._seq
            self._batch, self._seq = [], -1
            await self._keep(self.url, batch, seq)


class _Socket(picows.WSListener):
    """Messages gathered for whoever awaits `frames`."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._parts: list[bytes] = []
        self._came = asyncio.Event()
        self._gone = False
        self._held = False
        self._transport: picows.WSTransport | None = None

    async def frames(self) -> list[bytes] | None:
        """All that came since; None when the stream is over."""
        await self._came.wait()
        frames, self._waiting = self._waiting, []
        if not self._gone:
            self._came.clear()
        transport = self._transport
        if self._held and transport is not None and not transport.is_disconnected:
            self._held = False
            transport.underlying_transport.resume_reading()
        return frames if frames or not self._gone else None

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        kind = frame.msg_type
        if kind == picows.WSMsgType.CLOSE:
            transport.send_close()
            transport.disconnect()
            return
        if kind not in (picows.WSMsgType.BINARY, picows.WSMsgType.CONTINUATION):
            return
        self._parts.append(frame.get_payload_as_bytes())
        if sum(map(len, self._parts)) > MAX_FRAME_BYTES:
            raise picows.WSProtocolError(picows.WSCloseCode.MESSAGE_TOO_BIG, "message too large")
        if not frame.fin:
            return
        self._waiting.append(b"".join(self._parts))
        self._parts = []
        self._came.set()
        if len(self._waiting) >= MAX_WAITING and not self._held:
            self._held = True
            transport.underlying_transport.pause_reading()

    def on_ws_disconnected(self, transport: picows.WSTransport) -> None:
        self._gone = True
        self._came.set()
