"""The archive as a source of events: a first start's past, and what a long stop left out.

`catch_up` runs before the live client listens. It tells events oldest first into the inlet that the client fills
afterwards, so they go through the same pipeline and recorder, and there is no state but the store's cursor: stopped or
killed at any instant, it goes on behind the last committed event.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feedgen.archive.api import Api, SegmentRef, Stopped
from feedgen.archive.block import Rows, read
from feedgen.archive.fetch import Fetched, Fetcher
from feedgen.archive.plan import Plan, plan_from, plan_since, since_days, words
from feedgen.archive.rows import Cutter
from feedgen.archive.segment import BadSegment, inflate
from feedgen.core.clock import Clock
from feedgen.core.errors import FeedgenError, UpstreamError
from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.core.telemetry import Counter as Metric
from feedgen.ingest.batch import Cursor, Told
from feedgen.ingest.frames import Inlet
from feedgen.ingest.pipeline import FUTURE_US, Pipeline
from feedgen.ingest.position import STEP_BACK_US
from feedgen.ingest.watch import TO_GO, State, Status

log = logging.getLogger(__name__)

HEAL_AFTER_US: Final = US_PER_DAY  # the shortest lookback that hosts have
MARGIN_US: Final = 60 * US_PER_S  # before a moment that another host gave
ROUNDS: Final = 5  # plans without progress
LINE_EVERY_S: Final = 10.0
SETTLE_S: Final = 0.02
DECODERS: Final = max(1, min(os.cpu_count() or 1, 4))
AHEAD: Final = 2 * DECODERS  # decoded blocks that wait for their turn
MAX_TOLD_BYTES: Final = 8 << 20

ROWS = Metric("feedgen_archive_rows_total", "Rows of Jetstream's archive that were read.")


@dataclass(slots=True)
class Progress:
    """For the log, the status page and /xrpc/_health. `trouble` stays until the archive is used again."""

    running: bool = False
    segments: int = 0
    segments_done: int = 0
    bytes: int = 0
    bytes_planned: int = 0
    rows: int = 0
    rows_s: float = 0.0
    trouble: str = ""

    def fields(self) -> dict[str, object]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Wanted:
    """`days` of a first start; `heal`: fetch what a long stop left out."""

    days: float
    heal: bool
    retention_days: int


class Source:
    def __init__(
        self,
        base: str,
        key: Callable[[], str],
        folder: Path,
        wanted: Wanted,
        pipeline: Pipeline,
        inlet: Inlet,
        cursor: Callable[[], Cursor | None],
        listening: Status,
        clock: Clock,
        as_of: Callable[[int | None], None] = lambda us: None,
    ) -> None:
        self.progress = Progress()
        self._base, self._key, self._folder, self._wanted = base, key, folder, wanted
        self._pipeline, self._inlet, self._cursor, self._clock = pipeline, inlet, cursor, clock
        self._listening, self._as_of = listening, as_of
        self._stop = threading.Event()
        self._room = threading.Event()
        self._connections = 0
        self._given_up = self._refused = False
        self._stuck = 0
        self._all_told_at: Cursor | None = None  # nothing was sealed behind it

    def is_needed(self, at: Cursor | None) -> bool:
        """Whether the archive has what no live host may have any more."""
        if self._given_up:
            return False
        if at is None or not at.time_us:
            return self._wanted.days > 0
        old = at.time_us < self._clock.now_us() - HEAL_AFTER_US and at != self._all_told_at
        return old and (self._wanted.heal or self._wanted.days > 0)

    def is_behind(self, at: Cursor | None, refused: bool) -> bool:
        """What the live client asks before it connects, and when a host refused its cursor as too old."""
        self._refused = refused and self._wanted.heal and not self._given_up
        return self._refused or (at is not None and self.is_needed(at))

    async def catch_up(self) -> None:
        """Returns when the store has all that is sealed, or when the archive can't be used: why is in the log."""
        if not (self._refused or self.is_needed(self._cursor())):
            return
        await self._settle()
        self.progress = Progress(running=True)
        self._listening.state = State.ARCHIVE
        work = asyncio.ensure_future(asyncio.to_thread(self._run))
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=1.0)
                self._as_of(self._pipeline.status.last_us or None)
            await work
            await self._settle()
            log.info("the archive is read; listening from here on", extra={"events": self.progress.rows})
        except (FeedgenError, Stopped) as error:
            self._give_up(error)
        finally:
            self._stop.set()
            self._room.set()
            await asyncio.wait({work})
            work.exception()
            self._stop.clear()
            self.progress.running = self._refused = False
            self._as_of(None)

    def _give_up(self, error: FeedgenError | Stopped) -> None:
        message = error.message if isinstance(error, FeedgenError) else "stopped"
        hint = error.hint if isinstance(error, FeedgenError) else ""
        self.progress.trouble = message
        self._given_up = True
        log.error("the archive is not used: %s", message, extra={"hint": hint})

    async def _settle(self) -> None:
        """Until all that was received is in the store, so that its cursor says where we are."""
        while not self.is_settled():
            await asyncio.sleep(SETTLE_S)

    def is_settled(self) -> bool:
        """All that was received is in the store."""
        return self._inlet.idle and not self._pipeline.status.pending

    # --- in a thread

    def _run(self) -> None:
        api = Api(self._base, self._key(), self._stop)
        try:
            while self._refused or self.is_needed(self._cursor()):
                at, refused, self._refused = self._cursor(), self._refused, False
                plan = self._plan(api, at)
                if plan.segments:
                    self._read(api, plan)
                    self._wait_settled()
                self._stuck = self._stuck + 1 if self._cursor() == at else 0
                if not plan.segments and not refused:
                    self._all_told_at = at
                    return
                if self._stuck == ROUNDS:
                    raise UpstreamError(
                        f"{api.host} has nothing sealed behind our cursor", "What it lacks is missing: see the gap."
                    )
        finally:
            api.close()

    def _plan(self, api: Api, at: Cursor | None) -> Plan:
        now_us = self._clock.now_us()
        oldest_us = since_days(now_us, self._wanted.retention_days)
        if at is None or not at.time_us:
            days = min(self._wanted.days, self._wanted.retention_days)
            plan = plan_since(api, since_days(now_us, days))
        elif at.host == api.host and at.seq and at.time_us > oldest_us:
            days = (now_us - at.time_us) / US_PER_DAY
            plan = plan_from(api, at.seq)
        else:
            days = (now_us - max(at.time_us, oldest_us)) / US_PER_DAY
            plan = plan_since(api, max(at.time_us - STEP_BACK_US - MARGIN_US, oldest_us))
        log.info("reading the archive: %s", words(plan, round(days, 1), DECODERS))
        self.progress.segments, self.progress.bytes_planned = len(plan.segments), plan.bytes
        return plan

    def _read(self, api: Api, plan: Plan) -> None:
        now_us = self._clock.now_us()
        cutter = Cutter(since_days(now_us, self._wanted.retention_days), now_us + FUTURE_US // 2, plan.after_seq)
        fetcher = Fetcher(api, self._folder)
        self._connections -= 1  # live connections count up from 1
        exact = plan.after_seq > 0
        said_s = time.monotonic()
        before = self.progress.rows, said_s
        try:
            for one, rows in self._decoded(fetcher, fetcher.blocks(plan.segments), cutter.since_us):
                if rows is None:
                    fetcher.left_out(one)
                    continue
                self._tell(api.host, cutter, rows, len(one.frame), exact)
                self._note(api, plan.segments, one)
                if (now_s := time.monotonic()) - said_s >= LINE_EVERY_S:
                    self.progress.rows_s = (self.progress.rows - before[0]) / (now_s - before[1])
                    said_s, before = now_s, (self.progress.rows, now_s)
                    log.info("reading the archive", extra=self._line())
            fetcher.tidy()
        except BaseException:
            self._stop.set()
            raise
        finally:
            fetcher.close()
            TO_GO.set(0)

    def _decoded(
        self, fetcher: Fetcher, blocks: Iterator[Fetched], since_us: int
    ) -> Iterator[tuple[Fetched, Rows | None]]:
        """Blocks in order, decoded in as many threads as there are cores."""

        def decode(one: Fetched) -> Rows | None:
            frame: bytes | None = one.frame
            for attempt in range(2):
                try:
                    return read(inflate(frame or b""), since_us)
                except BadSegment:
                    frame = None if attempt else fetcher.again(one)
            return None

        with ThreadPoolExecutor(DECODERS, thread_name_prefix="blocks") as pool:
            ahead: deque[tuple[Fetched, Future[Rows | None]]] = deque()
            try:
                for one in blocks:
                    ahead.append((one, pool.submit(decode, one)))
                    if len(ahead) > AHEAD:
                        first, future = ahead.popleft()
                        yield first, future.result()
                while ahead:
                    first, future = ahead.popleft()
                    yield first, future.result()
            finally:
                for _, future in ahead:
                    future.cancel()

    def _tell(self, host: str, cutter: Cutter, rows: Rows, size: int, exact: bool) -> None:
        parts = cutter.parts(rows)
        dropped, cutter.dropped = cutter.dropped, Counter()
        ROWS.add(rows.layout.count)
        self.progress.rows += rows.layout.count
        if not parts and not dropped:
            return
        self._room.clear()
        told = Told(host, self._connections, parts, dropped, rows.numbers.nbytes + rows.words.nbytes, exact)
        if not self._inlet.put(told, self._room.set):
            self._room.wait()
        if self._stop.is_set():
            raise Stopped

    def _note(self, api: Api, refs: list[SegmentRef], one: Fetched) -> None:
        progress = self.progress
        progress.bytes = api.bytes
        while progress.segments_done < len(refs) and refs[progress.segments_done].name != one.segment:
            progress.segments_done += 1
        TO_GO.set(len(refs) - progress.segments_done)

    def _line(self) -> dict[str, object]:
        progress = self.progress
        return {
            "segments": f"{progress.segments_done} of {progress.segments}",
            "mb": progress.bytes >> 20,
            "planned_mb": progress.bytes_planned >> 20,
            "rows": progress.rows,
            "rows_s": round(progress.rows_s),
        }

    def _wait_settled(self) -> None:
        while not self.is_settled():
            if self._stop.wait(SETTLE_S):
                raise Stopped
