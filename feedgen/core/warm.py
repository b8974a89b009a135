"""Compiles kernels ahead of time: during installation, not during somebody's first page.

A package that has compiled code adds the name of a function that calls each of its kernels once, on tiny arrays of the
real types. Names and not functions, because core knows nothing of what stands above it.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from feedgen.core.bar import duration
from feedgen.core.jit import compiled, is_complete, kernel_files, mark_complete

WARMERS: Final[list[str]] = [
    "feedgen.ingest.warm:warm",
    "feedgen.archive.warm:warm",
    "feedgen.store.warm:warm",
    "feedgen.graph.warm:warm",
    "feedgen.rank.warm:warm",
    "feedgen.learn.trees:warm",
    "feedgen.feeds.warm:warm",
]
LONGEST: Final = ("feedgen.graph.warm:warm", "feedgen.rank.warm:warm")  # begun first when processes share the work
# Of the made-up network, for `feedgen demo` and the tests: the service itself never runs it.
DEMO_WARMERS: Final[list[str]] = ["feedgen.simnet.warm:warm"]


DEMO_FOLDER: Final = "simnet"
LOOK_S: Final = 1.0  # between two counts of compiled functions
LINE_EVERY_S: Final = 10.0
ESTIMATE_FROM: Final = 0.05  # of the functions; fewer say nothing about the time that the rest takes


def files(demo: bool = False) -> list[Path]:
    """What `warm` compiles."""
    return kernel_files(without="" if demo else DEMO_FOLDER)


def is_warm(demo: bool = False) -> bool:
    """Nothing is left to compile."""
    return is_complete(files(demo))


class Progress:
    """How many functions are compiled, and how long the rest takes at the rate so far."""

    def __init__(self, paths: list[Path], now_s: float) -> None:
        self._paths, self._from_s = paths, now_s
        self.done, self.total = self._first, _ = compiled(paths)
        self._elapsed_s = 0.0

    def look(self, now_s: float) -> None:
        self.done, self.total = compiled(self._paths)
        self._elapsed_s = now_s - self._from_s

    @property
    def share(self) -> float:
        return self.done / self.total

    @property
    def to_go_s(self) -> float | None:
        new = self.done - self._first
        return self._elapsed_s * (self.total - self.done) / new if new > ESTIMATE_FROM * self.total else None

    def words(self) -> str:
        counted = f"{self.done} of {self.total} functions"
        return counted if self.to_go_s is None else f"{counted}, about {duration(self.to_go_s)} to go"


def find(name: str) -> Callable[[], object]:
    """The function that "package.module:function" names."""
    module, _, function = name.partition(":")
    found: Callable[[], object] = getattr(importlib.import_module(module), function)
    return found


def call(name: str) -> None:
    """Calls one warmer."""
    # It makes up odd data, and nobody should read of that in the log.
    logging.disable(logging.WARNING)
    try:
        find(name)()
    finally:
        logging.disable(logging.NOTSET)


def warm(demo: bool = False, processes: int = 1) -> None:
    """Calls every warmer.

    With more processes the parts are compiled side by side first, each into the cache that all share. Then one process
    calls them all once more: what two of them compiled at once and one lost is compiled again here.
    """
    names = WARMERS + (DEMO_WARMERS if demo else [])
    if processes > 1:
        with ProcessPoolExecutor(min(processes, len(names)), get_context("spawn")) as pool:
            wait([pool.submit(call, name) for name in sorted(names, key=LONGEST.__contains__, reverse=True)])
    for name in names:  # what failed there fails again here, and is raised
        call(name)
    mark_complete(files(demo))
