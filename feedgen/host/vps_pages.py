"""How long readers really wait: page times as the VPS saw them, asked of the egress once a minute.

The AppView throws an answer away after 5 s, and nothing tells the home so: our own times end where the tunnel begins.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import httpx

from feedgen.core.errors import FeedgenError
from feedgen.core.page_times import PAGE_TIMES_PATH, PageTimes, page_times
from feedgen.core.telemetry import Counter, Histogram

EVERY_S: Final = 60.0
TIMEOUT_S: Final = 5.0

SECONDS: Final = Histogram(
    "feedgen_vps_page_seconds", "From a page's request to the end of its answer, as Caddy on the VPS saw it"
)
PAGES: Final = Counter(
    "feedgen_vps_pages_total",
    "Pages by what became of them on the VPS: in_time, late (over 4 s: the AppView has probably left), failed (5xx)",
    "result",
)

log = logging.getLogger(__name__)


def ask(url: str) -> PageTimes:
    """What the egress at this address counted; a FeedgenError says why not."""
    try:
        answer = httpx.get(f"{url.rstrip('/')}{PAGE_TIMES_PATH}", timeout=TIMEOUT_S, trust_env=False)
        if answer.status_code == 200:
            return page_times(answer.content)
        reason = f"it answers {answer.status_code}"
    except (httpx.HTTPError, ValueError) as error:
        reason = type(error).__name__
    raise FeedgenError(
        f"The VPS doesn't tell how long pages take ({url}: {reason}).",
        "Bring the VPS up to date: `feedgen vps`, copy its folder there, run install.sh.",
    )


class VpsPages:
    """Asks on and on; what is new since the last time goes into the metrics."""

    def __init__(self, url: str, every_s: float = EVERY_S) -> None:
        self._url, self._every_s = url, every_s
        self._before: PageTimes | None = None
        self._said = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                self.count(await asyncio.to_thread(ask, self._url))
                self._said = ""
            except FeedgenError as error:
                if str(error) != self._said:
                    log.warning("%s", error)
                self._said = str(error)
            await asyncio.sleep(self._every_s)

    def count(self, now: PageTimes) -> None:
        new, self._before = now.added_since(self._before), now
        SECONDS.merge(new.counts, new.total_s)
        PAGES.add(new.pages - new.late - new.failed, "in_time")
        PAGES.add(new.late, "late")
        PAGES.add(new.failed, "failed")
