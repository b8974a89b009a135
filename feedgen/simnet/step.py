"""One step of time: what happens in it, in columns."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Act:
    """Something rare. `row` is of the table that `what` is about."""

    us: int
    person: int
    what: str
    row: int = -1
    detail: str = ""
    version: int = 0


@dataclass(slots=True)
class Step:
    """What was added in a step."""

    start_us: int
    end_us: int
    posts: slice = field(default_factory=lambda: slice(0, 0))
    likes: slice = field(default_factory=lambda: slice(0, 0))
    reposts: slice = field(default_factory=lambda: slice(0, 0))
    follows: slice = field(default_factory=lambda: slice(0, 0))
    acts: list[Act] = field(default_factory=list)
