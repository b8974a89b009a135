"""Counters, gauges and timings: named once, kept in memory, read by logs, `_health` and metrics.

A metric is made at import with its help text, and lives for the process. Labels are few and bounded; never a DID.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

MAX_SERIES: Final = 200
BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_registry: dict[str, Metric] = {}


class Metric:
    """Shared by the three kinds: a name, a help text, and values by label values."""

    kind = ""

    def __init__(self, name: str, help: str, *labels: str) -> None:
        if name in _registry:
            raise ValueError(f"metric {name} is named twice")
        self.name, self.help, self.labels = name, help, labels
        self._lock = threading.Lock()
        self._values: dict[tuple[str, ...], float] = {}
        _registry[name] = self

    def _key(self, values: tuple[str, ...]) -> tuple[str, ...]:
        # A label that came from outside must not be able to fill the memory.
        if values in self._values or len(self._values) < MAX_SERIES:
            return values
        return tuple("other" for _ in values)

    def value(self, *labels: str) -> float:
        return self._values.get(labels, 0.0)

    def samples(self) -> list[tuple[tuple[str, ...], float]]:
        with self._lock:
            return sorted(self._values.items())


class Counter(Metric):
    kind = "counter"

    def add(self, n: float = 1, *labels: str) -> None:
        with self._lock:
            key = self._key(labels)
            self._values[key] = self._values.get(key, 0.0) + n


class Gauge(Metric):
    kind = "gauge"

    def set(self, value: float, *labels: str) -> None:
        with self._lock:
            self._values[self._key(labels)] = value


class Histogram(Metric):
    """Timings in seconds: cumulative buckets, a sum and a count."""

    kind = "histogram"

    def __init__(self, name: str, help: str, *labels: str) -> None:
        super().__init__(name, help, *labels)
        # A count for each of BUCKETS_S and for what is beyond, not cumulative; the sum.
        self.series: dict[tuple[str, ...], list[float]] = {}

    @property
    def width(self) -> int:
        """Counts in a series: one for each of BUCKETS_S, and that of all."""
        return len(BUCKETS_S) + 1

    def observe(self, seconds: float, *labels: str) -> None:
        with self._lock:
            row = self.series.get(labels)
            if row is None:
                key = labels if len(self.series) < MAX_SERIES else tuple("other" for _ in labels)
                row = self.series.setdefault(key, [0.0] * (self.width + 1))
            row[bisect_left(BUCKETS_S, seconds)] += 1
            row[-1] += seconds

    def merge(self, counts: Sequence[int], total_s: float, *labels: str) -> None:
        """What somebody else observed: a count for each of BUCKETS_S and for what is beyond."""
        with self._lock:
            row = self.series.setdefault(labels, [0.0] * (self.width + 1))
            for i, count in enumerate(counts):
                row[i] += count
            row[-1] += total_s

    def rows(self) -> list[tuple[tuple[str, ...], list[float]]]:
        """By labels: a count for each of BUCKETS_S, then the sum, then the count of all."""
        with self._lock:
            told = [(labels, list(accumulate(row[:-1])), row[-1]) for labels, row in sorted(self.series.items())]
        return [(labels, [*counts[:-1], total, counts[-1]]) for labels, counts, total in told]


class Laps:
    """A stopwatch for the stages of one list: `lap(stage)` is the time since the last one."""

    def __init__(self, histogram: Histogram, preset: str) -> None:
        self._histogram, self.preset = histogram, preset
        self._from_s = time.perf_counter()

    def lap(self, stage: str) -> None:
        now_s = time.perf_counter()
        self._histogram.observe(now_s - self._from_s, stage, self.preset)
        self._from_s = now_s


def quantile(counts: Sequence[float], share: float) -> float | None:
    """Seconds that this share of all took no longer than, as if evenly spread within a bucket. `counts` is cumulative,
    one for each of BUCKETS_S, then of all; None without any. Values beyond the last bucket count as its bound.
    """
    wanted, below, low = share * counts[-1], 0.0, 0.0
    if counts[-1] <= 0:
        return None
    for bound, count in zip(BUCKETS_S, counts, strict=False):
        if count >= wanted and count > below:
            return low + (bound - low) * (wanted - below) / (count - below)
        below, low = count, bound
    return BUCKETS_S[-1]


def all_metrics() -> Iterator[Metric]:
    yield from (_registry[name] for name in sorted(_registry))
