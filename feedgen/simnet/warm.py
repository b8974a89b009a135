"""Compiles what simnet runs, at installation: the demo begins with a made-up week, not with a compiler."""

from __future__ import annotations

import numpy as np

from feedgen.core.ids import US_PER_DAY
from feedgen.simnet.flood import Encoder, FloodPlan, flood, flood_columns
from feedgen.simnet.floodframes import V2
from feedgen.simnet.floodkernels import frame
from feedgen.simnet.world import World

START_US = 1_790_000_000_000_000


def warm() -> None:
    """A small world's day, and a breath of a flood."""
    world = World(1, 50, START_US)
    for _ in world.events(START_US + US_PER_DAY // 4):
        pass
    world.like_chances(0, [0, 1])
    plan = FloodPlan(start_us=START_US)
    for websocket in (False, True):
        next(flood(plan, Encoder(V2, websocket=websocket), last=100))
    next(flood_columns(plan, 0, 100))
    frame(np.zeros(4, np.uint8), np.array([0, 4]))
    plan.event_at(plan.time_us(5))
    plan.did(5)
