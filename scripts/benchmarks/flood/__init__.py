"""The whole network's volume, as ready-made bytes behind Jetstream hosts: what the benchmarks drink from.

    plan      what event number j is           kernels   the same, compiled, and its frame
    frames    templates of the frames          source    a plan behind a made-up network's Jetstream hosts

`python -m scripts.benchmarks.flood --ratings 26000000` runs one; `with FloodProcess("--people", "1000") as network:`
does so beside a benchmark.
"""

from __future__ import annotations

from feedgen.simnet.process import SimnetProcess


class FloodProcess(SimnetProcess):
    """A flood in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        super().__init__(*arguments, module="scripts.benchmarks.flood")
