"""Jetstream hosts on both wires, as strict and as odd as the real ones.

A host of the `v2` flavour serves `subscribeEvents`, the dictionary, and the old `/subscribe` with a top-level cursor;
a `legacy` host serves `/subscribe` alone. All hosts read one History; a reader is a position in it, so there are no
queues to bound. Each host counts in sequence numbers of its own, which is why a cursor by sequence is worth nothing
on another host.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeVar

from feedgen.core.ids import LIKE_NSID, make_tid
from feedgen.simnet import websocket, wire
from feedgen.simnet.archive import ArchiveOptions, SimArchive
from feedgen.simnet.faults import Faults
from feedgen.simnet.filters import BadRequest, read_filter
from feedgen.simnet.history import History
from feedgen.simnet.httpd import Request, Response, Upgrade, failure
from feedgen.simnet.plc import Population
from feedgen.simnet.records import SimEvent
from feedgen.simnet.subscriber import Subscriber

Flavour = Literal["v2", "legacy"]
T = TypeVar("T")
SEQ_LIMIT: Final = 1_000_000_000_000_000  # a cursor from here on is a time in microseconds
DICTIONARY_SAMPLES: Final = 4_000
MIN_SAMPLES: Final = 200
JUMP: Final = 1_000_000
SUBPROTOCOL: Final = "xrpc.v1.json"
LOOKBACK_S: Final = {"v2": 36 * 3600.0, "legacy": 24 * 3600.0}
OUTBOX_EVENTS: Final = {"v2": 0, "legacy": 50_000}  # a v2 host lets a slow reader fall behind
WRITE_TIMEOUT_S: Final = {"v2": 5.0, "legacy": 10.0}
PONG_TIMEOUT_S: Final = {"v2": 5.0, "legacy": 0.0}


@dataclass(frozen=True, slots=True)
class HostOptions:
    """A host's behaviour. The defaults are those of real hosts; None: the flavour's own."""

    flavour: Flavour = "v2"
    lookback_s: float | None = None  # 0: cursors are ignored; inf: everything there is
    ping_s: float = 30.0
    outbox_events: int | None = None  # a live reader further behind is cut off; 0: never
    max_rate: float = 0.0  # events/s for each reader; legacy hosts have 5,000
    segment_s: float = 3600.0  # v2: a time cursor inside the newest segment starts at the segment's beginning
    first_seq: int = 1
    write_timeout_s: float | None = None  # a reader that blocks one write for so long is cut off
    pong_timeout_s: float | None = None  # and so is one that does not answer a ping; 0: never
    archive: ArchiveOptions = field(default_factory=ArchiveOptions)  # v2
    batched: bool = False  # many events a write, for benchmarks; real hosts write each event by itself


class Dictionary:
    """The zstd dictionary of this network, trained on some of its v2 frames when somebody first asks for it."""

    id: Final = wire.DICTIONARY_ID

    def __init__(self, samples: Callable[[], Awaitable[list[bytes]]]) -> None:
        self._samples = samples
        self._training: asyncio.Future[bytes] | None = None
        self.compress: Callable[[bytes], bytes]

    async def ready(self) -> bytes:
        """The dictionary itself; from now on there is `compress`."""
        if self._training is None:
            self._training = asyncio.ensure_future(self._train())
        return await asyncio.shield(self._training)

    async def _train(self) -> bytes:
        samples = await self._samples()
        data = await asyncio.get_running_loop().run_in_executor(None, wire.train_dictionary, samples)
        self.compress = wire.Compressor(data)
        return data


def first_frames(history: History, n: int = DICTIONARY_SAMPLES) -> Callable[[], Awaitable[list[bytes]]]:
    """Samples for a dictionary: the oldest frames there are, so that it is the same in every run."""

    async def frames() -> list[bytes]:
        if history.tip < history.floor + n:
            await history.complete.wait()
        last = min(history.floor + n, history.tip)
        return _enough([wire.v2(history.event(i)) for i in range(history.floor, last)])

    return frames


def _enough(frames: list[bytes]) -> list[bytes]:
    """A dictionary can't be trained on a handful of frames: a network with so few gets some of nobody's."""
    for seq in range(len(frames), MIN_SAMPLES):
        text = make_tid(seq << 20)
        record = f'{{"$type":"{LIKE_NSID}","createdAt":"{wire.rfc3339(seq)}","subject":{{"uri":"{text}"}}}}'
        frames.append(
            wire.v2(SimEvent(seq, seq, text, "commit", "create", LIKE_NSID, text, text, text, record.encode()))
        )
    return frames


class Flood(Protocol):
    """A source of ready-made frames that is not in any history, and its people: what benchmarks drink from. Filters
    do not apply."""

    @property
    def people(self) -> Population: ...

    @property
    def dictionary(self) -> Dictionary: ...

    async def warm_up(self) -> None:
        """Done before anybody may subscribe."""
        ...

    def chunks(
        self, *, v2: bool, cursor_frames: bool, zstd: bool, cursor: int | None
    ) -> AsyncIterator[tuple[int, memoryview]]:
        """(events, bytes), forever or to its end."""
        ...


@dataclass(slots=True)
class Start:
    """Where a reader begins, and the info frame it gets first."""

    ordinal: int
    info: tuple[str, str] | None = None


@dataclass(slots=True)
class HostStats:
    readers: int = 0
    accepted: int = 0
    refused: int = 0
    events: int = 0
    bytes: int = 0
    slow_closes: int = 0


class JetstreamHost:
    """One host: its flavour, its numbering, its readers."""

    def __init__(
        self,
        name: str,
        history: History,
        faults: Faults,
        now_us: Callable[[], int],
        options: HostOptions,
        dictionary: Dictionary,
        flood: Flood | None = None,
    ) -> None:
        self.name, self.options, self.history, self.faults = name, options, history, faults
        self.stats = HostStats()
        self.flood = flood
        self._now_us = now_us
        self.dictionary = dictionary
        self.v2 = options.flavour == "v2"
        self.archive: SimArchive | None = None
        if self.v2 and flood is None:
            self.archive = SimArchive(name, history, faults, self.seq, options.archive)
        self.lookback_s = _given(options.lookback_s, LOOKBACK_S[options.flavour])
        self.outbox_events = _given(options.outbox_events, OUTBOX_EVENTS[options.flavour])
        self.write_timeout_s = _given(options.write_timeout_s, WRITE_TIMEOUT_S[options.flavour])
        self.pong_timeout_s = _given(options.pong_timeout_s, PONG_TIMEOUT_S[options.flavour])
        # From which sequence of the history on how much is added: the host's own start, then one entry a jump.
        self._jumps: list[tuple[int, int]] = [(0, options.first_seq - 1)]
        self.readers: set[Subscriber] = set()
        history.listeners.append(self._cut_off_slow_readers)
        faults.listeners.append(self._faults_changed)

    async def handle(self, request: Request) -> Response | Upgrade:
        if request.path == "/subscribe":
            return await self._subscribe(request, v2=False)
        if self.v2 and request.path == "/xrpc/network.bsky.jetstream.subscribeEvents":
            return await self._subscribe(request, v2=True)
        if self.v2 and request.path == "/xrpc/network.bsky.jetstream.getZstdDictionary":
            return await self._give_dictionary(request)
        if self.archive is not None and self.archive.serves(request):
            return await self.archive.handle(request)
        if request.path in ("/", "/_health"):
            return Response(b"simnet jetstream\n", content_type="text/plain")
        return Response(b"404 page not found\n", 404, "text/plain; charset=utf-8")

    def seq(self, event_seq: int) -> int:
        """This host's number for an event of the history."""
        return event_seq + self._jumps[bisect_right(self._jumps, event_seq, key=lambda j: j[0]) - 1][1]

    def event_seq(self, seq: int) -> int:
        """The history's number for one of this host's; a number that a jump skipped means the next event."""
        skipped_to = None
        for since, offset in reversed(self._jumps):
            if seq >= since + offset:
                return seq - offset if skipped_to is None else min(seq - offset, skipped_to)
            skipped_to = since
        return 1

    def jump(self, by: int) -> None:
        """From the next event on, numbers are `by` higher."""
        self._jumps.append((self.history.next_seq, self._jumps[-1][1] + by))

    @property
    def epoch(self) -> tuple[int, ...]:
        """Frames with sequence numbers can be shared by hosts that number alike."""
        return tuple(n for jump in self._jumps for n in jump)

    def floor(self) -> int:
        """The oldest ordinal that a cursor may reach."""
        if math.isinf(self.lookback_s):
            return self.history.floor
        since_us = self._now_us() - round(self.lookback_s * 1e6)
        return max(self.history.floor, self.history.ordinal_of_time(since_us))

    def resolve(self, raw: str, v2_wire: bool) -> Start:
        """Where a cursor begins, by the rules of this flavour and wire."""
        tip = self.history.tip
        if not raw:
            return Start(tip)
        try:
            cursor = int(raw)
        except ValueError:
            raise BadRequest(f"invalid cursor {raw[:40]!r}") from None
        if cursor < 0:
            raise BadRequest(f"invalid cursor: negative value {cursor}")
        if self.lookback_s <= 0 or self.flood is not None:
            return Start(tip)
        if self.v2 and cursor < SEQ_LIMIT:
            return self._resolve_seq(max(cursor, 1), v2_wire)
        return self._resolve_time(cursor, v2_wire)

    def _resolve_seq(self, cursor: int, v2_wire: bool) -> Start:
        next_seq = self.seq(self.history.next_seq)
        if cursor >= next_seq:
            info = ("FutureCursor", f"cursor {cursor} is beyond the next seq {next_seq}; starting at the live tip")
            return Start(self.history.tip, info if v2_wire and cursor > next_seq else None)
        ordinal, floor = self.history.ordinal_of_seq(self.event_seq(cursor)), self.floor()
        floor_seq = self.seq(self.history.event(floor).seq) if floor < self.history.tip else next_seq
        if cursor < floor_seq and cursor < self.options.first_seq:
            cursor = self.options.first_seq  # an empty past is no gap
        if cursor < floor_seq and v2_wire:
            message = (
                f"cursor too old: cursor {cursor} below lookback floor {floor_seq}; re-backfill from your last seq"
            )
            raise BadRequest(message, "CursorTooOld")
        return Start(max(ordinal, floor))

    def _resolve_time(self, cursor_us: int, v2_wire: bool) -> Start:
        if cursor_us > self._now_us():
            return Start(self.history.tip)
        sealed_us = self._sealed_us()
        ordinal, floor = self.history.ordinal_of_time(min(cursor_us, sealed_us)), self.floor()
        if ordinal >= floor and (ordinal > self.history.floor or cursor_us >= self._first_us()):
            return Start(ordinal)
        start = max(ordinal, floor)
        if not v2_wire:
            return Start(start)
        seq = self.history.event(start).seq if start < self.history.tip else self.history.next_seq
        return Start(start, ("OutdatedCursor", f"older than what is kept; resuming from seq {self.seq(seq)}"))

    def _first_us(self) -> int:
        return self.history.event(self.history.floor).time_us if self.history.tip > self.history.floor else 0

    def _sealed_us(self) -> int:
        """The end of the newest sealed segment. v2 hosts find a time there; a newer one replays the open segment."""
        if not self.v2 or self.options.segment_s <= 0:
            return SEQ_LIMIT * 1000
        segment_us = round(self.options.segment_s * 1e6)
        return self._now_us() // segment_us * segment_us

    async def _subscribe(self, request: Request, v2: bool) -> Response | Upgrade:
        try:
            reader = self._reader(request, v2)
        except BadRequest as bad:
            self.stats.refused += 1
            if v2:
                return failure(400, bad.error, str(bad))
            return Response(f"{bad}\n".encode(), 400, "text/plain; charset=utf-8")
        key = request.headers.get("sec-websocket-key", "")
        if "websocket" not in request.headers.get("upgrade", "").lower() or not key:
            return Response(b"expected a websocket upgrade\n", 426, "text/plain", (("upgrade", "websocket"),))
        headers = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", websocket.accept_key(key)),
        ]
        offered = [token.strip() for token in request.headers.get("sec-websocket-protocol", "").split(",")]
        if v2 and SUBPROTOCOL in offered:
            headers.append(("Sec-WebSocket-Protocol", SUBPROTOCOL))
        if reader.zstd:
            await self.dictionary.ready()
        self.stats.accepted += 1
        return Upgrade(tuple(headers), reader.run)

    def _reader(self, request: Request, v2: bool) -> Subscriber:
        zstd = request.first("zstdDictionary") if v2 else ""
        if zstd and (not zstd.isdigit() or int(zstd) == 0):
            raise BadRequest("zstdDictionary must be a positive integer")
        if zstd and int(zstd) != self.dictionary.id:
            raise BadRequest(
                f"unknown zstd dictionary id {zstd}; current dictionary id is {self.dictionary.id}",
                "UnknownZstdDictionary",
            )
        compress = request.first("compress") == "true" or "zstd" in request.headers.get("socket-encoding", "")
        if compress:
            raise BadRequest("compress=true needs the old dictionary, which simnet does not have; stay uncompressed")
        hello = not v2 and request.first("requireHello") == "true"
        cursor = request.first("cursor")
        return Subscriber(self, v2, bool(zstd), read_filter(request.query, v2), self.resolve(cursor, v2), hello, cursor)

    async def _give_dictionary(self, request: Request) -> Response:
        wanted = request.first("id")
        if wanted and wanted != str(self.dictionary.id):
            return failure(
                400, "DictionaryNotFound", f"no dictionary {wanted[:20]}; the current one is {self.dictionary.id}"
            )
        return Response(await self.dictionary.ready(), content_type="application/octet-stream")

    def _faults_changed(self) -> None:
        while fault := self.faults.take("jump", self.name):
            self.jump(int(fault.option("by", JUMP)))
        self.history.nudge()  # a reader that waits for events must notice, too

    def _cut_off_slow_readers(self) -> None:
        if not self.outbox_events:
            return
        for reader in list(self.readers):
            if reader.live and self.history.tip - reader.position > self.outbox_events:
                self.readers.discard(reader)
                reader.cut_as_slow()

    async def stop(self) -> None:
        """Say 1001 to everybody, then go. The original server goes without a word."""
        if self.v2:
            ends = (reader.close(websocket.GOING_AWAY, "shutting down") for reader in list(self.readers))
            await asyncio.gather(*ends)
            return
        for reader in list(self.readers):
            reader.cut()


def _given(value: T | None, default: T) -> T:
    return default if value is None else value
