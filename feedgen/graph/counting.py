"""How many ratings a post and a person have over all days: sums that are not kept in any file, so each start adds them
up again.
"""

from __future__ import annotations

import numpy as np

from feedgen.core.jit import inline, njit
from feedgen.graph.access import COUNT, POSTS, Arrays
from feedgen.graph.edit import count_people, count_posts
from feedgen.graph.memory import address, reserve
from feedgen.graph.words import load_i64, load_u16, store_u16


def count_day(a: Arrays, d: int) -> int:
    """Add one day's ratings. One more than the highest person's number met."""
    count_posts(a, d)
    return count_people(a, d, 1)


@inline
def _copy_counts(target: int, source: int, n: int) -> None:
    for i in range(n):
        store_u16(target, i, load_u16(source, i))


@njit
def _take_over(a: Arrays, fresh: Arrays, people: int) -> None:
    for d in range(a.day_numbers.size):
        _copy_counts(a.days[d, COUNT], fresh.days[d, COUNT], load_i64(a.days[d, POSTS], 0))
    for person in range(people):
        if a.person_ratings[person] != fresh.person_ratings[person]:
            a.person_ratings[person] = fresh.person_ratings[person]


def recount(a: Arrays, posts: list[int], people: int) -> None:
    """Everything again, aside, and then in place: readers see old sums or new ones, never none.

    Nothing may be written meanwhile. `posts` is how many posts each row has; no person's number is above `people`.
    """
    rows = a.days.copy()
    counts = [np.zeros(max(n, 1), np.uint16) for n in posts]
    for d, column in enumerate(counts):
        rows[d, COUNT] = address(column)
    fresh = a._replace(days=rows, person_ratings=reserve(np.uint32, a.person_ratings.size))
    top = max((count_day(fresh, d) for d in range(len(posts))), default=0)
    _take_over(a, fresh, max(top, people))
