"""What feeds may ask: the arrays, and names for their numbers. From memory, but for the rare odd record key."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from pyroaring import BitMap

from feedgen.core.errors import StoreError
from feedgen.core.ids import NO_PERSON, NO_POST, POST_NSID, day_of, int_to_tid
from feedgen.graph.access import U32
from feedgen.graph.graph import Graph
from feedgen.graph.view import PostFacts, View
from feedgen.store.folder import Folder
from feedgen.store.names import Names
from feedgen.store.reader import DayReader
from feedgen.store.uris import parse_post_uris, spell_posts

MAX_ODD_KEYS: Final = 10_000


class Library:
    def __init__(self, folder: Folder, names: Names, graph: Graph) -> None:
        self._folder, self._names, self._graph = folder, names, graph
        self._odd: OrderedDict[tuple[int, int], str | None] = OrderedDict()

    def view(self) -> View:
        return self._graph.view()

    def person(self, did: str) -> int | None:
        return self._names.find(did)

    def numbers(self, uris: Sequence[str]) -> U32:
        """The numbers of posts; NO_POST where unknown."""
        parsed = parse_post_uris(uris)
        authors = self._names.find_all(parsed.authors)
        found, known = np.full(len(uris), NO_POST, np.uint32), authors != NO_PERSON
        found[known] = self._graph.view().find_posts(authors[known], parsed.keys[known])
        return found

    def did(self, person: int) -> str | None:
        return self._names.did(person)

    def tagged(self, patterns: Iterable[str]) -> BitMap:
        """The posts that match any of these patterns of feeds; a copy."""
        return self._graph.tags.posts(patterns)

    def fetched(self, did: str) -> None:
        """What the reader's own repository told. It is not asked yet: what was heard has to do."""
        return None

    def uri(self, post: int) -> str | None:
        """A post's at-uri; None when its author was erased or its day is gone."""
        facts = self._graph.view().post(post)
        if facts is None or facts.author == NO_PERSON:
            return None
        did = self._names.did(facts.author)
        rkey = int_to_tid(facts.key) if facts.key >= 0 else self._odd_key(facts)
        return f"at://{did}/{POST_NSID}/{rkey}" if did and rkey else None

    def uris(self, posts: U32) -> list[str | None]:
        """The same for many posts, in a few microseconds; what is spelled unusually is looked at one by one."""
        authors, keys = self._graph.view().names_of(posts)
        found = spell_posts(*self._names.words(authors), keys)
        return [uri or self.uri(post) for uri, post in zip(found, posts.tolist(), strict=True)]

    def _odd_key(self, facts: PostFacts) -> str | None:
        day = day_of(facts.time_us)
        if (day, facts.key) not in self._odd:
            self._odd[day, facts.key] = self._read_odd_key(day, facts.key)
            if len(self._odd) > MAX_ODD_KEYS:
                self._odd.popitem(last=False)
        return self._odd.get((day, facts.key))

    def _read_odd_key(self, day: int, key: int) -> str | None:
        path = self._folder.day_path(day)
        if path is None:
            return None
        try:
            with DayReader(path) as reader:
                return reader.odd_key_text(key)
        except StoreError:
            return None  # the day was dropped or sealed just now; the next asking finds it
