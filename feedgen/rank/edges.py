"""Edges brought together by where they lead: how a list adds up tens of thousands of likes.

What a loop over likes finds is written down one after the other, as one number each: 32 bits of where it leads, 31 of
what the loop knew. A radix sort then puts side by side what leads to one place, in the order in which it was found, so
sums keep their order to the last bit. A hash table of sums waits for memory at nearly every edge; this never does.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from feedgen.core.jit import inline
from feedgen.graph.access import I64

PAYLOAD_BITS: Final = 31
PAYLOAD: Final = (1 << PAYLOAD_BITS) - 1
_DIGIT_BITS: Final = 11
_DIGITS: Final = 3  # of 32 bits
_VALUES: Final = 1 << _DIGIT_BITS


@inline
def sort_edges(edges: I64, other: I64, n: int) -> None:
    """By where they lead; what leads to one place keeps its order. `other` is room for as many."""
    counts = np.zeros((_DIGITS, _VALUES), np.int64)
    for i in range(n):
        where = edges[i] >> PAYLOAD_BITS
        counts[0, where & (_VALUES - 1)] += 1
        counts[1, where >> _DIGIT_BITS & (_VALUES - 1)] += 1
        counts[2, where >> 2 * _DIGIT_BITS] += 1
    in_other = False
    for digit in range(_DIGITS):
        shift, starts = PAYLOAD_BITS + digit * _DIGIT_BITS, counts[digit]
        if n == 0 or starts[edges[0] >> shift & (_VALUES - 1)] == n:
            continue  # all are alike here
        _to_starts(starts)
        if in_other:
            _deal(other, edges, n, shift, starts)
        else:
            _deal(edges, other, n, shift, starts)
        in_other = not in_other
    if in_other:
        edges[:n] = other[:n]


@inline
def _to_starts(counts: I64) -> None:
    total = 0
    for value in range(_VALUES):
        count = counts[value]
        counts[value] = total
        total += count


@inline
def _deal(source: I64, target: I64, n: int, shift: int, starts: I64) -> None:
    for i in range(n):
        edge = source[i]
        value = edge >> shift & (_VALUES - 1)
        target[starts[value]] = edge
        starts[value] += 1
