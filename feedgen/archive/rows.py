"""A block's rows as what the pipeline takes: pieces of many events, and live-wire messages that it looks at singly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import structs

from feedgen.archive import block as b
from feedgen.archive.block import Rows
from feedgen.core import cbor
from feedgen.core.ids import FOLLOW_NSID, LIKE_NSID, POST_NSID, REPOST_NSID, US_PER_DAY, pack_plc, rkey_to_int
from feedgen.ingest.batch import MAX_EVENTS, Piece, Plain, add_create
from feedgen.ingest.dating import one_dated_us
from feedgen.ingest.events import (
    MAX_SEQ,
    MAX_TIME_US,
    MIN_TIME_US,
    Account,
    Block,
    Delete,
    Dropped,
    Event,
    Follow,
    Identity,
    Post,
    Rating,
    Sync,
    decode,
)
from feedgen.ingest.scan import language_of

I64 = npt.NDArray[np.int64]

MAX_PIECE: Final = MAX_EVENTS // 2
MAX_CUTS: Final = 64  # of a block, before what is left of it is looked at row by row
COLLECTIONS: Final = (LIKE_NSID, REPOST_NSID, POST_NSID, FOLLOW_NSID)
_OPERATIONS: Final = {b.CREATED: "create", b.UPDATED: "update", b.DELETED: "delete"}
_OTHERS: Final = {b.IDENTITY: "identity", b.ACCOUNT: "account", b.SYNC: "sync"}
_TYPE: Final = "network.bsky.jetstream.subscribeEvents#"
_dump = msgspec.json.Encoder().encode
_UNWRITABLE: Final = (cbor.CborError, OverflowError, ValueError, TypeError, msgspec.EncodeError)

MALFORMED: Final = "malformed"


@dataclass(slots=True)
class Cutter:
    """Goes through the blocks of an archive in order. `parts` of one block after the other."""

    since_us: int  # older records are left out
    horizon_us: int  # nothing was witnessed later than this
    after_seq: int = 0  # rows up to this one are recorded already
    dropped: Counter[str] = field(default_factory=Counter)
    unbelieved: int = 0
    _sync_us: int = 0  # a repository was read again at this time, and all its records follow

    def parts(self, rows: Rows) -> list[Piece | list[bytes]]:
        if not rows.layout.count:
            return []
        seqs, witnessed = rows.numbers[b.SEQ], rows.numbers[b.WITNESSED]
        late = witnessed > self.horizon_us
        if late.any():
            self.unbelieved += int(late.sum())
            np.minimum(witnessed, self.horizon_us, out=witnessed)
            np.minimum(rows.numbers[b.TIME], self.horizon_us, out=rows.numbers[b.TIME])
        return list(self._cut(_Block(rows, self), int(np.searchsorted(seqs, self.after_seq, "right"))))

    def _cut(self, block: _Block, start: int) -> Iterator[Piece | list[bytes]]:
        for _ in range(MAX_CUTS):
            if self._sync_us:
                start = yield from self._singly(block, start)
            if start >= block.count:
                return
            end = block.plain_until(start)
            if end > start:
                if piece := block.piece(start, end):
                    yield piece
                start = end
            elif isinstance(rare := block.rare.get(start), Sync):
                self._sync_us = rare.time_us
            else:
                yield [frame_of(block.rows, start)]  # an update of a rating or follow
                start += 1
        while start < block.count:
            rare = block.rare.get(start)
            if not self._sync_us and isinstance(rare, Sync):
                self._sync_us = rare.time_us
            if self._sync_us:
                start = yield from self._singly(block, start)
            elif block.is_told(start):
                yield [frame_of(block.rows, start)]
                start += 1
            else:
                start += 1

    def _singly(self, block: _Block, start: int) -> Generator[Piece | list[bytes], None, int]:
        """All rows with the time of a sync, and the first event behind them, which ends it."""
        messages = []
        for row in range(start, block.count):
            messages.append(frame_of(block.rows, row))
            event = decode(messages[-1])
            if isinstance(event, Event) and event.time_us > self._sync_us:
                self._sync_us = event.time_us if isinstance(event, Sync) else 0
                if not self._sync_us:
                    yield messages
                    return row + 1
        yield messages
        return block.count


class _Block:
    """One block: its rows' kinds, and its unusual events by row."""

    def __init__(self, rows: Rows, cutter: Cutter) -> None:
        self.rows, self.layout, self.numbers = rows, rows.layout, rows.numbers
        self.kinds, self.count = rows.numbers[b.KIND], rows.layout.count
        self.rare: dict[int, Event] = {}
        self.alone: list[int] = []  # rows that no piece may hold
        tally = cutter.dropped
        first = int(np.searchsorted(self.numbers[b.SEQ], cutter.after_seq, "right"))
        tally["too_old"] += int((self.kinds[first:] == b.TOO_OLD).sum())
        which = (self.kinds >= b.DELETE) & (self.kinds <= b.RARE)
        which[:first] = False
        for row in np.flatnonzero(which).tolist():
            event = deletion_of(rows, row) if self.kinds[row] < b.RARE else decode(frame_of(rows, row))
            if isinstance(event, Rating | Post | Follow):
                event = _dated(event, cutter.since_us)
            if not isinstance(event, Event):
                tally[event.reason if isinstance(event, Dropped) else MALFORMED] += 1
                self.kinds[row] = b.UNWANTED
                continue
            self.rare[row] = event
            if isinstance(event, Sync) or (isinstance(event, Rating | Follow) and event.updated):
                self.alone.append(row)
        # Rows of which nothing is kept count, so that the cursor passes them; times that can't be right don't.
        times = self.numbers[b.WITNESSED]
        self.sane = (
            (times >= MIN_TIME_US)
            & (times < MAX_TIME_US)
            & (self.numbers[b.SEQ] >= 0)
            & (self.numbers[b.SEQ] < MAX_SEQ)
        )
        self.days = times // US_PER_DAY
        self.ends = np.flatnonzero(self.days[1:] != self.days[:-1]) + 1

    def is_told(self, row: int) -> bool:
        return int(self.kinds[row]) <= b.RARE

    def plain_until(self, start: int) -> int:
        """How far one piece can reach: to midnight, to a row that must stand alone, to one that depends on order."""
        end = min(self.count, start + MAX_PIECE)
        later = self.ends[np.searchsorted(self.ends, start, "right") :]
        if later.size:
            end = min(end, int(later[0]))
        end = min([end, *(row for row in self.alone if row >= start)])
        return min(end, self._conflict(start, end)) if end > start else end

    def _conflict(self, start: int, end: int) -> int:
        """The first row that means something else when all creates come first, and then the rare events."""
        first = end
        deleted: dict[tuple[str, str], int] = {}
        changed: dict[str, int] = {}
        rare = [(row, event) for row, event in self.rare.items() if start <= row < end]
        for row, event in rare:
            if not isinstance(event, Identity | Block) and changed.get(event.did, row) < row:
                first = min(first, row)
            if isinstance(event, Rating | Post | Follow) and deleted.get((event.did, event.rkey), row) < row:
                first = min(first, row)
            if isinstance(event, Delete):
                deleted.setdefault((event.did, event.rkey), row)
            elif isinstance(event, Account):
                changed.setdefault(event.did, row)
        creates = np.flatnonzero(self.kinds[start:end] <= b.FOLLOW) + start
        suspects: list[int] = []
        if deleted:
            keys = np.array([rkey_to_int(rkey) for _, rkey in deleted], np.int64)
            suspects += creates[np.isin(self.numbers[b.KEY, creates], keys)].tolist()
        if changed:
            high = self.rows.words[b.HIGH]
            suspects += creates[np.isin(high[creates], _high_words(changed))].tolist()
        for row in suspects:
            did, rkey = self.layout.text(b.DID_AT, row), self.layout.text(b.RKEY_AT, row)
            if deleted.get((did, rkey), row) < row or changed.get(did, row) < row:
                first = min(first, row)
        return first

    def piece(self, start: int, end: int) -> Piece | None:
        sane = np.flatnonzero(self.sane[start:end]) + start
        if not sane.size:
            return None
        which = np.flatnonzero(self.kinds[start:end] <= b.FOLLOW) + start
        n, w = self.numbers[:, which], self.rows.words[:, which]
        tags, inverse = np.unique(n[b.LANGUAGE], return_inverse=True)
        languages = np.array([language_of(tag) for tag in tags.tolist()], np.uint8)
        piece = Piece(
            plain=Plain(
                n[b.KIND].astype(np.uint8), w[b.HIGH], w[b.LOW], n[b.KEY], n[b.TIME], w[b.SUBJECT_HIGH],
                w[b.SUBJECT_LOW], n[b.SUBJECT_KEY], n[b.FLAGS], languages[inverse] if which.size else _NO_LANGUAGES,
            ),
            events=int(sane.size),
            seqs=self.numbers[b.SEQ, sane],
            times_us=self.numbers[b.WITNESSED, sane],
        )  # fmt: skip
        for row, event in self.rare.items():
            if start <= row < end:
                if isinstance(event, Rating | Post | Follow):
                    add_create(piece, event)
                else:
                    piece.rare.append(event)
        return piece


def deletion_of(rows: Rows, row: int) -> Delete:
    return Delete(
        did=rows.layout.text(b.DID_AT, row),
        time_us=int(rows.numbers[b.WITNESSED, row]),
        seq=int(rows.numbers[b.SEQ, row]),
        collection=COLLECTIONS[rows.numbers[b.KIND, row] - b.DELETE],
        rkey=rows.layout.text(b.RKEY_AT, row),
    )


def frame_of(rows: Rows, row: int) -> bytes:
    """The row as the live wire tells it; b"" for what no wire could tell."""
    layout, kind = rows.layout, int(rows.layout.kind[row])
    seq, us = int(rows.numbers[b.SEQ, row]), int(rows.numbers[b.WITNESSED, row])
    if not MIN_TIME_US <= us < MAX_TIME_US:
        us = 0  # which `decode` refuses
    payload: dict[str, object] = {
        "did": layout.text(b.DID_AT, row),
        "seq": seq,
        "time": datetime.fromtimestamp(us // 1_000_000, UTC).replace(microsecond=us % 1_000_000),
    }
    try:
        if kind in _OTHERS:
            payload["$type"] = _TYPE + _OTHERS[kind]
            payload[_OTHERS[kind]] = {} if kind == b.SYNC else _value(layout.payload(row))
        else:
            payload["$type"] = _TYPE + "commit"
            payload["operation"] = _OPERATIONS.get(kind, "?")
            payload["collection"] = layout.text(b.COLLECTION_AT, row)
            payload["rkey"] = layout.text(b.RKEY_AT, row)
            if kind != b.DELETED:
                payload["record"] = _value(layout.payload(row))
        return _dump({"$type": "message", "payload": payload})
    except _UNWRITABLE:
        return b""


_NO_LANGUAGES = np.empty(0, np.uint8)


def _value(data: bytes) -> cbor.Value:
    reader = cbor.Reader(data)
    value = reader.read()
    if not reader.done:
        raise cbor.CborError("something follows the record")
    return value


def _dated(event: Rating | Post | Follow, since_us: int) -> Event | Dropped:
    made_us = one_dated_us(rkey_to_int(event.rkey), event.time_us)
    if made_us == event.time_us:
        return event
    if made_us < since_us and not isinstance(event, Follow):
        return Dropped("too_old")
    return structs.replace(event, made_us=made_us)


def _high_words(dids: dict[str, int]) -> npt.NDArray[np.uint64]:
    words = map(pack_plc, dids)
    return np.array([word[0] for word in words if word is not None], np.uint64)
