"""DAG-CBOR, as far as label streams need it: a strict reader with limits, and nothing else.

Why our own: what is at hand either builds all of CBOR (tags, floats in three widths, endless strings) or knows no limit
for depth and size. DAG-CBOR is the small part in which every value has one spelling, and that takes sixty lines. What
is spelled differently, too deep or too large is refused, so nothing that arrives can cost more than it weighs.
"""

from __future__ import annotations

import struct
from typing import Final

MAX_DEPTH: Final = 16
MAX_ITEMS: Final = 50_000  # in all of a message
CID_TAG: Final = 42

Value = None | bool | int | float | bytes | str | list["Value"] | dict[str, "Value"]


class Link(bytes):
    """A CID in its binary form."""


class CborError(ValueError):
    """Not DAG-CBOR, or more of it than we take."""


class Reader:
    """Values one after the other, as an event stream's frames have them: `read` until `done`."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._left = MAX_ITEMS

    @property
    def done(self) -> bool:
        return self._at == len(self._data)

    def read(self, depth: int = 0) -> Value:
        if depth > MAX_DEPTH:
            raise CborError("too deep")
        self._left -= 1
        if self._left < 0:
            raise CborError("too many items")
        kind, argument = self._head()
        if kind == 0:
            return argument
        if kind == 1:
            return -1 - argument
        if kind == 2:
            return self._take(argument)
        if kind == 3:
            return self._text(argument)
        if kind == 4:
            self._may_hold(argument)
            return [self.read(depth + 1) for _ in range(argument)]
        if kind == 5:
            return self._map(argument, depth)
        if kind == 6:
            return self._cid(argument)
        return self._simple(argument)

    def _take(self, n: int) -> bytes:
        end = self._at + n
        if end > len(self._data):
            raise CborError("cut short")
        taken, self._at = self._data[self._at : end], end
        return taken

    def _head(self) -> tuple[int, int]:
        """A kind and its number, which must be spelled as short as it can be."""
        first = self._take(1)[0]
        kind, low = first >> 5, first & 31
        if low < 24:
            return kind, low
        if low > 27:
            raise CborError("no definite length")
        width = 1 << (low - 24)
        if kind == 7:
            if width != 8:
                raise CborError("not a value of DAG-CBOR")
            return kind, 27
        number = int.from_bytes(self._take(width), "big")
        if number < 24 or (width > 1 and number >> (4 * width) == 0):
            raise CborError("a number is spelled too long")
        return kind, number

    def _text(self, n: int) -> str:
        try:
            return self._take(n).decode()
        except UnicodeDecodeError:
            raise CborError("text that is no UTF-8") from None

    def _may_hold(self, n: int) -> None:
        """An item takes a byte at least: nobody can have us make room for what did not come."""
        if n > len(self._data) - self._at:
            raise CborError("cut short")

    def _map(self, n: int, depth: int) -> dict[str, Value]:
        self._may_hold(2 * n)
        made: dict[str, Value] = {}
        last = b""
        for _ in range(n):
            kind, length = self._head()
            if kind != 3:
                raise CborError("a key that is no text")
            key = self._text(length)
            spelled = key.encode()
            if made and (len(spelled), spelled) <= (len(last), last):
                raise CborError("keys out of order")
            last = spelled
            made[key] = self.read(depth + 1)
        return made

    def _cid(self, tag: int) -> bytes:
        """A link, as its bytes: nobody here follows it."""
        kind, length = self._head()
        if tag != CID_TAG or kind != 2 or length < 2:
            raise CborError("a tag that is no link")
        raw = self._take(length)
        if raw[0] != 0:
            raise CborError("a link without its prefix")
        return raw[1:]

    def _simple(self, argument: int) -> Value:
        if argument == 20 or argument == 21:
            return argument == 21
        if argument == 22:
            return None
        if argument != 27:
            raise CborError("not a value of DAG-CBOR")
        number: float = struct.unpack(">d", self._take(8))[0]
        if number != number or number in (float("inf"), float("-inf")):
            raise CborError("not a number")
        return number


def encode(value: Value) -> bytes:
    """The one spelling of a value."""
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", False: b"\xf4", True: b"\xf5"}[value]
    if isinstance(value, int):
        return _number(0, value) if value >= 0 else _number(1, -1 - value)
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    if isinstance(value, Link):
        return _number(6, CID_TAG) + _number(2, len(value) + 1) + b"\0" + value
    if isinstance(value, bytes):
        return _number(2, len(value)) + value
    if isinstance(value, str):
        spelled = value.encode()
        return _number(3, len(spelled)) + spelled
    if isinstance(value, list):
        return _number(4, len(value)) + b"".join(map(encode, value))
    keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
    return _number(5, len(value)) + b"".join(encode(key) + encode(value[key]) for key in keys)


def _number(kind: int, number: int) -> bytes:
    if number < 24:
        return bytes([kind << 5 | number])
    for low, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << 8 * width:
            return bytes([kind << 5 | low]) + number.to_bytes(width, "big")
    raise CborError("a number is too large")
