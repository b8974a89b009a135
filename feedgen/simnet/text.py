"""Identifiers by the thousand: hashes, TIDs, CIDs and times as text, whole arrays at once.

Everything is a pure function of integers, so that a record can be forgotten and made again, byte for byte.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from feedgen.simnet.kernels import CID, ISO_MS, ISO_US, TID, WIDTHS, render

U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]

_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF
_GOLDEN: Final = 0x9E37_79B9_7F4A_7C15


def mix(values: Any, salt: int = 0) -> U64:
    """splitmix64 of each value: the dice of everything that must be the same when asked again."""
    # Arrays of unsigned integers wrap around silently, which is what we want.
    x = np.asarray(values).astype(np.uint64) + np.uint64((salt * _GOLDEN + _GOLDEN) & _MASK)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    mixed: U64 = x ^ (x >> np.uint64(31))
    return mixed


def mix1(value: int, salt: int = 0) -> int:
    """`mix` of one value."""
    x = (value + salt * _GOLDEN + _GOLDEN) & _MASK
    x = ((x ^ x >> 30) * 0xBF58_476D_1CE4_E5B9) & _MASK
    x = ((x ^ x >> 27) * 0x94D0_49BB_1331_11EB) & _MASK
    return x ^ x >> 31


def unit(values: U64) -> NDArray[np.float64]:
    """Hashes as numbers in [0, 1)."""
    return (values >> np.uint64(11)).astype(np.float64) * (1.0 / (1 << 53))


def _rows(kind: int, values: Any, prefix: str = "") -> list[str]:
    width = WIDTHS[kind]
    text = render(kind, values.astype(np.int64, copy=False), width).tobytes().decode("ascii")
    if prefix:
        return [prefix + text[i : i + width] for i in range(0, len(text), width)]
    return [text[i : i + width] for i in range(0, len(text), width)]


def tids(values: I64) -> list[str]:
    """TID values (microseconds << 10 | clock id) as text."""
    return _rows(TID, values)


def cids(keys: Any, prefix: str = "bafyrei") -> list[str]:
    """A CIDv1 (sha256) of the right form for each key. It names the record, but is not its hash: nothing here checks
    blocks."""
    return _rows(CID, keys, prefix)


def iso_ms(us: I64) -> list[str]:
    """RFC 3339 with milliseconds, as clients write createdAt."""
    return _rows(ISO_MS, us)


def iso_us(us: int) -> str:
    """RFC 3339 with microseconds, as Jetstream v2 writes its times."""
    return _rows(ISO_US, np.array([us], np.int64))[0]


def plc(seed: int, index: int) -> str:
    """A did:plc of the one valid form: 24 characters of base32."""
    digest = hashlib.sha256(f"person:{seed}:{index}".encode()).digest()[:15]
    return "did:plc:" + base64.b32encode(digest).decode().lower()
