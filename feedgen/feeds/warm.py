"""The kernels of feeds called once, on nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from feedgen.feeds.shown import still_there
from feedgen.graph.graph import Graph


def warm() -> None:
    with tempfile.TemporaryDirectory() as folder:
        graph = Graph(Path(folder))
        still_there(graph.view(), np.zeros(1, np.uint32), logged_out=True)
        graph.close()
