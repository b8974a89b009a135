"""The pace of a world, and that nothing holds it up."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest

from feedgen.core.ids import US_PER_S
from feedgen.simnet.lively import LivelyWorld, aligned_start_us, step_us
from tests.simnet.wiretap import NOW_US

HOUR_US = 3600 * US_PER_S


def world(odd_share: float = 0.0) -> LivelyWorld:
    start_us = aligned_start_us(NOW_US, 2 * HOUR_US, 100, 100 * 30.0)
    return LivelyWorld(1, 100, start_us, odd_share, 30.0, 2 * HOUR_US)


def test_whole_steps_lead_to_the_end() -> None:
    made = world()
    for _ in made.events(NOW_US - 1):
        pass
    assert made._step_start() == NOW_US
    assert NOW_US - made.start_us >= 2 * HOUR_US
    assert (NOW_US - made.start_us) % step_us(100, 3000) == 0


def test_a_quicker_present_begins_at_once() -> None:
    start_us = aligned_start_us(NOW_US, 6 * HOUR_US, 300, 300 * 30.0)
    made = LivelyWorld(1, 300, start_us, 0.002, 30.0, 6 * HOUR_US)
    slow = list(made.events(NOW_US - 1))[-200:]
    made.quicken(20 * 86_400)
    quick = list(made.events(NOW_US + 120 * US_PER_S))
    assert slow[-1].time_us - slow[0].time_us > 600 * US_PER_S
    assert len(quick) > 300
    assert quick[0].time_us < NOW_US + 10 * US_PER_S
    assert all(NOW_US <= event.time_us <= NOW_US + 120 * US_PER_S for event in quick)


@pytest.mark.parametrize("odd_share", [0.0, 0.2])
def test_in_pieces_as_in_one(odd_share: float) -> None:
    """Odd events come up to a minute and a half late: those after them do not wait."""
    end_us = NOW_US + 2 * HOUR_US
    whole = list(world(odd_share).events(end_us))
    made, pieces = world(odd_share), []
    for until_us in range(made.start_us, end_us + 1, 7 * 60 * US_PER_S):
        pieces += list(made.events(until_us))
        assert made.now_us <= until_us + US_PER_S
    pieces += list(made.events(end_us))
    assert pieces == whole
    assert [event.seq for event in whole] == list(range(1, len(whole) + 1))
    assert [e.time_us for e in whole] == sorted(e.time_us for e in whole)
    largest = max(b.time_us - a.time_us for a, b in pairwise(whole))
    assert largest < HOUR_US


def test_it_never_ends() -> None:
    made = world()
    assert len(list(islice(made.events(), 2000))) == 2000
