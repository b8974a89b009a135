"""How good lists are: on timestamped likes of real people, and on the made-up network against what its people want.

The real data are not part of this repository: `--set folder=PATH` names a folder with `evaluate.py` and NAME_dev.npz;
without it only the made-up network is asked. There everybody's chance to like each post is known, so that the share is
expected likes in the first 30 posts, of the most that any 30 posts of the candidates' age could bring.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np

from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.feeds.contract import Ask, Known
from feedgen.feeds.evaluation import Replayed
from feedgen.feeds.for_you import ForYou
from feedgen.feeds.list_feed import ListFeed
from feedgen.feeds.popular import PopularFeed
from feedgen.feeds.recipes import Recipe
from feedgen.feeds.services import FeedServices
from feedgen.rank.pace import Pace
from feedgen.rank.paging import Cursors
from feedgen.rank.params import PRESETS
from feedgen.rank.pool import RankPool
from feedgen.rank.popular import Popular
from feedgen.rank.seen import Taste
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
        for name, feed in _feeds(made_up).items():
            shares = [_share(made_up, feed, reader, candidates) for reader in readers]
            error = np.std(shares) / np.sqrt(len(shares))
            yield Figure(f"quality.simnet_share_{name}", float(np.mean(shares)), "share", f"+- {error:.3f}")
    finally:
        made_up.close()


def _feeds(made_up: MadeUp) -> dict[str, ListFeed]:
    library, pool, popular, pace = Replayed(made_up.graph), RankPool(1), Popular(), Pace()
    services = {
        name: FeedServices(library, Cursors(b"0" * 32), pool, popular=popular, pace=pace, recipe=Recipe(params))
        for name, params in PRESETS.items()
    }
    services["default"].refresh(made_up.world.now_us)
    feeds: dict[str, ListFeed] = {name: ForYou(one) for name, one in services.items()}
    return feeds | {"popular": PopularFeed(services["default"])}


def _share(
    made_up: MadeUp, feed: ListFeed, reader: int, candidates: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> float:
    """Expected likes in the first posts, of the most there could be."""
    world, now_us = made_up.world, made_up.world.now_us
    languages = tuple(world.people.languages(reader))
    ask = Ask("did:plc:reader", reader, FIRST, None, languages, now_us)
    listed = feed.make(ask, Known(Taste([], now_us)), cheap=False).posts.tolist()
    liked = world.liked(reader)
    rows = [made_up.row_of[post] for post in listed]
    shown = [row for row in rows if row not in set(liked.tolist())][:FIRST]
    fresh = candidates[~np.isin(candidates, liked)]
    best = np.sort(world.like_chances(reader, fresh.tolist()))[::-1][:FIRST].sum()
    return float(world.like_chances(reader, shown).sum() / best) if shown else 0.0
