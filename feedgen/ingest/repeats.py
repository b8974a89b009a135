"""The order of a stream: which day an event is recorded in, and whether it may have been recorded before."""

from __future__ import annotations

from typing import Final

import numpy as np

from feedgen.core.ids import US_PER_S, day_of
from feedgen.ingest.batch import I64, Told
from feedgen.ingest.events import Event
from feedgen.ingest.frames import Frames

REPEAT_US: Final = 120 * US_PER_S  # hosts witness an event at times that differ by less than this
SAME_HOST_REPEAT_US: Final = 1 * US_PER_S


class OpenDay:
    """Which day an event is recorded in: that of its witness, but a day that was left is never opened again."""

    def __init__(self) -> None:
        self.open = 0

    def begin(self, high_water_us: int) -> None:
        self.open = day_of(high_water_us) if high_water_us else 0

    def of(self, time_us: int) -> int:
        day = day_of(time_us)
        if day > self.open:
            self.open = day
        return self.open

    def of_all(self, first_us: int, last_us: int) -> int | None:
        """The day of many events, if it is one."""
        day = day_of(last_us)
        return self.of(last_us) if day <= self.open or day == day_of(first_us) else None


class Repeats:
    """Whether what comes may have come before: after every new connection for a while, and whenever order goes back."""

    def __init__(self) -> None:
        self.connection = 0
        self.newest_us = 0
        self._until_us = 0
        self._seq = 0
        self._last_us = 0
        self._repeated = False

    def begin(self, high_water_us: int) -> None:
        self.newest_us = high_water_us

    def connect(self, frames: Frames | Told) -> None:
        self.connection = frames.connection
        slack_us = SAME_HOST_REPEAT_US if frames.same_host else REPEAT_US
        self._until_us = self.newest_us + slack_us if self.newest_us else 0
        self._seq = self._last_us = 0

    def see(self, event: Event) -> None:
        time_us, seq = event.time_us, event.seq
        if time_us <= self._until_us or (seq <= self._seq if seq else time_us <= self._last_us):
            self._repeated = True
        if time_us > self.newest_us:
            self.newest_us = time_us
        self._seq, self._last_us = max(seq, self._seq), max(time_us, self._last_us)

    def see_all(self, seqs: I64, times_us: I64) -> None:
        """The same for many events at once."""
        seq_before = np.maximum.accumulate(np.concatenate([[self._seq], seqs]))
        us_before = np.maximum.accumulate(np.concatenate([[self._last_us], times_us]))
        back = np.where(seqs != 0, seqs <= seq_before[:-1], times_us <= us_before[:-1])
        self._repeated = self._repeated or bool(back.any()) or int(times_us.min()) <= self._until_us
        self._seq, self._last_us = int(seq_before[-1]), int(us_before[-1])
        self.newest_us = max(self.newest_us, self._last_us)

    def expect(self) -> None:
        """The next events may be repeats, whatever their time and sequence."""
        self._repeated = True

    def take(self) -> bool:
        """For the batch that ends here."""
        repeated, self._repeated = self._repeated, False
        return repeated
