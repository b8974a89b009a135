"""`feedgen evaluate`: how good would the lists have been, on the operator's own data?

The last day is held out. A copy of the arrays, in a folder that goes away afterwards, is brought to four moments of
that day; at each, lists are made for people who then liked something that was there already, by the code that serves.
The data folder is only read, and a running service does not notice.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from feedgen.core.errors import FeedgenError
from feedgen.core.ids import NO_POST, US_PER_DAY, US_PER_S
from feedgen.feeds.contract import Ask, Fetched, Known
from feedgen.feeds.for_you import ForYou
from feedgen.feeds.list_feed import ListFeed
from feedgen.feeds.moderated import NOTHING_SAID, Moderated, Said
from feedgen.feeds.popular import PopularFeed
from feedgen.feeds.recipes import Recipe
from feedgen.feeds.services import FeedServices
from feedgen.graph.access import I64, U8, U32
from feedgen.graph.graph import Graph
from feedgen.graph.truth import TruthDay
from feedgen.graph.view import View
from feedgen.learn.files import FOLDER, Examples
from feedgen.learn.training import MIN_ROWS, fitted
from feedgen.rank.listing import ListRules
from feedgen.rank.pace import Pace
from feedgen.rank.paging import Cursors
from feedgen.rank.params import RankParams
from feedgen.rank.policy import MAY, NOT_FOLLOWED, verdicts
from feedgen.rank.pool import RankPool
from feedgen.rank.popular import Popular
from feedgen.rank.scorer import key_of
from feedgen.rank.seen import Taste
from feedgen.rank.spam import Spammers
from feedgen.store.folder import Folder
from feedgen.store.sqlite import fetch, open_reader

SNAPSHOTS: Final = 4
HELD_OUT_US: Final = US_PER_DAY
MIN_RATINGS: Final = 5  # earlier ones, of somebody who is asked about
FIRST: Final = 30  # posts of a page
NDCG_AT: Final = 20
MORE_PEOPLE: Final = 1_000_000  # who may come while we look
ADD_ROWS: Final = 1 << 18
READER: Final = "did:plc:reader"
POPULAR: Final = "popular"
DISCOUNTS: Final = 1 / np.log2(np.arange(NDCG_AT) + 2)

Progress = Callable[[int, int, str], None]


class People(NamedTuple):
    """What `TruthDay` wants to know of them."""

    flags: U8


@dataclass(slots=True)
class Score:
    """Sums over lists."""

    lists: int = 0
    hits: int = 0  # lists with something liked among the first 30
    ndcg: float = 0.0
    authors: float = 0.0  # of the first 30
    ages_h: list[float] = field(default_factory=list)
    shown: set[int] = field(default_factory=set)
    seconds: float = 0.0


class Row(NamedTuple):
    """One line of the table."""

    preset: str
    lists: int
    hit: float  # share of lists with something liked among the first 30
    ndcg: float  # at 20
    coverage: float  # share of the posts liked on the held-out day that stood in anybody's first 30
    authors: float  # in the first 30
    age_h: float  # median, of the first 30
    ms: float


class History:
    """The days of a data folder, told up to a moment."""

    def __init__(self, path: Path, graph: Graph, held_out_us: int = HELD_OUT_US) -> None:
        folder = Folder(path, lock=False)
        self.people = _people(folder)
        self.graph = graph
        days = [TruthDay(file.day, file.path, file.sealed, self.people) for file in folder.days()]
        if not days:
            raise FeedgenError(f"there is nothing in {path} yet", "Run the service for two days first.")
        self.last_us = _times(days[-1])[-1] if len(days[-1].ratings()[0]) else days[-1].day * US_PER_DAY
        self.first_us = self.last_us - held_out_us
        self._past = [day for day in days if (day.day + 1) * US_PER_DAY <= self.first_us]
        self._days = [day for day in days if day not in self._past]
        self._told_us = 0

    def load(self) -> None:
        """All days before the moments that are looked at."""
        self.graph.load(self._past, None)
        self.graph.wait()
        self.graph.set_person_flags(np.arange(self.people.flags.size), self.people.flags)

    def tell(self, until_us: int) -> None:
        """What was witnessed up to then, and nothing later."""
        for day in self._days:
            start_us = day.day * US_PER_DAY
            if start_us >= until_us or start_us + US_PER_DAY <= self._told_us:
                continue
            self.graph.start_day(day.day)
            self._tell_posts(day, until_us)
            self._tell_ratings(day, until_us)
        self._told_us = until_us

    def liked(self, until_us: int) -> tuple[U32, U32]:
        """(people, posts) from what was told last until then."""
        people, posts = [np.empty(0, np.uint32)], [np.empty(0, np.uint32)]
        for day in self._days:
            actor, post, _ = day.ratings()
            times = _times(day)
            here = (times >= self._told_us) & (times < until_us)
            people.append(actor[here])
            posts.append(post[here])
        return np.concatenate(people), np.concatenate(posts)

    def _tell_posts(self, day: TruthDay, until_us: int) -> None:
        columns = day.posts()
        times = _us(day.day, columns[3])
        order = np.argsort(columns[0], kind="stable")
        here = order[(times[order] >= self._told_us) & (times[order] < until_us)]
        for at in range(0, here.size, ADD_ROWS):
            self.graph.add_posts(*(column[here[at : at + ADD_ROWS]] for column in columns))

    def _tell_ratings(self, day: TruthDay, until_us: int) -> None:
        actor, post, tick = day.ratings()
        times = _us(day.day, tick)
        here = np.flatnonzero((times >= self._told_us) & (times < until_us))
        # Whoever rated a post whose author is gone by now would refer to nothing.
        here = here[self.graph.view().post_flags(post[here]) != 0]
        for at in range(0, here.size, ADD_ROWS):
            part = here[at : at + ADD_ROWS]
            self.graph.add_ratings(actor[part], post[part], tick[part])


def _us(day: int, ticks: NDArray[np.uint16]) -> I64:
    times: I64 = day * US_PER_DAY + ((ticks.astype(np.int64) * US_PER_DAY + 65_535) >> 16)
    return times


def _times(day: TruthDay) -> I64:
    return _us(day.day, day.ratings()[2])


def _people(folder: Folder) -> People:
    db = open_reader(folder.names_path)
    try:
        count = fetch(db, "SELECT count(*) FROM people")[0][0]
        flags = np.zeros(count + MORE_PEOPLE, np.uint8)
        for n, said in db.execute("SELECT n, flags FROM people WHERE flags <> 0"):
            flags[n] = said & 0xFF  # the bits above say how the name is kept
    finally:
        db.close()
    return People(flags)


class Replayed:
    """The library of a feed that is evaluated: arrays, and nobody's name."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def view(self) -> View:
        return self._graph.view()

    def uri(self, post: int) -> str | None:
        return None

    def uris(self, posts: U32) -> list[str | None]:
        return [None] * len(posts)

    def numbers(self, uris: Sequence[str]) -> U32:
        return np.full(len(uris), NO_POST, np.uint32)

    def person(self, did: str) -> int | None:
        return None

    def did(self, person: int) -> str | None:
        return None

    def tagged(self, patterns: Iterable[str]) -> BitMap:
        """Texts are not in the archive's days."""
        return BitMap()

    def fetched(self, did: str) -> Fetched | None:
        return None


class Evaluation:
    """`run` gives a row for each preset, one for what is popular, and one for the scorer if there can be one: `words`
    say what it was trained on, or why there is none."""

    def __init__(
        self, path: Path, presets: Mapping[str, RankParams], rules: ListRules, readers: int, said: Said = NOTHING_SAID
    ) -> None:
        self.path, self.rules, self.readers, self.said = path, rules, readers, said
        self.presets = presets
        self.scores = {name: Score() for name in (*presets, POPULAR)}
        self._liked: set[int] = set()
        self.words = ""

    def run(self, progress: Progress = lambda done, total, text: None) -> list[Row]:
        with _passing_graph() as graph:
            history = History(self.path, graph)
            total = SNAPSHOTS * self.readers
            progress(0, total, "reading")
            history.load()
            moderated = Moderated(Folder(self.path, lock=False).names_path, self.said)
            feeds = self._feeds(graph)
            self._add_scorer(feeds, history.first_us)
            step_us, spammers = (history.last_us - history.first_us) // SNAPSHOTS, Spammers()
            for i in range(SNAPSHOTS):
                now_us = history.first_us + i * step_us
                history.tell(now_us)
                moderated.apply(graph)
                graph.set_spammers(spammers.look(graph.view(), now_us))
                next(iter(feeds.values())).services.refresh(now_us)  # what they share
                asked = self._askable(graph.view(), *history.liked(now_us + step_us), seed=i)
                for n, (reader, liked) in enumerate(asked.items()):
                    progress(i * self.readers + n, total, f"{i + 1} of {SNAPSHOTS} moments")
                    self._ask(graph.view(), feeds, reader, liked, now_us)
            progress(total, total, "done")
        return [self._row(name, score) for name, score in self.scores.items() if score.lists]

    def _feeds(self, graph: Graph) -> dict[str, ListFeed]:
        popular, pace, library = Popular(), Pace(), Replayed(graph)
        services = {
            name: FeedServices(
                library,
                Cursors(b"0" * 32),
                RankPool(1),
                popular=popular,
                pace=pace,
                recipe=Recipe(params),
                rules=self.rules,
            )
            for name, params in self.presets.items()
        }
        feeds: dict[str, ListFeed] = {name: ForYou(one) for name, one in services.items()}
        return feeds | {POPULAR: PopularFeed(next(iter(services.values())))}

    def _add_scorer(self, feeds: dict[str, ListFeed], before_us: int) -> None:
        """The preset that examples were ranked with, and a scorer trained on those from before the held-out day."""
        blocks = [block.thin() for block in Examples(self.path / FOLDER).read() if block.until_us <= before_us]
        rows = sum(block.rows for block in blocks)
        self.words = f"There is no line for the scorer: {rows:,} of {MIN_ROWS:,} rows are from before the held-out day."
        name = next(
            (n for n, params in self.presets.items() if blocks and blocks[0].key == key_of(params.formula())), ""
        )
        if rows < MIN_ROWS or not name:
            return
        model = fitted(blocks)
        self.words = f"The scorer was trained on {rows:,} rows from before the held-out day."
        services = replace(feeds[name].services, scorer=model.scorer())
        feeds[f"{name} + scorer"] = ForYou(services)
        self.scores[f"{name} + scorer"] = Score()

    def _askable(self, view: View, people: U32, posts: U32, seed: int) -> dict[int, set[int]]:
        """Readers with a past, and what they liked next of what was there and may be listed."""
        # Their followers may get posts of authors who opted out.
        good = np.isin(verdicts(view, posts, self.rules.policy(view)), (MAY, NOT_FOLLOWED))
        good &= view.arrays.person_ratings[people] >= MIN_RATINGS
        people, posts = people[good], posts[good]
        self._liked.update(posts.tolist())
        found: dict[int, set[int]] = {}
        for reader in np.random.default_rng(seed).permutation(np.unique(people)).tolist():
            liked = set(posts[people == reader].tolist()) - set(view.likes_of(reader, 10_000)[0].tolist())
            if liked:
                found[reader] = liked
            if len(found) == self.readers:
                break
        return found

    def _ask(self, view: View, feeds: dict[str, ListFeed], reader: int, liked: set[int], now_us: int) -> None:
        ask, known = Ask(READER, reader, FIRST, None, (), now_us), Known(Taste([], now_us))
        for name, feed in feeds.items():
            start_s = time.perf_counter()
            posts = feed.make(ask, known, cheap=False).posts[:FIRST].tolist()
            self._add(self.scores[name], view, posts, liked, now_us)
            self.scores[name].seconds += time.perf_counter() - start_s

    def _add(self, score: Score, view: View, posts: list[int], liked: set[int], now_us: int) -> None:
        hits = np.array([post in liked for post in posts[:NDCG_AT]], np.float64)
        best = DISCOUNTS[: min(len(liked), NDCG_AT)].sum()
        facts = [each for each in map(view.post, posts) if each is not None]
        score.lists += 1
        score.hits += not liked.isdisjoint(posts)
        score.ndcg += float((hits * DISCOUNTS[: hits.size]).sum() / best)
        score.authors += len({each.author for each in facts})
        score.ages_h += [(now_us - each.time_us) / US_PER_S / 3600 for each in facts]
        score.shown.update(posts)

    def _row(self, name: str, score: Score) -> Row:
        n = score.lists
        covered = len(score.shown & self._liked) / max(len(self._liked), 1)
        age_h = float(np.median(score.ages_h)) if score.ages_h else 0.0
        return Row(name, n, score.hits / n, score.ndcg / n, covered, score.authors / n, age_h, score.seconds / n * 1e3)


@contextmanager
def _passing_graph() -> Iterator[Graph]:
    folder = Path(tempfile.mkdtemp(prefix="feedgen-evaluate-"))
    graph = Graph(folder)
    try:
        yield graph
    finally:
        graph.close()
        shutil.rmtree(folder, ignore_errors=True)


def main(
    path: Path, presets: Mapping[str, RankParams], rules: ListRules, readers: int, said: Said = NOTHING_SAID
) -> int:
    """The command: a progress bar, then the table."""
    bar = sys.stderr.isatty()

    def progress(done: int, total: int, text: str) -> None:
        if bar:
            width = 30 * done // total
            click.echo(f"\r[{'#' * width}{'.' * (30 - width)}] {text:<16}", err=True, nl=done == total)

    evaluation = Evaluation(path, presets, rules, readers, said)
    rows = evaluation.run(progress)
    if not rows:
        raise FeedgenError(
            "nobody can be asked about", f"Needed: people with {MIN_RATINGS} ratings before the last day."
        )
    click.echo(
        f"{'preset':<18}{'lists':>7}{'hit@30':>9}{'NDCG@20':>9}{'coverage':>10}{'authors':>9}{'age, h':>8}{'ms':>7}"
    )
    for row in rows:
        click.echo(
            f"{row.preset:<18}{row.lists:>7}{row.hit:>9.1%}{row.ndcg:>9.4f}{row.coverage:>10.2%}"
            f"{row.authors:>9.1f}{row.age_h:>8.1f}{row.ms:>7.2f}"
        )
    click.echo(evaluation.words)
    return 0


__all__ = ["Evaluation", "History", "Row", "main"]
