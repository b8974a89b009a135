"""The kernels of feeds called once, on nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

from feedgen.graph.graph import Graph
from feedgen.rank.kernel import rank
from feedgen.rank.listing import PERSONAL, ListRules, Source, make_list
from feedgen.rank.params import CHEAP
from feedgen.rank.request import request


def warm() -> None:
    with tempfile.TemporaryDirectory() as folder:
        graph = Graph(Path(folder))
        ranked = rank(graph.view(), CHEAP.formula(), request(0))
        make_list(graph.view(), [Source(PERSONAL, ranked.ints)], ListRules())
        graph.close()
