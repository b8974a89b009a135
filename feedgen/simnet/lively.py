"""A world whose pace can change on the way: a past as usual, and a present where something is always happening."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

from feedgen.core.ids import US_PER_DAY
from feedgen.simnet.records import SimEvent
from feedgen.simnet.world import EVENTS_PER_STEP, MAX_STEP_US, MIN_STEP_US, World


def step_us(people: int, events_per_day: float) -> int:
    """How much time a step of World takes at this pace."""
    events = max(EVENTS_PER_STEP, people // 4)
    return int(min(max(events / events_per_day * US_PER_DAY, MIN_STEP_US), MAX_STEP_US))


def aligned_start_us(end_us: int, span_us: int, people: int, events_per_day: float) -> int:
    """A start about this long ago, from which whole steps lead to the end."""
    step = step_us(people, events_per_day)
    return end_us - -(-span_us // step) * step


class LivelyWorld(World):
    """Steps are counted from where the pace last changed."""

    def __init__(self, seed: int, people: int, start_us: int, *arguments: Any) -> None:
        self._since_us, self._since_step = start_us, 0
        super().__init__(seed, people, start_us, *arguments)

    def quicken(self, events_per_day: float) -> None:
        """From the next step on, everybody together makes so many events a day."""
        self._since_us, self._since_step = self._step_start(), self._steps
        self._behaviour._per_us = events_per_day / US_PER_DAY
        self._step_us = step_us(self.n_people, events_per_day)

    def events(self, until_us: int | None = None) -> Iterator[SimEvent]:
        """As World's, but an event that was put off beyond its step never holds up the steps after it."""
        while True:
            while self._step_is_due(until_us):
                put_off = self._waiting
                self._next_step()
                self._waiting = sorted(self._waiting + put_off, key=lambda event: event.time_us, reverse=True)
            due = self._waiting[-1].time_us if self._waiting else None
            if self._injected and (due is None or self._injected[0][0] <= due):
                if until_us is not None and self._injected[0][0] > until_us:
                    return
                yield self._tell(heapq.heappop(self._injected)[2])
            elif due is not None and (until_us is None or due <= until_us):
                yield self._tell(self._waiting.pop())
            else:
                return

    def _step_is_due(self, until_us: int | None) -> bool:
        start = self._step_start()
        if until_us is not None and start > until_us:
            return False
        return not self._waiting or start <= self._waiting[-1].time_us

    def _step_start(self) -> int:
        return self._since_us + (self._steps - self._since_step) * self._step_us
