"""The last look at posts before they are shown: still there, and still allowed.

A page is made from a list that may be minutes old. All its posts are looked at in one call, because passing the arrays
to compiled code costs more than looking at one post does.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from feedgen.core.jit import brief
from feedgen.graph.access import U8, U32, Arrays, places_of, post_author, post_flags, post_row
from feedgen.graph.view import View
from feedgen.ingest.events import (
    ADULT,
    DELETED,
    GONE,
    HIDDEN,
    INACTIVE,
    NO_UNAUTHENTICATED,
    OPTED_OUT,
    PERSON_ADULT,
    PERSON_HIDDEN,
)

IF_FOLLOWED: Final = 2  # its author does not want to be recommended


@brief
def _look(a: Arrays, posts: U32, of_post: int, of_person: int, out: U8) -> None:
    at, flags = places_of(a), a.person_flags
    for i in range(posts.size):
        d = post_row(at, posts[i])
        out[i] = 0
        if d < 0 or post_flags(at, d, posts[i]) & of_post != 0:
            continue
        author = post_author(at, d, posts[i])
        if author < flags.size and flags[author] & of_person == 0:
            out[i] = IF_FOLLOWED if flags[author] & OPTED_OUT != 0 else 1


def still_there(view: View, posts: U32, logged_out: bool, adult: bool = False) -> list[int]:
    """1 for each post that may be shown now, 0 for the others; IF_FOLLOWED where only its author's followers may."""
    of_person = INACTIVE | GONE | PERSON_HIDDEN | (NO_UNAUTHENTICATED if logged_out else 0)
    of_post = DELETED | HIDDEN
    if not adult:
        of_person, of_post = of_person | PERSON_ADULT, of_post | ADULT
    out = np.empty(posts.size, np.uint8)
    _look(view.arrays, np.ascontiguousarray(posts), of_post, of_person, out)
    out[view.aside.rows(posts, adult)] = 0
    found: list[int] = out.tolist()
    return found
