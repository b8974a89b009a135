"""What the made-up network costs before any socket: the world's week, and the flood's frames and columns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from feedgen.core.ids import US_PER_DAY
from feedgen.simnet import wire
from feedgen.simnet.world import World
from scripts.benchmarks import Figure, Params
from scripts.benchmarks.flood.plan import V1, V2, Encoder, FloodPlan, flood, flood_columns

PARAMETERS = {"people": 2_000, "days": 7.0, "flood_events": 400_000}
START_US = 1_790_000_000_000_000
FLOOD_FIRST = 1_000_000  # somewhere in the day, when there are posts to like


def cpu_s(work: Callable[[], int]) -> tuple[int, float]:
    """What the work counted, and the CPU seconds it took."""
    began = time.process_time()
    counted = work()
    return counted, time.process_time() - began


def run(params: Params) -> Iterable[Figure]:
    people, days, events = int(params["people"]), float(params["days"]), int(params["flood_events"])
    next(World(1, 50, START_US).events())  # compiled before the clock runs
    began = time.process_time()
    world = World(7, people, START_US)
    took_s = time.process_time() - began
    yield Figure("generate.world_start_s", took_s, "s", "CPU, with what was lived before the first event")
    told, took_s = cpu_s(lambda: sum(1 for _ in world.events(START_US + int(days * US_PER_DAY))))
    yield Figure("generate.world_events_s", told / took_s, "events/s", f"of CPU; {told} events of {people} people")
    plan = FloodPlan()
    samples = [bytes(frame) for chunk in flood(plan, Encoder(V2), 0, 8_192) for frame in chunk.frames()]
    dictionary = wire.train_dictionary(samples)
    for name, encoder in (
        ("v1", Encoder(V1)),
        ("v2", Encoder(V2)),
        ("v2_zstd", Encoder(V2, dictionary=dictionary)),
        ("v2_zstd_websocket", Encoder(V2, websocket=True, dictionary=dictionary)),
    ):
        yield _flood_figure(plan, name, encoder, events)
    last = FLOOD_FIRST + events
    seen, took_s = cpu_s(lambda: sum(len(part.seq) for part in flood_columns(plan, FLOOD_FIRST, last)))
    yield Figure("generate.flood_columns_cpu_us", took_s / seen * 1e6, "us/event", "CPU; arrays, no wire")


def _flood_figure(plan: FloodPlan, name: str, encoder: Encoder, events: int) -> Figure:
    next(flood(plan, encoder, 0, 1_000))
    last = FLOOD_FIRST + events
    size, took_s = cpu_s(lambda: sum(len(chunk.data) for chunk in flood(plan, encoder, FLOOD_FIRST, last)))
    note = f"CPU; {events / took_s:,.0f} events a CPU second, {size / events:.0f} B each"
    return Figure(f"generate.flood_{name}_cpu_us", took_s / events * 1e6, "us/event", note)
