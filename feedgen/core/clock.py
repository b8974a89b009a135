"""Time is passed in, so that the same events and the same time give the same feed, byte for byte."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the rest of the code may ask about time."""

    def now_us(self) -> int:
        """Unix time in microseconds."""
        ...

    def monotonic_s(self) -> float:
        """Seconds that only grow, for deadlines and rates."""
        ...


class SystemClock:
    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that a test moves by hand."""

    def __init__(self, now_us: int = 1_760_000_000_000_000) -> None:
        self._now_us = now_us
        self._monotonic_s = 0.0

    def now_us(self) -> int:
        return self._now_us

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, seconds: float) -> None:
        self._now_us += round(seconds * 1e6)
        self._monotonic_s += seconds

    def jump(self, seconds: float) -> None:
        """The wall clock is set; monotonic time does not notice."""
        self._now_us += round(seconds * 1e6)
