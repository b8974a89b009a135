"""The Jetstream client: connects, resumes where we were, notices when something is missing, and never gives up.

It moves bytes from a socket into an inlet. It decodes only the first and the newest messages, to know how far it is,
whether events are missing, and where to resume. The pipeline decodes all of them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import picows

from feedgen.core.clock import Clock
from feedgen.core.errors import UpstreamError
from feedgen.core.telemetry import Counter, Gauge
from feedgen.ingest.batch import Cursor
from feedgen.ingest.connection import Connection, connect
from feedgen.ingest.frames import Inlet
from feedgen.ingest.hosts import (
    OLDEST,
    Dictionaries,
    NoDictionary,
    Wire,
    base_of,
    dictionary_id,
    host_name,
    reason_of,
    subscription_url,
)
from feedgen.ingest.position import Position
from feedgen.ingest.tap import Tap
from feedgen.ingest.watch import WORDLESS, Ended, Gap, Options, State, Status, Watch

__all__ = ["Behind", "Client", "Gap", "Options", "State", "Status"]

log = logging.getLogger(__name__)

FIRST_TICK_S: Final = 0.05  # until the first message was looked at

DISCONNECTS = Counter("feedgen_ingest_disconnects_total", "Streams and attempts that ended, by reason.", "reason")
CONNECTED = Gauge("feedgen_ingest_connected", "1 while a stream is open.")


class Behind(Exception):
    """Others have what this host may lack: `Client.behind` said so."""


def _never(at: Cursor | None, refused: bool) -> bool:
    return False


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
        options: Options | None = None,
        rng: random.Random | None = None,
        tap: Tap | None = None,
    ) -> None:
        self.bases = [base_of(url) for url in urls]
        self.wire, self.options = wire, options or Options()
        self.status = Status()
        self._dictionaries = dictionaries if isinstance(dictionaries, Dictionaries) else Dictionaries(dictionaries)
        self._inlet, self._clock, self._resume_at = inlet, clock, resume_at
        self._random = rng or random.Random()
        self._tap = tap or Tap()
        self._wires: dict[str, Wire] = {}  # what `auto` found out
        self._wire: Wire = "v2"
        self._position = Position(start)
        self._host = 0  # which of the bases; the first is the preferred one
        self._host_failures = 0
        self._number = 0
        self._said_unreachable = False
        # Whether the archive should be read first: (where we are, whether the host refused that as too old).
        self.behind: Callable[[Cursor | None, bool], bool] = _never

    async def run(self) -> None:
        position = self._position
        position.resume(self._resume_at())
        host = position.at.host if position.at else ""
        # The host that gave the cursor goes first: on it we can go on by sequence.
        self._host = next((i for i, base in enumerate(self.bases) if host_name(base) == host), 0)
        while True:
            before = position.at
            if self.behind(before, False):
                raise Behind
            try:
                await self._listen(self.bases[self._host])
            except Ended as end:
                self._note_end(end, progress=position.at != before)
            finally:
                CONNECTED.set(0)
            await self._wait()

    async def _listen(self, base: str) -> None:
        """One connection from beginning to end. Always ends in Ended."""
        status = self.status
        status.state, status.host = State.CONNECTING, host_name(base)
        transport, connection = await self._connect(base)
        CONNECTED.set(1)
        status.reconnects += self._number > 1
        gone = asyncio.ensure_future(transport.wait_disconnected())
        watch = Watch(connection, self._position, status, self.options, self._clock)
        back = asyncio.ensure_future(self._preferred_is_back()) if self._host else None
        try:
            while not gone.done():
                await asyncio.wait({gone}, timeout=self.options.tick_s if watch.begun else FIRST_TICK_S)
                watch.look()
                watch.check_silence()
                if back is not None and back.done() and status.state is State.LIVE:
                    back.result()
                    raise Ended("preferred", f"{host_name(self.bases[0])} is back")
            await _outcome(gone)
            watch.look_at_end()
        except Ended as end:
            raise watch.judged(end) from None
        finally:
            transport.disconnect(False)
            tasks = [task for task in (gone, back) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(self, base: str) -> tuple[picows.WSTransport, Connection]:
        host, position = host_name(base), self._position
        cursor = position.cursor(host, self._clock.now_us())
        same_host = position.continues(host, cursor)
        opened = await self._open(base, self._inlet, cursor, same_host)
        self.status.state = State.LIVE if cursor is None else State.CATCHING_UP
        self.status.wire = self._wire
        log.info("listening", extra={"host": host, "wire": self._wire, "resumed": _words(cursor, position.at)})
        return opened

    async def _open(
        self, base: str, inlet: Inlet, cursor: int | None, same_host: bool = False
    ) -> tuple[picows.WSTransport, Connection]:
        host, at = host_name(base), self._position.at
        try:
            wire, dictionary = await self._wire_of(base)
        except UpstreamError as error:
            raise Ended("unreachable", error.message) from error
        url = subscription_url(base, wire, cursor, dictionary_id(dictionary) if dictionary else 0)
        asked_seq = cursor if cursor is not None and at is not None and cursor == at.seq else 0
        self._number += 1

        def make() -> Connection:
            return Connection(
                inlet,
                self._clock,
                host=host,
                number=self._number,
                dictionary=dictionary,
                same_host=same_host,
                asked_seq=asked_seq,
                live=cursor is None,
                live_every_s=lambda: self._tap.read_every_s,
            )

        try:
            opened = await connect(url, make, self.options.user_agent, subprotocol=wire == "v2")
        except picows.WSHandshakeError as error:
            raise self._refusal(base, error) from error
        except (OSError, TimeoutError, picows.WSError) as error:
            raise Ended("unreachable", f"{host}: {reason_of(error)}") from error
        self._wire = wire
        return opened

    async def _preferred_is_back(self) -> None:
        """Return once the first of the configured hosts takes subscribers again; the stream of another goes on."""
        while True:
            await asyncio.sleep(self.options.prefer_after_s)
            try:
                transport, _ = await self._open(self.bases[0], Inlet(), None)
            except Ended as still:
                log.info("the preferred host is still away", extra={"reason": str(still)})
            else:
                return transport.disconnect(False)

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

    def _refusal(self, base: str, error: picows.WSHandshakeError) -> Ended:
        """The host's error answer as an `Ended`; remember what the next attempt must do differently."""
        status = int(error.response.status) if error.response is not None else 0
        name, message = _error_body(error.raw_body)
        detail = f"{host_name(base)} answered {status} {name} {message}".strip()
        if name == "CursorTooOld":
            if self.behind(self._position.at, True):
                raise Behind
            self._position.refused += 1
            return Ended("too_old", detail)
        if name == "UnknownZstdDictionary":
            self._dictionaries.forget(base)
        elif self.wire == "auto" and status in (404, 405, 501) and self._wires.get(base) != "v1":
            self._wires[base] = "v1"
        return Ended("refused", detail)

    def _note_end(self, end: Ended, progress: bool) -> None:
        status = self.status
        DISCONNECTS.add(1, end.reason)
        if progress:
            status.failures = self._host_failures = 0
            self._said_unreachable = False
        if end.reason in WORDLESS or end.reason == "slept":
            self._position.step_back()
        if end.reason in ("slept", "preferred"):  # no fault of the host
            log.info("connecting again", extra={"reason": str(end)})
            if end.reason == "preferred":
                self._host, self._host_failures = 0, self.options.failures_per_host - 1
            return
        status.last_error = str(end)
        status.failures += 1
        self._host_failures += 1
        if end.reason == "unreachable":
            if not self._said_unreachable:
                log.warning("Can't reach Jetstream; retrying.", extra={"reason": str(end)})
            self._said_unreachable = True
        else:
            log.warning("stream ended", extra={"reason": end.reason, "detail": str(end), "host": status.host})
        if end.reason == "unreadable":
            self._dictionaries.forget(self.bases[self._host])
        if self._host_failures >= self.options.failures_per_host and len(self.bases) > 1:
            self._host = (self._host + 1) % len(self.bases)
            self._host_failures = 0

    async def _wait(self) -> None:
        self.status.state = State.WAITING
        exponent = min(max(self.status.failures - 1, 0), 10)
        pause_s = min(self.options.max_backoff_s, self.options.backoff_s * 2**exponent)
        await asyncio.sleep(pause_s * (0.5 + self._random.random() / 2))


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


def _words(cursor: int | None, at: Cursor | None) -> str:
    if cursor is None:
        return "now"
    if cursor == OLDEST:
        return "from the oldest event"
    return "by sequence" if at is not None and cursor == at.seq else "by time"
