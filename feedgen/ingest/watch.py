"""Watches one connection to Jetstream: progress, gaps, and whether it is alive."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from feedgen.core.clock import Clock
from feedgen.core.telemetry import Counter, Gauge
from feedgen.ingest.connection import Connection
from feedgen.ingest.events import Dropped, Event, StreamError, StreamInfo, decode
from feedgen.ingest.frames import Frames, Inflater
from feedgen.ingest.position import Position

log = logging.getLogger(__name__)

STALL_S: Final = 30.0
PING_S: Final = 10.0
TICK_S: Final = 0.5
SLEPT_S: Final = 5.0  # between two looks: this process was stopped, or the PC was suspended
FAILURES_PER_HOST: Final = 3
BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 60.0
PREFER_AFTER_S: Final = 600.0
GAP_US: Final = 30_000_000  # events this much newer than the cursor: something is missing between
LIVE_LAG_S: Final = 10.0
BEHIND_LAG_S: Final = 30.0
MAX_GAPS: Final = 20
PEEK_MESSAGES: Final = 50
RATE_SMOOTHING_S: Final = 5.0

MESSAGES = Counter("feedgen_ingest_messages_total", "Messages received from Jetstream.")
BYTES = Counter("feedgen_ingest_bytes_total", "Bytes received from Jetstream, as they came.")
GAPS = Counter("feedgen_ingest_gaps_total", "Times that events were missing between our cursor and what came next.")
TO_GO = Gauge("feedgen_archive_segments_to_go", "Segments of Jetstream's archive that are still to be read.")
LAG = Gauge("feedgen_ingest_lag_seconds", "Age of the newest event when it arrived.")


class State(StrEnum):
    CONNECTING = "connecting"
    CATCHING_UP = "catching up"
    ARCHIVE = "reading the archive"
    LIVE = "live"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Gap:
    """Events witnessed between these moments may be missing."""

    from_us: int
    to_us: int
    reason: str


@dataclass(slots=True)
class Status:
    """How the listening goes: for `_health`, logs and the progress display. Written by the client alone."""

    state: State = State.CONNECTING
    host: str = ""
    wire: str = ""
    messages: int = 0
    bytes: int = 0
    last_event_us: int = 0
    lag_s: float = 0.0
    events_s: float = 0.0
    reconnects: int = 0
    failures: int = 0  # in a row, without progress
    last_error: str = ""
    gaps_total: int = 0
    gaps: deque[Gap] = field(default_factory=lambda: deque(maxlen=MAX_GAPS))


WORDLESS: Final = ("cut", "broken", "stalled")  # ends without a close frame


class Ended(Exception):
    """A stream or an attempt is over; `reason` is a word for the metric."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Options:
    """Times that tests shorten."""

    stall_s: float = STALL_S
    ping_s: float = PING_S
    tick_s: float = TICK_S
    slept_s: float = SLEPT_S
    backoff_s: float = BACKOFF_S
    max_backoff_s: float = MAX_BACKOFF_S
    failures_per_host: int = FAILURES_PER_HOST
    prefer_after_s: float = PREFER_AFTER_S
    user_agent: str = "feedgen"


class Watch:
    """Looks at one connection twice a second. Raises `Ended` when the connection must be given up."""

    def __init__(
        self, connection: Connection, position: Position, status: Status, options: Options, clock: Clock
    ) -> None:
        self.connection, self.position, self.status, self.options = connection, position, status, options
        self.begun = False  # the first event was seen
        self.begun_s = clock.monotonic_s()
        self._expected = position.at
        self._refused = position.refused > 0
        self._clamped = False  # the server said that it could not begin where we asked
        self._error: StreamError | None = None
        self._clock = clock
        self._inflate = Inflater(connection.dictionary) if connection.dictionary else None
        self._seen: Frames | None = None
        self._messages = self._bytes = 0
        self._looked_s, self._looked_us = clock.monotonic_s(), clock.now_us()
        self._rate_from = self._looked_s
        self._woke_s: float | None = None  # when we came to after a suspend; nothing was heard since
        self._pinged_s = 0.0

    def look(self) -> None:
        connection, status = self.connection, self.status
        self._notice_sleep()
        if connection.head and not self.begun:
            self._look_at_beginning()
        newest = connection.last
        if newest is not None and newest is not self._seen:
            self._seen = newest
            self._look_at_newest(newest)
        self._count()
        LAG.set(status.lag_s)
        if status.state is State.CATCHING_UP and newest is None and self._idle_s() > 5:
            status.state = State.LIVE  # the host has nothing newer than our cursor
        connection.live = status.state is State.LIVE

    def check_silence(self) -> None:
        """Leave a host that tells nothing, sooner if it is gone altogether. Silence of our own making does not count.

        A pong does not count as telling: a stalled Jetstream still answers pings, and the network is never silent.
        """
        if self.connection.held:
            return
        connection, options, now_s = self.connection, self.options, self._clock.monotonic_s()
        if self._idle_s() > options.stall_s:
            raise Ended("stalled", f"nothing came from {connection.host} for {round(self._idle_s())} s")
        if now_s - connection.alive_s > (options.ping_s if self._woke_s is not None else 2 * options.ping_s):
            raise Ended("stalled", f"{connection.host} does not even answer a ping")
        if now_s - connection.alive_s > options.ping_s and now_s - self._pinged_s > options.ping_s:
            self._pinged_s = now_s
            connection.ping()

    def look_at_end(self) -> None:
        """The socket is closed: say why."""
        self.look()
        connection = self.connection
        if self._error is not None:
            raise Ended("error_frame", f"{connection.host} ended the stream: {self._error.name} {self._error.message}")
        if connection.close_code == 1001:
            raise Ended("going_away", f"{connection.host} is shutting down")
        if connection.close_code:
            raise Ended("closed", f"{connection.host} closed: {connection.close_code} {connection.close_reason}")
        # This is what a legacy host does with a reader that is too slow.
        raise Ended("cut", f"{connection.host} closed without a word")

    def judged(self, end: Ended) -> Ended:
        """The same end, or our own suspend as its reason: hosts drop a reader that answers nothing."""
        if self._woke_s is None or end.reason not in WORDLESS:
            return end
        return Ended(
            "slept", f"this PC or this process was stopped for a while; {self.connection.host} is not to blame"
        )

    def _notice_sleep(self) -> None:
        """The monotonic clock stands still while the PC is suspended, the wall clock does while the process is."""
        now_s, now_us = self._clock.monotonic_s(), self._clock.now_us()
        slept_s = max(now_s - self._looked_s, (now_us - self._looked_us) / 1e6)
        self._looked_s, self._looked_us = now_s, now_us
        connection = self.connection
        if slept_s > self.options.slept_s:
            log.info("we were stopped for a while", extra={"stopped_s": round(slept_s)})
            self._woke_s = connection.heard_s = connection.alive_s = now_s
            connection.ping()
        elif self._woke_s is not None and connection.alive_s > self._woke_s:
            self._woke_s = None

    def _idle_s(self) -> float:
        return self._clock.monotonic_s() - self.connection.heard_s

    def _decoded(self, messages: Sequence[bytes]) -> Iterator[Event | Dropped | StreamError | StreamInfo]:
        for message in messages:
            plain = self._inflate(message) if self._inflate else message
            if plain is not None:
                yield decode(plain)

    def _look_at_beginning(self) -> None:
        """All of the head, each time: what the server says about the stream may come in a read of its own."""
        head = self.connection.head
        for item in self._decoded(head):
            if isinstance(item, StreamInfo):
                self._informed(item)
            elif isinstance(item, Event):
                self.begun = True
                self._check_sequence(item)
                self._check_gap(item)
                self.position.advance(item, self.connection.host)
                return
        if self.connection.messages > len(head):
            self.begun = True  # nothing to hold on to in these; the newest messages will tell
            if self._inflate and all(map(self._is_noise, head)):
                raise Ended("unreadable", f"{self.connection.host} sends what its dictionary can't read")

    def _is_noise(self, message: bytes) -> bool:
        plain = self._inflate(message) if self._inflate else message
        return plain is None or decode(plain) == Dropped("not_json")

    def _informed(self, info: StreamInfo) -> None:
        if info.name == "FutureCursor":
            self._count_anew(info.message)
        self._clamped = True

    def _check_sequence(self, first: Event) -> None:
        """Hosts are asked inclusively, so a first sequence below the one we asked for is a new count."""
        asked = self.connection.asked_seq
        if 0 < first.seq < asked:
            self._count_anew(f"it was asked for sequence {asked} and began with {first.seq}")

    def _count_anew(self, why: str) -> None:
        self.position.forget_sequence()
        raise Ended("future_cursor", f"{self.connection.host} counts anew: {why}")

    def _check_gap(self, first: Event) -> None:
        expected = self._expected
        if expected is None or not expected.time_us or first.time_us - expected.time_us <= GAP_US:
            return
        if self._refused:
            reason = "our cursor was refused as too old"
        elif self._clamped:
            reason = "our cursor was too old; the host began with what it still has"
        else:
            reason = "the host silently began later than our cursor"
        self.status.gaps.append(Gap(expected.time_us, first.time_us, reason))
        self.status.gaps_total += 1
        GAPS.add(1)
        missing_s = round((first.time_us - expected.time_us) / 1e6)
        log.error("events are missing", extra={"missing_s": missing_s, "reason": reason, "host": self.status.host})

    def _look_at_newest(self, frames: Frames) -> None:
        status = self.status
        for item in self._decoded(frames.messages[: -PEEK_MESSAGES - 1 : -1]):
            if isinstance(item, StreamError):
                self._error = item
            elif isinstance(item, Event):
                self.position.advance(item, frames.host)
                status.last_event_us = item.time_us
                status.lag_s = max(0.0, (self.connection.last_us - item.time_us) / 1e6)
                if status.lag_s <= LIVE_LAG_S:
                    status.state = State.LIVE
                elif status.lag_s > BEHIND_LAG_S:
                    status.state = State.CATCHING_UP
                return

    def _count(self) -> None:
        """Rates and totals since the last look."""
        connection, status = self.connection, self.status
        messages, size = connection.messages - self._messages, connection.bytes - self._bytes
        elapsed_s = self._looked_s - self._rate_from
        self._messages, self._bytes, self._rate_from = connection.messages, connection.bytes, self._looked_s
        status.messages += messages
        status.bytes += size
        MESSAGES.add(messages)
        BYTES.add(size)
        if elapsed_s > 0:
            share = min(1.0, elapsed_s / RATE_SMOOTHING_S)
            status.events_s += (messages / elapsed_s - status.events_s) * share
