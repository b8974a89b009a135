"""Warming compiles exactly the kernels that serve: nothing is left to compile on somebody's first page."""

from __future__ import annotations

import numpy as np

from feedgen.rank import kernel, listing, pace, popular
from feedgen.rank.params import DEFAULT
from feedgen.rank.request import request
from feedgen.rank.warm import warm
from tests.rank.world import World


def test_what_warms_is_what_serves() -> None:
    warm()
    kernels = [kernel.rank_posts, listing._list, pace._sample_ages, popular._find_popular]
    before = [list(k.signatures) for k in kernels]  # type: ignore[attr-defined]
    assert all(len(signatures) == 1 for signatures in before)
    world = World(20_400, 1)
    found = kernel.rank(
        world.view, DEFAULT.formula(), request(5, reader=1, people=np.ones(2, np.uint32), people_share=0.5)
    )
    listing.make_list(world.view, [listing.Source(listing.PERSONAL, found.ints)], listing.ListRules())
    pace.Pace().measure(world.view, 1)
    popular.Popular().refresh(world.view, 1, 1_000_000)
    assert [list(k.signatures) for k in kernels] == before  # type: ignore[attr-defined]
