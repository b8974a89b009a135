"""From frames to batches in the sink: one thread that inflates, decodes, gathers and hands over.

The thread owns everything here; others read `status`. A bad event is dropped and counted; a full disk makes the thread
wait with the batch in hand; anything else that goes wrong is our own bug, ends the thread and is raised in `run`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from feedgen.core.clock import Clock
from feedgen.core.errors import StoreFull
from feedgen.core.ids import FOLLOW_NSID, LIKE_NSID, REPOST, REPOST_NSID, US_PER_DAY, US_PER_S
from feedgen.core.telemetry import Counter, Gauge, Histogram
from feedgen.ingest.batch import MAX_EVENTS, Batch, BatchBuilder, Cursor, Piece, Told
from feedgen.ingest.events import Delete, Dropped, Event, Follow, Post, Rating, Sync, decode
from feedgen.ingest.frames import DROPPED, Frames, Inflater, Inlet
from feedgen.ingest.gather import gather
from feedgen.ingest.matcher import Matcher
from feedgen.ingest.repeats import OpenDay, Repeats
from feedgen.ingest.replacement import Replacement
from feedgen.ingest.tap import Tap

log = logging.getLogger(__name__)

BATCH_S: Final = 0.05  # an event waits at most this long for company: a live socket is read twice a second only
BEHIND_BATCH_S: Final = 2.0  # and this long when it is old anyway: larger batches cost less
BEHIND_US: Final = 30 * US_PER_S
FUTURE_US: Final = 300 * US_PER_S  # how far ahead of our clock a host's may be
FEW: Final = 8  # messages that are cheaper to look at one by one
TURN_S: Final = 5.0  # the thread comes around this often, events or not: a sign of life
MANY: Final = 2_000  # that are taken apart in one go; more would only take more memory
RETENTION_DAYS: Final = 90
MAX_CUTS: Final = 8  # of them, into what can be added in one go; each costs a look at all that follow
FULL_BACKOFF_S: Final = 1.0
MAX_FULL_BACKOFF_S: Final = 30.0

EVENTS = Counter("feedgen_ingest_events_total", "Events handed to the store.")
REPLACED = Counter("feedgen_ingest_replaced_total", "Repositories that a host read again as a whole.")
BATCHES = Counter("feedgen_ingest_batches_total", "Batches handed to the store.")
UNBELIEVED = Counter("feedgen_ingest_future_total", "Events whose time lay beyond our own clock.")
STORE_FULL = Counter("feedgen_ingest_store_full_total", "Times that the store had no room.")
WAITING = Gauge("feedgen_ingest_waiting_bytes", "Received, but not decoded yet.")
APPLY = Histogram("feedgen_ingest_apply_seconds", "How long the store takes for a batch.")


class Sink(Protocol):
    """Where batches go. Called from the pipeline's thread only."""

    def apply(self, batch: Batch) -> None:
        """All of the batch, and its cursor, durably; or StoreFull and nothing of it."""
        ...

    def cursor(self) -> Cursor | None:
        """Where the last applied batch ended; None when there never was one."""
        ...

    def high_water_us(self) -> int:
        """The newest witnessed time that was ever applied; 0 when nothing was."""
        ...


@dataclass(slots=True)
class Progress:
    """Numbers for others to read; written by the pipeline's thread alone."""

    events: int = 0
    batches: int = 0
    dropped: int = 0
    last_us: int = 0  # the newest event that was applied
    pending: int = 0  # events that were taken from the inlet and are not applied yet
    waiting_for_room: bool = False
    turned_s: float = 0.0  # when the thread last came around, by the monotonic clock


class Pipeline:
    """`start` and `stop` the thread, or `run` it: that returns when cancelled and raises what the thread died of."""

    def __init__(
        self,
        sink: Sink,
        inlet: Inlet,
        clock: Clock,
        *,
        batch_s: float = BATCH_S,
        max_events: int = MAX_EVENTS,
        full_backoff_s: float = FULL_BACKOFF_S,
        retention_days: int = RETENTION_DAYS,
        on_end: Callable[[BaseException | None], None] | None = None,
        tap: Tap | None = None,
    ) -> None:
        self.status = Progress()
        self.failure: BaseException | None = None
        self.matcher: Matcher | None = None  # of the feeds' patterns; may be replaced at any time, by any thread
        self._sink, self._inlet, self._clock = sink, inlet, clock
        self._batch_s, self._full_backoff_s = batch_s, full_backoff_s
        self._on_end, self._tap = on_end, tap or Tap()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._builder = BatchBuilder(max_events=max_events)
        self._batch_from_s = 0.0
        self._days = OpenDay()
        self._repeats = Repeats()
        self._inflater: Inflater | None = None
        self._tally: Tally[str] = Tally()
        self._gave_up = False  # a batch was not applied, so no later one may be: its cursor would skip the first
        self._retention_us = retention_days * US_PER_DAY
        self._replacement: Replacement | None = None

    def start(self) -> None:
        if self._thread is not None:
            raise RuntimeError("a pipeline starts once")
        self._thread = threading.Thread(target=self._main, name="ingest", daemon=True)
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Finish the batch in hand, then end. What was not looked at yet comes again after the next start."""
        self._stop.set()
        self._inlet.wake()

    def stop(self) -> None:
        """The same, and wait for it, however long it takes: the sink is in use until then."""
        self.ask_to_stop()
        if self._thread is not None:
            self._thread.join()

    async def run(self) -> None:
        """Until cancelled; the thread has ended when this returns. What it died of is raised here."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        before = self._on_end

        def on_end(failure: BaseException | None) -> None:
            if before is not None:
                before(failure)
            loop.call_soon_threadsafe(ended.set)

        self._on_end = on_end
        self.start()
        try:
            await ended.wait()
        finally:
            self.ask_to_stop()
            while not ended.is_set():  # a second cancellation must not close the sink while the thread uses it
                with contextlib.suppress(asyncio.CancelledError):
                    await ended.wait()
            self.stop()
        if self.failure is not None:
            raise self.failure

    def _main(self) -> None:
        try:
            high_water_us = self._sink.high_water_us()
            self._days.begin(high_water_us)
            self._repeats.begin(high_water_us)
            while not self._stop.is_set():
                self._turn()
            self._hand_over()
        except BaseException as failure:
            self.failure = failure
            log.critical("ingest stopped", exc_info=failure)
        finally:
            if self._on_end is not None:
                self._on_end(self.failure)

    def _turn(self) -> None:
        """One piece from the inlet, or a batch that has waited long enough."""
        self.status.turned_s = self._clock.monotonic_s()
        patience_s = self._patience_s()
        frames = self._inlet.take(TURN_S if patience_s is None else patience_s)
        if frames is not None:
            self._digest(frames)
        if self._builder.events and self._patience_s() == 0:
            self._hand_over()
        self.status.pending = self._builder.events

    def _patience_s(self) -> float | None:
        """How long the pending batch may still wait; None if it is empty."""
        if not self._builder.events:
            return None
        behind = self._clock.now_us() - self._repeats.newest_us > BEHIND_US
        limit_s = max(BEHIND_BATCH_S, self._batch_s) if behind and self._inlet.pieces else self._batch_s
        return max(0.0, self._batch_from_s + limit_s - self._clock.monotonic_s())

    def _digest(self, frames: Frames | Told) -> None:
        builder = self._builder
        if frames.connection != self._repeats.connection:
            if builder.events:
                self._hand_over()  # its cursor belongs to the host that gave it
            self._end_replacement()  # the rest of it may not come on this connection: nothing is removed
            builder.host = frames.host
            self._repeats.connect(frames)
        if isinstance(frames, Told):
            self._add_told(frames)
            return
        for start in range(0, len(frames.messages), MANY):
            if self._stop.is_set():
                return
            messages = self._inflate(frames.messages[start : start + MANY], frames.dictionary)
            if self._tap.listening:
                self._tap.pass_on(frames.host, messages)
            if len(messages) < FEW or self._replacement is not None:
                self._add_each(messages)
            else:
                self._add_many(messages)
        WAITING.set(self._inlet.waiting_bytes)

    def _add_told(self, told: Told) -> None:
        self._tally.update(told.dropped)
        for part in told.parts:
            if self._stop.is_set():
                return
            if isinstance(part, list):
                self._add_each(part)
                continue
            self._end_replacement()
            if not self._add_piece(part):
                raise ValueError("a piece of the archive spans days")  # our own bug: archive/rows.py splits them

    def _inflate(self, messages: list[bytes], dictionary: bytes | None) -> list[bytes]:
        if dictionary is None:
            return messages
        if self._inflater is None or self._inflater.dictionary is not dictionary:
            self._inflater = Inflater(dictionary)
        return self._inflater.many(messages, self._tally)

    def _add_many(self, messages: list[bytes]) -> None:
        """Add pieces in one go; what a piece can't hold (midnight, an update, a sync) is added one by one."""
        for _ in range(MAX_CUTS):
            if not messages:
                return
            if self._replacement is not None:
                break
            dropped: Tally[str] = Tally()
            piece = gather(messages, dropped, self.matcher)
            now, messages = messages[: max(piece.cut, 1)], messages[max(piece.cut, 1) :]
            if messages:
                dropped.clear()
                piece = gather(now, dropped, self.matcher)
            if piece.cut and self._add_piece(piece):
                self._tally.update(dropped)
            else:
                self._add_each(now)
        self._add_each(messages)

    def _add_piece(self, piece: Piece) -> bool:
        """False, when there is something about it that needs a look at each event."""
        builder = self._builder
        if not piece.events:
            return True
        first_us, last_us = int(piece.times_us.min()), int(piece.times_us.max())
        day = self._days.of_all(first_us, last_us)
        if day is None or last_us > self._clock.now_us() + FUTURE_US or piece.events > builder.max_events:
            return False
        if not builder.events:
            self._batch_from_s = self._clock.monotonic_s()
        if not builder.extend(piece, day):
            self._hand_over()
            self._batch_from_s = self._clock.monotonic_s()
            builder.extend(piece, day)
        self._repeats.see_all(piece.seqs, piece.times_us)
        return True

    def _add_each(self, messages: list[bytes]) -> None:
        horizon_us = self._clock.now_us() + FUTURE_US
        for message in messages:
            event = decode(message)
            if isinstance(event, Post) and self.matcher is not None:
                event = msgspec.structs.replace(event, tags=self.matcher.match(message))
            if isinstance(event, Event):
                for part in parts_of(event):
                    kept = self._in_replacement(part, horizon_us)
                    if kept is not None:
                        self._add(kept, horizon_us)
            elif isinstance(event, Dropped):
                self._tally[event.reason] += 1

    def _in_replacement(self, event: Event, horizon_us: int) -> Event | None:
        """Begin, continue or end the replacement of a repository. None if the event is not to be recorded."""
        replacement = self._replacement
        if replacement is not None and replacement.is_over(event):
            self._end_replacement()
            replaced = replacement.end(event.time_us, event.seq)
            if replaced is not None:
                REPLACED.add(1)
                self._add(replaced, horizon_us)
        if isinstance(event, Sync):
            self._replacement = Replacement(event, self._retention_us)
            self._builder.held = Cursor(self._builder.host, event.seq, event.time_us)
            return None
        if replacement is None or not replacement.has(event):
            return event
        made = replacement.take(event)
        if made is None:
            self._tally["too_old"] += 1
        self._repeats.expect()
        return made

    def _end_replacement(self) -> None:
        if self._replacement is not None and self._builder.events:
            self._hand_over()  # with the cursor at the sync
        self._replacement, self._builder.held = None, None

    def _add(self, event: Event, horizon_us: int) -> None:
        if event.time_us > horizon_us:
            UNBELIEVED.add(1)
            event = msgspec.structs.replace(event, time_us=max(self._repeats.newest_us, horizon_us - FUTURE_US))
        day = self._days.of(event.time_us)
        builder = self._builder
        if not builder.events:
            self._batch_from_s = self._clock.monotonic_s()
        if not builder.add(event, day):
            self._hand_over()
            self._batch_from_s = self._clock.monotonic_s()
            builder.add(event, day)
        self._repeats.see(event)

    def _hand_over(self) -> None:
        self._count_dropped()
        if not self._builder.events or self._gave_up:
            return
        batch = self._builder.take()
        batch.replayed = self._repeats.take()
        if not self._apply(batch):
            return
        status = self.status
        status.events += batch.events
        status.batches += 1
        status.last_us = max(status.last_us, batch.last_us)
        EVENTS.add(batch.events)
        BATCHES.add(1)

    def _apply(self, batch: Batch) -> bool:
        """False when we were told to stop while there was no room: the batch was not applied, nor was its cursor."""
        pause_s = self._full_backoff_s
        while True:
            try:
                self.status.turned_s = start_s = self._clock.monotonic_s()
                self._sink.apply(batch)
            except StoreFull as full:
                if not self.status.waiting_for_room:
                    log.error("the store has no room; ingest waits", extra={"reason": full.message, "hint": full.hint})
                    STORE_FULL.add(1)
                self.status.waiting_for_room = True
                if self._stop.wait(pause_s):
                    self._gave_up = True
                    return False
                pause_s = min(pause_s * 2, MAX_FULL_BACKOFF_S)
                continue
            APPLY.observe(self._clock.monotonic_s() - start_s)
            if self.status.waiting_for_room:
                log.info("the store has room again; ingest goes on")
                self.status.waiting_for_room = False
            return True

    def _count_dropped(self) -> None:
        for reason, n in self._tally.items():
            DROPPED.add(n, reason)
            self.status.dropped += n
        self._tally.clear()


def parts_of(event: Event) -> tuple[Event, ...]:
    """An update of a rating or follow is a deletion of the old version and a create of the new one."""
    if not isinstance(event, Rating | Follow) or not event.updated:
        return (event,)
    collection = FOLLOW_NSID if isinstance(event, Follow) else REPOST_NSID if event.kind == REPOST else LIKE_NSID
    gone = Delete(
        did=event.did, time_us=event.time_us, seq=event.seq, collection=collection, rkey=event.rkey, replaced=True
    )
    return gone, event
