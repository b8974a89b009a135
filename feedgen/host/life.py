"""Whether this process is alive, and whether it can answer: what `/livez`, `/readyz` and systemd's watchdog go by.

Three parts must come around again and again: the event loop, the thread that writes, the threads that rank. The network
being away is no reason to call ourselves ill, and a restart would not help.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from feedgen.core.telemetry import Gauge

BEAT_S: Final = 5.0
LATE_S: Final = 45.0  # a batch or a list takes less, a full disk is tried again every 30 s

EVENT_LOOP: Final = "event loop"
WRITER: Final = "writer"
RANKER: Final = "ranker"

READY = Gauge("feedgen_ready", "1 while pages can be answered.")
LATE = Gauge("feedgen_parts_late", "Parts of the process that gave no sign of life for 45 s.")


class Life:
    """`run` is the event loop's heartbeat. A part counts from its first sign of life on, and until `stop`."""

    def __init__(self, monotonic_s: Callable[[], float], late_s: float = LATE_S, beat_s: float = BEAT_S) -> None:
        self._now_s, self._late_s, self.beat_s = monotonic_s, late_s, beat_s
        self._seen_s: dict[str, float] = {}
        self._writer_s: Callable[[], float] = float
        self._pulse: Callable[[], Future[object]] | None = None
        self._waiting: Future[object] | None = None
        self.ready = False
        self.stopping = False
        self.on_beat: Callable[[], None] = lambda: None

    def follow(self, writer_s: Callable[[], float], pulse: Callable[[], Future[object]]) -> None:
        """From now on: when the writer last came around (0: not yet), and a thread that ranks."""
        self._writer_s, self._pulse = writer_s, pulse

    def begin(self) -> None:
        """Pages can be answered."""
        self.ready = True
        READY.set(1)

    def stop(self) -> None:
        """No new pages; parts end as they should."""
        self.ready, self.stopping = False, True
        READY.set(0)

    def late(self) -> list[str]:
        """The parts that gave no sign of life for too long."""
        if self.stopping:
            return []
        seen_s = {WRITER: self._writer_s(), **self._seen_s}
        late = sorted(part for part, at_s in seen_s.items() if at_s and self._now_s() - at_s > self._late_s)
        LATE.set(len(late))
        return late

    def unready(self) -> str:
        """Why pages can't be answered now; empty when they can."""
        if self.ready:
            late = self.late()
            return f"no sign of life: {', '.join(late)}" if late else ""
        return "stopping" if self.stopping else "starting"

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._seen_s[EVENT_LOOP] = self._now_s()
            self._feel_pulse()
            self.on_beat()
            await asyncio.sleep(self.beat_s)

    def _feel_pulse(self) -> None:
        if self._pulse is None or self.stopping:
            return
        if self._waiting is None:
            self._seen_s.setdefault(RANKER, self._now_s())
        elif not self._waiting.done():
            return  # the one that was sent is still waiting for a thread
        else:
            self._seen_s[RANKER] = self._now_s()
        self._waiting = self._pulse()
