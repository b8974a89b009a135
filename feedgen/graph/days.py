"""The life of a day after it is over: sealed in the store, sealed in the arrays, and dropped when its time has come.

The long parts run in one background thread; everything that touches the writer happens in the writer's thread, between
batches (`tend`).
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

import numpy as np

from feedgen.core.errors import StoreError, StoreFull
from feedgen.core.telemetry import Counter, Gauge
from feedgen.graph.graph import Graph
from feedgen.graph.truth import TruthDay
from feedgen.store.folder import Folder, day_name
from feedgen.store.idle import idle, note_day, read_seen
from feedgen.store.names import Names
from feedgen.store.rows import U32
from feedgen.store.seal import Draft
from feedgen.store.writer import Writer

log = logging.getLogger(__name__)

RETRY_US: Final = 600_000_000  # how long after a full disk sealing is tried again
SETTLE_US: Final = 120_000_000  # how old the next day must be: what is repeated over midnight has come by then

SEALED = Counter("feedgen_days_sealed_total", "Days that were rewritten into their final form.")
DROPPED = Counter("feedgen_days_dropped_total", "Days that left the window.")
KEPT = Gauge("feedgen_days_kept", "Days in the store.")


class Days:
    """`tend` after each batch; `close` at the end. A bug in the background thread goes to the graph's watch."""

    def __init__(
        self,
        folder: Folder,
        names: Names,
        writer: Writer,
        graph: Graph,
        retention_days: int,
        settle_us: int = SETTLE_US,
    ) -> None:
        self._folder, self._names, self._writer, self._graph = folder, names, writer, graph
        self._retention_days, self._settle_us = retention_days, settle_us
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._drafted: queue.SimpleQueue[tuple[int, Draft | None]] = queue.SimpleQueue()
        self._building: dict[int, Future[None]] = {}
        self._busy_with: int | None = None
        self._not_before_us = 0
        self._seen = np.empty(0, np.uint8)
        self._thread = threading.Thread(target=self._run, name="days", daemon=True)

    def start(self) -> None:
        seen = read_seen(self._folder.seen_path)
        if seen is not None:
            gone = idle(seen.by_person, seen.day, self._retention_days)
            self._take_back(self._names.give_back(gone, retire=False))
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Sealing that is under way is given up: the next start does it again."""
        self._work.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def tend(self, today: int, now_us: int) -> None:
        """In the writer's thread, between batches."""
        self._finish()
        self.make_way(today)
        self._try_again(now_us)
        if self._busy_with is None and now_us >= self._not_before_us:
            self._begin(today, now_us)

    def _begin(self, today: int, now_us: int) -> None:
        settled = now_us - today * 86_400_000_000 >= self._settle_us
        waiting = [day for day in self._writer.days() if day < today and not self._writer.is_sealed(day)]
        if not waiting or (waiting[0] == today - 1 and not settled):
            return
        day = waiting[0]
        make = self._writer.begin_seal(day)
        self._busy_with, self._not_before_us = day, now_us + RETRY_US
        sealed = [other for other in self._writer.days() if self._writer.is_sealed(other)]
        self._work.put(lambda: self._draft(day, make, sealed))

    def _draft(self, day: int, make: Draft, sealed: list[int]) -> None:
        try:
            make.write()
            self._seen = note_day(self._folder.seen_path, day, make.named, self._names.count, sealed)
        except StoreFull as full:
            _say_unsealed(day, full)
            self._drafted.put((day, None))
        else:
            self._drafted.put((day, make))

    def _finish(self) -> None:
        while not self._drafted.empty():
            day, draft = self._drafted.get()
            self._busy_with = None
            if draft is None:
                self._writer.abandon_seal(day)
                continue
            try:
                self._writer.finish_seal(draft)
            except StoreFull as full:
                # The batch before this is committed: nobody may think that it was not.
                _say_unsealed(day, full)
                self._writer.abandon_seal(day)
                continue
            self._not_before_us = 0
            SEALED.add(1)
            self._build(day)
            self._give_back(day)

    def _give_back(self, day: int) -> None:
        """Numbers that nothing refers to any more."""
        self._take_back(self._writer.give_back(idle(self._seen, day, self._retention_days)))

    def _take_back(self, free: U32) -> None:
        """Whoever gets one of these numbers begins without flags."""
        self._graph.set_person_flags(free, np.zeros(len(free), np.uint8))
        for person in free.tolist():
            self._graph.set_aside(person, 0, 0)

    def _build(self, day: int) -> None:
        """The sidecar, in the background. Until it is there the day answers from its live arrays."""
        source = TruthDay(day, self._folder.sealed_path(day), True, self._names)
        self._building[day] = self._graph.seal(day, source)

    def _try_again(self, now_us: int) -> None:
        """A full disk is no reason to keep a day in memory for ever."""
        for day, build in list(self._building.items()):
            if not build.done():
                continue
            failure = build.exception()
            if failure is None:
                del self._building[day]
            elif not isinstance(failure, OSError | StoreError):
                raise failure
            elif now_us >= self._not_before_us:
                told = {"day": day_name(day), "reason": str(failure)}
                log.warning("a day's sidecar could not be written; trying again", extra=told)
                self._not_before_us = now_us + RETRY_US
                self._build(day)

    def make_way(self, today: int) -> None:
        """Days that have left the window go. Also before a day begins: after a long stop the old ones would be in its
        way.
        """
        for day in self._writer.days():
            if day > today - self._retention_days or day == self._busy_with:
                continue
            self._building.pop(day, None)
            self._graph.drop(day)
            self._graph.tags.drop_day(day)
            self._writer.drop(day)
            DROPPED.add(1)
            log.info("a day left the window", extra={"day": day_name(day)})
        KEPT.set(len(self._writer.days()))

    def _run(self) -> None:
        try:
            while (work := self._work.get()) is not None:
                work()
        except BaseException as failure:
            self._graph.watch.failed(failure)


def _say_unsealed(day: int, full: StoreFull) -> None:
    told = {"day": day_name(day), "reason": full.message}
    log.warning("a day could not be sealed; it stays a log for now", extra=told)
