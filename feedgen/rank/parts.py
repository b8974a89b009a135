"""Small compiled helpers: powers and decays with the same bits everywhere, hash tables, and picking the best."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import US_PER_DAY
from feedgen.core.jit import inline
from feedgen.graph.access import U32, Arrays
from feedgen.rank.params import DECAY_SHIFT, DECAY_SLOTS, Decay

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

EMPTY: Final = 0xFFFF_FFFF
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
def edge_us(a: Arrays, d: int, tick: int) -> int:
    """The first microsecond of a tick on the day of a row."""
    us: int = a.day_numbers[d] * US_PER_DAY + tick_span_us(tick)
    return us


class Table(NamedTuple):
    """Rows of numbers by key, in order of first sight. At most half of the slots are ever used."""

    slots: U32  # row numbers by hash
    keys: U32
    rows: F64


@inline
def find_slot(slots: U32, keys: U32, key: int) -> int:
    """The slot that names the key's row, or the EMPTY one where it belongs."""
    mask = slots.size - 1
    i: int = ((key * 0x9E37_79B1 & 0xFFFF_FFFF) >> 7) & mask
    while slots[i] != EMPTY and keys[slots[i]] != key:
        i = (i + 1) & mask
    return i


@inline
def add_key(t: Table, count: int, key: int) -> int:
    """The row of a key, made empty when it is new (then it is `count`); -1 when there is no room."""
    slot = find_slot(t.slots, t.keys, key)
    row: int = wide(t.slots[slot])
    if row != EMPTY:
        return row
    if count == t.keys.size:
        return -1
    t.slots[slot], t.keys[count] = count, key
    t.rows[count, :] = 0.0
    return count


@inline
def last_row(a: Arrays, us: int) -> int:
    """The newest row whose day is not after that moment; -1: none."""
    day = us // US_PER_DAY
    d = a.day_numbers.size - 1
    while d >= 0 and a.day_numbers[d] > day:
        d -= 1
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
def best_rows(keys: U32, weights: F64, count: int, limit: int, chosen: I32) -> int:
    """The rows with the largest positive weights, best first, in `chosen`; of equal ones those with the smallest keys.

    Returns how many."""
    n = 0
    for k in range(count):
        if weights[k] > 0.0:
            chosen[n] = k
            n += 1
    if n > limit:
        w = np.empty(n)
        for i in range(n):
            w[i] = weights[chosen[i]]
        least = np.partition(w, n - limit)[n - limit]
        kept, ties = 0, 0
        tied = np.empty(n, np.int32)
        for i in range(n):
            row = chosen[i]
            if weights[row] > least:
                chosen[kept] = row
                kept += 1
            elif weights[row] == least:
                tied[ties] = row
                ties += 1
        tied_keys = np.empty(ties, np.uint32)
        for i in range(ties):
            tied_keys[i] = keys[tied[i]]
        order = np.argsort(tied_keys)
        for i in range(limit - kept):
            chosen[kept + i] = tied[order[i]]
        n = limit
    order_by(keys, weights, chosen, n)
    return n
