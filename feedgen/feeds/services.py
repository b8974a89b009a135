"""What all feeds share: the network, the ranking threads, readers, snapshots, popular posts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from feedgen.core.languages import number
from feedgen.core.telemetry import Histogram, Laps
from feedgen.feeds.contract import NO_WISHES, Library, Log, Made, NoLog, reader_key
from feedgen.feeds.recipes import Experiment, Recipe
from feedgen.feeds.sources import DEFAULT_MIX, Part
from feedgen.feeds.wishes import Wishes
from feedgen.graph.access import I64
from feedgen.rank.listing import ListRules
from feedgen.rank.pace import Pace
from feedgen.rank.paging import Cursors, Snapshots
from feedgen.rank.params import DEFAULT, Formula
from feedgen.rank.pool import RankPool
from feedgen.rank.popular import Popular
from feedgen.rank.scorer import Scorer
from feedgen.rank.seen import Readers

MAX_POPULAR_ROWS: Final = 200  # combinations of languages; each takes 80 kB
stage_seconds = Histogram(
    "feedgen_rank_stage_seconds", "What a personal list's stages take, by preset", "stage", "preset"
)


@dataclass(slots=True)
class FeedServices:
    """What feeds share: made once, given to every feed."""

    library: Library
    cursors: Cursors
    pool: RankPool
    popular: Popular = field(default_factory=Popular)
    pace: Pace = field(default_factory=Pace)
    readers: Readers = field(default_factory=Readers)
    snapshots: Snapshots = field(default_factory=Snapshots)
    recipe: Recipe = field(default_factory=lambda: Recipe(DEFAULT))  # of readers who are in no experiment
    rules: ListRules = field(default_factory=ListRules)
    mix: tuple[Part, ...] = DEFAULT_MIX  # what personal lists are made of
    scorer: Scorer | None = None  # what was learned from everybody's likes; None: the formula alone
    log: Log = field(default_factory=NoLog)
    experiment: Experiment | None = None
    popular_lists: dict[tuple[str, tuple[str, ...], bool], Made] = field(init=False, default_factory=dict)
    wishes: dict[int, Wishes] = field(default_factory=dict)  # by reader
    _popular_rows: dict[tuple[tuple[str, ...], bool], I64] = field(init=False, default_factory=dict)

    def recipe_of(self, reader_did: str | None) -> Recipe:
        """How this reader's lists are made."""
        dealt = None if self.experiment is None or reader_did is None else self.experiment.recipe(reader_did)
        return self.wishes_of(reader_did).recipe(dealt or self.recipe)

    def wishes_of(self, reader_did: str | None) -> Wishes:
        if not self.wishes or reader_did is None:
            return NO_WISHES
        return self.wishes.get(reader_key(reader_did), NO_WISHES)

    def formula(self, cheap: bool, recipe: Recipe | None = None) -> Formula:
        return (recipe or self.recipe).formula(cheap, self.pace.pace_us)

    def laps(self, cheap: bool, recipe: Recipe | None = None) -> Laps:
        """A stopwatch for the stages of one list."""
        return Laps(stage_seconds, "cheap" if cheap else (recipe or self.recipe).preset)

    def refresh(self, now_us: int) -> None:
        """Measure the pace and renew the popular lists. In a background thread, every minute or so."""
        view = self.library.view()
        now_us = view.moment_us(now_us)
        self.pace.measure(view, now_us)
        self.popular.refresh(view, now_us, self.pace.pace_us, self.rules.forbidden())
        self._popular_rows, self.popular_lists = {}, {}

    def popular_rows(self, languages: tuple[str, ...], video: bool) -> I64:
        """What is popular in these languages: put together once a minute for all who speak the same. Not to be
        changed."""
        known = self._popular_rows
        rows = known.get((languages, video))
        if rows is None:
            rows = self.popular.rows([number(code) for code in languages], video)
            if len(known) < MAX_POPULAR_ROWS:
                known[languages, video] = rows
        return rows
