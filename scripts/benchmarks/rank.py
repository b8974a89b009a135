"""CPU of one personal list, on a graph of full-volume shape; beside it the same formula in plain SQL and numpy.

A list is made as for a page: the reader's newest likes, the ranking, the rules, in one thread; each is made once before
it is timed, because a page of a file that nobody has read since the start costs a fault. `rank.list_*` takes
readers with at least `seeds` ratings, the costliest there are. SQL and numpy get the same edges and the same
parameters, but neither velocities nor rules for what may be shown, so they have less to do.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from feedgen.core.jit import njit
from feedgen.core.parameters import MAX_COLIKERS
from feedgen.feeds.contract import Ask, Known
from feedgen.feeds.for_you import PLACES, ForYou
from feedgen.feeds.recipes import Recipe
from feedgen.feeds.services import FeedServices
from feedgen.graph.access import I64, U32, Arrays, copy_likes, places_of
from feedgen.graph.archive import Archive
from feedgen.graph.view import View
from feedgen.rank.kernel import rank
from feedgen.rank.numeric import edge_us
from feedgen.rank.paging import Cursors
from feedgen.rank.params import FORYOU, RankParams
from feedgen.rank.pool import RankPool
from feedgen.rank.request import request
from feedgen.rank.seen import Taste
from scripts.benchmarks import Figure, Params
from scripts.benchmarks.loading import filled

PARAMETERS = {
    "ratings": 10_000_000,
    "seeds": 500,
    "lists": 300,  # that are made for each figure
    "compare": 20,  # lists in plain SQL and numpy; 0: neither
    "folder": "",  # kept, and used again; else a temporary one
}
SEED_STEPS = (10, 50, 100, 200)
DID = "did:plc:readeraaaaaaaaaaaaaaaaaa"


def run(params: Params) -> Iterable[Figure]:
    given = str(params["folder"])
    folder = Path(given or tempfile.mkdtemp(prefix="feedgen-rank-"))
    try:
        filled(folder, int(params["ratings"]))
        with Archive(folder / "data", 120) as archive:
            _wait_until_idle()
            yield from _measure(archive, params, folder)
    finally:
        if not given:
            shutil.rmtree(folder)


def _wait_until_idle() -> None:
    """After a start days are counted and verified, which takes memory's and a core's time from whoever measures."""
    quiet = 0
    while quiet < 3:
        before_s = time.process_time()
        time.sleep(1.0)
        quiet = quiet + 1 if time.process_time() - before_s < 0.05 else 0


def _measure(archive: Archive, params: Params, folder: Path) -> Iterator[Figure]:
    view, count = archive.library.view(), int(params["lists"])
    known = int(view.arrays.person_ratings.sum(dtype=np.int64))
    yield Figure("rank.ratings", known, "ratings", f"{len(archive.graph.days)} days")
    services = FeedServices(archive.library, Cursors(b"k" * 32), RankPool(1))
    now_us = int(archive.writer.high_water_us())
    services.refresh(now_us)
    yield Figure("rank.pace_h", services.pace.pace_us / 3.6e9, "h", "L as measured")
    readers = find_readers(view, int(params["seeds"]), count)
    yield from _lists(services, readers, now_us, "list", int(params["seeds"]), cheap=False)
    yield from _lists(services, readers, now_us, "cheap", int(params["seeds"]), cheap=True)
    for seeds in SEED_STEPS:
        services.recipe = Recipe(replace(services.recipe.params, seeds=seeds))
        yield from _lists(services, readers, now_us, f"list_{seeds}_seeds", seeds, cheap=False)
    services.recipe = Recipe(FORYOU)
    yield from _lists(services, readers[: count // 5], now_us, "foryou", int(params["seeds"]), cheap=False)
    services.pool.close()
    if int(params["compare"]):
        yield from _compare(view, readers[: int(params["compare"])], now_us, services.pace.pace_us, folder)


def find_readers(view: View, seeds: int, count: int) -> list[int]:
    """People with at least so many ratings, those with the fewest first; else the busiest there are."""
    ratings = np.asarray(view.arrays.person_ratings)
    enough = np.flatnonzero(ratings >= seeds)
    if enough.size < count:
        enough = np.argsort(-ratings.astype(np.int64), kind="stable")[:count]
    order = enough[np.argsort(ratings[enough], kind="stable")][: 4 * count]
    chosen: list[int] = np.random.default_rng(1).permutation(order)[:count].tolist()
    return chosen


def _lists(
    services: FeedServices, readers: list[int], now_us: int, name: str, seeds: int, cheap: bool
) -> Iterator[Figure]:
    feed, known = ForYou(services), Known(Taste([], now_us))
    asks = [Ask(DID, reader, 30, None, ("en",), now_us) for reader in readers]
    made = [feed.make(ask, known, cheap).posts.size for ask in asks]  # a service that runs has touched its memory
    times = np.array([_cpu_ms(lambda ask=ask: feed.make(ask, known, cheap)) for ask in asks])
    edges = np.array([feed.draw(ask, known, services.formula(cheap)).ranked.edges for ask in asks[:50]])
    used = [min(seeds, services.library.view().likes_of(reader, seeds)[0].size) for reader in readers[:50]]
    note = (
        f"{np.median(used):.0f} seeds, {np.median(edges):,.0f} edges, {len(asks)} lists of {np.median(made):.0f} posts"
    )
    yield Figure(f"rank.{name}_cpu_ms_p50", float(np.median(times)), "ms", note)
    yield Figure(f"rank.{name}_cpu_ms_p99", float(np.percentile(times, 99)), "ms")
    if name == "list":
        composing = [_composing_ms(feed, ask, known) for ask in asks]
        yield Figure("rank.compose_cpu_ms_p50", float(np.median(composing)), "ms", "of it: sources, rules, order")


def _composing_ms(feed: ForYou, ask: Ask, known: Known) -> float:
    laps = dict[str, float]()
    feed.draw(ask, known, feed.services.formula(False), lap=lambda stage: _lap(laps, stage), size=PLACES)
    return (laps["list"] - laps["ranking"]) * 1e3


def _lap(laps: dict[str, float], stage: str) -> None:
    laps[stage] = time.thread_time()


def _cpu_ms(work: Callable[[], object]) -> float:
    start_s = time.thread_time()
    work()
    return (time.thread_time() - start_s) * 1e3


# --- the same formula, plainly


class Edges:
    """All ratings as columns, in both orders."""

    def __init__(self, view: View) -> None:
        top = int(np.flatnonzero(view.arrays.person_ratings).max()) + 1
        total = int(view.arrays.person_ratings.sum(dtype=np.int64)) + 1000
        person, post, us = np.empty(total, np.uint32), np.empty(total, np.uint32), np.empty(total, np.int64)
        n = _all_edges(view.arrays, top, person, post, us)
        self.person, self.post, self.us = person[:n], post[:n], us[:n]
        self.of_person = np.searchsorted(self.person, np.arange(top + 1))
        self.posts, self.number = np.unique(self.post, return_inverse=True)
        self.by_post = np.argsort(self.number, kind="stable")
        self.of_post = np.searchsorted(self.number[self.by_post], np.arange(self.posts.size + 1))


@njit
def _all_edges(a: Arrays, top: int, out_person: U32, out_post: U32, out_us: I64) -> int:
    """By person."""
    posts, ticks = np.empty(100_000, np.uint32), np.empty(100_000, np.uint16)
    at, n = places_of(a), 0
    for person in range(top):
        for d in range(at.rows):
            for i in range(copy_likes(at, d, person, posts.size, posts, ticks)):
                if n < out_us.size:
                    out_person[n], out_post[n], out_us[n] = person, posts[i], edge_us(at, d, ticks[i])
                    n += 1
    return n


def _compare(view: View, readers: list[int], now_us: int, pace_us: int, folder: Path) -> Iterator[Figure]:
    p, edges = RankParams(), Edges(view)
    numpy_ms = np.array([_cpu_ms(lambda r=r: numpy_list(edges, p, r, now_us, pace_us)) for r in readers])
    yield Figure("rank.numpy_cpu_ms_p50", float(np.median(numpy_ms)), "ms", f"{len(readers)} lists, plain numpy")
    yield Figure("rank.numpy_cpu_ms_p99", float(np.percentile(numpy_ms, 99)), "ms")
    db = fill_sql(edges, folder / "plain.db")
    sql_ms = np.array([_cpu_ms(lambda r=r: sql_list(db, p, r, now_us, pace_us)) for r in readers])
    yield Figure("rank.sql_cpu_ms_p50", float(np.median(sql_ms)), "ms", f"{len(readers)} lists, plain SQL, indexed")
    yield Figure("rank.sql_cpu_ms_p99", float(np.percentile(sql_ms, 99)), "ms")
    alike = [_overlap(edges, view, db, p, reader, now_us, pace_us) for reader in readers[:5]]
    yield Figure(
        "rank.plain_agreement", float(np.mean(alike)), "share", "of our first 30 in those of plain SQL and numpy"
    )
    db.close()
    (folder / "plain.db").unlink()


def _overlap(
    edges: Edges, view: View, db: sqlite3.Connection, p: RankParams, reader: int, now_us: int, pace_us: int
) -> float:
    """They are the same formula: without velocity, bounds and rules, the same posts come first."""
    plain = replace(p, velocity_power=0.0, seed_likers=5000, edges=50_000_000, coliker_likes=2000, head=MAX_COLIKERS)
    seeds, times = view.likes_of(reader, plain.seeds)
    known = view.likes_of(reader, 5000)[0]
    q = request(now_us, reader=reader, seeds=seeds, seed_times=times, excluded=known, require=0, forbid=0)
    ours = rank(view, plain.formula(pace_us), q).posts[:30].tolist()
    theirs = [numpy_list(edges, p, reader, now_us, pace_us)[:40], sql_list(db, p, reader, now_us, pace_us)[:40]]
    return float(np.mean([len(set(ours) & set(t)) / max(len(ours), 1) for t in theirs]))


def numpy_list(e: Edges, p: RankParams, reader: int, now_us: int, pace_us: int) -> list[int]:
    mine = np.arange(e.of_person[reader], e.of_person[reader + 1])
    mine = mine[np.argsort(-e.us[mine], kind="stable")]
    likers = np.diff(e.of_post)
    shared = np.zeros(e.of_person.size - 1)
    for row in mine[: p.seeds]:
        seed = e.number[row]
        rows = e.by_post[e.of_post[seed] : e.of_post[seed + 1]]
        rows = rows[e.us[rows] <= e.us[row] + p.late_hours * 3.6e9]
        late = np.where(e.us[rows] > e.us[row], p.late_factor, 1.0)
        shared[e.person[rows]] += late / np.sqrt(likers[seed])
    shared[reader] = 0.0
    ratings = np.diff(e.of_person)
    weight = shared**p.shared_power / (ratings + p.ratings_floor) ** p.ratings_power
    best = np.argsort(-weight)[: p.colikers]
    rows = np.concatenate([np.arange(e.of_person[v], e.of_person[v + 1]) for v in best[weight[best] > 0]])
    rows = rows[e.us[rows] > now_us - p.window * pace_us]
    age = np.maximum(now_us - e.us[rows], 0)
    raw = np.bincount(e.number[rows], weight[e.person[rows]] * 0.5 ** (age / (p.like_half_life * pace_us)))
    paths = np.bincount(e.number[rows])
    score = raw * paths**p.paths_power / np.maximum(likers[: raw.size], 1) ** p.popularity_power
    score[e.number[mine][e.number[mine] < score.size]] = 0.0
    found: list[int] = e.posts[np.argsort(-score)[:500]].tolist()
    return found


SQL = """
WITH seeds AS (SELECT post, us FROM likes WHERE person = :reader ORDER BY us DESC LIMIT :seeds),
weighed AS (SELECT s.post, s.us, 1 / sqrt(c.likes) AS w FROM seeds s JOIN posts c ON c.post = s.post),
shared AS (
    SELECT l.person, sum(s.w * CASE WHEN l.us > s.us THEN :late ELSE 1 END) AS s
    FROM weighed s JOIN likes l ON l.post = s.post
    WHERE l.person <> :reader AND l.us <= s.us + :late_us GROUP BY l.person
),
people AS (
    SELECT c.person, pow(s.s, :e) / pow(c.ratings + :floor, :b) AS w
    FROM shared s JOIN persons c ON c.person = s.person ORDER BY w DESC LIMIT :colikers
),
paths AS (
    SELECT l.post, sum(p.w * pow(0.5, (:now - l.us) / :half_life)) AS raw, count(*) AS n
    FROM people p JOIN likes l ON l.person = p.person WHERE l.us > :since GROUP BY l.post
)
SELECT p.post, p.raw * pow(p.n, :c) / pow(c.likes, :d) AS score FROM paths p JOIN posts c ON c.post = p.post
WHERE p.post NOT IN (SELECT post FROM likes WHERE person = :reader) ORDER BY score DESC LIMIT 500
"""


def fill_sql(e: Edges, path: Path) -> sqlite3.Connection:
    path.unlink(missing_ok=True)
    db = sqlite3.connect(path)
    db.create_function("pow", 2, pow, deterministic=True)
    db.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -2000000;")
    db.execute("CREATE TABLE likes (person INTEGER, post INTEGER, us INTEGER)")
    for at in range(0, e.us.size, 1_000_000):
        part = slice(at, at + 1_000_000)
        rows = zip(e.person[part].tolist(), e.post[part].tolist(), e.us[part].tolist(), strict=True)
        db.executemany("INSERT INTO likes VALUES (?, ?, ?)", rows)
    db.execute("CREATE INDEX by_person ON likes (person, us, post)")
    db.execute("CREATE INDEX by_post ON likes (post, us, person)")
    db.execute("CREATE TABLE posts (post INTEGER PRIMARY KEY, likes INTEGER)")
    db.execute("INSERT INTO posts SELECT post, count(*) FROM likes GROUP BY post")
    db.execute("CREATE TABLE persons (person INTEGER PRIMARY KEY, ratings INTEGER)")
    db.execute("INSERT INTO persons SELECT person, count(*) FROM likes GROUP BY person")
    db.execute("ANALYZE")
    db.commit()
    return db


def sql_list(db: sqlite3.Connection, p: RankParams, reader: int, now_us: int, pace_us: int) -> list[int]:
    values = {
        "reader": reader, "seeds": p.seeds, "late": p.late_factor, "late_us": p.late_hours * 3.6e9, "e": p.shared_power,
        "b": p.ratings_power, "floor": p.ratings_floor, "colikers": p.colikers, "now": now_us, "c": p.paths_power,
        "half_life": p.like_half_life * pace_us, "since": now_us - p.window * pace_us, "d": p.popularity_power,
    }  # fmt: skip
    return [post for post, _ in db.execute(SQL, values)]
