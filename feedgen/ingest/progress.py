"""Tells how the catching up goes: a bar on a terminal, a line now and then in a log; silent while we are live."""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import dataclass
from typing import Final, TextIO

from feedgen.core.bar import CLEAR, bar, duration
from feedgen.core.clock import Clock
from feedgen.ingest.jetstream import State, Status
from feedgen.ingest.pipeline import Pipeline

log = logging.getLogger(__name__)

BAR_EVERY_S: Final = 0.25
LINE_EVERY_S: Final = 10.0
SHOW_FROM_S: Final = 60.0  # less than this far behind is not worth a word
DONE_S: Final = 10.0
SMOOTHING: Final = 0.3


@dataclass(frozen=True, slots=True)
class Catching:
    """One moment of it."""

    events: int
    events_s: float
    behind_s: float
    to_go_s: float | None  # None: not known yet, or we fall behind
    share: float  # of the time that was to be caught up


class Meter:
    """Turns what was applied so far into rates. No output, no waiting."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._before: tuple[float, int, int] | None = None  # when, events, newest time
        self._from_events = 0
        self._worst_s = 0.0
        self._events_s = 0.0
        self._speed = 0.0  # seconds of the network's time per second of ours

    def read(self, events: int, last_us: int) -> Catching | None:
        """None before the first event."""
        if not last_us:
            return None
        now_s = self._clock.monotonic_s()
        behind_s = max(0.0, (self._clock.now_us() - last_us) / 1e6)
        self._worst_s = max(self._worst_s, behind_s)
        if self._before is None:
            self._from_events = 0
        elif now_s > self._before[0]:
            elapsed_s = now_s - self._before[0]
            self._events_s = self._smooth(self._events_s, (events - self._before[1]) / elapsed_s)
            self._speed = self._smooth(self._speed, (last_us - self._before[2]) / 1e6 / elapsed_s)
        self._before = now_s, events, last_us
        to_go_s = behind_s / (self._speed - 1) if self._speed > 1.01 else None
        share = 1 - behind_s / self._worst_s if self._worst_s else 1.0
        return Catching(events, self._events_s, behind_s, to_go_s, share)

    @staticmethod
    def _smooth(old: float, new: float) -> float:
        return new if old == 0 else old + (new - old) * SMOOTHING


class Reporter:
    """`run` until cancelled; it starts to speak when there is much to catch up, and says when that is done."""

    def __init__(self, status: Status, pipeline: Pipeline, clock: Clock, stream: TextIO | None = None) -> None:
        self._status, self._pipeline, self._clock = status, pipeline, clock
        self._stream = sys.stderr if stream is None else stream
        self._bar = self._stream.isatty()
        self._meter = Meter(clock)
        self._speaking = False

    async def run(self) -> None:
        try:
            while True:
                await asyncio.sleep(BAR_EVERY_S if self._bar else LINE_EVERY_S)
                self.tick()
        finally:
            if self._bar and self._speaking:
                self._stream.write("\n")

    def tick(self) -> None:
        applied = self._pipeline.status
        now = self._meter.read(applied.events, applied.last_us)
        if now is None or self._status.state in (State.CONNECTING, State.WAITING):
            return
        if now.behind_s <= DONE_S or (not self._speaking and now.behind_s < SHOW_FROM_S):
            if self._speaking:
                self._done(now)
            return
        self._speaking = True
        if self._bar:
            self._stream.write(CLEAR + line(now))
            self._stream.flush()
        else:
            log.info("catching up", extra=fields(now))

    def _done(self, now: Catching) -> None:
        self._speaking = False
        if self._bar:
            self._stream.write(CLEAR)
            self._stream.flush()
        log.info("caught up", extra={"events": now.events})


def line(now: Catching) -> str:
    """`catching up [######------] 1,234,000 events, 61,000/s, 12 h behind, 4 min to go`"""
    to_go = f"{duration(now.to_go_s)} to go" if now.to_go_s is not None else "falling behind"
    words = f"{now.events:,} events, {now.events_s:,.0f}/s, {duration(now.behind_s)} behind, {to_go}"
    return bar("catching up", now.share, words)


def fields(now: Catching) -> dict[str, object]:
    return {
        "events": now.events,
        "events_s": round(now.events_s),
        "behind": duration(now.behind_s),
        "to_go": duration(now.to_go_s) if now.to_go_s is not None else "unknown",
    }
