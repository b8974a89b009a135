"""Every kernel of the arrays called once on a small day: compiled while installing, not for somebody's first page."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from feedgen.core.ids import NO_POST, US_PER_DAY
from feedgen.graph.access import I64, U8, U16, U32
from feedgen.graph.graph import Graph
from feedgen.graph.live import QUIET_EDGES
from feedgen.graph.sealed import SealedDay

_DAY = 20_000
_SLOT = _DAY % 256 << 24


class _TinyDay:
    def __init__(self, day: int) -> None:
        self.day, self.sealed = day, True

    def version(self) -> int:
        return 0

    def ratings(self) -> tuple[U32, U32, U16]:
        posts = np.array([self.day % 256 << 24, _SLOT], np.uint32)
        return np.array([2, 3], np.uint32), posts, np.array([1, 2], np.uint16)

    def posts(self) -> tuple[U32, U32, I64, U16, U16, U8, U32]:
        number = np.array([self.day % 256 << 24], np.uint32)
        key = np.array([(self.day + 1) * US_PER_DAY << 10], np.int64)  # ahead of its time
        small = np.ones(1, np.uint16)
        return number, np.ones(1, np.uint32), key, small, small, np.ones(1, np.uint8), np.full(1, NO_POST, np.uint32)

    def follows(self) -> tuple[U32, U32]:
        return np.ones(1, np.uint32), np.ones(1, np.uint32)


def _get_busy(graph: Graph) -> None:
    """So much that tables grow, the filter is changed, and lists become compact."""
    first = graph.next_posts(4000)
    n = np.arange(4000)
    nothing = np.zeros(4000, np.int64)
    graph.add_posts(n + first, nothing, n, nothing, nothing, nothing, nothing)
    for _ in range(2):
        graph.add_ratings(np.arange(QUIET_EDGES + 10), np.full(QUIET_EDGES + 10, first), np.zeros(QUIET_EDGES + 10))
    graph._begin_layer(graph._the_open_day())
    graph.wait()


def warm() -> None:
    """Live, sealed, changed, dropped, counted: nothing is left of it."""
    with tempfile.TemporaryDirectory() as folder:
        graph = Graph(Path(folder))
        graph.load([_TinyDay(_DAY)], _TinyDay(_DAY + 1))
        graph.wait()
        _get_busy(graph)
        graph.add_follows([1], [3])
        graph.add_reposts([1], [_SLOT], [1], np.ones(1, np.uint16))
        graph.recall_reposts([])
        graph.remove_repost(1, 1)
        graph.has_edges([1], [_SLOT])
        graph.has_follows([1], [2])
        graph.update_posts([_SLOT], [1], [0], [NO_POST])
        graph.mark_posts([_SLOT], 2, True)
        graph.post_flags([_SLOT])
        graph.remove_rating(_DAY, 2, _SLOT)
        for day in graph.days:
            graph.remove_follow(day, 1, 1)
        graph.erase_person(3)
        view = graph.view()
        view.likers_of(_SLOT, 1)
        view.reposts_of(1, 1)
        view.find_posts([1], [1])
        view.post(_SLOT)
        view.names_of(np.zeros(1, np.uint32))
        graph._rebuild(_DAY, _TinyDay(_DAY))
        sealed = graph._days[_DAY]
        assert isinstance(sealed, SealedDay)
        sealed.numbers("own_offsets")  # for `feedgen verify`
        graph.drop(_DAY)
        graph.close()
