"""An open day's columns, compiled, say what plain numpy says."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.dispatcher import Dispatcher

from feedgen.core.ids import NO_PERSON, NO_POST, POSTS_PER_DAY
from feedgen.store import pieces
from feedgen.store.pieces import posts_left, rating_columns
from feedgen.store.rows import LOG_RATING, LOG_WIDE, POST, Records
from feedgen.store.warm import warm

GONE = 2
SLOT = 7 << 24
FLAGS = np.array([0, GONE, 1, GONE | 1], np.uint8)  # of the first few; later people have none

people = st.sampled_from([0, 1, 2, 3, 4, 70_000, NO_PERSON])
ratings = st.lists(st.tuples(people, st.integers(0, 9).map(lambda n: SLOT | n), st.integers(0, 65_535)), max_size=20)
posts = st.lists(st.tuples(st.integers(0, 12), people, st.integers(-9, 9)), max_size=30)


def there(person: int) -> bool:
    return person != NO_PERSON and not (person < FLAGS.size and FLAGS[person] & GONE)


def records(kind: np.dtype[np.void], rows: list[tuple[int, int, int]]) -> Records:
    made = np.zeros(len(rows), kind)
    for i, (actor, post, tick) in enumerate(sorted(rows, key=lambda row: row[2])):
        made[i]["actor"], made[i]["post"], made[i]["tick"] = actor, post, tick
    return made


@settings(deadline=None)  # the first call compiles
@given(ratings, ratings)
def test_ratings_are_one_column_in_order_of_time(
    near: list[tuple[int, int, int]], wide: list[tuple[int, int, int]]
) -> None:
    columns = rating_columns(records(LOG_RATING, near), records(LOG_WIDE, wide), FLAGS, GONE)
    found = list(zip(*(column.tolist() for column in columns), strict=True))
    assert sorted(found) == sorted(row for row in near + wide if there(row[0]))
    assert [row[2] for row in found] == sorted(row[2] for row in found)


@settings(deadline=None)  # the first call compiles
@given(posts, st.lists(st.integers(0, 12), max_size=3))
def test_the_newest_record_of_each_post_that_was_not_removed(
    told: list[tuple[int, int, int]], removed: list[int]
) -> None:
    rows = np.zeros(len(told), POST)
    newest: dict[int, tuple[int, int]] = {}
    for i, (n, author, key) in enumerate(told):
        rows[i]["post"], rows[i]["author"], rows[i]["key"] = SLOT | n, author, key
        rows[i]["language"], rows[i]["about"] = i % 256, NO_POST
        newest[SLOT | n] = author, key
    left = posts_left(rows, np.array([SLOT | n for n in removed], np.uint32), FLAGS, GONE)
    wanted = {p: who for p, who in newest.items() if p & POSTS_PER_DAY - 1 not in removed and author_shown(who[0])}
    found = zip(left.post.tolist(), zip(left.author.tolist(), left.key.tolist(), strict=True), strict=True)
    assert list(found) == sorted(wanted.items())


def author_shown(author: int) -> bool:
    """A post whose author nobody knows is a stub, and stays."""
    return author == NO_PERSON or there(author)


def test_warming_compiles_them() -> None:
    warm()
    kernels = [f for f in vars(pieces).values() if isinstance(f, Dispatcher) and "inline" not in f.targetoptions]
    assert kernels and all(kernel.signatures for kernel in kernels if kernel.py_func.__module__ == pieces.__name__)
