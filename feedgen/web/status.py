"""The status page: how the process fares, now and over an hour, a day and a month. For the operator.

The same fragment of HTML is the page's body and what the script asks for from time to time, so that a page without
JavaScript shows all of it, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import Any, Final, NamedTuple

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from feedgen.core.clock import Clock
from feedgen.core.ids import US_PER_S
from feedgen.core.page_times import LATE_S, MAX_LATE_SHARE
from feedgen.core.telemetry import quantile
from feedgen.learn.learner import Learner
from feedgen.store.disk import Usage, usage
from feedgen.store.figures import HOURS, MINUTES, TENS, Figures, Ring, Sample, added
from feedgen.web import words
from feedgen.web.charts import Line, Span, bars, lines
from feedgen.web.site import PRIVATE, Page, Site

WARNINGS: Final = 20
DISK_S: Final = 30.0  # how long what the disk said is good


class Over(NamedTuple):
    """A time to look back on."""

    name: str
    seconds: int
    ring: Ring
    again_s: int  # the script asks again


OVERS: Final = {
    "hour": Over("1 hour", 3600, MINUTES, 10),
    "day": Over("A day", 86_400, TENS, 60),
    "month": Over("A month", 30 * 86_400, HOURS, 600),
}


class Tile(NamedTuple):
    """A figure on top of the page. `alarm` when somebody should look."""

    name: str
    value: str
    note: str = ""
    alarm: bool = False


class Graph(NamedTuple):
    name: str
    svg: Markup
    legend: Sequence[str] = ()


class Status:
    def __init__(
        self,
        site: Site,
        clock: Clock,
        figures: Callable[[], Figures | None],
        learner: Callable[[], Learner | None] = lambda: None,
        troubles: Callable[[], list[str]] = lambda: [],
    ) -> None:
        self._site, self._clock, self._figures = site, clock, figures
        self._learner, self._troubles = learner, troubles
        self._folder = Path(site.settings.store.dir)
        self._disk: tuple[float, Usage] | None = None

    def pages(self) -> list[Page]:
        return [
            Page(path="/status", answer=self.page, label="status", title="Status", seen=PRIVATE),
            Page(path="/status/now", answer=self.fragment, label="status", seen=PRIVATE),
        ]

    async def page(self, request: Request) -> Response:
        return self._site.html(request, "status.html", **await self._values(request))

    async def fragment(self, request: Request) -> Response:
        return self._site.html(request, "status_now.html", **await self._values(request))

    async def _values(self, request: Request) -> dict[str, Any]:
        name = request.query_params.get("over", "hour")
        name = name if name in OVERS else "hour"
        over, now_s = OVERS[name], self._clock.now_us() // US_PER_S
        store = self._figures()
        samples = await store.since(over.ring, now_s - over.seconds) if store is not None else []
        warnings = await store.warnings(WARNINGS) if store is not None else []
        disk = await self._look_at_disk()
        return {
            "over": name,
            "overs": OVERS,
            "again_s": over.again_s,
            "now_us": now_s * US_PER_S,
            "tiles": tiles(samples, disk, self._site.settings.store.retention_days, now_s, over)
            + scorer_tiles(self._learner(), now_s)
            + feed_tiles(self._troubles()),
            "graphs": graphs(samples, Span(now_s - over.seconds, now_s, over.ring.step_s)) if samples else [],
            "disk": disk_graph(disk),
            "warnings": warnings,
        }

    async def _look_at_disk(self) -> Usage:
        now_s = time.monotonic()
        if self._disk is None or now_s - self._disk[0] > DISK_S:
            self._disk = now_s, await asyncio.to_thread(usage, self._folder)
        return self._disk[1]


def tiles(samples: Sequence[Sample], disk: Usage, retention_days: int, now_s: float, over: Over) -> list[Tile]:
    """What is so now, or was over the time that is looked back on."""
    made = [_disk_tile(disk, retention_days)]
    if not samples:
        return made
    last, whole = samples[-1], reduce(added, samples)
    behind = last.peaks.get("behind")
    gaps, backup = whole.sums.get("gaps", 0), last.lasts.get("backup")
    front = [
        Tile(
            "Behind the network", words.span(behind) if behind is not None else "no events yet", "", (behind or 0) > 60
        ),
        Tile("Heard", f"{words.short(last.rate('events'))}/s", f"{words.short(last.lasts.get('people', 0))} people"),
        Tile(
            "Pages", f"{last.rate('pages'):.1f}/s", f"{words.number(whole.sums.get('pages', 0))} in {over.name.lower()}"
        ),
        Tile("Page time", _ms(quantile(_page_times(whole), 0.5)), f"99%: {_ms(quantile(_page_times(whole), 0.99))}"),
        Tile("Failed", words.number(whole.sums.get("failed", 0)), "answers with 5xx", whole.sums.get("failed", 0) > 0),
        Tile("Gaps", words.number(gaps), f"in {over.name.lower()}", gaps > 0),
        Tile("Memory", _bytes(last.peaks.get("memory", 0)), f"CPU {100 * whole.rate('cpu'):.0f}%"),
    ]
    rest = []
    if last.lasts.get("archive"):
        left = words.number(last.lasts["archive"])
        rest.append(Tile("Reading the archive", f"{left} segments to go", "pages are of the newest day read so far"))
    if whole.sums.get("vps pages"):
        rest.append(_vps_tile(whole))
    if "tunnel" in last.lasts:
        rest.append(Tile("Tunnel", "up" if last.lasts["tunnel"] else "down", "", not last.lasts["tunnel"]))
    rest.append(Tile("Last backup", "never" if backup is None else f"{words.span(now_s - backup)} ago"))
    return front + made + rest


def scorer_tiles(learner: Learner | None, now_s: float) -> list[Tile]:
    """Which model orders the best posts, since when, and what it gains."""
    if learner is None:
        return []
    model, note = learner.model, learner.trouble or learner.report.words
    if model is None:
        return [Tile("Scorer", "the formula alone", note, bool(learner.trouble))]
    gain = f"{model.gain:+.4f} ± {model.error:.4f} NDCG@20 over the formula when tested"
    since = f"knows likes until {words.span(now_s - learner.since_s)} ago"
    note = f"{gain}; {since}" + (f"; {learner.trouble}" if learner.trouble else "")
    return [Tile("Scorer", model.kind, note, bool(learner.trouble))]


def feed_tiles(troubles: Sequence[str]) -> list[Tile]:
    """Feeds in files that are left out or fall back; nothing while all are well."""
    return [Tile("Own feeds", f"{len(troubles)} in trouble", troubles[0], alarm=True)] if troubles else []


def _vps_tile(whole: Sample) -> Tile:
    """As readers get pages: the tunnel and Caddy included."""
    times = whole.times.get("vps page", [0.0])
    late, share = whole.sums.get("vps late", 0), whole.sums.get("vps late", 0) / whole.sums["vps pages"]
    note = f"99%: {_ms(quantile(times, 0.99))}; {words.number(late)} over {LATE_S:.0f} s, probably thrown away"
    return Tile("At the VPS", _ms(quantile(times, 0.5)), note, share > MAX_LATE_SHARE)


def _disk_tile(disk: Usage, retention_days: int) -> Tile:
    left = disk.lasts_days(retention_days)
    kept = f"{len(disk.by_day)} of {retention_days} days take {_bytes(disk.total)}"
    if left is not None:
        return Tile("Disk", f"full in {words.span(left * words.DAY_S)}", kept, alarm=True)
    return Tile("Disk", f"{_bytes(disk.free)} free", f"{kept}; all days fit" if disk.a_day() else kept)


def graphs(samples: Sequence[Sample], span: Span) -> list[Graph]:
    def over_time(name: str, read: Callable[[Sample], float | None]) -> Line:
        found = [(one.at_s, read(one)) for one in samples]
        return Line(name, [(at_s, value) for at_s, value in found if value is not None])

    def one(name: str, read: Callable[[Sample], float | None], say: Callable[[float], str]) -> Graph:
        return Graph(name, lines(name, [over_time(name, read)], span, say))

    def several(name: str, reads: dict[str, Callable[[Sample], float | None]], say: Callable[[float], str]) -> Graph:
        shown = [over_time(part, read) for part, read in reads.items()]
        return Graph(name, lines(name, shown, span, say), list(reads))

    return [
        one("Behind the network", lambda s: s.peaks.get("behind"), words.span),
        one("Events per second", lambda s: s.rate("events"), words.short),
        one("Pages per second", lambda s: s.rate("pages"), _rate),
        several(
            "Page time",
            {
                "99%": lambda s: quantile(_page_times(s), 0.99),
                "90%": lambda s: quantile(_page_times(s), 0.9),
                "50%": lambda s: quantile(_page_times(s), 0.5),
            },
            _ms,
        ),
        several(
            "Lists ranked per second",
            {
                "in full": lambda s: s.rate("full"),
                "cheap": lambda s: s.rate("cheap"),
                "instead": lambda s: s.rate("instead"),
            },
            _rate,
        ),
        one("Failed requests", lambda s: s.sums.get("failed"), words.number),
        one("Gaps", lambda s: s.sums.get("gaps"), words.number),
        one("Memory", lambda s: s.peaks.get("memory"), _bytes),
        one("CPU, % of one core", lambda s: 100 * s.rate("cpu"), lambda v: f"{v:.0f}%"),
        one("Free disk space", lambda s: s.lasts.get("free"), _bytes),
    ]


def disk_graph(disk: Usage) -> Graph:
    days = [
        (datetime.fromtimestamp(day * words.DAY_S, UTC).strftime("%d %b").lstrip("0"), float(size))
        for day, size in disk.by_day.items()
    ]
    return Graph("Disk use by day", bars("Bytes per day", days, _bytes))


def _page_times(sample: Sample) -> list[float]:
    return sample.times.get("page", [0.0])


def _ms(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{1000 * seconds:.1f} ms" if seconds < 0.0995 else f"{1000 * seconds:,.0f} ms"


def _rate(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if value < 10 else words.short(value)


def _bytes(value: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f} B"
