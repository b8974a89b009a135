"""Labels and blocks of `moderation.db`, for commands that read a data folder without a running service."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from feedgen.core.ids import NO_POST, POST_NSID, parse_at_uri, rkey_to_int
from feedgen.core.settings import Settings
from feedgen.graph.graph import Graph
from feedgen.ingest.events import PERSON_ADULT, PERSON_HIDDEN
from feedgen.store.moderation import read_all
from feedgen.store.sqlite import fetch, open_reader

NAMES_AT_ONCE: Final = 100_000


class Said(NamedTuple):
    """DIDs and at-uris that are hidden from everyone, and those that labelers call adult."""

    hidden: frozenset[str] = frozenset()
    adult: frozenset[str] = frozenset()


NOTHING_SAID: Final = Said()


def said_of(folder: Path, settings: Settings) -> Said:
    """What counts with these settings, as a running service has it."""
    hidden, adult = set(settings.moderation.block), set[str]()
    blocks, said = read_all(folder)
    hidden.update(blocks)
    for subject, val in said if settings.labels.enabled else ():
        if val in settings.labels.hide:
            hidden.add(subject)
        if val in settings.labels.adult:
            adult.add(subject)
    return Said(frozenset(hidden), frozenset(adult))


class Moderated:
    """Puts what was said over arrays: over people at once, over posts as the arrays learn of them."""

    def __init__(self, names_path: Path, said: Said) -> None:
        uris = {uri: parse_at_uri(uri) for uri in said.hidden | said.adult if not uri.startswith("did:")}
        posts = {uri: at for uri, at in uris.items() if at is not None and at.collection == POST_NSID}
        wanted = {at.did for at in posts.values()} | {did for did in said.hidden | said.adult if did not in uris}
        numbers = _numbers(names_path, wanted) if wanted else {}
        self.people = {
            numbers[did]: PERSON_HIDDEN * (did in said.hidden) | PERSON_ADULT * (did in said.adult)
            for did in wanted & numbers.keys() & (said.hidden | said.adult)
        }
        found = [(uri, numbers[at.did], rkey_to_int(at.rkey)) for uri, at in posts.items() if at.did in numbers]
        self._authors = np.array([author for _, author, _ in found], np.uint32)
        self._keys = np.array([key for _, _, key in found], np.int64)
        self._bits = [(uri in said.hidden, uri in said.adult) for uri, _, _ in found]

    def apply(self, graph: Graph) -> None:
        for person, given in self.people.items():
            graph.set_aside(person, int(graph.view().arrays.person_flags[person]), given)
        if self._bits:
            posts = graph.view().find_posts(self._authors, self._keys).tolist()
            for post, (hidden, adult) in zip(posts, self._bits, strict=True):
                if post != NO_POST:
                    graph.aside.set_post(post, hidden, adult)


def _numbers(names_path: Path, dids: set[str]) -> dict[str, int]:
    """In one pass: `people` has no index by DID."""
    db, found, first = open_reader(names_path), dict[str, int](), 0
    try:
        while rows := fetch(db, "SELECT n, did FROM people WHERE n >= ? ORDER BY n LIMIT ?", (first, NAMES_AT_ONCE)):
            first = int(rows[-1][0]) + 1
            found.update((did, int(n)) for n, did in rows if did in dids)
    finally:
        db.close()
    return found
