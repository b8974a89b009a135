"""Numbers and times as people read them; the templates' filters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from feedgen.core.ids import US_PER_S

MINUTE_S: Final = 60
HOUR_S: Final = 60 * MINUTE_S
DAY_S: Final = 24 * HOUR_S


def number(n: float) -> str:
    """12,345."""
    return f"{n:,.0f}"


def short(n: float) -> str:
    """12.3K, as beside a post."""
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if n >= size:
            return f"{n / size:.1f}".removesuffix(".0") + letter
    return f"{n:.0f}"


def span(seconds: float) -> str:
    """How long, by its largest unit: 45 s, 12 min, 3 h, 5 days."""
    if seconds < MINUTE_S:
        return f"{max(seconds, 0):.0f} s"
    if seconds < HOUR_S:
        return f"{seconds / MINUTE_S:.0f} min"
    if seconds < 2 * DAY_S:
        return f"{seconds / HOUR_S:.0f} h"
    return f"{seconds / DAY_S:.0f} days"


def count(n: int, one: str, many: str) -> str:
    return f"{number(n)} {one if n == 1 else many}"


def moment(us: int) -> str:
    """2026-11-20 14:05 UTC."""
    return datetime.fromtimestamp(us / US_PER_S, UTC).strftime("%Y-%m-%d %H:%M UTC")


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "number": number,
    "short": short,
    "span": span,
    "count": count,
    "moment": moment,
}
