"""L, the median age of a post when it is liked."""

from __future__ import annotations

from random import Random

import numpy as np

from feedgen.core.ids import US_PER_DAY, US_PER_S
from feedgen.ingest.events import KNOWN, LATE
from feedgen.rank.pace import LEAST_US, MAX_SAMPLES, MIN_SAMPLES, MOST_US, Pace
from feedgen.rank.params import DEFAULT_PACE_US, HOUR_US
from tests.rank.world import World


def test_a_sane_default_until_enough_was_heard() -> None:
    pace = Pace()
    pace.add(np.full(MIN_SAMPLES - 1, HOUR_US))
    assert pace.pace_us == DEFAULT_PACE_US
    pace.add(np.full(1, HOUR_US))
    assert pace.pace_us == HOUR_US


def test_it_follows_the_newest() -> None:
    pace = Pace()
    pace.add(np.full(3 * MAX_SAMPLES, 9 * HOUR_US))
    assert (pace.samples, pace.pace_us) == (MAX_SAMPLES, 9 * HOUR_US)
    pace.add(np.full(MAX_SAMPLES // 2 + 1, 2 * HOUR_US))
    assert pace.pace_us == 2 * HOUR_US


def test_future_dates_and_a_silly_network_stay_in_bounds() -> None:
    pace = Pace()
    pace.add(np.full(MIN_SAMPLES, -5 * HOUR_US))
    assert pace.pace_us == LEAST_US
    pace.add(np.full(MAX_SAMPLES, 900 * US_PER_DAY))
    assert pace.pace_us == MOST_US


def test_measured_from_the_arrays() -> None:
    chance, start_us = Random(3), 20_400 * US_PER_DAY
    world, rated, ages = World(20_400, 3), [], []
    now_us = start_us + 3 * US_PER_DAY - US_PER_S
    for i in range(800):
        at_us = start_us + i * 3 * US_PER_DAY // 800
        flags = KNOWN | LATE if i % 4 == 0 else KNOWN  # old letters that arrived just now say nothing
        post = world.post(1, at_us, flags)
        for person in range(6):
            age_us = round(chance.expovariate(1 / (5 * HOUR_US)))
            if at_us + age_us < now_us:
                rated.append((person, post, at_us + age_us))
                if flags == KNOWN and at_us + age_us >= now_us - US_PER_DAY:
                    ages.append(age_us)
    world.rate(sorted(rated, key=lambda r: r[2]))
    pace = Pace()
    pace.measure(world.view, now_us)
    assert pace.samples == len(ages)
    assert abs(pace.pace_us - float(np.median(ages))) < 3 * US_PER_S
