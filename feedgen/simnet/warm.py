"""Compiles what simnet runs: for `feedgen demo`, which begins with a made-up week and not with a compiler, and for
tests.
"""

from __future__ import annotations

from feedgen.core.ids import US_PER_DAY
from feedgen.simnet.world import World

START_US = 1_790_000_000_000_000


def warm() -> None:
    """A small world's day."""
    world = World(1, 50, START_US)
    for _ in world.events(START_US + US_PER_DAY // 4):
        pass
    world.like_chances(0, [0, 1])
