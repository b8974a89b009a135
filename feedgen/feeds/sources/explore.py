"""Something new: a post that would not have come onto the page, drawn by lot, with the chance that it had.

Half of the draws are of ranks 31 to 200, half of posts further down that hardly anybody has liked yet. Each draw has
the same chance for every post of its pool, before the list's rules, so what comes of it can be weighed by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

import numpy as np

from feedgen.feeds.sources.source import Needs, PostSource, Rows, Scene
from feedgen.graph.access import I64
from feedgen.rank.request import R_COUNT

FROM: Final = 30  # ranks, counted from 0
TO: Final = 200
LITTLE_KNOWN: Final = 3  # likes
DRAWS: Final = 17  # as many as a list of 500 has places for
POOLS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 170)  # how large a pool is; of a larger one the first so many
CHANCES: Final = tuple(sorted({n * coin for n in POOLS for coin in (1, 2)}))  # one in so many
FIRST_CODE: Final = 203
DEEP, NEW = 0, 1


class Explore(PostSource):
    name = "explore"
    codes = range(FIRST_CODE, FIRST_CODE + 2 * len(CHANCES))
    needs = Needs.RANKED | Needs.LIKES
    first = 20

    def rows(self, scene: Scene) -> Rows:
        # Python's own generator: numpy's takes longer to be made than all draws.
        ints, chance = scene.ranked.ints, Random(scene.dice)
        pools = [pool_of(range(min(FROM, len(ints)), min(TO, len(ints)))), pool_of(_little_known(ints))]
        orders = [chance.sample(pool, min(DRAWS, len(pool))) for pool in pools]
        kinds = [kind for kind in (DEEP, NEW) if pools[kind]]
        drawn, codes = list[int](), list[int]()
        for _ in range(DRAWS if kinds else 0):
            kind = kinds[int(chance.random() * len(kinds))]
            if not orders[kind]:
                break
            drawn.append(orders[kind].pop())
            codes.append(code_of(kind, len(pools[kind]) * len(kinds)))
        return Rows(ints[drawn], np.array(codes, np.uint8))

    def context(self, code: int) -> str:
        kind, one_in = meaning_of(code)
        return f"likes, {'tried' if kind == DEEP else 'new'}, 1 in {one_in}"

    def words(self, code: int) -> str:
        return "tried" if meaning_of(code)[0] == DEEP else "tried, hardly liked yet"


def pool_of(rows: Sequence[int]) -> Sequence[int]:
    return rows[: max((n for n in POOLS if n <= len(rows)), default=0)]


def _little_known(ints: I64) -> list[int]:
    found: list[int] = (np.flatnonzero(ints[TO:, R_COUNT] <= LITTLE_KNOWN)[: POOLS[-1]] + TO).tolist()
    return found


def code_of(kind: int, one_in: int) -> int:
    return FIRST_CODE + kind * len(CHANCES) + CHANCES.index(one_in)


def meaning_of(code: int) -> tuple[int, int]:
    """(kind, one in how many)."""
    kind, chance = divmod(code - FIRST_CODE, len(CHANCES))
    return kind, CHANCES[chance]
