"""Sidecars against rows, for `feedgen verify`: is each file sound, and does it say what the truth says?

Looks at a folder from outside, also beside a running service. Both directions are compared whole, as sorted
(person, post) pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from feedgen.core.errors import FeedgenError
from feedgen.graph.access import HOLE, I64, U32, UNMIX
from feedgen.graph.layout import TICK_BITS
from feedgen.graph.sealed import Damaged, SealedDay
from feedgen.ingest.events import GONE
from feedgen.store.folder import DayFile, Folder
from feedgen.store.reader import DayReader
from feedgen.store.sqlite import open_reader
from feedgen.store.verify import DERIVED, Problem


def check_sidecars(folder: Folder) -> Iterator[Problem]:
    """A problem for each sidecar that is damaged, foreign or stale. A missing one is none: the next start makes it."""
    identity, gone = _names(folder)
    days = {_sidecar_of(folder, file): file for file in folder.days()}
    for path in sorted(folder.days_path.glob("*.idx")):
        if path not in days:
            yield Problem(path, "belongs to no day", DERIVED)
            continue
        try:
            what = _compare(path, days[path], identity, gone)
        except FeedgenError as error:
            what = error.message
        if what:
            yield Problem(path, what, DERIVED)


def _sidecar_of(folder: Folder, file: DayFile) -> Path:
    """A past day may have one before its log is sealed."""
    return folder.sealed_path(file.day).with_suffix(".idx")


def _names(folder: Folder) -> tuple[int, set[int]]:
    """(which folder this is, people who are gone)."""
    try:
        db = open_reader(folder.names_path)
    except FeedgenError:
        return 0, set()
    try:
        rows = list(db.execute("SELECT value FROM meta WHERE name = 'identity'"))
        gone = {n for (n,) in db.execute("SELECT n FROM people WHERE flags & ?", (GONE,))}
    finally:
        db.close()
    return int(rows[0][0]) if rows else 0, gone


def _compare(path: Path, file: DayFile, identity: int, gone: set[int]) -> str:
    """What is wrong with a day's sidecar; nothing is an empty text."""
    try:
        sidecar = SealedDay(path, file.day, identity)
    except Damaged as error:
        return error.message
    try:
        with DayReader(file.path) as reader:
            version, rows = reader.version, reader.ratings()
        broken = sidecar.verify()
        if broken:
            return f"has a wrong checksum ({', '.join(broken)})"
        if sidecar.stamped_before() or sidecar.version != version:
            return "does not have the newest changes of its day"
        kept = ~np.isin(rows.actor, sorted(gone))
        truth = np.unique(_pairs(rows.actor[kept], rows.post[kept]))
        for name, pairs in (("person to post", _by_person(sidecar)), ("post to person", _by_post(sidecar))):
            if not np.array_equal(truth, pairs):
                return (
                    f"says something else than the rows ({name}: {pairs.size:,} ratings, the rows have {truth.size:,})"
                )
    finally:
        sidecar.close()
    return ""


def _pairs(people: U32, posts: U32) -> I64:
    return people.astype(np.int64) << 32 | posts


def _by_person(sidecar: SealedDay) -> I64:
    posts = _known(sidecar, "likes", _posts_within(sidecar))
    people, posts = _spelled_out(sidecar, "people", posts)
    return np.sort(_pairs(people, posts))


def _by_post(sidecar: SealedDay) -> I64:
    likers = _known(sidecar, "likers", _keys(sidecar, "people"))
    starts = sidecar.numbers("own_offsets")
    own = np.repeat(np.arange(starts.size - 1, dtype=np.uint32) | np.uint32(sidecar.slot << 24), np.diff(starts))
    people = likers[starts[0] : starts[-1]]
    there = people != HOLE
    older_posts, older_people = _spelled_out(sidecar, "old", likers)
    pairs = _pairs(people[there], own[there]), _pairs(older_people, older_posts)
    return np.sort(np.concatenate(pairs))


def _keys(sidecar: SealedDay, group: str) -> U32:
    return (sidecar.numbers(f"{group}_keys") * UNMIX & 0xFFFF_FFFF).astype(np.uint32)


def _posts_within(sidecar: SealedDay) -> U32:
    """The posts that a day speaks of, by their numbers within it."""
    own = np.arange(sidecar.posts, dtype=np.uint32) | np.uint32(sidecar.slot << 24)
    return np.concatenate([own, _keys(sidecar, "old")])


def _known(sidecar: SealedDay, name: str, table: U32) -> U32:
    """Values as they are known outside of the day; HOLE for those that were removed."""
    values = sidecar.numbers(name)
    if sidecar.outdated:
        return values.astype(np.uint32)
    local = values >> TICK_BITS
    known: U32 = np.append(table, np.uint32(HOLE))[np.minimum(local, table.size)]
    return known


def _spelled_out(sidecar: SealedDay, group: str, values: U32) -> tuple[U32, U32]:
    """(keys, values) of all lists of a group, without holes."""
    starts = sidecar.numbers(f"{group}_offsets")
    found = values[starts[0] : starts[-1]] if starts.size else np.empty(0, np.uint32)
    repeated = np.repeat(_keys(sidecar, group), np.diff(starts))
    there = found != HOLE
    return repeated[there], found[there]
