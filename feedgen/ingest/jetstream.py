"""The Jetstream client: connects, resumes where we were, notices when something is missing, and never gives up.

It moves bytes from a socket into an inlet and looks only at the first and the last messages of what came: that is
enough to know how far it is, whether something was skipped, and where to go on. Everything else is the pipeline's.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import picows

from feedgen.core.clock import Clock
from feedgen.core.errors import UpstreamError
from feedgen.core.telemetry import Counter, Gauge
from feedgen.ingest.batch import Cursor
from feedgen.ingest.connection import Connection, connect
from feedgen.ingest.events import Dropped, Event, StreamError, StreamInfo, decode
from feedgen.ingest.frames import Frames, Inflater, Inlet
from feedgen.ingest.hosts import (
    OLDEST,
    Dictionaries,
    NoDictionary,
    Wire,
    base_of,
    cursor_value,
    host_name,
    reason_of,
    subscription_url,
)

log = logging.getLogger(__name__)

STALL_S: Final = 30.0
PING_S: Final = 10.0
TICK_S: Final = 0.5
FIRST_TICK_S: Final = 0.05  # until the first message was looked at
FAILURES_PER_HOST: Final = 3
BACKOFF_S: Final = 0.5
MAX_BACKOFF_S: Final = 60.0
GAP_US: Final = 30_000_000  # events this much newer than the cursor: something is missing between
LIVE_LAG_S: Final = 10.0
BEHIND_LAG_S: Final = 30.0
MAX_GAPS: Final = 20
PEEK_MESSAGES: Final = 50
RATE_SMOOTHING_S: Final = 5.0

# When even the oldest moment is refused (no known host does that), try what hosts usually keep, and then live.
_REFUSED_HOURS: Final = (36, 24, 12, 6, 3, 1)

MESSAGES = Counter("feedgen_ingest_messages_total", "Messages received from Jetstream.")
BYTES = Counter("feedgen_ingest_bytes_total", "Bytes received from Jetstream, as they came.")
DISCONNECTS = Counter("feedgen_ingest_disconnects_total", "Streams and attempts that ended, by reason.", "reason")
GAPS = Counter("feedgen_ingest_gaps_total", "Times that events were missing between our cursor and what came next.")
LAG = Gauge("feedgen_ingest_lag_seconds", "Age of the newest event when it arrived.")
CONNECTED = Gauge("feedgen_ingest_connected", "1 while a stream is open.")


class State(StrEnum):
    CONNECTING = "connecting"
    CATCHING_UP = "catching up"
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
    backoff_s: float = BACKOFF_S
    max_backoff_s: float = MAX_BACKOFF_S
    failures_per_host: int = FAILURES_PER_HOST
    user_agent: str = "feedgen"


class Client:
    """`run` listens until it is cancelled. `resume_at` says where the store is; it is asked once, at the start."""

    def __init__(
        self,
        *,
        urls: Sequence[str],
        wire: str,  # auto, v1 or v2
        start: str,  # oldest or now
        dictionaries: Path | Dictionaries,
        inlet: Inlet,
        clock: Clock,
        resume_at: Callable[[], Cursor | None] = lambda: None,
        options: Options = Options(),
        rng: random.Random | None = None,
    ) -> None:
        self.bases = [base_of(url) for url in urls]
        self.wire, self.start, self.options = wire, start, options
        self.status = Status()
        self._dictionaries = dictionaries if isinstance(dictionaries, Dictionaries) else Dictionaries(dictionaries)
        self._inlet, self._clock, self._resume_at = inlet, clock, resume_at
        self._random = rng or random.Random()
        self._wires: dict[str, Wire] = {}  # what `auto` found out
        self._at: Cursor | None = None  # the newest that was received
        self._host = 0
        self._host_failures = 0
        self._number = 0
        self._refused = 0  # how often our cursor was too old, since something last arrived
        self._said_unreachable = False

    async def run(self) -> None:
        self._at = self._resume_at()
        host = self._at.host if self._at else ""
        # The host that gave the cursor goes first: on it we can go on by sequence.
        self._host = next((i for i, base in enumerate(self.bases) if host_name(base) == host), 0)
        while True:
            before = self._at
            try:
                await self._listen(self.bases[self._host])
            except Ended as end:
                self._note_end(end, progress=self._at != before)
            finally:
                CONNECTED.set(0)
            await self._wait()

    async def _listen(self, base: str) -> None:
        """One connection from beginning to end. Always ends in Ended."""
        status = self.status
        status.state, status.host = State.CONNECTING, host_name(base)
        expected = self._at
        transport, connection = await self._connect(base)
        CONNECTED.set(1)
        status.reconnects += self._number > 1
        gone = asyncio.ensure_future(transport.wait_disconnected())
        try:
            watch = _Watch(self, connection, expected)
            while not gone.done():
                await asyncio.wait({gone}, timeout=self.options.tick_s if watch.begun else FIRST_TICK_S)
                watch.look()
                watch.check_silence()
            await _outcome(gone)
            watch.look_at_end()
        finally:
            transport.disconnect(False)
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)

    async def _connect(self, base: str) -> tuple[picows.WSTransport, Connection]:
        host, at = host_name(base), self._at
        try:
            wire, dictionary = await self._wire_of(base)
        except UpstreamError as error:
            raise Ended("unreachable", error.message) from error
        self.status.wire = wire
        cursor = self._cursor(host)
        number = dictionary_number(dictionary)
        url = subscription_url(base, wire, cursor, number)
        same_host = at is not None and at.seq > 0 and at.host == host and cursor == at.seq
        self._number += 1

        def make() -> Connection:
            return Connection(
                self._inlet,
                self._clock,
                host=host,
                number=self._number,
                dictionary=dictionary,
                same_host=same_host,
                paced=self.status.state is State.LIVE,
            )

        try:
            opened = await connect(url, make, self.options.user_agent, subprotocol=wire == "v2")
        except picows.WSHandshakeError as error:
            raise self._refusal(base, error) from error
        except (OSError, TimeoutError, picows.WSError) as error:
            raise Ended("unreachable", f"{host}: {reason_of(error)}") from error
        self.status.state = State.LIVE if cursor is None else State.CATCHING_UP
        log.info("listening", extra={"host": host, "wire": wire, "resumed": _words(cursor, at)})
        return opened

    async def _wire_of(self, base: str) -> tuple[Wire, bytes | None]:
        wire: str = self._wires.get(base, self.wire)
        if wire == "v1":
            return "v1", None
        try:
            return "v2", await self._dictionaries.get(base)
        except NoDictionary:
            if wire == "v2":
                return "v2", None
            self._wires[base] = "v1"
            return "v1", None

    def _cursor(self, host: str) -> int | None:
        if self._refused == 0:
            return cursor_value(self._at, host, self.start)
        if self._refused == 1:
            return OLDEST
        if self._refused - 2 < len(_REFUSED_HOURS):
            return self._clock.now_us() - _REFUSED_HOURS[self._refused - 2] * 3_600_000_000 + 300_000_000
        return None

    def _refusal(self, base: str, error: picows.WSHandshakeError) -> Ended:
        """What the host answered instead of opening a stream, and what that changes for the next attempt."""
        status = int(error.response.status) if error.response is not None else 0
        name, message = _error_body(error.raw_body)
        detail = f"{host_name(base)} answered {status} {name} {message}".strip()
        if name == "CursorTooOld":
            self._refused += 1
            return Ended("too_old", detail)
        if name == "UnknownZstdDictionary":
            self._dictionaries.forget(base)
        elif self.wire == "auto" and status in (404, 405, 501) and self._wires.get(base) != "v1":
            self._wires[base] = "v1"
        return Ended("refused", detail)

    def _note_end(self, end: Ended, progress: bool) -> None:
        status = self.status
        status.last_error = str(end)
        DISCONNECTS.add(1, end.reason)
        if progress:
            status.failures = self._host_failures = 0
            self._said_unreachable = False
        status.failures += 1
        self._host_failures += 1
        if end.reason == "unreachable":
            if not self._said_unreachable:
                log.warning("can't reach Jetstream; trying on until it works", extra={"reason": str(end)})
            self._said_unreachable = True
        else:
            log.warning("stream ended", extra={"reason": end.reason, "detail": str(end), "host": status.host})
        if self._host_failures >= self.options.failures_per_host and len(self.bases) > 1:
            self._host = (self._host + 1) % len(self.bases)
            self._host_failures = 0

    async def _wait(self) -> None:
        self.status.state = State.WAITING
        exponent = min(self.status.failures - 1, 10)
        pause_s = min(self.options.max_backoff_s, self.options.backoff_s * 2**exponent)
        await asyncio.sleep(pause_s * (0.5 + self._random.random() / 2))

    def advance(self, event: Event, host: str) -> None:
        """Something arrived: this is where to go on."""
        self._at = Cursor(host, event.seq, event.time_us)
        self._refused = 0
        self._said_unreachable = False

    def forget_sequence(self) -> None:
        """The host counts anew: only the time says where we were."""
        if self._at is not None:
            self._at = Cursor("", 0, self._at.time_us)

    def forget_dictionary(self, base_host: str) -> None:
        for base in self.bases:
            if host_name(base) == base_host:
                self._dictionaries.forget(base)

    def note_gap(self, from_us: int, to_us: int, reason: str) -> None:
        gap = Gap(from_us, to_us, reason)
        self.status.gaps.append(gap)
        self.status.gaps_total += 1
        GAPS.add(1)
        missing_s = round((to_us - from_us) / 1e6)
        log.error("events are missing", extra={"missing_s": missing_s, "reason": reason, "host": self.status.host})


class _Watch:
    """Looks at one connection now and then: how far it is, whether something is missing, whether it is alive."""

    def __init__(self, client: Client, connection: Connection, expected: Cursor | None) -> None:
        self.client, self.connection, self.expected = client, connection, expected
        self.begun = False  # the first event was seen
        self.clamped = ""  # the server said that it could not begin where we asked
        self.error: StreamError | None = None
        self._clock = client._clock
        self._inflate = Inflater(connection.dictionary) if connection.dictionary else None
        self._seen: Frames | None = None
        self._messages = self._bytes = 0
        self._rate_from = self._clock.monotonic_s()
        self._pinged_s = 0.0

    def look(self) -> None:
        connection, status = self.connection, self.client.status
        if connection.first is not None and not self.begun:
            self._look_at_beginning(connection.first)
        newest = connection.last
        if newest is not None and newest is not self._seen:
            self._seen = newest
            self._look_at_newest(newest)
        self._count()
        LAG.set(status.lag_s)
        if status.state is State.CATCHING_UP and newest is None and self._idle_s() > 5:
            status.state = State.LIVE  # the host has nothing newer than our cursor
        connection.paced = status.state is State.LIVE

    def check_silence(self) -> None:
        """Leave a host that tells nothing, sooner if it is gone altogether. Silence of our own making does not count.

        A pong does not count as telling: a stalled Jetstream still answers pings, and the network is never silent.
        """
        if self.connection.held:
            return
        connection, options, now_s = self.connection, self.client.options, self._clock.monotonic_s()
        if self._idle_s() > options.stall_s:
            raise Ended("stalled", f"nothing came from {connection.host} for {round(self._idle_s())} s")
        if now_s - connection.alive_s > 2 * options.ping_s:
            raise Ended("stalled", f"{connection.host} does not even answer a ping")
        if now_s - connection.alive_s > options.ping_s and now_s - self._pinged_s > options.ping_s:
            self._pinged_s = now_s
            connection.ping()

    def look_at_end(self) -> None:
        """The socket is closed: say why."""
        self.look()
        connection = self.connection
        if self.error is not None:
            raise Ended("error_frame", f"{connection.host} ended the stream: {self.error.name} {self.error.message}")
        if connection.close_code == 1001:
            raise Ended("going_away", f"{connection.host} is shutting down")
        if connection.close_code:
            raise Ended("closed", f"{connection.host} closed: {connection.close_code} {connection.close_reason}")
        # This is what a legacy host does with a reader that is too slow.
        raise Ended("cut", f"{connection.host} closed without a word")

    def _idle_s(self) -> float:
        return self._clock.monotonic_s() - self.connection.heard_s

    def _decoded(self, messages: Sequence[bytes]) -> Iterator[Event | Dropped | StreamError | StreamInfo]:
        for message in messages:
            plain = self._inflate(message) if self._inflate else message
            if plain is not None:
                yield decode(plain)

    def _look_at_beginning(self, first: Frames) -> None:
        client = self.client
        for item in self._decoded(first.messages[:PEEK_MESSAGES]):
            if isinstance(item, StreamInfo):
                self._informed(item)
            elif isinstance(item, Event):
                self.begun = True
                self._check_gap(item)
                return
        if self.connection.messages > PEEK_MESSAGES:
            self.begun = True  # nothing to hold on to in these; the newest messages will tell
            if self._inflate and all(map(self._is_noise, first.messages[:PEEK_MESSAGES])):
                client.forget_dictionary(self.connection.host)
                raise Ended("unreadable", f"{self.connection.host} sends what its dictionary can't read")

    def _is_noise(self, message: bytes) -> bool:
        plain = self._inflate(message) if self._inflate else message
        return plain is None or decode(plain) == Dropped("not_json")

    def _informed(self, info: StreamInfo) -> None:
        if info.name == "FutureCursor":
            self.client.forget_sequence()
            raise Ended("future_cursor", f"{self.connection.host} counts anew: {info.message}")
        self.clamped = info.name

    def _check_gap(self, first: Event) -> None:
        expected = self.expected
        if expected is None or not expected.time_us or first.time_us - expected.time_us <= GAP_US:
            return
        if self.client._refused:
            reason = "our cursor was refused as too old"
        elif self.clamped:
            reason = "our cursor was too old; the host began with what it still has"
        else:
            reason = "the host silently began later than our cursor"
        self.client.note_gap(expected.time_us, first.time_us, reason)

    def _look_at_newest(self, frames: Frames) -> None:
        status = self.client.status
        for item in self._decoded(frames.messages[: -PEEK_MESSAGES - 1 : -1]):
            if isinstance(item, StreamError):
                self.error = item
            elif isinstance(item, Event):
                self.client.advance(item, frames.host)
                status.last_event_us = item.time_us
                status.lag_s = max(0.0, (self.connection.last_us - item.time_us) / 1e6)
                if status.lag_s <= LIVE_LAG_S:
                    status.state = State.LIVE
                elif status.lag_s > BEHIND_LAG_S:
                    status.state = State.CATCHING_UP
                return

    def _count(self) -> None:
        """Rates and totals since the last look."""
        connection, status = self.connection, self.client.status
        messages, size = connection.messages - self._messages, connection.bytes - self._bytes
        now_s = self._clock.monotonic_s()
        elapsed_s = now_s - self._rate_from
        self._messages, self._bytes, self._rate_from = connection.messages, connection.bytes, now_s
        status.messages += messages
        status.bytes += size
        MESSAGES.add(messages)
        BYTES.add(size)
        if elapsed_s > 0:
            share = min(1.0, elapsed_s / RATE_SMOOTHING_S)
            status.events_s += (messages / elapsed_s - status.events_s) * share


async def _outcome(gone: asyncio.Future[None]) -> None:
    """A protocol violation ends the stream; an exception in our own callbacks ends the process."""
    try:
        await gone
    except (picows.WSError, OSError) as error:
        raise Ended("broken", reason_of(error)) from error


def _error_body(body: bytes | None) -> tuple[str, str]:
    """An XRPC error's name and message; hosts of the old wire answer in plain text."""
    try:
        parsed = json.loads((body or b"")[:2000])
    except (ValueError, RecursionError):
        return "", (body or b"")[:200].decode("utf-8", "replace").strip()
    if not isinstance(parsed, dict):
        return "", ""
    return str(parsed.get("error", ""))[:64], str(parsed.get("message", ""))[:300]


def dictionary_number(dictionary: bytes | None) -> int:
    return int.from_bytes(dictionary[4:8], "little") if dictionary else 0


def _words(cursor: int | None, at: Cursor | None) -> str:
    if cursor is None:
        return "now"
    if cursor == OLDEST:
        return "from the oldest event"
    return "by sequence" if at is not None and cursor == at.seq else "by time"
