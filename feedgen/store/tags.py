"""Which posts match which pattern of a feed, in a day's file: rows while the day is open, a bitmap a pattern after.

Derived from texts that are not kept, so it can't be made again; what is lost is found again by `feedgen feed backfill`
as far as Jetstream goes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import apsw
from pyroaring import BitMap

from feedgen.store.schema import SEALED_TAGS
from feedgen.store.sqlite import fetch, spoken


def read_tags(db: apsw.Connection, path: Path, sealed: bool) -> dict[str, BitMap]:
    """By pattern. A file without hits, or from before there were tags, has no such table."""
    found: dict[str, BitMap] = {}
    with spoken(path):
        if not fetch(db, "SELECT 1 FROM sqlite_master WHERE name = 'tags'"):
            return {}
        if sealed:
            return {name: BitMap.deserialize(blob) for name, blob in fetch(db, "SELECT pattern, posts FROM tags")}
        for name, post in db.execute("SELECT pattern, post FROM tags"):
            found.setdefault(str(name), BitMap()).add(int(str(post)))
    return found


def write_tags(db: apsw.Connection, hits: Mapping[str, BitMap]) -> None:
    """Add hits to a sealed day's, in the caller's transaction."""
    db.execute(SEALED_TAGS)
    for name, posts in hits.items():
        known = fetch(db, "SELECT posts FROM tags WHERE pattern = ?", (name,))
        both = posts | BitMap.deserialize(known[0][0]) if known else posts
        db.execute("INSERT OR REPLACE INTO tags VALUES (?, ?)", (name, both.serialize()))
