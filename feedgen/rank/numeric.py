"""Small compiled helpers: powers and decays with the same bits everywhere, and picking the best."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import US_PER_DAY
from feedgen.core.jit import inline
from feedgen.graph.access import U32, Places, day_number
from feedgen.rank.params import DECAY_SHIFT, DECAY_SLOTS, Decay

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

_STEPS: Final = 4096  # of weights: 64 octaves
wide: Any = np.int64  # for compiled code: arithmetic that mixes uint32 and int64 must not become floats


@inline
def power(x: float, p: float) -> float:
    """x^p, without `pow` for the powers that are used for every co-liker."""
    if p == 1.0:
        return x
    if p == 1.25:
        return x * math.sqrt(math.sqrt(x))
    if p == 1.125:
        return x * math.sqrt(math.sqrt(math.sqrt(x)))
    if p == 0.5:
        return math.sqrt(x)
    if p == 1.5:
        return x * math.sqrt(x)
    if p == 0.0:
        return 1.0
    return math.pow(x, p)


@inline
def to_powers(values: F64, n: int, p: float) -> None:
    """The first `n` values become their p-th powers, to the same bits as `power` gives. A loop without branches for
    each power that is used by default: four values at a time."""
    if p == 1.25:
        for i in range(n):
            values[i] = values[i] * math.sqrt(math.sqrt(values[i]))
    elif p == 1.125:
        for i in range(n):
            values[i] = values[i] * math.sqrt(math.sqrt(math.sqrt(values[i])))
    elif p != 1.0:
        for i in range(n):
            values[i] = power(values[i], p)


@inline
def decay(t: Decay, age_us: int) -> float:
    """0.5^(age / half-life); what claims to come from the future counts as now."""
    age = max(age_us, 0) >> DECAY_SHIFT
    factor: float = t.coarse[min(age >> 8, DECAY_SLOTS - 1)] * t.fine[age & 255]
    return factor


@inline
def tick_span_us(tick: int) -> int:
    """Microseconds from midnight to the first one of a tick."""
    us: int = (wide(tick) * US_PER_DAY + 65_535) >> 16
    return us


@inline
def edge_us(at: Places, d: int, tick: int) -> int:
    """The first microsecond of a tick on the day of a row."""
    us: int = day_number(at, d) * US_PER_DAY + tick_span_us(tick)
    return us


@inline
def last_row(at: Places, us: int) -> int:
    """The newest row whose day is not after that moment; -1: none."""
    day, rows = us // US_PER_DAY, at.rows
    if rows == 0:
        return -1
    # Days are rarely missing between two others, so this is nearly always the place.
    d = min(rows - 1, max(-1, rows - 1 - (day_number(at, rows - 1) - day)))
    while d + 1 < rows and day_number(at, d + 1) <= day:
        d += 1
    return d


@inline
def order_by(keys: U32, weights: F64, chosen: I32, n: int) -> None:
    """Sort rows by weight, the largest first, and equal ones by key."""
    w = np.empty(n)
    for i in range(n):
        w[i] = -weights[chosen[i]]
    order = np.argsort(w)
    sorted_rows = np.empty(n, np.int32)
    for i in range(n):
        row = chosen[order[i]]
        j = i
        while j > 0 and weights[sorted_rows[j - 1]] == weights[row] and keys[sorted_rows[j - 1]] > keys[row]:
            sorted_rows[j] = sorted_rows[j - 1]
            j -= 1
        sorted_rows[j] = row
    chosen[:n] = sorted_rows


@inline
def _step(weight_bits: int, largest_bits: int) -> int:
    """How many steps of a 64th octave, about, a weight lies below the largest. The bits of positive numbers are in the
    order of the numbers."""
    return min((largest_bits - weight_bits) >> (52 - 6), _STEPS - 1)


@inline
def _of_the_tied(keys: U32, weights: F64, tied: I32, ties: int, limit: int, chosen: I32, kept: int) -> None:
    """The best `limit` of some rows, in any order, into `chosen` from `kept` on."""
    w = np.empty(ties)
    for i in range(ties):
        w[i] = weights[tied[i]]
    least = np.partition(w, ties - limit)[ties - limit]
    equal, equals, end = np.empty(ties, np.int32), 0, kept + limit
    for i in range(ties):
        if weights[tied[i]] > least:
            chosen[kept] = tied[i]
            kept += 1
        elif weights[tied[i]] == least:
            equal[equals] = tied[i]
            equals += 1
    equal_keys = np.empty(equals, np.uint32)
    for i in range(equals):
        equal_keys[i] = keys[equal[i]]
    order = np.argsort(equal_keys)
    for i in range(end - kept):
        chosen[kept + i] = equal[order[i]]


@inline
def _best_unordered(keys: U32, weights: F64, n: int, limit: int, chosen: I32) -> None:
    """Leaves the best `limit` of the `n` rows in `chosen`: weights are counted by size first, so that only those about
    as large as the last one that is wanted need a closer look."""
    bits, counts, largest = weights.view(np.int64), np.zeros(_STEPS, np.int32), 0
    for i in range(n):
        largest = max(largest, bits[chosen[i]])
    for i in range(n):
        counts[_step(bits[chosen[i]], largest)] += 1
    border, above = 0, 0
    while above + counts[border] < limit:
        above += counts[border]
        border += 1
    tied, ties, kept = np.empty(counts[border], np.int32), 0, 0
    for i in range(n):
        row = chosen[i]
        step = _step(bits[row], largest)
        if step < border:
            chosen[kept] = row
            kept += 1
        elif step == border:
            tied[ties] = row
            ties += 1
    _of_the_tied(keys, weights, tied, ties, limit - kept, chosen, kept)


@inline
def best_rows(keys: U32, weights: F64, count: int, limit: int, chosen: I32) -> int:
    """The rows with the largest positive weights, best first, in `chosen`; of equal ones those with the smallest keys.

    Returns how many."""
    n = 0
    for k in range(count):
        if weights[k] > 0.0:
            chosen[n] = k
            n += 1
    if n > limit:
        _best_unordered(keys, weights, n, limit, chosen)
        n = limit
    order_by(keys, weights, chosen, n)
    return n
