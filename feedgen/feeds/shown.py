"""The last look at posts before they are shown: still there, still allowed, and under which name.

A page is made from a list that may be minutes old. All its posts are looked at in one call, because passing the arrays
to compiled code costs more than looking at one post does.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import numpy as np

from feedgen.core.jit import njit
from feedgen.graph.access import U8, U32, Arrays, post_author, post_flags, post_row
from feedgen.graph.view import View
from feedgen.ingest.events import (
    ADULT,
    DELETED,
    GONE,
    HIDDEN,
    INACTIVE,
    NO_UNAUTHENTICATED,
    PERSON_ADULT,
    PERSON_HIDDEN,
)

MAX_URIS: Final = 100_000


@njit
def _look(a: Arrays, posts: U32, of_post: int, of_person: int, out: U8) -> None:
    for i in range(posts.size):
        d = post_row(a, posts[i])
        out[i] = 0
        if d < 0 or post_flags(a, d, posts[i]) & of_post != 0:
            continue
        author = post_author(a, d, posts[i])
        if author < a.person_flags.size and a.person_flags[author] & of_person == 0:
            out[i] = 1


def still_there(view: View, posts: U32, logged_out: bool, adult: bool = False) -> list[int]:
    """1 for each post that may be shown now, 0 for the others."""
    of_person = INACTIVE | GONE | PERSON_HIDDEN | (NO_UNAUTHENTICATED if logged_out else 0)
    of_post = DELETED | HIDDEN
    if not adult:
        of_person, of_post = of_person | PERSON_ADULT, of_post | ADULT
    out = np.empty(posts.size, np.uint8)
    _look(view.arrays, np.ascontiguousarray(posts), of_post, of_person, out)
    out[view.aside.rows(posts, adult)] = 0
    found: list[int] = out.tolist()
    return found


class Uris:
    """At-uris of posts that were shown lately. A post's never changes; one that is gone is not asked for."""

    def __init__(self, uri_of: Callable[[int], str | None], max_uris: int = MAX_URIS) -> None:
        self._uri_of, self._max_uris = uri_of, max_uris
        self._uris: OrderedDict[int, str] = OrderedDict()

    def of(self, post: int) -> str | None:
        uri = self._uris.get(post)
        if uri is None:
            uri = self._uri_of(post)
            if uri is not None:
                self._uris[post] = uri
                if len(self._uris) > self._max_uris:
                    self._uris.popitem(last=False)
        return uri
