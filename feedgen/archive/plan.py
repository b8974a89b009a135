"""What there is to fetch: the segments, where the first one is, and what it will cost.

A plan knows no times. Witnessed times grow with the sequence, so the first segment is found by bisection, with the
first row of a segment's first block.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from feedgen.archive.api import Api, NotThere, SegmentRef
from feedgen.archive.block import lay_out
from feedgen.archive.segment import BadSegment, inflate
from feedgen.core.ids import US_PER_DAY

PROBES: Final = 8  # blocks of one segment that compaction may have emptied
EVENTS_A_SECOND: Final = 90_000  # of one core, rounded down (scripts/bench archive: 98,639 on a busy machine)
KEPT_BYTES: Final = 27  # on disk, of an event
BYTES_AN_EVENT: Final = 29.0  # to download, where no block was looked at


@dataclass(frozen=True, slots=True)
class Plan:
    segments: list[SegmentRef]
    tip: int  # the newest sealed sequence
    after_seq: int  # events up to here are recorded already, or too old
    probed_events: int = 0
    probed_bytes: int = 0
    probed_s: float = 0.0

    @property
    def events(self) -> int:
        """At most: a plan counts sequences, and compaction takes some of them out."""
        first = max(self.after_seq + 1, self.segments[0].min_seq) if self.segments else 0
        return max(0, self.tip - first + 1) if self.segments else 0

    @property
    def bytes(self) -> int:
        each = self.probed_bytes / self.probed_events if self.probed_events else BYTES_AN_EVENT
        return round(self.events * each)

    @property
    def disk_bytes(self) -> int:
        return self.events * KEPT_BYTES

    def seconds(self, cores: int) -> float:
        """By the slower of line and processor."""
        line_s = self.bytes * self.probed_s / self.probed_bytes if self.probed_bytes else 0.0
        return max(line_s, self.events / (EVENTS_A_SECOND * max(1, min(cores, 2))))


def plan_from(api: Api, after_seq: int) -> Plan:
    """All behind a sequence of this host."""
    segments, tip = api.plan(after_seq)
    return Plan(segments, tip, after_seq)


def plan_since(api: Api, since_us: int) -> Plan:
    """All that was witnessed since a moment, and what else is in its segment."""
    segments, tip = api.plan(0)
    finder = _Finder(api, segments)
    first = finder.first(since_us)
    return Plan(segments[first:], tip, 0, finder.events, finder.bytes, finder.seconds)


class _Finder:
    def __init__(self, api: Api, segments: list[SegmentRef]) -> None:
        self._api, self._segments = api, segments
        self.events = self.bytes = 0
        self.seconds = 0.0

    def first(self, since_us: int) -> int:
        """The last segment that begins before the moment."""
        low, high = 0, len(self._segments)
        while low < high:
            middle = (low + high) // 2
            begins_us = self._begins_us(middle, high)
            if begins_us is not None and begins_us <= since_us:
                low = middle + 1
            else:
                high = middle
        return max(0, low - 1)

    def _begins_us(self, at: int, end: int) -> int | None:
        """When its first event was witnessed; of segments that are all empty, when the next one's was."""
        for segment in self._segments[at:end]:
            for index in range(PROBES):
                try:
                    witnessed_us = self._probe(segment.name, index)
                except NotThere:
                    break
                if witnessed_us is not None:
                    return witnessed_us
        return None

    def _probe(self, name: str, index: int) -> int | None:
        began_s = time.monotonic()
        frame = self._api.block(name, index)
        self.seconds += time.monotonic() - began_s
        try:
            layout = lay_out(inflate(frame))
        except BadSegment:
            return None
        self.events += layout.count
        self.bytes += len(frame)
        return int(layout.witnessed[0]) if layout.count else None


def words(plan: Plan, days: float, cores: int) -> str:
    """For `feedgen archive plan` and the log."""
    return (
        f"{days:g} days: {len(plan.segments):,} segments, at most {plan.events:,} events, "
        f"about {plan.bytes / 1e9:,.1f} GB to download and {plan.disk_bytes / 1e9:,.1f} GB on disk after it, "
        f"{_span(plan.seconds(cores))} at the measured rate"
    )


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 5_400 else f"{max(1, round(seconds / 60))} min"


def since_days(now_us: int, days: float) -> int:
    return now_us - round(days * US_PER_DAY)
