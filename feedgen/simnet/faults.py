"""Things that go wrong on command.

A fault is a kind, a place and a limit: how often, for how long, or both. A place is a server's name ("plc", "pds",
"appview", "web", "jetstream", "jetstream/1"); "jetstream" means all Jetstream hosts and "*" means everything. Give
one in Python with `Faults.add`, or over HTTP with `POST /_ctl/faults`, which takes the same words.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

MAX_FAULTS: Final = 1_000
_POLL_S: Final = 0.01

Option = float | str

KINDS: Final[dict[str, str]] = {
    "refuse": "new connections are reset, or answered with `status`",
    "stall": "nothing is sent, sockets stay open (pings stop too)",
    "slow": "a stream gives `rate` events/s, an answer comes `delay_s` late",
    "close": "a socket closes with no close frame; with `code`, after a close frame",
    "error": "a stream ends with an error frame `name`, a request is answered with `status`; 429 may have `reset_s`",
    "corrupt": "a frame or an answer is broken: `how` is cut, bytes, type or zstd",
    "drop": "an event is not sent",
    "half": "the AppView leaves out every other post or profile of an answer",
    "repeat": "the last `events` events are sent again",
    "reorder": "the events of a second are sent in another order",
    "compact": "an archive rewrites its segments without what was deleted or superseded since",
    "jump": "from the next event on, the host's sequence is `by` higher",
}
_TIMED: Final = frozenset({"refuse", "stall", "slow"})  # without limits these last `DEFAULT_S`, the others happen once
DEFAULT_S: Final = 5.0


@dataclass(slots=True, eq=False)
class Fault:
    kind: str
    where: str
    left: int | None  # how often it still happens; None: until its time is over
    until_s: float | None
    options: dict[str, Option] = field(default_factory=dict)
    hits: int = 0

    def option(self, name: str, default: float) -> float:
        return float(self.options.get(name, default))

    def text(self, name: str, default: str) -> str:
        return str(self.options.get(name, default))

    def matches(self, where: str) -> bool:
        return self.where in ("*", where) or where.startswith(self.where + "/")


class Faults:
    """All faults of one simnet. Not thread-safe: it belongs to the event loop."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._faults: list[Fault] = []
        self.listeners: list[Callable[[], None]] = []  # told of every new fault

    def add(
        self,
        kind: str,
        where: str = "*",
        *,
        count: int | None = None,
        duration_s: float | None = None,
        **options: Option,
    ) -> Fault:
        """ValueError for an unknown fault. With a count and a duration, whichever is reached first ends it."""
        if kind not in KINDS:
            raise ValueError(f"no fault {kind!r}; there are {', '.join(KINDS)}")
        if len(self._faults) >= MAX_FAULTS:
            raise ValueError(f"{MAX_FAULTS} faults are waiting already")
        if kind == "stall" and count is not None:
            raise ValueError("a stall lasts for a time: give duration_s")
        if count is None and duration_s is None:
            count, duration_s = (None, DEFAULT_S) if kind in _TIMED else (1, None)
        if (count is not None and count < 1) or (duration_s is not None and duration_s <= 0):
            raise ValueError("count and duration_s must be positive")
        until_s = None if duration_s is None else self._monotonic_s() + duration_s
        fault = Fault(kind, where, count, until_s, dict(options))
        self._faults.append(fault)
        for listener in self.listeners:
            listener()
        return fault

    def clear(self, where: str = "*") -> int:
        """End all faults there; how many ended."""
        before = len(self._faults)
        self._faults = [f for f in self._faults if where != "*" and f.where != where]
        return before - len(self._faults)

    def active(self, kind: str, where: str) -> Fault | None:
        """The first fault of this kind that holds here now. Does not use it up."""
        self._expire()
        for fault in self._faults:
            if fault.kind == kind and fault.matches(where):
                return fault
        return None

    def take(self, kind: str, where: str) -> Fault | None:
        """The same, and one of its times is used up."""
        if not self._faults:
            return None
        fault = self.active(kind, where)
        if fault is not None:
            fault.hits += 1
            if fault.left is not None:
                fault.left -= 1
                self._expire()
        return fault

    def any(self, where: str) -> bool:
        """Is anything wrong here? The question that healthy streams ask, so it is quick."""
        if not self._faults:
            return False
        self._expire()
        return any(f.matches(where) for f in self._faults)

    async def hold(self, where: str) -> None:
        """Wait for as long as a stall holds here."""
        while self._faults and self.active("stall", where) is not None:
            await asyncio.sleep(_POLL_S)

    def listing(self) -> list[dict[str, Any]]:
        self._expire()
        now = self._monotonic_s()
        return [
            {
                "kind": f.kind,
                "where": f.where,
                "left": f.left,
                "left_s": None if f.until_s is None else round(f.until_s - now, 3),
                "hits": f.hits,
                "options": f.options,
            }
            for f in self._faults
        ]

    def _expire(self) -> None:
        now = self._monotonic_s()
        self._faults = [
            f for f in self._faults if (f.left is None or f.left > 0) and (f.until_s is None or now < f.until_s)
        ]
