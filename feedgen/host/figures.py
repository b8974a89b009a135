"""The process looks at its own figures every few seconds and keeps them by the minute (store/figures.py).

Everything is read from the metrics that are there anyway, by name. What takes long (the disk) is asked in a thread.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from feedgen.core.clock import Clock
from feedgen.core.errors import StoreError
from feedgen.core.ids import US_PER_S
from feedgen.core.logs import Recent
from feedgen.core.telemetry import Histogram, Metric, all_metrics
from feedgen.store.backup import last_backup_s
from feedgen.store.disk import usage
from feedgen.store.figures import Figures, Sample, Warned, added

READ_S: Final = 10.0
READS: Final = 6  # between two writings
PAGES: Final = "app.bsky.feed.getFeedSkeleton"

log = logging.getLogger(__name__)


class Read(NamedTuple):
    """A figure, the metric it comes from, how the metric's labels must begin, and a label that doesn't count."""

    figure: str
    metric: str
    labels: tuple[str, ...] = ()
    but: str = ""


SUMS: Final = (
    Read("events", "feedgen_ingest_events_total"),
    Read("ratings", "feedgen_recorded_ratings_total"),
    Read("gaps", "feedgen_ingest_gaps_total"),
    Read("disconnects", "feedgen_ingest_disconnects_total"),
    Read("disk full", "feedgen_ingest_store_full_total"),
    Read("pages", "feedgen_http_requests_total", (PAGES, "200")),
    Read("failed", "feedgen_http_requests_total", ("", "5"), but="501"),  # 501: asked for what no feed has
    Read("full", "feedgen_rank_lists_total", ("full",)),
    Read("cheap", "feedgen_rank_lists_total", ("cheap",)),
    Read("instead", "feedgen_feeds_fallbacks_total"),
    Read("seen", "feedgen_feeds_interactions_total", ("interactionSeen",)),
    Read("vps pages", "feedgen_vps_pages_total"),
    Read("vps late", "feedgen_vps_pages_total", ("late",)),
    Read("cpu", "process_cpu_seconds_total"),
)
PEAKS: Final = (
    Read("memory", "process_resident_memory_bytes"),
    Read("connections", "feedgen_http_connections"),
    Read("waiting", "feedgen_rank_waiting"),
    Read("late parts", "feedgen_parts_late"),
)
LASTS: Final = (
    Read("people", "feedgen_store_people"),
    Read("days", "feedgen_days_kept"),
    Read("connected", "feedgen_ingest_connected"),
    Read("tunnel", "feedgen_tunnel_up"),
    Read("archive", "feedgen_archive_segments_to_go"),
)
TIMES: Final = (
    Read("page", "feedgen_http_request_seconds", (PAGES,)),
    Read("list", "feedgen_rank_list_seconds"),
    Read("vps page", "feedgen_vps_page_seconds"),
)
# Read elsewhere: peaks "behind" (seconds); lasts as `slowly` gives them.


class Reader:
    """From one reading to the next: counters become what was added since."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {}
        self._times: dict[str, list[float]] = {}

    def read(self, at_s: int, seconds: float) -> Sample:
        metrics = {metric.name: metric for metric in all_metrics()}
        sample = Sample(at_s, seconds)
        for one in SUMS:
            now = _sum(metrics[one.metric], one.labels, one.but)
            sample.sums[one.figure] = max(0.0, now - self._before.get(one.figure, 0.0))
            self._before[one.figure] = now
        sample.peaks = {one.figure: _sum(metrics[one.metric], one.labels) for one in PEAKS}
        known = [one for one in LASTS if metrics[one.metric].samples()]
        sample.lasts = {one.figure: _sum(metrics[one.metric], one.labels) for one in known}
        for one in TIMES:
            row = _counts(metrics[one.metric], one.labels)
            before = self._times.get(one.figure, [0.0] * len(row))
            sample.times[one.figure] = [a - b for a, b in zip(row, before, strict=True)]
            self._times[one.figure] = row
        return sample


def _fits(labels: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    return all(have.startswith(want) for have, want in zip(labels, wanted, strict=False))


def _sum(metric: Metric, labels: tuple[str, ...], but: str = "") -> float:
    return sum(value for have, value in metric.samples() if _fits(have, labels) and but not in have)


def _counts(metric: Metric, labels: tuple[str, ...]) -> list[float]:
    """A count for each of BUCKETS_S, then of all."""
    assert isinstance(metric, Histogram)
    rows = [row for have, row in metric.rows() if _fits(have, labels)]
    if not rows:
        return [0.0] * metric.width
    return [sum(column) for i, column in enumerate(zip(*rows, strict=True)) if i != len(rows[0]) - 2]


def slowly(folder: Path) -> Callable[[], dict[str, float]]:
    """What the disk and the last backup say; not asked on the event loop."""

    def ask() -> dict[str, float]:
        used = usage(folder)
        told = {"data": float(used.total), "free": float(used.free)}
        backup_s = last_backup_s(folder)
        if backup_s is not None:
            told["backup"] = float(backup_s)
        return told

    return ask


class Keeper:
    """Belongs to the event loop."""

    def __init__(
        self,
        store: Figures,
        clock: Clock,
        recent: Recent,
        measure: Callable[[], None],
        behind_s: Callable[[], float | None],
        slow: Callable[[], Mapping[str, float]],
    ) -> None:
        """`measure` brings the metrics up to date that are read rather than counted."""
        self._store, self._clock, self._recent = store, clock, recent
        self._measure, self._behind_s, self._slow = measure, behind_s, slow
        self._reader = Reader()
        self._read_s = clock.monotonic_s()
        self._pending: Sample | None = None
        self._fails = False

    async def run(self) -> None:
        """Until cancelled. The first figures are there after the first reading."""
        for i in itertools.count():
            await asyncio.sleep(READ_S)
            self.read()
            if i % READS == 0:
                await self.keep()

    def read(self) -> None:
        self._measure()
        now_s = self._clock.monotonic_s()
        sample = self._reader.read(self._clock.now_us() // US_PER_S, now_s - self._read_s)
        self._read_s = now_s
        behind_s = self._behind_s()
        if behind_s is not None:
            sample.peaks["behind"] = behind_s
        self._pending = sample if self._pending is None else added(self._pending, sample)

    async def keep(self) -> None:
        """What was read since the last time. A disk that refuses costs a minute of figures."""
        try:
            if self._pending is not None:
                sample, self._pending = self._pending, None
                sample.lasts |= await asyncio.to_thread(self._slow)
                await self._store.add(sample)
            await self._store.warn([Warned(*line) for line in self._recent.take()])
            self._fails = False
        except (StoreError, OSError) as error:
            if not self._fails:
                log.warning("can't keep the process's figures: %s", error)
            self._fails = True
