"""Compiles kernels ahead of time: during installation, not during somebody's first page.

A package that has compiled code adds the name of a function that calls each of its kernels once, on tiny arrays of the
real types. Names and not functions, because core knows nothing of what stands above it.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Final

WARMERS: Final[list[str]] = [
    "feedgen.ingest.warm:warm",
    "feedgen.archive.warm:warm",
    "feedgen.store.warm:warm",
    "feedgen.graph.warm:warm",
    "feedgen.rank.warm:warm",
    "feedgen.feeds.warm:warm",
]
LONGEST: Final = ("feedgen.graph.warm:warm", "feedgen.rank.warm:warm")  # begun first when processes share the work
# Of the made-up network, for `feedgen demo` and the tests: the service itself never runs it.
DEMO_WARMERS: Final[list[str]] = ["feedgen.simnet.warm:warm"]


def find(name: str) -> Callable[[], object]:
    """The function that "package.module:function" names."""
    module, _, function = name.partition(":")
    found: Callable[[], object] = getattr(importlib.import_module(module), function)
    return found


def call(name: str) -> float:
    """Calls one warmer; how many seconds it took."""
    # It makes up odd data, and nobody should read of that in the log.
    logging.disable(logging.WARNING)
    try:
        start = time.perf_counter()
        find(name)()
        return time.perf_counter() - start
    finally:
        logging.disable(logging.NOTSET)


def warm(report: Callable[[str, float], None], demo: bool = False, processes: int = 1) -> None:
    """Calls every warmer; `report` hears its name and how many seconds it took.

    With more processes the parts are compiled side by side first, each into the cache that all share. Then one process
    calls them all once more: what two of them compiled at once and one lost is compiled again here.
    """
    names = WARMERS + (DEMO_WARMERS if demo else [])
    if processes > 1:
        with ProcessPoolExecutor(min(processes, len(names)), get_context("spawn")) as pool:
            parts = {pool.submit(call, name): name for name in sorted(names, key=LONGEST.__contains__, reverse=True)}
            for part in as_completed(parts):
                if part.exception() is None:  # or else it fails again below
                    report(parts[part], part.result())
    for name in names:
        seconds = call(name)
        if processes == 1:
            report(name, seconds)
