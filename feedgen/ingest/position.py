"""Where a new connection is to begin: by sequence on the host that gave it, by time on any other.

The cursor that counts after a restart is the store's (`Recorder.cursor`, committed with each batch). This one is ahead
of it: the newest event that was received.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from feedgen.core.ids import US_PER_S
from feedgen.ingest.batch import Cursor
from feedgen.ingest.events import Event
from feedgen.ingest.hosts import OLDEST, cursor_value

# A host that was killed forgets its last seconds and gives their sequences to other events, so nothing of them counts.
STEP_BACK_US: Final = 30 * US_PER_S
MAX_TRAIL: Final = 1_000
HOUR_US: Final = 3600 * US_PER_S
# When even the oldest moment is refused (no known host does that), try what hosts usually keep, and then live.
REFUSED_HOURS: Final = (36, 24, 12, 6, 3, 1)
MARGIN_US: Final = 300 * US_PER_S


class Position:
    """`at` is the newest event that was received, or the store's cursor before anything was."""

    def __init__(self, start: str) -> None:
        self.start = start  # oldest or now: where to begin with an empty store
        self.at: Cursor | None = None
        self.refused = 0  # how often our cursor was too old, since something last arrived
        self._uncertain = False  # the host may have given some of our sequences to other events
        self._trail: deque[Cursor] = deque(maxlen=MAX_TRAIL)  # of STEP_BACK_US, the oldest first

    def resume(self, at: Cursor | None) -> None:
        self.at = at
        self._trail.clear()
        if at is not None:
            self._trail.append(at)

    def cursor(self, host: str, now_us: int) -> int | None:
        """The cursor to ask a host for; None: only new events."""
        if self.refused == 0:
            return cursor_value(self.at, host, self.start)
        if self.refused == 1:
            return OLDEST
        if self.refused - 2 < len(REFUSED_HOURS):
            return now_us - REFUSED_HOURS[self.refused - 2] * HOUR_US + MARGIN_US
        return None

    def continues(self, host: str, cursor: int | None) -> bool:
        """Whether this cursor goes on exactly where the last connection to the host ended."""
        at = self.at
        return at is not None and at.seq > 0 and at.host == host and cursor == at.seq and not self._uncertain

    def advance(self, event: Event, host: str) -> None:
        """Something arrived."""
        self.at = Cursor(host, event.seq, event.time_us)
        self.refused, self._uncertain = 0, False
        trail = self._trail
        if trail and trail[-1].host != host:
            trail.clear()
        if not trail or trail[-1].time_us < event.time_us:
            trail.append(self.at)
        while len(trail) > 1 and trail[1].time_us <= event.time_us - STEP_BACK_US:
            trail.popleft()

    def step_back(self) -> None:
        """The stream ended without a word: some of the newest events may come again under other sequences."""
        at = self.at
        if at is None or self._uncertain:
            return
        self.at = self._trail[0] if at.seq else Cursor(at.host, 0, at.time_us - STEP_BACK_US)
        self._uncertain = True

    def forget_sequence(self) -> None:
        """The host counts anew: only the time says where we were."""
        if self.at is not None:
            self.resume(Cursor("", 0, self.at.time_us))
