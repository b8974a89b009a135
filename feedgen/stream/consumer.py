"""One consumer: a bounded queue before a socket. Who falls behind loses messages, is told how many, and is closed if it
goes on; nobody else notices.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol

from feedgen.core.clock import Clock
from feedgen.core.telemetry import Counter
from feedgen.stream import cursor
from feedgen.stream.filters import Query
from feedgen.stream.formats import Joined, dump
from feedgen.stream.frames import text_frame
from feedgen.stream.lane import Sent

MAX_QUEUED: Final = 5_000  # messages
MAX_QUEUED_BYTES: Final = 8 << 20
WRITE_BYTES: Final = 64 << 10  # handed to the socket at once
MAX_LOSING_S: Final = 30.0  # then the consumer is closed
TOO_SLOW: Final = 1008

SENT = Counter("feedgen_stream_sent_total", "Messages sent to consumers, by format.", "format")
LOST = Counter("feedgen_stream_lost_total", "Messages that consumers lost, by reason.", "reason")


class Socket(Protocol):
    def write(self, data: bytes) -> None: ...
    def close(self, code: int, reason: str) -> None: ...


class Consumer:
    """`rate` is what its token allows, in messages a second; 0: as many as there are."""

    def __init__(self, name: str, query: Query, socket: Socket, clock: Clock, rate: int = 0) -> None:
        self.name, self.query, self._socket, self._clock = name, query, socket, clock
        self.sent = self.lost = 0
        self.since_us = clock.now_us()
        self.closed = self.paused = False
        self.held: list[Joined] | None = None  # while its replay still goes out
        self.last: Sent | None = None
        self._told: Sent | None = None  # whose cursor was told (`control`)
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._losing = 0  # messages lost since the last notice
        self._losing_from = ""
        self._losing_since_s = 0.0
        self._rate = rate
        self._allowed, self._allowed_at_s = float(rate), clock.monotonic_s()
        self._timer: asyncio.TimerHandle | None = None
        self._room: asyncio.Event | None = None

    @property
    def tells(self) -> bool:
        """Whether cursors and losses may be told: the shape of other formats is given."""
        return self.query.control or self.query.format == "feedgen"

    @property
    def queued(self) -> int:
        return len(self._queue)

    def push(self, frame: bytes, sent: Sent | None = None) -> None:
        """Queued until `flush`; lost when there is no room."""
        if self.closed:
            return
        if self._losing or len(self._queue) >= MAX_QUEUED or self._queued_bytes + len(frame) > MAX_QUEUED_BYTES:
            self._lose(1, "slow")
            return
        self._queue.append(frame)
        self._queued_bytes += len(frame)
        self.last = sent or self.last

    def missed(self, n: int) -> None:
        """Lost before it came to us."""
        if n and not self.closed:
            self._lose(n, "tap")
            self._caught_up()

    def tell(self, **notice: object) -> None:
        """A message of its own, for those who take such."""
        if self.tells and not self.closed:
            frame = text_frame(dump(notice))
            self._queue.append(frame)
            self._queued_bytes += len(frame)

    def tell_cursor(self) -> None:
        """Where it is, if its format does not say so itself."""
        if self.query.control and self.query.format != "feedgen" and self.last is not self._told:
            self._told = self.last
            self.tell(notice="cursor", cursor=self._cursor())
            self.flush()

    def flush(self) -> None:
        """As much as the socket and the rate take. Nothing waits: what is left goes when there is room."""
        while self._queue and not self.paused and not self.closed:
            taken: list[bytes] = []
            size, limit = 0, self._allowance()
            while self._queue and size < WRITE_BYTES and len(taken) < limit:
                frame = self._queue.popleft()
                taken.append(frame)
                size += len(frame)
            if not taken:
                break
            self._queued_bytes -= size
            self._allowed -= len(taken)
            self.sent += len(taken)
            SENT.add(len(taken), self.query.format)
            self._socket.write(b"".join(taken))
        self._caught_up()

    def resume(self) -> None:
        self.paused = False
        self.flush()

    async def room(self) -> None:
        """Until half of the queue is free: a replay goes as fast as its consumer."""
        while not self.closed and (len(self._queue) > MAX_QUEUED // 2 or self._queued_bytes > MAX_QUEUED_BYTES // 2):
            self._room = asyncio.Event()
            await self._room.wait()

    def check(self) -> None:
        """Once a second: who lost for too long is closed."""
        if self._losing and self._clock.monotonic_s() - self._losing_since_s > MAX_LOSING_S:
            self.close(TOO_SLOW, f"too slow: {self.lost} messages were lost")

    def close(self, code: int, reason: str) -> None:
        if not self.closed:
            self.ended()
            self._socket.close(code, reason)

    def ended(self) -> None:
        """The socket is gone."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._queue.clear()
        self._queued_bytes = 0
        if self._room is not None:
            self._room.set()

    def _lose(self, n: int, reason: str) -> None:
        if not self._losing:
            self._losing_from, self._losing_since_s = self._cursor(), self._clock.monotonic_s()
        self._losing += n
        self.lost += n
        LOST.add(n, reason)

    def _caught_up(self) -> None:
        if len(self._queue) <= MAX_QUEUED // 2 and self._queued_bytes <= MAX_QUEUED_BYTES // 2:
            if self._room is not None:
                self._room.set()
                self._room = None
            if self._losing:
                lost, self._losing = self._losing, 0
                self.tell(notice="lost", count=lost, cursor=self._losing_from)
                self.flush()

    def _cursor(self) -> str:
        return cursor.spell(self.last.head, self.last.pending) if self.last is not None else ""

    def _allowance(self) -> int:
        if not self._rate:
            return MAX_QUEUED
        now_s = self._clock.monotonic_s()
        self._allowed = min(self._rate, self._allowed + (now_s - self._allowed_at_s) * self._rate)
        self._allowed_at_s = now_s
        if self._allowed < 1 and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1 / self._rate, self._again)
        return int(self._allowed)

    def _again(self) -> None:
        self._timer = None
        self.flush()
