"""Sets of numbers in compiled code: ascending arrays, as plain numbers (see `Places` in graph/access.py)."""

from __future__ import annotations

from typing import NamedTuple

from feedgen.core.jit import inline
from feedgen.graph.access import U32
from feedgen.graph.words import load_u32


class Set(NamedTuple):
    """Numbers, ascending."""

    address: int
    size: int


@inline
def set_of(ascending: U32) -> Set:
    return Set(ascending.ctypes.data, ascending.size)


@inline
def holds(s: Set, value: int) -> bool:
    low, high = 0, s.size
    while low < high:
        middle = (low + high) >> 1
        if load_u32(s.address, middle) < value:
            low = middle + 1
        else:
            high = middle
    return low < s.size and load_u32(s.address, low) == value
