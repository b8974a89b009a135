"""Learning while the service runs: examples every hour, a training every day, and the scorer that serves.

Nothing here may hurt a page: ranking for examples happens in a thread of its own, training in a process; whatever fails
is said in the log and on the status page, and what served goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from feedgen.core.clock import Clock
from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.core.telemetry import Counter, Gauge
from feedgen.graph.view import View
from feedgen.learn.examples import Moment, draw, label, look
from feedgen.learn.files import MODEL, REPORT, Examples
from feedgen.learn.model import FORMULA, Model, read
from feedgen.learn.process import COMMAND, TrainingFailed, train_apart
from feedgen.learn.training import MIN_ROWS, Report
from feedgen.rank.params import Formula
from feedgen.rank.scorer import Scorer

TURN_S: Final = 60.0
FIRST_US: Final = 600 * US_PER_S
LOOK_US: Final = US_PER_DAY // 24
PEOPLE: Final = 150  # drawn each time: some thousands a day
MAX_PENDING: Final = 1600  # people whose labels are waited for; each takes 10 kB
TRAIN_US: Final = US_PER_DAY
FEW_US: Final = US_PER_DAY // 8  # while there are not enough rows

rows_gauge = Gauge("feedgen_learn_rows", "Rows that the last training of a scorer had")
gain_gauge = Gauge("feedgen_learn_gain", "NDCG@20 over the formula of the scorer that serves, as tested; 0 without one")
error_gauge = Gauge("feedgen_learn_gain_error", "Standard error of feedgen_learn_gain")
trainings_total = Counter("feedgen_learn_trainings_total", "Trainings of a scorer, by what serves since", "serving")
trouble_total = Counter("feedgen_learn_trouble_total", "What could not be read or written while learning", "what")

log = logging.getLogger(__name__)


class Learner:
    """`use` is told the scorer that serves from now on; None: the formula alone."""

    def __init__(
        self,
        folder: Path,
        view: Callable[[], View],
        people: Callable[[], int],
        formula: Callable[[], Formula],
        forbid: int,
        clock: Clock,
        use: Callable[[Scorer | None], None],
        command: tuple[str, ...] = COMMAND,
    ) -> None:
        self._folder, self._view, self._people, self._formula = folder, view, people, formula
        self._forbid, self._clock, self._use, self._command = forbid, clock, use, command
        self._examples = Examples(folder)
        self._pending = list[Moment]()
        self._started_us = clock.now_us()
        self._look_us = self._started_us + FIRST_US  # a start has enough to do
        self._trained_us = 0
        self._stamp: tuple[int, int, int] | None = None
        self.model: Model | None = None
        self.report = Report(words="no training yet")
        self.trouble = ""  # the last thing that went wrong, in words

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.turn()
            await asyncio.sleep(TURN_S)

    async def turn(self) -> None:
        """Whatever is due."""
        await asyncio.to_thread(self._take_up)
        now_us = self._clock.now_us()
        if now_us >= self._look_us:
            self._look_us = now_us + LOOK_US
            await asyncio.to_thread(self._collect)
        wait_us = TRAIN_US if self.report.rows >= MIN_ROWS else FEW_US
        if now_us - max(self._trained_us, self.report.at_us or self._started_us) >= wait_us:
            self._trained_us = now_us
            await self.train()

    async def train(self) -> None:
        try:
            report = await train_apart(self._folder, self._command)
        except TrainingFailed as error:
            trainings_total.add(1, "failed")
            self._say(str(error))
            return
        trainings_total.add(1, report.serving)
        log.info("a scorer was trained: %s", report.words, extra={"serving": report.serving, "rows": report.rows})
        self.trouble = ""
        await asyncio.to_thread(self._take_up)

    def _take_up(self) -> None:
        """The model and the report as they lie on the disk, if they changed: also after `feedgen learn`."""
        stamp = _stamp(self._folder / MODEL)
        if stamp != self._stamp:
            self._stamp = stamp
            self.model, trouble = read(self._folder / MODEL)
            if trouble:
                trouble_total.add(1, "model")
                self._say(f"the scorer does not serve: {trouble}; the formula ranks until the next training")
            self._use(None if self.model is None else self.model.scorer())
        try:
            self.report = msgspec.json.decode((self._folder / REPORT).read_bytes(), type=Report)
        except (OSError, msgspec.MsgspecError):
            self.report = Report(words="no training yet")  # a report is for people only
        rows_gauge.set(self.report.rows)
        gain_gauge.set(0.0 if self.model is None else self.model.gain)
        error_gauge.set(0.0 if self.model is None else self.model.error)

    def _collect(self) -> None:
        """Labels what has waited long enough, and ranks for some more people."""
        view, now_us = self._view(), self._clock.now_us()
        now_us = view.moment_us(now_us)
        while self._pending and self._pending[0].until_us <= now_us:
            block = label(view, self._pending.pop(0))
            try:
                self._examples.add(block)
            except OSError as error:
                trouble_total.add(1, "examples")
                self._say(f"can't keep examples to learn from: {error.strerror}; pages are not affected")
        if sum(moment.people.size for moment in self._pending) + PEOPLE > MAX_PENDING:
            return
        people = draw(view, self._people(), now_us, PEOPLE, np.random.default_rng(now_us))
        if people.size:
            self._pending.append(look(view, self._formula(), now_us, people, forbid=self._forbid))

    def _say(self, words: str) -> None:
        self.trouble = words
        log.warning("%s", words)

    @property
    def serving(self) -> str:
        return FORMULA if self.model is None else self.model.kind

    @property
    def since_s(self) -> int:
        """The newest like that the serving model knows."""
        return 0 if self.model is None else self.model.until_us // US_PER_S


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
