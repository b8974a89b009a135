"""How long pages took as the VPS saw them: counted there by the egress, read by the process at home.

Caddy's log tells of each request when its answer has left. Standard library only: it is packed for the VPS.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from feedgen.core.fallback import SKELETON_PATH

PAGE_TIMES_PATH: Final = "/page-times"
LATE_S: Final = 4.0  # the AppView gives up after 5 s, its own way to the VPS included
MAX_LATE_SHARE: Final = 0.01  # more, and the operator should look
BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # telemetry's buckets
MAX_BYTES: Final = 4096  # of an answer; it has a few hundred


@dataclass(slots=True)
class PageTimes:
    """Counts since the egress started. `counts` has one for each of BOUNDS_S and one for what is beyond."""

    since: float
    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0
    late: int = 0  # answered after LATE_S
    failed: int = 0  # answered with 5xx, by the home or by Caddy

    def note(self, line: bytes) -> bool:
        """One line of Caddy's log; False if it is not about a page that was read to its end."""
        try:
            told = json.loads(line)
            uri, method = told["request"]["uri"], told["request"]["method"]
            seconds, status = float(told["duration"]), int(told["status"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        if method != "GET" or not isinstance(uri, str) or uri.partition("?")[0] != SKELETON_PATH or not seconds >= 0:
            return False
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds
        if status >= 500:
            self.failed += 1
        elif seconds > LATE_S:
            self.late += 1
        return True

    @property
    def pages(self) -> int:
        return sum(self.counts)

    def told(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    def added_since(self, before: PageTimes | None) -> PageTimes:
        """What came after `before`; all of it if the egress was restarted."""
        if before is None or before.since != self.since:
            return self
        return PageTimes(
            self.since,
            [now - then for now, then in zip(self.counts, before.counts, strict=True)],
            self.total_s - before.total_s,
            self.late - before.late,
            self.failed - before.failed,
        )


def page_times(body: bytes) -> PageTimes:
    """What `told` wrote; ValueError for anything else."""
    told: Any = json.loads(body[: MAX_BYTES + 1])
    try:
        made = PageTimes(
            float(told["since"]),
            [int(count) for count in told["counts"]],
            float(told["total_s"]),
            int(told["late"]),
            int(told["failed"]),
        )
    except (KeyError, TypeError, OverflowError) as error:
        raise ValueError(f"not page times: {error}") from None
    if len(made.counts) != len(BOUNDS_S) + 1 or min(made.counts) < 0:
        raise ValueError("not page times: other buckets")
    return made
