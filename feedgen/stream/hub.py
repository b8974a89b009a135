"""The middle of the stream: events come from the tap, and each goes to the consumers whose query wants it.

All of it runs in the event loop, a few milliseconds at a time, and only while somebody listens.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from feedgen.core.clock import Clock
from feedgen.core.ids import POST_NSID, PROFILE_NSID
from feedgen.core.telemetry import Counter, Gauge
from feedgen.ingest.tap import Tap, Tapped
from feedgen.stream.asking import Asker
from feedgen.stream.consumer import Consumer
from feedgen.stream.formats import Formats, Joined
from feedgen.stream.frames import text_frame
from feedgen.stream.happening import Happening, collection_of, read
from feedgen.stream.known import Known
from feedgen.stream.lane import Lane, Sent
from feedgen.stream.visibility import Visibility

TURN_S: Final = 0.003  # of work, then others have the event loop
TURN_MESSAGES: Final = 50  # between two looks at the clock
HEARD: Final = 10_000  # of the newest events, kept to know repeats and for replays to go over into live
EVERY_S: Final = 1.0  # consumers are looked after

HEARD_EVENTS = Counter(
    "feedgen_stream_heard_total", "Events that came while somebody listened, by what became of them.", "fate"
)
CONSUMERS = Gauge("feedgen_stream_consumers", "Consumers that are connected.")
WAITING = Gauge("feedgen_stream_waiting", "Messages that wait for what belongs to them.")
KNOWN = Gauge("feedgen_stream_known", "Profiles and posts that are kept.", "what")


Emit = Callable[[Sent, Sequence[Consumer]], None]


@dataclass(frozen=True, slots=True)
class Parts:
    known: Known
    asker: Asker
    shown: Visibility
    formats: Formats
    clock: Clock
    patience_s: float


class Hub:
    def __init__(self, tap: Tap, parts: Parts) -> None:
        self.parts, self.consumers = parts, set[Consumer]()
        self.number = 0
        self.heard: OrderedDict[tuple[object, ...], Happening] = OrderedDict()
        self.lanes: set[Lane[Sequence[Consumer]]] = set()
        self.live: Lane[Sequence[Consumer]] = self.lane()
        self._tap = tap
        self._expected: dict[Consumer, frozenset[str]] = {}  # the collections of all, those that still replay included
        self._needed: frozenset[bytes] = frozenset()
        self._unbroken = 0
        self._flushing: asyncio.Handle | None = None
        self._more = asyncio.Event()

    # Consumers.

    def expect(self, consumer: Consumer) -> None:
        """From now on what it wants is heard, and kept in `heard`."""
        self._expected[consumer] = consumer.query.collections
        self._count()
        if not self._tap.listening:
            self._tap.open(self._more.set)

    def attach(self, consumer: Consumer) -> None:
        """It gets all that is heard from now on."""
        self.consumers.add(consumer)

    def leave(self, consumer: Consumer) -> None:
        consumer.ended()
        self.consumers.discard(consumer)
        self._expected.pop(consumer, None)
        self._count()
        if not self._expected:
            self._tap.close()
            self._forget()
            self.parts.shown.release()

    def _forget(self) -> None:
        """Events were not heard: what was heard before does not lead to what is heard from now on."""
        self.heard.clear()
        self._unbroken += 1

    def everybody(self) -> list[Consumer]:
        return list(self._expected)

    def _count(self) -> None:
        wanted = frozenset(one.encode() for names in self._expected.values() for one in names)
        self._needed = wanted | {POST_NSID.encode(), PROFILE_NSID.encode(), b""}
        CONSUMERS.set(len(self._expected))

    # Lanes.

    def lane(self, emit: Emit | None = None) -> Lane[Sequence[Consumer]]:
        p = self.parts
        made: Lane[Sequence[Consumer]] = Lane(p.known, p.asker, p.clock, p.patience_s, emit or self.emit)
        self.lanes.add(made)
        return made

    def drop(self, lane: Lane[Sequence[Consumer]]) -> None:
        lane.close()
        self.lanes.discard(lane)

    def settled(self, keys: Iterable[str]) -> None:
        """What was asked for came, or will not."""
        for lane in list(self.lanes):
            lane.settled(keys)
        self.flush()

    def emit(self, sent: Sent, targets: Sequence[Consumer], replayed: bool = False) -> None:
        """Spelled once for each format. What is live waits while a consumer's replay still goes out."""
        self.parts.shown.renew()
        joined = Joined(sent, self.parts.shown)
        frames: dict[str, bytes] = {}
        for consumer in targets:
            if consumer.held is not None and not replayed:
                consumer.held.append(joined)
                continue
            name = consumer.query.format
            frame = frames.get(name)
            if frame is None:
                frame = frames[name] = self.frame(name, joined)
            consumer.push(frame, sent)
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_soon(self.flush)

    def frame(self, name: str, joined: Joined, floor: int = 0) -> bytes:
        return text_frame(self.parts.formats.spell(name, joined, floor))

    def flush(self) -> None:
        self._flushing = None
        for consumer in self._expected:
            consumer.flush()

    # Events.

    async def run(self) -> None:
        looking = asyncio.create_task(self._look_after(), name="stream consumers")
        try:
            while True:
                await self._more.wait()
                self._more.clear()
                while (tapped := self._tap.take()) is not None:
                    await self.hear(tapped)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def hear(self, tapped: Tapped) -> None:
        if tapped.lost:
            self._forget()
            for consumer in self.consumers:
                consumer.missed(tapped.lost)
        clock = self.parts.clock
        self.parts.shown.renew()
        until_s, unbroken = clock.monotonic_s() + TURN_S, self._unbroken
        for n, message in enumerate(tapped.messages, 1):
            self._one(tapped.host, message)
            if n % TURN_MESSAGES == 0 and clock.monotonic_s() > until_s:
                self.flush()
                await asyncio.sleep(0)
                if unbroken != self._unbroken:  # the last consumer left, and another may have come
                    return
                self.parts.shown.renew()
                until_s = clock.monotonic_s() + TURN_S
        self.flush()

    def _one(self, host: str, message: bytes) -> None:
        if collection_of(message) not in self._needed:
            return
        happening = read(host, message)
        if happening is None:
            return
        key = happening.key
        if key in self.heard:
            HEARD_EVENTS.add(1, "repeat")
            return
        self.number += 1
        happening.number, happening.heard_s = self.number, self.parts.clock.monotonic_s()
        self.heard[key] = happening
        if len(self.heard) > HEARD:
            self.heard.popitem(last=False)
        self.parts.known.pass_by(happening)
        self.deliver(happening, self.live, [one for one in self.consumers if one.query.wants(happening)])

    def deliver(self, happening: Happening, lane: Lane[Sequence[Consumer]], targets: list[Consumer]) -> None:
        """Into the lane, for those who want it joined; to the others at once."""
        if not targets:
            HEARD_EVENTS.add(1, "unwanted")
            return
        if not self.parts.shown.may_pass(happening):
            HEARD_EVENTS.add(1, "hidden")
            return
        HEARD_EVENTS.add(1, "passed")
        joined = [one for one in targets if one.query.joins]
        if joined:
            lane.add(happening, joined, join=happening.kind == "commit" and happening.operation != "delete")
        if len(joined) < len(targets):
            frame, sent = text_frame(happening.message), Sent(happening, happening, (), 0, 0)
            for consumer in targets:
                if not consumer.query.joins:
                    consumer.push(frame, sent)

    def heard_since(self, number: int) -> Iterator[Happening]:
        """In order, those with a higher number."""
        return (one for one in list(self.heard.values()) if one.number > number)

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            for consumer in self.everybody():
                consumer.check()
                consumer.tell_cursor()
            known = self.parts.known
            known.sweep()
            WAITING.set(sum(map(len, self.lanes)))
            KNOWN.set(len(known.profiles), "profiles")
            KNOWN.set(len(known.posts), "posts")
