"""Startup: how long the command takes to be there."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Iterable

from scripts.benchmarks import Figure, Params

PARAMETERS = {"repeats": 7}

COMMANDS = {
    "startup.import_cli_ms": ["-c", "import feedgen.cli"],
    "startup.help_ms": ["-m", "feedgen", "--help"],
    "startup.config_show_ms": ["-m", "feedgen", "config", "show"],
}


def run(params: Params) -> Iterable[Figure]:
    for name, arguments in COMMANDS.items():
        yield Figure(
            name, statistics.median(times_ms(arguments, int(params["repeats"]))), "ms", "median, a new process"
        )


def times_ms(arguments: list[str], repeats: int) -> list[float]:
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        taken.append((time.perf_counter() - start) * 1000)
    return taken
