"""Compiles kernels ahead of time: during installation, not during somebody's first page.

A package that has compiled code adds the name of a function that calls each of its kernels once, on tiny arrays of the
real types. Names and not functions, because core knows nothing of what stands above it.
"""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable
from typing import Final

WARMERS: Final[list[str]] = [
    "feedgen.ingest.warm:warm",
    "feedgen.store.warm:warm",
    "feedgen.graph.warm:warm",
    "feedgen.rank.warm:warm",
    "feedgen.feeds.warm:warm",
]
# Of the made-up network, for `feedgen demo` and the tests: the service itself never runs it.
DEMO_WARMERS: Final[list[str]] = ["feedgen.simnet.warm:warm"]


def find(name: str) -> Callable[[], object]:
    """The function that "package.module:function" names."""
    module, _, function = name.partition(":")
    found: Callable[[], object] = getattr(importlib.import_module(module), function)
    return found


def warm(report: Callable[[str, float], None], demo: bool = False) -> None:
    """Calls every warmer; `report` hears its name and how many seconds it took."""
    # What a warmer makes up looks odd to whom it is shown; nobody should read of that.
    logging.disable(logging.WARNING)
    try:
        for name in WARMERS + (DEMO_WARMERS if demo else []):
            start = time.perf_counter()
            find(name)()
            report(name, time.perf_counter() - start)
    finally:
        logging.disable(logging.NOTSET)
