"""The operator's feeds while the service runs: loaded, loaded again, tried out. Ingest looks for their patterns."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final, Protocol

from feedgen.core.errors import FeedgenError, SettingsError
from feedgen.core.telemetry import Gauge
from feedgen.feeds.catalog import Catalog
from feedgen.feeds.files import Broken, Found, broken, find_feeds, load_file
from feedgen.feeds.preview import Preview
from feedgen.feeds.registry import OURS
from feedgen.feeds.write import Definition
from feedgen.ingest.matcher import Matcher

LOAD_S: Final = 5.0  # for all files; their code runs while they are loaded

log = logging.getLogger(__name__)

FEEDS = Gauge("feedgen_feeds_written", "Feeds from files and packages that are served")
BROKEN = Gauge("feedgen_feeds_broken", "Files of feeds that are left out because something is wrong with them")


class Listens(Protocol):
    matcher: Matcher | None


class OwnFeeds:
    def __init__(self, folder: Path, catalog: Catalog, ingest: Listens) -> None:
        self.folder, self._catalog, self._ingest = folder, catalog, ingest

    async def load(self) -> Found:
        """Take over what the files say now. Broken ones are named in the log and left out."""
        try:
            async with asyncio.timeout(LOAD_S):
                found = await asyncio.to_thread(find_feeds, self.folder, OURS)
        except TimeoutError:
            reason = f"its files take longer than {LOAD_S:.0f} s to load; the feeds stay as they were"
            log.error("%s: %s", self.folder, reason)
            raise FeedgenError(f"{self.folder}: {reason}", "Look for a loop at the top level of a file.") from None
        try:
            self._ingest.matcher = Matcher(found.patterns) if found.patterns else None
        except SettingsError as error:
            found.broken.append(broken(str(self.folder), error))
        for one in found.broken:
            log.error("a feed is left out: %s", one)
        self._catalog.take(found)
        FEEDS.set(len(found.feeds))
        BROKEN.set(len(found.broken))
        log.info("feeds from files", extra={"feeds": len(found.feeds), "broken": len(found.broken)})
        return found

    async def trial(self, file: str) -> tuple[Definition, Preview, dict[str, int]]:
        """(a file's first feed, lists of it, how many posts each pattern has). The file lies in the folder, served or
        not. Raises FeedgenError with file, line and reason."""
        path = self.folder / Path(file).name
        try:
            async with asyncio.timeout(LOAD_S):
                definitions, _ = await asyncio.to_thread(load_file, path)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
                raise
            raise SettingsError(str(broken(str(path), error)), "Save the file again to try again.") from error
        if not definitions:
            raise SettingsError(f"{path}: it defines no feed", "Tags alone can't be tried.")
        tagged = self._catalog.services.library.tagged
        counts = {pattern: len(tagged([pattern])) for pattern in sorted(definitions[0].patterns)}
        return definitions[0], self._catalog.preview_of(definitions[0]), counts

    @property
    def broken(self) -> list[Broken]:
        return self._catalog.written.broken

    def where(self, definition: Definition, error: BaseException) -> str:
        """Line and reason of what a feed's function raised."""
        found = broken(definition.file, error)
        return f"{found.line}: {found.reason}" if found.line else found.reason

    def listed(self) -> list[dict[str, object]]:
        """All feeds, as plain values."""
        written, tagged = self._catalog.written.feeds, self._catalog.services.library.tagged
        return [
            {
                "name": feed.name,
                "title": feed.title,
                "file": written[name].file if name in written else "",
                "line": written[name].line if name in written else 0,
                "posts": len(tagged(written[name].patterns)) if name in written and written[name].patterns else None,
                "trouble": getattr(feed, "trouble", ""),
            }
            for name, feed in self._catalog.feeds.items()
        ]
