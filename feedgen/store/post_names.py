"""Posts' at-uris and people's DIDs by number, out of the files: for commands, which have no arrays. Reads only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from feedgen.core.errors import StoreError
from feedgen.core.ids import POST_NSID, int_to_tid
from feedgen.store.folder import Folder
from feedgen.store.reader import DayReader
from feedgen.store.sqlite import fetch, open_reader


def uris_of(path: Path, posts: Iterable[int]) -> dict[int, str]:
    """Those that can still be named: their day is there, and their author was not erased."""
    by_slot: dict[int, list[int]] = defaultdict(list)
    for post in set(posts):
        by_slot[post >> 24].append(post)
    folder, found = Folder(path, lock=False), dict[int, str]()
    if not folder.names_path.exists():
        return found
    names = open_reader(folder.names_path)
    try:
        for file in folder.days():
            wanted = by_slot.get(file.day % 256)
            if not wanted:
                continue
            try:
                with DayReader(file.path) as day:
                    rows = day.posts()
                    for i in np.flatnonzero(np.isin(rows.post, np.array(wanted, np.uint32))).tolist():
                        key = int(rows.key[i])
                        did = fetch(names, "SELECT did FROM people WHERE n = ?", (int(rows.author[i]),))
                        rkey = int_to_tid(key) if key >= 0 else day.odd_key_text(key)
                        if did and did[0][0] and rkey:
                            found[int(rows.post[i])] = f"at://{did[0][0]}/{POST_NSID}/{rkey}"
            except StoreError:
                continue  # it was sealed or dropped just now
    finally:
        names.close()
    return found


def dids_of(path: Path, people: Iterable[int]) -> list[str]:
    """In order, without those who were erased."""
    db = open_reader(Folder(path, lock=False).names_path)
    try:
        rows = [fetch(db, "SELECT did FROM people WHERE n = ?", (person,)) for person in people]
    finally:
        db.close()
    return [str(row[0][0]) for row in rows if row and row[0][0]]
