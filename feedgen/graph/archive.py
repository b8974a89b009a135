"""All that is remembered, opened and closed as one: folder, store, arrays, and the recorder that feeds them."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType

import numpy as np

from feedgen.graph.days import Days
from feedgen.graph.graph import Graph
from feedgen.graph.library import Library
from feedgen.graph.recorder import Recorder
from feedgen.graph.truth import TruthDay
from feedgen.store.folder import Folder
from feedgen.store.names import MAX_PEOPLE, Names
from feedgen.store.reader import DayReader
from feedgen.store.retention import expired
from feedgen.store.writer import Writer

log = logging.getLogger(__name__)


class Archive:
    """Opening maps the past days, and reads today's log, which takes as long as all the rest a few times over. With
    `today_later` it is left to `read_today`, if there are past days to answer until then; and nothing may be recorded
    before it.
    """

    def __init__(self, path: Path | str, retention_days: int = 90, today_later: bool = False) -> None:
        self._unread: TruthDay | None = None
        self._reading = threading.Lock()
        with ExitStack() as stack:
            self.folder = stack.enter_context(closing(Folder(path)))
            self.names = stack.enter_context(closing(Names(self.folder)))
            self.writer = stack.enter_context(closing(Writer(self.folder, self.names, sweep_at_start=False)))
            self.graph = stack.enter_context(closing(Graph(self.folder.days_path, identity=self.names.identity)))
            self._load(retention_days)
            self.days = stack.enter_context(
                closing(Days(self.folder, self.names, self.writer, self.graph, retention_days))
            )
            self.recorder = Recorder(self.names, self.writer, self.graph, self.days)
            self.days.start()
            self.library = Library(self.folder, self.names, self.graph)
            if not (today_later and self.graph.days):
                self.read_today()
            self._parts = stack.pop_all()

    def close(self) -> None:
        """After the last batch and the last answer."""
        self.graph.stop_soon()
        with self._reading:  # it ends soon
            self._unread = None
        self._parts.close()  # all of them, even if one can't write its last words

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def set_aside(self, person: int, given: int) -> None:
        """What others (labelers, the operator) say of a person: PERSON_ADULT and PERSON_HIDDEN, or 0."""
        self.graph.set_aside(person, int(self.names.flags[person]), given)

    def truth(self, day: int) -> TruthDay:
        path = self.folder.day_path(day)
        assert path is not None
        return TruthDay(day, path, self.writer.is_sealed(day), self.names)

    @property
    def whole(self) -> bool:
        """Whether today is there, too."""
        return self._unread is None

    def read_today(self) -> None:
        """Today's log into the arrays. In any thread, once."""
        with self._reading:
            if self._unread is None:
                self.graph.renew_outdated()
                return
            began_s = time.monotonic()
            if not self.graph.replay(self._unread):
                return
            self._erase()
            self._unread = None
            self.graph.renew_outdated()
            log.info("today's log is read", extra={"took_s": round(time.monotonic() - began_s, 2)})

    def _erase(self) -> None:
        """The DIDs of deleted accounts are gone; a crash may have come before the arrays were told. Their rows go with
        the next sweep.
        """
        for person in self.names.erasing():
            self.graph.erase_person(person)

    def _load(self, retention_days: int) -> None:
        """Days that left the window while we were away go first: nothing is loaded in order to be dropped."""
        days = self.writer.days()
        for day in expired(days, days[-1] if days else 0, retention_days):
            self.writer.drop(day)
            self.graph.path_of(day).unlink(missing_ok=True)
        days = self.writer.days()
        newest = days[-1] if days and not self.writer.is_sealed(days[-1]) else None
        past = [self.truth(day) for day in days if day != newest]
        report = self.graph.load(past, None)
        self.graph.recall_reposts(past)
        self._unread = self.truth(newest) if newest is not None else None
        if newest is not None:
            self.graph.put_off(newest)
        self._erase()
        for day in days:
            with DayReader(self.truth(day).path) as reader:
                self.graph.tags.join(reader.tags())
        count = min(self.names.count, MAX_PEOPLE)
        if count:
            self.graph.set_person_flags(np.arange(count), self.names.flags[:count])
        if days:
            told = {"days": len(days), "rebuilt": len(report.rebuilt), "people": self.names.count}
            log.info("remembered", extra=told)
