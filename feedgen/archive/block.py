"""A block's events as columns, by compiled code that looks into records where they lie.

Plain rows (creates of likes, reposts, posts and follows by did:plc accounts under TIDs, and their deletions) are read
here. Any other row is RARE: `rows.event_at` builds it as a frame of the live wire, and `events.decode` says what it is.
A row that is read here gives exactly what that gives: tests/archive/test_block.py compares the two.
"""

# ruff: noqa: SIM109, SIM110 - what is compiled is faster the long way

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from feedgen.archive.segment import BadSegment
from feedgen.core.ids import BLOCK_NSID, FOLLOW_NSID, LIKE_NSID, POST_NSID, PROFILE_NSID, REPOST_NSID, VISIBILITY_NSID
from feedgen.core.jit import i64, inline, njit
from feedgen.ingest.dating import OLD_US
from feedgen.ingest.events import (
    IMAGE,
    KNOWN,
    LATE,
    LATE_US,
    LINK,
    MAX_SEQ,
    MAX_TIME_US,
    MIN_TIME_US,
    QUOTE,
    REPLY,
    VIDEO,
)

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

# What a row is. Likes and reposts are ids.LIKE and ids.REPOST.
POST: Final = 2
FOLLOW: Final = 3
DELETE: Final = 4  # + one of the four above
RARE: Final = 8
UNWANTED: Final = 9  # a kind or collection of which nothing is kept
TOO_OLD: Final = 10

CREATED, UPDATED, DELETED, IDENTITY, ACCOUNT, SYNC = 1, 2, 3, 4, 5, 6

MAX_ROWS: Final = 1 << 20
MAX_PLAIN_BYTES: Final = 16 << 10  # a larger record is RARE
MAX_DEPTH: Final = 12  # of a record that is read here; core/cbor knows a little more

_ROW_BYTES: Final = 8 * 3 + 1 + 1 + 2 + 1 + 1 + 4

# Columns of numbers.
KIND, SEQ, WITNESSED, TIME, KEY, SUBJECT_KEY, FLAGS, LANGUAGE = 0, 1, 2, 3, 4, 5, 6, 7
NUMBERS: Final = 8
# Columns of DIDs, two words each as in store/uris.
HIGH, LOW, SUBJECT_HIGH, SUBJECT_LOW = 0, 1, 2, 3
# Where a row's texts begin, and the payload's end.
COLLECTION_AT, DID_AT, RKEY_AT, PAYLOAD_AT = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the columns of a block lie."""

    data: U8
    count: int
    seq: I64
    witnessed: I64
    kind: U8
    starts: I64  # COLLECTION_AT, DID_AT, RKEY_AT, PAYLOAD_AT: count + 1 places each

    def text(self, which: int, row: int) -> str:
        """A row's collection, DID or record key. latin-1 fails for nothing; what is not ASCII is refused later."""
        return bytes(self.data[self.starts[which, row] : self.starts[which, row + 1]]).decode("latin-1")

    def payload(self, row: int) -> bytes:
        return bytes(self.data[self.starts[PAYLOAD_AT, row] : self.starts[PAYLOAD_AT, row + 1]])


@dataclass(frozen=True, slots=True)
class Rows:
    """One decoded block."""

    layout: Layout
    numbers: I64
    words: U64


def lay_out(block: bytes) -> Layout:
    """Find the columns. Raises BadSegment if lengths and sizes don't add up."""
    if len(block) < 4:
        raise BadSegment("a block is cut short")
    count = int.from_bytes(block[:4], "little")
    if count > MAX_ROWS or 4 + count * _ROW_BYTES > len(block):
        raise BadSegment("a block has fewer bytes than its rows need")
    at = 4

    def column(dtype: str) -> npt.NDArray[np.generic]:
        nonlocal at
        values = np.frombuffer(block, dtype, count, at)
        at += values.nbytes
        return values

    seq, witnessed, _ = column("<i8"), column("<i8"), column("<i8")
    kind = column("u1")
    collection, did, rkey, rev, payload = column("u1"), column("<u2"), column("u1"), column("u1"), column("<u4")
    starts = np.empty((4, count + 1), np.int64)
    for row, sizes in enumerate((collection, did, rkey, rev, payload)):
        ends = np.cumsum(sizes, dtype=np.int64)
        if row != 3:
            place = starts[row if row < 3 else PAYLOAD_AT]
            place[0] = at
            place[1:] = at + ends
        at += int(ends[-1]) if count else 0
        if at > len(block):
            raise BadSegment("the lengths of a block's rows don't fit into it")
    if at != len(block):
        raise BadSegment("a block has bytes behind its last row")
    data = np.frombuffer(block, np.uint8)
    return Layout(data, count, seq.astype(np.int64), witnessed.astype(np.int64), kind.astype(np.uint8), starts)


def read(block: bytes, since_us: int) -> Rows:
    """`since_us`: records that are older than this are not looked into, but for follows."""
    layout = lay_out(block)
    numbers = np.zeros((NUMBERS, layout.count), np.int64)
    words = np.zeros((4, layout.count), np.uint64)
    _read(layout.data, layout.seq, layout.witnessed, layout.kind, layout.starts, since_us, numbers, words)
    return Rows(layout, numbers, words)


def _bytes(text: str) -> U8:
    return np.frombuffer(text.encode(), np.uint8)


_NSIDS = tuple(map(_bytes, (LIKE_NSID, REPOST_NSID, POST_NSID, FOLLOW_NSID)))
_LIKE, _REPOST, _POST, _FOLLOW = _NSIDS
_PROFILE, _VISIBILITY, _BLOCK = _bytes(PROFILE_NSID), _bytes(VISIBILITY_NSID), _bytes(BLOCK_NSID)
_DID_START, _URI_START, _URI_MIDDLE = _bytes("did:plc:"), _bytes("at://did:plc:"), _bytes(f"/{POST_NSID}/")
_IMAGES, _VIDEO, _EXTERNAL = map(_bytes, ("app.bsky.embed.images", "app.bsky.embed.video", "app.bsky.embed.external"))
_QUOTED, _QUOTED_WITH_MEDIA = _bytes("app.bsky.embed.record"), _bytes("app.bsky.embed.recordWithMedia")


def _table(letters: str) -> U8:
    table = np.full(256, 255, np.uint8)
    table[_bytes(letters)] = np.arange(len(letters))
    return table


_BASE32, _TID = _table("abcdefghijklmnopqrstuvwxyz234567"), _table("234567abcdefghijklmnopqrstuvwxyz")


@inline
def _is(data: U8, p: int, end: int, word: U8) -> bool:
    if end - p != word.size:
        return False
    for i in range(word.size):
        if data[p + i] != word[i]:
            return False
    return True


@inline
def _starts_with(data: U8, p: int, word: U8) -> bool:
    for i in range(word.size):
        if data[p + i] != word[i]:
            return False
    return True


@inline
def _plc(data: U8, p: int, words: U64, at: int, row: int) -> bool:
    """The 24 letters at p as two words."""
    bad, upper, lower = np.uint8(0), np.uint64(0), np.uint64(0)
    for i in range(12):
        bad |= _BASE32[data[p + i]] | _BASE32[data[p + 12 + i]]
        upper = upper << np.uint64(5) | np.uint64(_BASE32[data[p + i]])
        lower = lower << np.uint64(5) | np.uint64(_BASE32[data[p + 12 + i]])
    words[at, row] = upper << np.uint64(4) | lower >> np.uint64(56)
    words[at + 1, row] = lower & np.uint64(0xFF_FFFF_FFFF_FFFF)
    return bool(bad < 32)


@inline
def _did(data: U8, p: int, end: int, words: U64, at: int, row: int) -> bool:
    return end - p == 32 and _starts_with(data, p, _DID_START) and _plc(data, p + 8, words, at, row)


@inline
def _tid(data: U8, p: int) -> int:
    """The value of the 13 letters at p, or -1."""
    value, bad = i64(_TID[data[p]]), np.uint8(0)
    if value > 7:
        return -1
    for i in range(1, 13):
        digit = _TID[data[p + i]]
        bad |= digit
        value = value << 5 | i64(digit)
    return -1 if bad > 31 else value


@inline
def _post_uri(data: U8, p: int, end: int, words: U64, row: int) -> int:
    """The usual at-uri of a post: its key, or -1; the author goes to SUBJECT_HIGH and SUBJECT_LOW."""
    if end - p != 70 or not _starts_with(data, p, _URI_START) or not _starts_with(data, p + 37, _URI_MIDDLE):
        return -1
    if not _plc(data, p + 13, words, SUBJECT_HIGH, row):
        return -1
    return _tid(data, p + 57)


# --- records: one walk over DAG-CBOR. Places are the maps that something is wanted of.

_ANY, _RATING, _FOLLOWED, _POSTED, _SUBJECT, _REPLY, _ROOT, _EMBED, _EMBEDDED, _INNER, _MEDIA, _LANGS = range(12)
# What is found: where the text begins and ends.
_F_URI, _F_DID, _F_CREATED, _F_ROOT, _F_EMBED, _F_EMBEDDED, _F_INNER, _F_MEDIA, _F_LANG = range(9)
_HAS_REPLY, _HAS_EMBED = 18, 19
_FOUND: Final = 20
_NOTHING: Final = -1
_REFUSED: Final = -2
_ENTERS: Final = 32  # a field of this and more is a map or list of the place (field - 32)


def _word(text: str) -> int:
    return int.from_bytes(text.encode()[:8], "big")


_W_SUBJECT, _W_URI, _W_REPLY, _W_ROOT, _W_EMBED = map(_word, ("subject", "uri", "reply", "root", "embed"))
_W_RECORD, _W_MEDIA, _W_TYPE, _W_LANGS, _W_LABELS = map(_word, ("record", "media", "$type", "langs", "labels"))
_W_CREATED, _W_HIDE = _word("createdAt"), _word("hideFrom")


@inline
def _field(place: int, word: int) -> int:
    """What a key means in a place: something to note, a place to enter, or that this record is for others to read."""
    if place == _RATING or place == _FOLLOWED or place == _POSTED:
        if word == _W_CREATED:
            return _F_CREATED
        if word == _W_SUBJECT:
            return _ENTERS + _SUBJECT if place == _RATING else _F_DID if place == _FOLLOWED else _REFUSED
        if word == _W_HIDE or word == _W_LABELS:
            return _REFUSED
        if word == _W_REPLY or word == _W_EMBED or word == _W_LANGS:
            if place != _POSTED:
                return _REFUSED
            return _ENTERS + (_REPLY if word == _W_REPLY else _EMBED if word == _W_EMBED else _LANGS)
        return _NOTHING
    if place == _REPLY and word == _W_ROOT:
        return _ENTERS + _ROOT
    if place == _EMBED and word == _W_RECORD:
        return _ENTERS + _EMBEDDED
    if place == _EMBED and word == _W_MEDIA:
        return _ENTERS + _MEDIA
    if place == _EMBEDDED and word == _W_RECORD:
        return _ENTERS + _INNER
    if word == _W_URI:
        if place == _SUBJECT:
            return _F_URI
        if place == _ROOT:
            return _F_ROOT
        if place == _EMBEDDED:
            return _F_EMBEDDED
        return _F_INNER if place == _INNER else _NOTHING
    if word == _W_TYPE:
        return _F_EMBED if place == _EMBED else _F_MEDIA if place == _MEDIA else _NOTHING
    return _NOTHING


@inline
def _head(data: U8, p: int, end: int) -> tuple[int, int, int]:
    """(behind it, major type, its number) of the item at p, spelled as short as it can be; -1 otherwise."""
    if p >= end:
        return -1, 0, 0
    major, low = i64(data[p]) >> 5, i64(data[p]) & 31
    p += 1
    if low < 24:
        return p, major, low
    if low > 27:
        return -1, 0, 0
    width = 1 << (low - 24)
    if p + width > end:
        return -1, 0, 0
    if major == 7:
        return (p, major, 27) if width == 8 else (-1, 0, 0)
    number = i64(data[p])
    if number > 127 and width == 8:
        return -1, 0, 0  # does not fit into 63 bits: for others to read
    for i in range(1, width):
        number = number << 8 | i64(data[p + i])
    if number < 24 or (width > 1 and number >> (4 * width) == 0):
        return -1, 0, 0
    return p + width, major, number


@inline
def _text_ok(data: U8, p: int, end: int) -> bool:
    """UTF-8."""
    while p < end:
        a = data[p]
        if a < 0x80:
            p += 1
            continue
        size = 2 if 0xC2 <= a <= 0xDF else 3 if 0xE0 <= a <= 0xEF else 4 if 0xF0 <= a <= 0xF4 else 0
        if size == 0 or p + size > end:
            return False
        for i in range(1, size):
            if data[p + i] & 0xC0 != 0x80:
                return False
        b = data[p + 1]
        if (a == 0xE0 and b < 0xA0) or (a == 0xED and b > 0x9F) or (a == 0xF0 and b < 0x90) or (a == 0xF4 and b > 0x8F):
            return False
        p += size
    return True


@inline
def _after(data: U8, a: int, a_end: int, b: int, b_end: int) -> bool:
    """Whether key b stands behind key a: the shorter first, then by bytes."""
    if a_end - a != b_end - b:
        return a_end - a < b_end - b
    for i in range(a_end - a):
        if data[a + i] != data[b + i]:
            return bool(data[a + i] < data[b + i])
    return False


@inline
def _leaf(data: U8, p: int, end: int, major: int, number: int) -> int:
    """Behind the rest of an item that holds no others, or -1."""
    if major < 2:
        return p
    if major == 2:
        return p + number if number <= end - p else -1
    if major == 3:
        return p + number if number <= end - p and _text_ok(data, p, p + number) else -1
    if major == 6:  # a link: bytes that begin with zero
        if number != 42:
            return -1
        p, inner, size = _head(data, p, end)
        if p < 0 or inner != 2 or size < 2 or size > end - p or data[p] != 0:
            return -1
        return p + size
    if number == 20 or number == 21 or number == 22:
        return p
    if number != 27 or p + 8 > end:
        return -1
    return -1 if data[p] & 0x7F == 0x7F and data[p + 1] & 0xF0 == 0xF0 else p + 8  # not a number, or endless


@inline
def _walk(data: U8, p: int, end: int, place: int, stack: I64, f: I64) -> bool:
    """All of the record at p; notes what is wanted of it in f. False if anything about it is unusual."""
    p, major, number = _head(data, p, end)
    if p < 0 or major != 5:
        return False
    depth = 0
    stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = number, place, 0, 0
    while depth >= 0:
        if stack[depth, 0] == 0:
            depth -= 1
            continue
        stack[depth, 0] -= 1
        place = stack[depth, 1]
        field = _NOTHING
        if place >= 0:  # in a map: a key comes first
            p, major, size = _head(data, p, end)
            if p < 0 or major != 3 or size > end - p:
                return False
            if stack[depth, 3] and not _after(data, stack[depth, 2], stack[depth, 3], p, p + size):
                return False
            stack[depth, 2], stack[depth, 3] = p, p + size
            if not _text_ok(data, p, p + size):
                return False
            if place != _ANY:
                if size and data[p] == 0:
                    return False  # as a word it would look like a shorter key
                word = 0
                for i in range(min(size, 8)):
                    word = word << 8 | i64(data[p + i])
                field = _field(place, word)
                if field == _F_CREATED and (size != 9 or data[p + 8] != 0x74):
                    field = _NOTHING
            p += size
        elif place == -_LANGS and f[2 * _F_LANG + 1] == 0:
            field = _F_LANG
        in_langs = place == -_LANGS
        if field == _REFUSED:
            return False
        p, major, number = _head(data, p, end)
        if p < 0:
            return False
        if 0 <= field < _ENTERS or in_langs:
            if major != 3 or number > end - p:
                return False
            if field >= 0:
                f[2 * field], f[2 * field + 1] = p, p + number
        if major == 4 or major == 5:
            inner = _ANY
            if field >= _ENTERS:
                inner = field - _ENTERS
                if (inner == _LANGS) != (major == 4):
                    return False
                f[_HAS_REPLY] |= inner == _REPLY
                f[_HAS_EMBED] |= inner == _EMBED
            depth += 1
            if depth == MAX_DEPTH or number > end - p:
                return False
            stack[depth, 0], stack[depth, 2], stack[depth, 3] = number, 0, 0
            stack[depth, 1] = inner if major == 5 else -_LANGS if inner == _LANGS else -99
            continue
        if field >= _ENTERS:
            return False
        p = _leaf(data, p, end, major, number)
        if p < 0:
            return False
    return bool(p == end)


@inline
def _two(data: U8, p: int) -> int:
    a, b = i64(data[p]) - 48, i64(data[p + 1]) - 48
    return a * 10 + b if 0 <= a <= 9 and 0 <= b <= 9 else -1


@inline
def _moment(data: U8, p: int, end: int) -> int:
    """A time with three or six places as microseconds, or -1 for any other form."""
    places = end - p - 21
    if (places != 3 and places != 6) or data[end - 1] != 0x5A or data[p + 10] != 0x54 or data[p + 19] != 0x2E:
        return -1
    if data[p + 4] != 0x2D or data[p + 7] != 0x2D or data[p + 13] != 0x3A or data[p + 16] != 0x3A:
        return -1
    century, year, month, day = _two(data, p), _two(data, p + 2), _two(data, p + 5), _two(data, p + 8)
    hour, minute, second = _two(data, p + 11), _two(data, p + 14), _two(data, p + 17)
    if century < 19 or min(year, month, day) < 0 or min(hour, minute, second) < 0:
        return -1
    if month < 1 or month > 12 or day < 1 or day > 31 or hour > 23 or minute > 59 or second > 59:
        return -1
    year += century * 100
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    short = month == 4 or month == 6 or month == 9 or month == 11
    if (day > 30 and short) or (month == 2 and day > (29 if leap else 28)):
        return -1
    fraction = 0
    for i in range(p + 20, p + 20 + places):
        digit = i64(data[i]) - 48
        if digit < 0 or digit > 9:
            return -1
        fraction = fraction * 10 + digit
    if places == 3:
        fraction *= 1000
    y, m = (year - 1, month + 9) if month < 3 else (year, month - 3)
    days = 365 * y + y // 4 - y // 100 + y // 400 + (153 * m + 2) // 5 + day - 719_469
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + fraction


@inline
def _embed_flag(data: U8, p: int, end: int) -> int:
    if _is(data, p, end, _IMAGES):
        return IMAGE
    if _is(data, p, end, _VIDEO):
        return VIDEO
    return LINK if _is(data, p, end, _EXTERNAL) else 0


@inline
def _read_embed(data: U8, f: I64, numbers: I64, words: U64, row: int) -> bool:
    """Flags of a post's embed; the post it quotes replaces the one it replies to."""
    start, end = f[2 * _F_EMBED], f[2 * _F_EMBED + 1]
    numbers[FLAGS, row] |= _embed_flag(data, start, end)
    which = -1
    if _is(data, start, end, _QUOTED):
        which = _F_EMBEDDED
    elif _is(data, start, end, _QUOTED_WITH_MEDIA):
        which = _F_INNER
        numbers[FLAGS, row] |= _embed_flag(data, f[2 * _F_MEDIA], f[2 * _F_MEDIA + 1])
    if which < 0:
        return True
    high, low = words[SUBJECT_HIGH, row], words[SUBJECT_LOW, row]
    key = _post_uri(data, f[2 * which], f[2 * which + 1], words, row)
    if key < 0:
        words[SUBJECT_HIGH, row], words[SUBJECT_LOW, row] = high, low
        return False  # a feed, a list, or an unusual name
    numbers[SUBJECT_KEY, row] = key
    numbers[FLAGS, row] |= QUOTE
    return True


@inline
def _read_post(data: U8, f: I64, numbers: I64, words: U64, row: int) -> bool:
    numbers[FLAGS, row], numbers[SUBJECT_KEY, row] = KNOWN, -1
    if f[_HAS_REPLY]:
        key = _post_uri(data, f[2 * _F_ROOT], f[2 * _F_ROOT + 1], words, row)
        if key < 0:
            return False
        numbers[FLAGS, row] |= REPLY
        numbers[SUBJECT_KEY, row] = key
    if f[_HAS_EMBED] and not _read_embed(data, f, numbers, words, row):
        return False
    start, end = f[2 * _F_LANG], f[2 * _F_LANG + 1]
    if end - start > 7:
        return False
    for i in range(start, end):
        if data[i] > 0x7E or data[i] < 0x21:
            return False
        numbers[LANGUAGE, row] = numbers[LANGUAGE, row] << 8 | i64(data[i])
    witnessed = numbers[WITNESSED, row]
    if f[2 * _F_CREATED + 1]:
        claimed = _moment(data, f[2 * _F_CREATED], f[2 * _F_CREATED + 1])
        if claimed < 0:
            return False
        if claimed < witnessed - LATE_US:
            numbers[FLAGS, row] |= LATE
    if numbers[KEY, row] < (witnessed // 1_000_000 * 1_000_000 - LATE_US) << 10:
        numbers[FLAGS, row] |= LATE
    return True


@inline
def _record(data: U8, p: int, end: int, kind: int, stack: I64, f: I64, numbers: I64, words: U64, row: int) -> bool:
    if end - p > MAX_PLAIN_BYTES:
        return False
    f[:] = 0
    place = _POSTED if kind == POST else _FOLLOWED if kind == FOLLOW else _RATING
    if not _walk(data, p, end, place, stack, f):
        return False
    if kind == POST:
        return _read_post(data, f, numbers, words, row)
    if kind == FOLLOW:
        return _did(data, f[2 * _F_DID], f[2 * _F_DID + 1], words, SUBJECT_HIGH, row)
    numbers[SUBJECT_KEY, row] = _post_uri(data, f[2 * _F_URI], f[2 * _F_URI + 1], words, row)
    return bool(numbers[SUBJECT_KEY, row] >= 0)


@inline
def _collection(data: U8, p: int, end: int) -> int:
    if _is(data, p, end, _LIKE):
        return 0
    if _is(data, p, end, _POST):
        return POST
    if _is(data, p, end, _REPOST):
        return 1
    if _is(data, p, end, _FOLLOW):
        return FOLLOW
    return RARE if _is(data, p, end, _PROFILE) or _is(data, p, end, _VISIBILITY) else UNWANTED


@njit
def _read(data: U8, seq: I64, witnessed: I64, kind: U8, starts: I64, since_us: int, numbers: I64, words: U64) -> None:
    stack, f = np.zeros((MAX_DEPTH, 4), np.int64), np.zeros(_FOUND, np.int64)
    for row in range(seq.size):
        numbers[SEQ, row], numbers[WITNESSED, row] = seq[row], witnessed[row]
        numbers[TIME, row], numbers[KIND, row] = witnessed[row], RARE
        if kind[row] == IDENTITY:
            numbers[KIND, row] = UNWANTED
            continue
        if kind[row] < CREATED or kind[row] > DELETED:
            continue
        what = _collection(data, starts[COLLECTION_AT, row], starts[COLLECTION_AT, row + 1])
        if what >= RARE:
            numbers[KIND, row] = what
            continue
        at = starts[RKEY_AT, row]
        if starts[RKEY_AT, row + 1] - at != 13 or not 0 <= seq[row] < MAX_SEQ:
            continue
        if not MIN_TIME_US <= witnessed[row] < MAX_TIME_US:
            continue
        key = _tid(data, at)
        if key < 0 or not _did(data, starts[DID_AT, row], starts[DID_AT, row + 1], words, HIGH, row):
            continue
        numbers[KEY, row] = key
        if kind[row] == DELETED:
            numbers[KIND, row] = DELETE + what
            continue
        if kind[row] == UPDATED:
            continue
        if key >> 10 < witnessed[row] - OLD_US:
            numbers[TIME, row] = max(key >> 10, MIN_TIME_US)
            if numbers[TIME, row] < since_us and what != FOLLOW:
                numbers[KIND, row] = TOO_OLD
                continue
        if _record(data, starts[PAYLOAD_AT, row], starts[PAYLOAD_AT, row + 1], what, stack, f, numbers, words, row):
            numbers[KIND, row] = what
