"""Many DIDs or post at-uris at once, taken apart and put together by compiled code.

Nearly all have one fixed form (`did:plc:` and 24 letters; 70 bytes for a post's at-uri), of which a did:plc is 120
bits. Whatever looks different goes through `ids`, one by one. Texts are joined with line ends; a text that has one
inside is not of the fixed form, so nothing can be misread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from feedgen.core.ids import POST_NSID, is_did, pack_plc, parse_at_uri, rkey_to_int
from feedgen.core.jit import brief, njit
from feedgen.store.rows import I64, U8, U64

PLC: Final = 1  # `high` and `low` hold the DID
OTHER: Final = 2  # another DID, spelled out in `others`
BAD: Final = 0  # not a DID at all

# `low` has 56 bits of the DID; this bit marks it as a DID in tables where zero means nothing.
VALID: Final = 1 << 56

FEW: Final = 100  # texts that are taken apart within microseconds, keeping the GIL

_BASE32 = np.full(256, 255, np.uint8)
_BASE32[np.frombuffer(b"abcdefghijklmnopqrstuvwxyz234567", np.uint8)] = np.arange(32)
_TID = np.full(256, 255, np.uint8)
_TID[np.frombuffer(b"234567abcdefghijklmnopqrstuvwxyz", np.uint8)] = np.arange(32)
_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
_BASE32_LETTERS = np.frombuffer(_ALPHABET.encode(), np.uint8)
_TID_LETTERS = np.frombuffer(b"234567abcdefghijklmnopqrstuvwxyz", np.uint8)


@dataclass(slots=True)
class Packed:
    """DIDs as numbers: `form` says which of PLC, OTHER or BAD each is; `others` has the texts of the OTHER ones."""

    high: U64
    low: U64
    form: U8
    others: dict[int, str]

    def __len__(self) -> int:
        return len(self.form)


@dataclass(slots=True)
class PostUris:
    """Parsed at-uris of posts. `odd_keys` has (index, text) of keys that are not TIDs; BAD ones are marked in
    `authors.form`.
    """

    authors: Packed
    keys: I64
    odd_keys: list[tuple[int, str]]


def pack_dids(dids: Sequence[str]) -> Packed:
    high, low, form, _ = _take_apart(dids, uris=False)
    others: dict[int, str] = {}
    for i in np.flatnonzero(form == BAD).tolist():
        plc = pack_plc(dids[i])
        if plc is not None:
            form[i], high[i], low[i] = PLC, plc[0], plc[1]
        elif is_did(dids[i]):
            form[i], others[i] = OTHER, dids[i]
    return Packed(high, low, form, others)


def parse_post_uris(uris: Sequence[str]) -> PostUris:
    high, low, form, keys = _take_apart(uris, uris=True)
    others: dict[int, str] = {}
    odd: list[tuple[int, str]] = []
    for i in np.flatnonzero(form == BAD).tolist():
        uri = parse_at_uri(uris[i])
        if uri is None or uri.collection != POST_NSID:
            continue
        plc = pack_plc(uri.did)
        if plc is None:
            form[i], others[i] = OTHER, uri.did
        else:
            form[i], high[i], low[i] = PLC, plc[0], plc[1]
        keys[i] = rkey_to_int(uri.rkey)
        if keys[i] < 0:
            odd.append((i, uri.rkey))
    return PostUris(Packed(high, low, form, others), keys, odd)


def unpack_plc(high: int, low: int) -> str:
    value = high << 56 | low & VALID - 1
    return "did:plc:" + "".join(_ALPHABET[value >> shift & 31] for shift in range(115, -1, -5))


def spell_posts(high: U64, low: U64, keys: I64) -> list[str | None]:
    """At-uris of posts by did:plc authors whose keys are TIDs; None for all others."""
    out = np.empty((len(keys), _POST_URI.size), np.uint8)
    out[:] = _POST_URI
    _spell(high, low, keys, _BASE32_LETTERS, _TID_LETTERS, out)
    text, size = out.tobytes().decode("ascii"), _POST_URI.size
    good = (keys >= 0) & (low & np.uint64(VALID) != 0)
    return [text[i * size : (i + 1) * size] if plain else None for i, plain in enumerate(good.tolist())]


def _take_apart(texts: Sequence[str], uris: bool) -> tuple[U64, U64, U8, I64]:
    n = len(texts)
    high, low = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
    form, keys = np.zeros(n, np.uint8), np.zeros(n, np.int64)
    if n:
        joined = np.frombuffer("\n".join(texts).encode("utf-8", "replace"), np.uint8)
        if not (_parse if n > FEW else _parse_few)(
            joined, _PREFIX_URI if uris else _PREFIX_DID, _MIDDLE, uris, _BASE32, _TID, high, low, form, keys
        ):
            # Somebody put a line end into a text, so the lines don't count any more: take all the slow way.
            form[:] = BAD
    return high, low, form, keys


_PREFIX_URI = np.frombuffer(b"at://did:plc:", np.uint8)
_PREFIX_DID = np.frombuffer(b"did:plc:", np.uint8)
_MIDDLE = np.frombuffer(f"/{POST_NSID}/".encode(), np.uint8)
_POST_URI = np.concatenate([_PREFIX_URI, np.zeros(24, np.uint8), _MIDDLE, np.zeros(13, np.uint8)])


@brief
def _spell(high: U64, low: U64, keys: I64, base32: U8, tid: U8, out: U8) -> None:
    """Fills the gaps of each row."""
    for i in range(len(keys)):
        upper = high[i] >> np.uint64(4)
        lower = (high[i] & np.uint64(15)) << np.uint64(56) | low[i] & np.uint64(0xFF_FFFF_FFFF_FFFF)
        for at in range(24, 12, -1):  # both halves of the DID from their last letters on
            out[i, at] = base32[upper & np.uint64(31)]
            out[i, at + 12] = base32[lower & np.uint64(31)]
            upper >>= np.uint64(5)
            lower >>= np.uint64(5)
        key = keys[i]
        for at in range(69, 56, -1):
            out[i, at] = tid[key & 31]
            key >>= 5


@njit
def _parse(
    text: U8, prefix: U8, middle: U8, uris: bool, base32: U8, tid: U8, high: U64, low: U64, form: U8, keys: I64
) -> bool:
    """One line a text. False if there are not as many lines as texts."""
    size = len(prefix) + 24 + ((len(middle) + 13) if uris else 0)
    at = 0
    line = 0
    end = len(text)
    while line < len(form):
        good = at + size <= end and (at + size == end or text[at + size] == 10)
        if good:
            for i in range(len(prefix)):
                good &= text[at + i] == prefix[i]
            p = at + len(prefix)
            bits = np.uint8(0)
            h = np.uint64(0)
            for i in range(12):
                digit = base32[text[p + i]]
                bits |= digit
                h = h << np.uint64(5) | np.uint64(digit)
            m = np.uint64(0)
            for i in range(12, 24):
                digit = base32[text[p + i]]
                bits |= digit
                m = m << np.uint64(5) | np.uint64(digit)
            if uris:
                p += 24
                for i in range(len(middle)):
                    good &= text[p + i] == middle[i]
                p += len(middle)
                key = np.int64(tid[text[p]])
                good &= key < 8
                for i in range(1, 13):
                    digit = tid[text[p + i]]
                    bits |= digit
                    key = key << 5 | np.int64(digit)
            else:
                key = np.int64(0)
            if good and bits < 32:
                high[line] = h << np.uint64(4) | m >> np.uint64(56)
                low[line] = m & np.uint64(0xFF_FFFF_FFFF_FFFF)
                form[line] = 1
                keys[line] = key
                at += size
        while at < end and text[at] != 10:
            at += 1
        line += 1
        at += 1
        if at > end and line < len(form):
            return False
    return at > end


_parse_few = brief(_parse.py_func)  # type: ignore[attr-defined]
