"""The past for one consumer: read from Jetstream again, joined again, then over into the live stream.

The change is exact on the host that gave the cursor. The replay reads on until its last event is also the hub's; what
the hub heard since then follows from there, and what the hub hears from then on comes live. Until all of the replay has
left its lane, live messages are held back.
"""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final

import picows
from msgspec import structs

from feedgen.core.clock import Clock
from feedgen.core.errors import UpstreamError
from feedgen.core.ids import US_PER_S
from feedgen.core.telemetry import Counter
from feedgen.ingest.batch import Cursor as Place
from feedgen.ingest.connection import Connection, connect
from feedgen.ingest.events import Event, StreamError, decode
from feedgen.ingest.frames import Frames, Inflater, Inlet
from feedgen.ingest.hosts import (
    Dictionaries,
    NoDictionary,
    Wire,
    base_of,
    cursor_value,
    dictionary_id,
    host_name,
    reason_of,
    subscription_url,
)
from feedgen.stream.consumer import Consumer
from feedgen.stream.cursor import Cursor
from feedgen.stream.formats import Joined
from feedgen.stream.happening import Happening, collection_of, read
from feedgen.stream.hub import TURN_MESSAGES, Hub
from feedgen.stream.lane import Sent

MAX_WAITING_BYTES: Final = 2 << 20
POLL_S: Final = 0.01
MEET_S: Final = 0.15  # how long a replay waits for the live stream to come by
BEHIND_US: Final = 2 * US_PER_S  # a replay that is so far behind has more to read first
SEEN: Final = 20_000  # of its events that a replay remembers
SILENT_S: Final = 30.0  # a host that sends nothing for so long is given up
GAP_US: Final = 60 * US_PER_S  # a first event so much newer than asked for means that older ones are gone

REPLAYS = Counter("feedgen_stream_replays_total", "Replays from a cursor, by how they ended.", "end")


class CantReplay(Exception):
    """The consumer is told the text, and may come again."""


class Source:
    """Jetstream's hosts, as the settings name them."""

    def __init__(self, urls: Sequence[str], wire: str, dictionaries: Dictionaries, user_agent: str) -> None:
        self.bases = [base_of(url) for url in urls]
        self._wire, self._dictionaries, self._user_agent = wire, dictionaries, user_agent

    async def open(self, place: Place, clock: Clock) -> tuple[picows.WSTransport, Connection, Inlet]:
        """The cursor's own host first. Raises CantReplay."""
        said = ""
        for base in sorted(self.bases, key=lambda base: host_name(base) != place.host):
            try:
                return await self._open(base, place, clock)
            except picows.WSHandshakeError as error:
                body = (error.raw_body or b"")[:300].decode("utf-8", "replace")
                if "CursorTooOld" in body:
                    raise CantReplay("older than what Jetstream still has") from error
                said = f"{host_name(base)} refused: {body}"
            except (OSError, TimeoutError, picows.WSError, UpstreamError) as error:
                said = f"{host_name(base)}: {reason_of(error)}"
        raise CantReplay(f"Jetstream can't be reached: {said}"[:120])

    async def _open(self, base: str, place: Place, clock: Clock) -> tuple[picows.WSTransport, Connection, Inlet]:
        host, inlet = host_name(base), Inlet(MAX_WAITING_BYTES)
        wire: Wire = "v1"
        dictionary = None
        if self._wire != "v1":
            try:
                wire, dictionary = "v2", await self._dictionaries.get(base)
            except NoDictionary:
                wire = "v2" if self._wire == "v2" else "v1"
        asked = cursor_value(place, host, "now")
        url = subscription_url(base, wire, asked, dictionary_id(dictionary) if dictionary else 0)

        def make() -> Connection:
            return Connection(inlet, clock, host=host, number=1, dictionary=dictionary)

        transport, connection = await connect(url, make, self._user_agent, subprotocol=wire == "v2")
        return transport, connection, inlet


def _place(base: Cursor, position: int) -> Happening:
    """A position that is known by its number alone."""
    time_us = base.time_us if position == base.position else base.from_us
    seq = position if base.seq else 0
    event = Event(did="", time_us=time_us if base.seq else position, seq=seq)
    return Happening(base.host, event, b"", number=sys.maxsize)


class Replay:
    def __init__(self, hub: Hub, consumer: Consumer, cursor: Cursor) -> None:
        self._hub, self._consumer, self._cursor = hub, consumer, cursor
        self._lane = hub.lane(self._emit)
        self._since = hub.number  # what the hub heard before may lack collections of this consumer
        self._seen: OrderedDict[tuple[object, ...], None] = OrderedDict()
        self._last: Happening | None = None
        self._number = 0
        self._first = True

    async def run(self, source: Source) -> None:
        """Until the consumer is live. Raises CantReplay."""
        end = "failed"
        try:
            transport, connection, inlet = await source.open(self._cursor.start, self._hub.parts.clock)
            try:
                await self._read(connection, inlet, transport)
            finally:
                transport.disconnect(False)
            await self._go_live()
            end = "live"
        finally:
            REPLAYS.add(1, end)
            self._hub.drop(self._lane)

    async def _read(self, connection: Connection, inlet: Inlet, transport: picows.WSTransport) -> None:
        """Until the last event that was read is one that the hub heard, too."""
        clock = self._hub.parts.clock
        inflate = Inflater(connection.dictionary) if connection.dictionary is not None else None
        heard_s = clock.monotonic_s()
        while not self._consumer.closed:
            frames = inlet.take(0)
            if not isinstance(frames, Frames):  # nothing came
                if await self._met(inlet):
                    return
                if transport.is_disconnected or clock.monotonic_s() - heard_s > SILENT_S:
                    raise CantReplay("Jetstream ended the replay")
                await asyncio.sleep(POLL_S)
                continue
            heard_s = clock.monotonic_s()
            for n, message in enumerate(frames.messages, 1):
                plain = inflate(message) if inflate is not None else message
                if plain is not None and self._one(connection.host, plain):
                    return
                if n % TURN_MESSAGES == 0:
                    await self._turn()
            await self._turn()

    async def _turn(self) -> None:
        self._consumer.flush()
        await asyncio.sleep(0)
        await self._consumer.room()
        self._hub.parts.shown.renew()

    def _one(self, host: str, message: bytes) -> bool:
        """True when the live stream goes on from here."""
        name = collection_of(message).decode("utf-8", "replace")
        if name and name not in self._consumer.query.collections:
            return False
        one = read(host, message)
        if one is None:
            if isinstance(error := decode(message), StreamError):
                raise CantReplay(f"Jetstream ended the replay: {error.name}")
            return False
        if self._first:
            self._first = False
            self._tell_gap(one)
        if (one.collection or one.kind) not in self._consumer.query.collections:
            return False
        if one.key in self._seen:
            return False
        self._take(one)
        self._last = one
        return self._is_live(one)

    def _take(self, one: Happening) -> None:
        self._seen[one.key] = None
        if len(self._seen) > SEEN:
            self._seen.popitem(last=False)
        if self._cursor.was_sent(one):
            return
        self._number += 1
        one.number, one.heard_s = self._number, self._hub.parts.clock.monotonic_s()
        self._hub.parts.known.pass_by(one)
        if self._consumer.query.wants(one):
            self._hub.deliver(one, self._lane, [self._consumer])

    def _emit(self, sent: Sent, targets: Sequence[Consumer]) -> None:
        """While the replay repeats what the consumer's cursor had behind it, that cursor is still the one that counts,
        but for what was brought after it."""
        base, at = self._cursor, sent.head.seq or sent.head.time_us
        if base.host == sent.head.host and at < base.position:
            left = [one for one in (base.position - below for below in base.pending) if one > at]
            head, *rest = [_place(base, position) for position in (base.position, *left)]
            sent = sent._replace(head=head, pending=(*sent.pending, *rest))
        self._hub.emit(sent, targets, replayed=True)

    def _tell_gap(self, first: Happening) -> None:
        asked_us = self._cursor.from_us
        if first.time_us > asked_us + GAP_US:
            self._consumer.tell(notice="gap", from_us=asked_us, to_us=first.time_us, reason="older events are gone")

    def _is_live(self, one: Happening) -> bool:
        heard = self._hub.heard.get(one.key)
        return heard is not None and heard.number > self._since

    async def _met(self, inlet: Inlet) -> bool:
        """Having caught up, wait a little for the live stream: it may be read a moment later."""
        for _ in range(int(MEET_S / POLL_S)):
            if self._last is None or self._consumer.closed:
                break
            if self._is_live(self._last):
                return True
            if inlet.pieces and self._hub.parts.clock.now_us() - self._last.time_us > BEHIND_US:
                break
            await asyncio.sleep(POLL_S)
        return False

    async def _go_live(self) -> None:
        """In one turn of the event loop: what the hub heard meanwhile, then all that it hears from now on."""
        hub, consumer = self._hub, self._consumer
        if consumer.closed or self._last is None:
            return
        hub.parts.shown.renew()
        floor = hub.number
        for one in self._rest():
            self._take(structs.replace(one))
        consumer.held = []
        hub.attach(consumer)
        while self._is_on_the_way(floor):
            await asyncio.sleep(POLL_S)
        hub.parts.shown.renew()
        held: list[Joined] = consumer.held
        consumer.held = None
        for joined in held:
            consumer.push(hub.frame(consumer.query.format, joined, floor), joined.sent)
        consumer.flush()

    def _is_on_the_way(self, floor: int) -> bool:
        """Whether something that came before the change still waits for its join."""
        lowest = self._hub.live.lowest
        return not self._consumer.closed and (len(self._lane) > 0 or (lowest is not None and lowest <= floor))

    def _rest(self) -> Iterator[Happening]:
        """What the hub heard since this replay began and the replay did not see."""
        names = self._consumer.query.collections
        return (
            one
            for one in self._hub.heard_since(self._since)
            if (one.collection or one.kind) in names and one.key not in self._seen
        )
