"""`feedgen stats`: the days, their rows and bytes, and what a rating costs. Reads only; may run beside feedgen."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click

from feedgen.core.errors import FeedgenError
from feedgen.store import rows as r
from feedgen.store.folder import Folder, day_name
from feedgen.store.sqlite import fetch, open_reader

SECONDS_A_DAY = 86_400


class DayStats(NamedTuple):
    day: int
    form: str  # log or sealed
    ratings: int
    posts: int
    follows: int
    people: int  # who did something; unknown (0) for a log
    file_bytes: int
    derived_bytes: int


class Stats(NamedTuple):
    days: list[DayStats]
    people: int
    names_bytes: int

    @property
    def ratings(self) -> int:
        return sum(day.ratings for day in self.days)

    @property
    def total_bytes(self) -> int:
        return self.names_bytes + sum(day.file_bytes + day.derived_bytes for day in self.days)


def collect(path: Path) -> Stats:
    folder = Folder(path, lock=False)
    days = []
    for file in folder.days():
        name = day_name(file.day)
        derived = sum(_size(p) for p in folder.days_path.glob(f"{name}*") if ".db" not in p.name)
        own = sum(_size(p) for p in folder.days_path.glob(f"{name}*.db*"))
        days.append(
            DayStats(file.day, "sealed" if file.sealed else "log", *_rows(file.path, file.sealed), own, derived)
        )
    db = open_reader(folder.names_path)
    try:
        people = fetch(db, "SELECT count(*) FROM people")[0][0]
    finally:
        db.close()
    return Stats(days, people, sum(_size(p) for p in path.glob("names.*")))


def main(path: Path) -> int:
    try:
        stats = collect(path)
    except FeedgenError as error:
        click.echo(str(error), err=True)
        return 1
    click.echo(
        f"{'day':<12}{'form':<8}{'ratings':>12}{'a second':>10}{'posts':>11}{'follows':>11}{'MB':>9}{'B a rating':>12}"
    )
    for day in stats.days:
        size = day.file_bytes + day.derived_bytes
        each = f"{size / day.ratings:.1f}" if day.ratings else "-"
        click.echo(
            f"{day_name(day.day):<12}{day.form:<8}{day.ratings:>12,}{day.ratings / SECONDS_A_DAY:>10.1f}"
            f"{day.posts:>11,}{day.follows:>11,}{size / 1e6:>9.1f}{each:>12}"
        )
    each = f", {stats.total_bytes / stats.ratings:.1f} bytes a rating" if stats.ratings else ""
    click.echo(f"{len(stats.days)} days, {stats.ratings:,} ratings, {stats.people:,} people")
    click.echo(f"{stats.total_bytes / 1e6:,.1f} MB in all, {stats.names_bytes / 1e6:,.1f} of it for names{each}")
    return 0


def _rows(path: Path, sealed: bool) -> tuple[int, int, int, int]:
    """Ratings, posts, follows and people, from the lengths of blobs: nothing is decoded, so removed rows of a log still
    count.
    """
    db = open_reader(path)
    try:
        blobs = r.PERSON_BLOBS if sealed else r.LOG_BLOBS
        sums = ", ".join(f"coalesce(sum(length({name})), 0) / {dtype.itemsize}" for name, dtype in blobs.items())
        found = fetch(db, f"SELECT count(*), {sums} FROM {'people' if sealed else 'log'}")[0]
    finally:
        db.close()
    count = dict(zip(blobs, found[1:], strict=True))
    follows = count["follows"] + count.get("far_follows", 0)
    ratings = count["ratings"] + count["wide"] - count.get("removed", 0)
    return ratings, count["posts"], follows, found[0] if sealed else 0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # dropped or folded while we look
        return 0
