"""Shared by benchmarks: many days of full-volume shape written straight as columns, past the wire and the decoder.

Only the way in is short: the files are made by the Writer and the sidecars by the graph's builder, as in the service.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from feedgen.core.ids import NO_POST, US_PER_DAY, day_of
from feedgen.graph.archive import Archive
from feedgen.ingest.batch import Cursor
from feedgen.store.rows import FollowRows, PostRows, RatingRows, Rows
from scripts.benchmarks.flood.frames import FOLLOW, LIKE, POST, REPOST
from scripts.benchmarks.flood.plan import Columns, FloodPlan, flood_columns

DAY_RATINGS = 26_000_000
HOST = "flood.example"
NAMES_AT_ONCE = 100_000


def plan_for(ratings: int, end_us: int) -> tuple[FloodPlan, int]:
    """(a plan, days): full days of the real network's volume, or days of less, that end at this time.

    The last day is cut where its ratings end, so that it stays open.
    """
    factor = min(1.0, ratings / DAY_RATINGS)
    days = max(2, round(ratings / DAY_RATINGS + 0.5))
    per_day = FloodPlan(people=1_000_000).scaled(factor if days == 2 else ratings / (days - 0.5) / DAY_RATINGS)
    start_us = (day_of(end_us) - days + 1) * US_PER_DAY
    return FloodPlan(**{**_fields(per_day), "start_us": start_us}).days(days), days


def _fields(plan: FloodPlan) -> dict[str, int]:
    names = ("seed", "people", "ratings", "posts", "follows", "deletes", "others", "span_us")
    return {name: getattr(plan, name) for name in names}


def filled(folder: Path, ratings: int) -> tuple[int, int]:
    """Fills `folder/data` unless it is; (how many ratings it has, of how many people)."""
    note = folder / "filled.json"
    if not note.exists():
        plan, days = plan_for(ratings, int(time.time() * 1e6))
        note.write_text(json.dumps([load(folder / "data", plan, days, ratings), plan.people, asdict(plan)]))
    kept, people, *_ = json.loads(note.read_text())
    return int(kept), int(people)


def plan_of(folder: Path) -> FloodPlan:
    """What `folder` was filled with: the flood that fits it, and that may go on where the filling ended."""
    _, _, fields = json.loads((folder / "filled.json").read_text())
    return FloodPlan(**fields)


def load(folder: Path, plan: FloodPlan, days: int, ratings: int) -> int:
    """Past days sealed, the last one open; how many ratings there are."""
    kept = 0
    with Archive(folder, 120) as archive:
        for first in range(0, plan.people, NAMES_AT_ONCE):
            end = min(first + NAMES_AT_ONCE, plan.people)
            archive.names.number([plan.did(i) for i in range(first, end)])
        archive.names.flush()
        for columns in flood_columns(plan):
            kept += _write(archive, plan, days, columns)
            _seal_behind(archive)
            if kept >= ratings:
                break
    return kept


def _write(archive: Archive, plan: FloodPlan, days: int, columns: Columns) -> int:
    kept = 0
    event_days = columns.time_us // US_PER_DAY
    for day in np.unique(event_days).tolist():
        rows = _rows(plan, days, Columns(*(column[event_days == day] for column in columns)))
        kept += len(rows.ratings)
        archive.writer.begin(day)
        archive.writer.add(rows)
        last = int(columns.time_us[event_days == day][-1])
        archive.writer.commit(Cursor(HOST, 0, last))
    return kept


def _rows(plan: FloodPlan, days: int, c: Columns) -> Rows:
    """People are numbered as in the plan. Posts from before the first day are left out, and so are ratings of them."""
    posts = _numbers(plan, days, c.post)
    rated = np.flatnonzero(((c.kind == LIKE) | (c.kind == REPOST)) & (posts != NO_POST))
    made = np.flatnonzero(c.kind == POST)
    follows = np.flatnonzero(c.kind == FOLLOW)
    return Rows(
        RatingRows(
            c.actor[rated].astype(np.uint32),
            (c.kind[rated] == REPOST).astype(np.uint8),
            c.key[rated],
            posts[rated],
            c.time_us[rated],
        ),
        PostRows(
            posts[made],
            c.author[made].astype(np.uint32),
            c.post_key[made],
            c.time_us[made],
            c.flags[made],
            c.language[made],
            np.full(made.size, NO_POST, np.uint32),
        ),
        FollowRows(c.actor[follows].astype(np.uint32), c.key[follows], c.whom[follows].astype(np.uint32)),
    )


def _numbers(
    plan: FloodPlan, days: int, posts: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    per_day = plan.posts // days
    day = posts // per_day
    slots = (day_of(plan.start_us) + day) % 256
    return np.where(posts < 0, NO_POST, slots << 24 | (posts - day * per_day)).astype(np.uint32)


def _seal_behind(archive: Archive) -> None:
    """Days before the open one, in the store and as sidecars."""
    writer = archive.writer
    for day in writer.days()[:-1]:
        if not writer.is_sealed(day):
            writer.seal(day)
