"""The learning page: what came of the pages that were served, and which arm of an experiment serves readers better.

Adding up takes seconds when there is much, so it is done in a thread, one at a time, and a result is good for minutes.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final, NamedTuple

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from feedgen.core.arms import parse_arm
from feedgen.core.clock import Clock
from feedgen.core.ids import US_PER_DAY
from feedgen.core.settings_ranking import Experiment
from feedgen.feeds.learning import LESS, LIKED, MORE, SEEN, SERVED, Cell, Learned, learn
from feedgen.feeds.trials import MIN_READERS, Interval
from feedgen.store.outcomes import Pages
from feedgen.web.charts import ceiling, whisker
from feedgen.web.site import PRIVATE, Page, Site
from feedgen.web.words import number

GOOD_S: Final = 300.0
DAYS: Final = {"7": "A week", "28": "Four weeks", "90": "All 90 days"}


class Shown(NamedTuple):
    """A line of either table."""

    name: str
    readers: int
    served: int
    seen: int
    likes: str
    drawn: Markup
    likes_each: str
    less: str
    more: str
    whole: bool = False  # a preset rather than one of its paths
    feed: str = ""
    preset: str = ""
    verdict: str = ""
    change: str = ""
    p: str = ""
    missing: str = ""


class Learning:
    def __init__(self, site: Site, clock: Clock) -> None:
        self._site, self._clock = site, clock
        self._folder = Path(site.settings.store.dir)
        self._known: dict[str, tuple[float, int, Learned]] = {}
        self._one = asyncio.Lock()

    def pages(self) -> list[Page]:
        return [Page(path="/learning", answer=self.page, label="learning", title="Learning", seen=PRIVATE)]

    async def page(self, request: Request) -> Response:
        days = request.query_params.get("days", "28")
        days = days if days in DAYS else "28"
        as_of_us, found = await self._learned(days)
        return self._site.html(request, "learning.html", as_of_us=as_of_us, days=days, **self._values(found))

    async def _learned(self, days: str) -> tuple[int, Learned]:
        async with self._one:
            known = self._known.get(days)
            if known is None or self._clock.monotonic_s() - known[0] > GOOD_S:
                now_us = self._clock.now_us()
                found = await asyncio.to_thread(self._learn, now_us - int(days) * US_PER_DAY)
                known = self._known[days] = self._clock.monotonic_s(), now_us, found
            return known[1], known[2]

    def _learn(self, since_us: int) -> Learned:
        settings = self._site.settings.experiment
        return learn(Pages(self._folder, since_us), arms_of(settings), settings.effect / 100)

    def _values(self, found: Learned) -> dict[str, Any]:
        experiment = self._site.settings.experiment
        rates = [cell.per_seen(LIKED) for cell in (*found.rows.values(), *(arm.cell for arm in found.arms))]
        top = ceiling(max((rate.high for rate in rates if rate is not None), default=0.0))
        compared = [arm.against for arm in found.arms if arm.against is not None]
        return {
            "all_days": DAYS,
            "rows": [shown(row.path, cell, top, row.feed, row.preset) for row, cell in found.rows.items()],
            "arms": _arms(found, top),
            "experiment": experiment,
            "permutations": max((one.permutations for one in compared), default=0),
            "share": found.share,
            "min_readers": MIN_READERS,
            "good_s": GOOD_S,
        }


def arms_of(settings: Experiment) -> list[str]:
    """The arms as pages bear them, the one that others are compared with first."""
    return [f"{settings.name}/{arm.name}" for text in settings.arms if (arm := parse_arm(text)) is not None]


def shown(path: str, cell: Cell, top: float, feed: str = "", preset: str = "", **compared: str) -> Shown:
    rate = cell.per_seen(LIKED)
    return Shown(
        name=path,
        readers=cell.readers,
        served=round(cell.counts[SERVED]),
        seen=round(cell.counts[SEEN]),
        likes=in_words(rate),
        drawn=whisker(rate, top) if rate is not None else Markup(),
        likes_each=in_words(cell.per_reader(LIKED)),
        less=in_words(cell.per_seen(LESS)),
        more=in_words(cell.per_seen(MORE)),
        whole=path == "all",
        feed=feed,
        preset=preset,
        **compared,
    )


def _arms(found: Learned, top: float) -> list[Shown]:
    made: list[Shown] = []
    for arm in found.arms:
        name = arm.name.partition("/")[2]
        if arm.against is None:
            made.append(shown(name, arm.cell, top, verdict="" if made else "what the others are compared with"))
            continue
        one = arm.against
        change = f"{one.change.value:+.1%} ({one.change.low:+.1%} to {one.change.high:+.1%})"
        missing = f"{number(one.missing)} more readers needed" if one.missing else ""
        made.append(shown(name, arm.cell, top, verdict=one.verdict, change=change, p=f"{one.p:.4f}", missing=missing))
    return made


def in_words(interval: Interval | None) -> str:
    """219.7 (211.2 to 228.1); nothing when too few did it."""
    if interval is None:
        return "-"
    digits = 1 if interval.value >= 10 else 2
    return f"{interval.value:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"
