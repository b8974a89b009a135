"""An experiment from end to end on the made-up network, whose truth is known: does it find which preset is better?

Everybody there opens For You, sees some pages and likes what the truth says that they would. Pages and likes go through
the history into a real viewers.db, and are read from there by what the learning page shows. One arm is known to be
better (`default` beside `cheap`: what people would like is counted, not thrown), another is the same as the first.
The truth is a little above what is liked: people have seen some posts before, and did not like them then either.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from feedgen.core.clock import ManualClock
from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.feeds.contract import Ask, Event, parse_req_id, reader_key
from feedgen.feeds.evaluation import Replayed
from feedgen.feeds.for_you import ForYou
from feedgen.feeds.learning import LIKED, Learned, learn
from feedgen.feeds.recipes import Experiment, Recipe, Share
from feedgen.feeds.services import FeedServices
from feedgen.feeds.trials import compare
from feedgen.graph.access import U32
from feedgen.rank.paging import Cursors
from feedgen.rank.params import PRESETS, RankParams, preset
from feedgen.rank.pool import RankPool
from feedgen.serve.readers.history import History
from feedgen.simnet.world import World
from feedgen.store.outcomes import Pages
from feedgen.store.viewers import Viewers
from scripts.benchmarks import Figure, Params
from scripts.benchmarks._made_up import MadeUp

PARAMETERS = {
    "people": 2000,  # of the made-up network; all of them read
    "days": 3.0,
    "pages": 2,  # that each reader scrolls through
    "control": "cheap",  # a preset, or `few seeds`, which is far worse
    "effect": 10.0,  # percent: the smallest difference worth finding
    "deals": 200,  # other experiments, without any difference, that the same likes are dealt out to
    "seed": 5,
}
START_US = 20_400 * US_PER_DAY
LIMIT = 30
CONTROL, SAME, BETTER = ARMS = ("control", "same", "better")
FEW_SEEDS = preset("cheap", seeds=2)


def run(params: Params) -> Iterable[Figure]:
    seed = int(params["seed"])
    world = World(seed, int(params["people"]), START_US)
    for _ in world.events(START_US + round(float(params["days"]) * US_PER_DAY) - US_PER_S):
        pass
    made_up = MadeUp(world)
    try:
        made_up.add()
        with tempfile.TemporaryDirectory(prefix="feedgen-experiment-") as folder:
            control = FEW_SEEDS if params["control"] == "few seeds" else PRESETS[str(params["control"])]
            truth = asyncio.run(_read(made_up, Path(folder), int(params["pages"]), control, seed))
            found = learn(Pages(Path(folder), 0), [f"e/{arm}" for arm in ARMS], float(params["effect"]) / 100)
        yield from _figures(found, truth)
        yield _wrong(truth, int(params["deals"]))
    finally:
        made_up.close()


class Named(Replayed):
    """Posts by their numbers."""

    def uri(self, post: int) -> str | None:
        return str(post)

    def uris(self, posts: U32) -> list[str | None]:
        return [str(post) for post in posts.tolist()]


class Truth:
    """By arm: of each reader the posts seen, the likes, and how many likes there would be on the average."""

    def __init__(self) -> None:
        self.rows: dict[str, list[tuple[int, int, float]]] = {arm: [] for arm in ARMS}

    def expected(self, arm: str) -> float:
        """Likes by thousand seen."""
        seen, _, chances = np.array(self.rows[arm]).sum(axis=0)
        return float(1000 * chances / seen)


async def _read(made_up: MadeUp, folder: Path, pages: int, control: RankParams, seed: int) -> Truth:
    world, truth = made_up.world, Truth()
    clock = ManualClock(world.now_us)
    params = {CONTROL: control, SAME: control, BETTER: PRESETS["default"]}
    arms = [Share(100 / len(ARMS), Recipe(params[arm], f"e/{arm}")) for arm in ARMS]
    experiment = Experiment("e", arms, seed.to_bytes(32, "big"))
    async with await Viewers.open(folder) as viewers:
        history = History(viewers.pages, clock)
        services = FeedServices(
            Named(made_up.graph), Cursors(b"0" * 32), RankPool(1), log=history, experiment=experiment
        )
        services.refresh(clock.now_us())
        feed = ForYou(services)
        for reader in range(world.people.n):
            arm = services.recipe_of(world.people.dids[reader]).arm.removeprefix("e/")
            truth.rows[arm].append(await _scroll(made_up, feed, history, reader, pages))
            if reader % 500 == 0:
                await history.flush()
        await history.flush()
        services.pool.close()
    return truth


async def _scroll(made_up: MadeUp, feed: ForYou, history: History, reader: int, pages: int) -> tuple[int, int, float]:
    world, cursor, seen, liked, expected = made_up.world, None, 0, 0, 0.0
    did, languages, now_us = world.people.dids[reader], tuple(world.people.languages(reader)), world.now_us
    for _ in range(pages):
        page = await feed.page(Ask(did, reader, LIMIT, cursor, languages, now_us))
        req_id = parse_req_id(page.req_id)
        assert req_id is not None
        posts = np.array([int(item.uri) for item in page.items], np.int64)
        rows = np.array([made_up.row_of[post] for post in posts.tolist()], np.int64)
        chances = world.truth.like_chances(reader, rows)
        likes = world.truth.throws(np.full(rows.size, reader), rows) < chances
        events = [Event(post, "interactionSeen", req_id[1], None) for post in posts.tolist()]
        events += [Event(post, "interactionLike", req_id[1], None) for post in posts[likes].tolist()]
        history.told(reader_key(did), events)
        seen, liked, expected = seen + posts.size, liked + int(likes.sum()), expected + float(chances.sum())
        cursor = page.cursor
        if cursor is None:
            break
    return seen, liked, expected


def _figures(found: Learned, truth: Truth) -> Iterator[Figure]:
    for arm in found.arms:
        name = arm.name.removeprefix("e/")
        rate = arm.cell.per_seen(LIKED)
        assert rate is not None
        note = f"{arm.cell.readers} readers, {rate.low:.1f} to {rate.high:.1f}; in truth {truth.expected(name):.1f}"
        yield Figure(f"experiment.{name}", rate.value, "likes/1000", note)
        if arm.against is None:
            continue
        change = arm.against.change
        note = f"{arm.against.verdict}; p = {arm.against.p:.4f}, {arm.against.needed} readers needed"
        in_truth = 100 * (truth.expected(name) / truth.expected(CONTROL) - 1)
        span = f"{100 * change.low:+.1f} to {100 * change.high:+.1f}, in truth {in_truth:+.1f}"
        yield Figure(f"experiment.{name}_change", 100 * change.value, "%", f"{span}: {note}")


def _wrong(truth: Truth, deals: int) -> Figure:
    """How often a difference is found where there is none: readers of both equal arms, dealt out anew."""
    rows = np.array([row for arm in (CONTROL, SAME) for row in truth.rows[arm]])
    rng, wrong = np.random.default_rng(7), 0
    for _ in range(deals):
        mine = rng.random(len(rows)) < 0.5
        pairs = [(rows[half, 0], rows[half, 1]) for half in (mine, ~mine)]
        one = compare(pairs[0], pairs[1], effect=0.1)
        wrong += one is not None and one.p < 0.05
    return Figure("experiment.found_without_difference", 100 * wrong / deals, "%", f"of {deals} deals; 5 by the test")


__all__ = ["PARAMETERS", "run"]
