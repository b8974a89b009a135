"""How good lists are: on timestamped likes of real people, and on the made-up network against what its people want.

The real data are not part of this repository: `--set folder=PATH` names a folder with `evaluate.py` and NAME_dev.npz;
without it only the made-up network is asked. There everybody's chance to like each post is known, so that the share is
expected likes in the first 30 posts, of the most that any page of the candidates' age could bring, for somebody who
grows tired of the same topic and author (`Boredom`); `_never_tired` is the same without.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.feeds.contract import Ask, Known
from feedgen.feeds.evaluation import Replayed
from feedgen.feeds.for_you import ForYou
from feedgen.feeds.list_feed import ListFeed
from feedgen.feeds.popular import PopularFeed
from feedgen.feeds.recipes import Recipe
from feedgen.feeds.services import FeedServices
from feedgen.feeds.sources import parse_mix
from feedgen.rank.listing import ListRules
from feedgen.rank.pace import Pace
from feedgen.rank.paging import Cursors
from feedgen.rank.params import PRESETS
from feedgen.rank.pool import RankPool
from feedgen.rank.popular import Popular
from feedgen.rank.seen import Taste
from feedgen.simnet.truth import Boredom
from feedgen.simnet.world import World
from scripts.benchmarks import Figure, Params
from scripts.benchmarks._made_up import MadeUp
from scripts.benchmarks.replay import Recommender

PARAMETERS = {
    "folder": "",  # with evaluate.py and the data
    "sets": "tw2010,meme2008",
    "people": 2000,  # of the made-up network
    "days": 3.0,
    "readers": 100,
    "seed": 5,
}
START_US = 20_400 * US_PER_DAY
FIRST = 30
SHOWN_WITHIN_US = 4 * US_PER_DAY
TIRED = Boredom()
NEVER_TIRED = Boredom(1.0, 1.0)  # the truth of the first edition
OTHERS = (Boredom(0.97, 0.85), Boredom(0.9, 0.5), Boredom(0.93, 1.0), Boredom(1.0, 0.7), Boredom(0.85, 0.7))
PLAIN = ListRules(spread=1.0, author_gap=2, author_page_max=30)


def run(params: Params) -> Iterable[Figure]:
    yield from _simnet(params)
    if params["folder"]:
        yield from _real(Path(str(params["folder"])), str(params["sets"]).split(","))


def _real(folder: Path, sets: list[str]) -> Iterator[Figure]:
    evaluator = _evaluator(folder / "evaluate.py")
    for name in sets:
        for preset, parameters in PRESETS.items():
            recommender = Recommender(parameters)
            found = evaluator.evaluate(recommender.recommend, name, "dev", ingest=recommender.ingest, root=str(folder))
            suffix = "" if preset == "default" else f"_{preset}"
            note = f"{preset}: recall@20 {found['recall@20']}, {found['ms_p50']} ms a list"
            yield Figure(f"quality.{name}_ndcg20{suffix}", found["ndcg@20"], "NDCG@20", note)
            yield Figure(f"quality.{name}_top_seed{suffix}", float(np.mean(recommender.top_seed)), "of the first 30")
            yield Figure(f"quality.{name}_seeds{suffix}", float(np.mean(recommender.seeds)), "effective seeds")


def _evaluator(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("quality_evaluate", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _simnet(params: Params) -> Iterator[Figure]:
    world = World(int(params["seed"]), int(params["people"]), START_US)
    for _ in world.events(START_US + round(float(params["days"]) * US_PER_DAY) - US_PER_S):
        pass
    made_up = MadeUp(world)
    try:
        made_up.add()
        readers = world.sample_readers(int(params["readers"]))
        candidates = world.posts_since(world.now_us - SHOWN_WITHIN_US)
        candidates = candidates[world.post_column("parent")[candidates] < 0]
        pages = {name: [_page(made_up, feed, reader) for reader in readers] for name, feed in _feeds(made_up).items()}
        shares: dict[tuple[str, Boredom], NDArray[np.float64]] = {}
        for boredom in (TIRED, NEVER_TIRED, *OTHERS):
            best = [_best(world, reader, candidates, boredom) for reader in readers]
            for name, shown in pages.items():
                values = [world.truth.page_value(r, page, boredom) for r, page in zip(readers, shown, strict=True)]
                shares[name, boredom] = np.array(values) / best
        for name, shown in pages.items():
            for boredom, suffix in ((TIRED, ""), (NEVER_TIRED, "_never_tired")):
                found = shares[name, boredom]
                note = f"+- {found.std() / np.sqrt(found.size):.3f}"
                yield Figure(f"quality.simnet_share_{name}{suffix}", float(found.mean()), "share", note)
            apart = [_apart(world, reader, page) for reader, page in zip(readers, shown, strict=True)]
            yield Figure(f"quality.simnet_topics_apart_{name}", float(np.mean(apart)), "of 1", "liked and shown")
        for boredom in (TIRED, NEVER_TIRED, *OTHERS):
            ratio = shares["default", boredom].mean() / shares["foryou", boredom].mean()
            name = f"quality.simnet_default_over_foryou_topic_{boredom.topic:g}_author_{boredom.author:g}"
            yield Figure(name, float(ratio), "times")
    finally:
        made_up.close()


def _feeds(made_up: MadeUp) -> dict[str, ListFeed]:
    """The presets as they are served; `foryou` is what was published, and `default_plain` the default formula, both
    without rules for a page."""
    library, pool, popular, pace = Replayed(made_up.graph), RankPool(1), Popular(), Pace()
    services = {
        name: FeedServices(library, Cursors(b"0" * 32), pool, popular=popular, pace=pace, recipe=Recipe(params))
        for name, params in {**PRESETS, "default_plain": PRESETS["default"]}.items()
    }
    for name in ("foryou", "default_plain"):
        services[name].rules, services[name].mix = PLAIN, parse_mix(("likes", "popular"))
    services["default"].refresh(made_up.world.now_us)
    feeds: dict[str, ListFeed] = {name: ForYou(one) for name, one in services.items()}
    return feeds | {"popular": PopularFeed(services["default"])}


def _page(made_up: MadeUp, feed: ListFeed, reader: int) -> list[int]:
    """The posts that a reader is shown first."""
    world, now_us = made_up.world, made_up.world.now_us
    languages = tuple(world.people.languages(reader))
    ask = Ask("did:plc:reader", reader, FIRST, None, languages, now_us)
    listed = feed.make(ask, Known(Taste([], now_us)), cheap=False).posts.tolist()
    liked = set(world.liked(reader).tolist())
    rows = [made_up.row_of[post] for post in listed]
    return [row for row in rows if row not in liked][:FIRST]


def _best(world: World, reader: int, candidates: NDArray[np.int64], boredom: Boredom) -> float:
    """The most that a page could bring."""
    fresh = candidates[~np.isin(candidates, world.liked(reader))]
    return world.truth.page_value(reader, world.truth.best_page(reader, fresh, FIRST, boredom), boredom)


def _apart(world: World, reader: int, page: list[int]) -> float:
    """How far the topics of a page are from those of the reader's likes: 0 the same, 1 none in common."""
    topics = world.post_column("topic")
    liked, shown = (
        np.bincount(topics[rows], minlength=128) / max(len(rows), 1) for rows in (world.liked(reader), page)
    )
    return float(np.abs(liked - shown).sum() / 2)
