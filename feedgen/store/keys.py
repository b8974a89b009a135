"""Record keys in bulk: thirteen letters are a TID, anything else is odd (ids.rkey_to_int says what becomes of it)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feedgen.core.ids import rkey_to_int
from feedgen.store.rows import I64

TID_LENGTH = 13
_ALPHABET = np.full(256, 255, np.uint8)
_ALPHABET[np.frombuffer(b"234567abcdefghijklmnopqrstuvwxyz", np.uint8)] = np.arange(32)
_FIRST_MAX = 8  # 63 bits: see ids


def parse_keys(rkeys: Sequence[str]) -> tuple[I64, list[tuple[int, str]]]:
    """(keys, [(index, text)] of the odd ones)."""
    n = len(rkeys)
    joined = "".join(rkeys).encode("utf-8", "replace")
    if len(joined) != n * TID_LENGTH or set(map(len, rkeys)) - {TID_LENGTH}:
        return _one_by_one(rkeys)
    digits = _ALPHABET[np.frombuffer(joined, np.uint8).reshape(n, TID_LENGTH)]
    if n and ((digits == 255).any() or (digits[:, 0] >= _FIRST_MAX).any()):
        return _one_by_one(rkeys)
    keys = np.zeros(n, np.int64)
    for i in range(TID_LENGTH):
        keys = keys << 5 | digits[:, i]
    return keys, []


def _one_by_one(rkeys: Sequence[str]) -> tuple[I64, list[tuple[int, str]]]:
    keys = np.fromiter((rkey_to_int(rkey) for rkey in rkeys), np.int64, len(rkeys))
    return keys, [(i, rkeys[i]) for i in np.flatnonzero(keys < 0).tolist()]
