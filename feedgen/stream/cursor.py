"""Where a consumer is: everything up to a position was sent, but for some messages that were still waiting.

Opaque to consumers. Sequences belong to a host; on another one only the time says where to go on, and some messages may
come again.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Final

import msgspec

from feedgen.core.ids import US_PER_S
from feedgen.ingest import batch
from feedgen.ingest.events import MAX_SEQ, MAX_TIME_US, MIN_TIME_US
from feedgen.stream.happening import Happening

MAX_LENGTH: Final = 16_000
OTHER_HOST_US: Final = 5 * US_PER_S  # how far two hosts' times of one event may lie apart


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """`pending` are positions that were not sent, as distances below `head`; a position is a sequence, or a time."""

    host: str
    seq: int
    time_us: int
    from_us: int  # the oldest of all that was not sent
    pending: list[int] = []

    @property
    def position(self) -> int:
        return self.seq or self.time_us

    @property
    def start(self) -> batch.Cursor:
        """Where Jetstream is to begin, the last message that was sent included."""
        lowest = self.position - max(self.pending, default=0)
        return batch.Cursor(self.host, lowest if self.seq else 0, self.from_us)

    def was_sent(self, happening: Happening) -> bool:
        """Whether the consumer has it already. False when in doubt."""
        if not self.host:  # somebody else's: a time
            return happening.time_us < self.time_us
        if happening.host != self.host or bool(happening.seq) != bool(self.seq):
            return happening.time_us < self.from_us - OTHER_HOST_US
        position = happening.seq or happening.time_us
        return position <= self.position and self.position - position not in self.pending


_decode = msgspec.msgpack.Decoder(Cursor).decode
_encode = msgspec.msgpack.Encoder().encode


def spell(head: Happening, pending: Iterable[Happening], floor: int = 0) -> str:
    """`floor`: what has a lower number came to the consumer on another way."""
    position, from_us, below = head.seq or head.time_us, head.time_us, []
    for one in pending:
        if one.number > floor:
            below.append(position - (one.seq or one.time_us))
            from_us = min(from_us, one.time_us)
    cursor = Cursor(head.host, head.seq, head.time_us, from_us, below)
    return base64.urlsafe_b64encode(_encode(cursor)).decode().rstrip("=")


def parse(text: str) -> Cursor | None:
    """Ours, or a time in microseconds; None for anything else."""
    if text.isdecimal() and text.isascii() and len(text) < 20:
        time_us = int(text)
        return Cursor("", 0, time_us, time_us) if MIN_TIME_US <= time_us < MAX_TIME_US else None
    if len(text) > MAX_LENGTH:
        return None
    try:
        cursor = _decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (msgspec.MsgspecError, binascii.Error, ValueError):
        return None
    times_are_good = MIN_TIME_US <= cursor.from_us <= cursor.time_us < MAX_TIME_US
    return cursor if times_are_good and 0 <= cursor.seq < MAX_SEQ and min(cursor.pending, default=0) >= 0 else None
