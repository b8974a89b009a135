"""A batch's creates as columns of numbers, whether they came as text (the live wire) or as numbers (the archive).

Rows that came as text stand first. `odd` spells out record keys that are not TIDs: (row, text).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import REPOST
from feedgen.ingest.batch import Batch, Plain
from feedgen.store.keys import parse_keys
from feedgen.store.rows import FOLLOW_RECORD, I64, POST_RECORD, U8, U16, Bool
from feedgen.store.uris import PLC, Packed, PostUris, pack_dids, parse_post_uris

Odd = list[tuple[int, str]]
Which = NDArray[np.bool_] | slice
N = TypeVar("N", np.uint8, np.uint64, np.int64)


@dataclass(slots=True)
class Ratings:
    actors: Packed
    kinds: U8
    keys: I64
    odd: Odd
    subjects: PostUris
    times_us: I64


@dataclass(slots=True)
class Posts:
    authors: Packed
    keys: I64
    odd: Odd
    times_us: I64
    flags: U16
    languages: U8
    updated: Bool
    about_at: I64  # the rows that are about another post
    abouts: PostUris


@dataclass(slots=True)
class Follows:
    actors: Packed
    keys: I64
    odd: Odd
    subjects: Packed


class Creates:
    """The numbers of one batch, kind by kind."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._kinds = [plain.kinds for plain in batch.plain]

    def ratings(self) -> Ratings:
        text, plain = self._batch.ratings, self._plain(0, REPOST)
        keys, odd = parse_keys(text.rkeys)
        return Ratings(
            _dids(text.actors, plain.high, plain.low),
            _joined(np.array(text.kinds, np.uint8), plain.kinds),
            _joined(keys, plain.keys),
            odd,
            _uris(text.subjects, plain.subject_high, plain.subject_low, plain.subject_keys),
            _joined(np.array(text.times_us, np.int64), plain.times_us),
        )

    def posts(self) -> Posts:
        text, plain = self._batch.posts, self._plain(POST_RECORD, POST_RECORD)
        keys, odd = parse_keys(text.rkeys)
        about = [i for i, uri in enumerate(text.abouts) if uri is not None]
        at = np.flatnonzero(plain.subject_keys >= 0)
        subjects = plain.subject_high[at], plain.subject_low[at], plain.subject_keys[at]
        return Posts(
            _dids(text.authors, plain.high, plain.low),
            _joined(keys, plain.keys),
            odd,
            _joined(np.array(text.times_us, np.int64), plain.times_us),
            np.concatenate([np.array(text.flags, np.uint16), plain.flags.astype(np.uint16)]),
            _joined(np.array(text.languages, np.uint8), plain.languages),
            np.concatenate([np.array(text.updated, np.bool_), np.zeros(len(plain), np.bool_)]),
            np.concatenate([np.array(about, np.int64), at + len(text.rkeys)]),
            _uris([uri for uri in text.abouts if uri is not None], *subjects),
        )

    def follows(self) -> Follows:
        text, plain = self._batch.follows, self._plain(FOLLOW_RECORD, FOLLOW_RECORD)
        keys, odd = parse_keys(text.rkeys)
        return Follows(
            _dids(text.actors, plain.high, plain.low),
            _joined(keys, plain.keys),
            odd,
            _dids(text.subjects, plain.subject_high, plain.subject_low),
        )

    def _plain(self, first: int, last: int) -> Plain:
        """All rows of these kinds."""
        which = [(first <= kinds) & (kinds <= last) for kinds in self._kinds]
        columns: list[Any] = []
        for name, dtype in zip(Plain.__slots__, _TYPES, strict=True):
            parts = [getattr(plain, name)[rows] for plain, rows in zip(self._batch.plain, which, strict=True)]
            columns.append(np.concatenate(parts) if parts else np.empty(0, dtype))
        return Plain(*columns)


_TYPES = (np.uint8, np.uint64, np.uint64, np.int64, np.int64, np.uint64, np.uint64, np.int64, np.int64, np.uint8)


def _joined(first: NDArray[N], second: NDArray[N]) -> NDArray[N]:
    return first if not len(second) else second if not len(first) else np.concatenate([first, second])


def _dids(texts: Sequence[str], high: NDArray[np.uint64], low: NDArray[np.uint64]) -> Packed:
    packed = pack_dids(texts)
    if not len(high):
        return packed
    form = np.concatenate([packed.form, np.full(len(high), PLC, np.uint8)])
    return Packed(_joined(packed.high, high), _joined(packed.low, low), form, packed.others)


def _uris(texts: Sequence[str], high: NDArray[np.uint64], low: NDArray[np.uint64], keys: I64) -> PostUris:
    parsed = parse_post_uris(texts)
    if not len(keys):
        return parsed
    form = np.concatenate([parsed.authors.form, np.full(len(high), PLC, np.uint8)])
    authors = Packed(_joined(parsed.authors.high, high), _joined(parsed.authors.low, low), form, parsed.authors.others)
    return PostUris(authors, _joined(parsed.keys, keys), parsed.odd_keys)
