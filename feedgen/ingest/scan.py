"""The common messages, many at once, in compiled code: creates of likes, reposts, posts and follows, and deletions.

Anything unusual (spaces, an odd key, a handle, an update, a rare or malformed message) is left to `events.decode`,
which alone decides what an event is. A message that is read here gives exactly what `decode` gives:
tests/ingest/test_scan.py compares the two on every frame that the fuzzer can think of.

One loop walks through a message. It knows in which object it is (its place) and by place and key what the next value
must be; all other values are only checked to be JSON.
"""

# ruff: noqa: SIM109, SIM110 - what is compiled is faster the long way

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from feedgen.core import languages
from feedgen.core.ids import FOLLOW_NSID, LIKE, LIKE_NSID, POST_NSID, REPOST, REPOST_NSID, US_PER_S
from feedgen.core.jit import i64, inline, njit
from feedgen.ingest.events import IMAGE, KNOWN, LATE, LATE_US, LINK, MAX_SEQ, MAX_TIME_US, MIN_TIME_US, REPLY, VIDEO

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

# What a message is; likes and reposts are ids.LIKE and ids.REPOST.
POST: Final = 2
FOLLOW: Final = 3
DELETE: Final = 4  # + one of the four above
UNREAD: Final = 255

DID_LENGTH: Final = 32
RKEY_LENGTH: Final = 13
URI_LENGTH: Final = 70
MAX_DEPTH: Final = 40
MAX_DIGITS: Final = 18
_PADDING: Final = 128  # what may be looked at behind the last message

# Columns of `Scanned.fields`.
KIND: Final = 0
TIME: Final = 1
SEQ: Final = 2
DID_AT: Final = 3  # where the DID begins in the text
RKEY_AT: Final = 4
KEY: Final = 5  # the record key's value as a TID
SUBJECT_AT: Final = 6  # at-uri or DID; of a post: what it replies to, 0 if nothing
FLAGS: Final = 7
LANGUAGE: Final = 8  # the first language's letters in base 256, 0 if there are none
COLUMNS: Final = 9
# What is needed only while a message is read.
_SEEN: Final = 9  # which fields came, as bits
_CREATES: Final = 10
_CLAIMED: Final = 11
_WITNESSED: Final = 12
_FIELDS: Final = 13

# Places: objects in a message.
_TOP, _PAYLOAD_OBJECT, _COMMIT_OBJECT, _RATING_RECORD, _FOLLOW_RECORD, _POST_RECORD = 0, 1, 2, 3, 4, 5
_REF, _REPLY_OBJECT, _EMBED_OBJECT, _ANY_OBJECT, _ANY_ARRAY = 6, 7, 8, 9, 10

# Fields: what stands under a key in a place.
_ANY, _FORBIDDEN = 0, 1
_PAYLOAD, _COMMIT, _TYPE, _KIND, _DID, _TIME_US, _CURSOR = 2, 3, 4, 5, 6, 7, 8
_COLLECTION, _OPERATION, _RECORD, _RKEY, _SEQ, _TIME, _WITNESSED_AT, _ANY_TYPE = 9, 10, 11, 12, 13, 14, 15, 16
_SUBJECT, _DATE, _SUBJECT_DID, _CREATED, _LANGS, _REPLY, _EMBED = 17, 18, 19, 20, 21, 22, 23
_URI, _ROOT, _EMBED_TYPE, _INNER_DID = 24, 25, 26, 27


def _bytes(text: str) -> U8:
    return np.frombuffer(text.encode(), np.uint8)


def _table(letters: str) -> U8:
    """The value of each digit; 255 for all other bytes."""
    table = np.full(256, 255, np.uint8)
    table[_bytes(letters)] = np.arange(len(letters))
    return table


def _word(text: str) -> int:
    """The first eight letters of a key, as the scanner sees them."""
    return int.from_bytes(text.encode()[:8], "big")


_QUOTE, _COLON, _COMMA, _BACKSLASH = 0x22, 0x3A, 0x2C, 0x5C
_BRACE, _END_BRACE, _BRACKET, _END_BRACKET = 0x7B, 0x7D, 0x5B, 0x5D
_MINUS, _DOT, _ZERO, _NINE = 0x2D, 0x2E, 0x30, 0x39

# Classes of bytes within a string.
_PLAIN, _ENDS, _ESCAPES, _HIGH, _CONTROL = 0, 1, 2, 3, 4
_CLASS = np.zeros(256, np.uint8)
_CLASS[:0x20], _CLASS[0x80:], _CLASS[_QUOTE], _CLASS[_BACKSLASH] = _CONTROL, _HIGH, _ENDS, _ESCAPES
_SIMPLE_ESCAPE = np.zeros(256, np.bool_)
_SIMPLE_ESCAPE[_bytes('"\\/bfnrt')] = True
_BASE32, _TID_DIGIT = _table("abcdefghijklmnopqrstuvwxyz234567"), _table("234567abcdefghijklmnopqrstuvwxyz")
_HEX = np.minimum(_table("0123456789abcdef"), _table("0123456789ABCDEF"))

_DID_STARTS, _URI_STARTS, _URI_MIDDLE = _bytes('"did:plc:'), _bytes('"at://did:plc:'), _bytes(f"/{POST_NSID}/")
_LIKE_WORD, _REPOST_WORD = _bytes(f'"{LIKE_NSID}"'), _bytes(f'"{REPOST_NSID}"')
_POST_WORD, _FOLLOW_WORD = _bytes(f'"{POST_NSID}"'), _bytes(f'"{FOLLOW_NSID}"')
_CREATE_WORD, _DELETE_WORD = _bytes('"create"'), _bytes('"delete"')
_COMMIT_WORD, _MESSAGE_WORD = _bytes('"commit"'), _bytes('"message"')
_IMAGES_WORD, _VIDEO_WORD = _bytes('"app.bsky.embed.images"'), _bytes('"app.bsky.embed.video"')
_EXTERNAL_WORD = _bytes('"app.bsky.embed.external"')
_TRUE, _FALSE, _NULL = _bytes("true"), _bytes("false"), _bytes("null")

_W_TYPE, _W_PAYLOAD, _W_DID, _W_TIME_US = _word("$type"), _word("payload"), _word("did"), _word("time_us")
_W_KIND, _W_COMMIT, _W_CURSOR, _W_SEQ = _word("kind"), _word("commit"), _word("cursor"), _word("seq")
_W_TIME, _W_WITNESSED, _W_OPERATION = _word("time"), _word("witnessedAt"), _word("operation")
_W_COLLECTION, _W_RKEY, _W_RECORD = _word("collection"), _word("rkey"), _word("record")
_W_IDENTITY, _W_ACCOUNT, _W_ERROR = _word("identity"), _word("account"), _word("error")
_W_MESSAGE, _W_NAME, _W_CREATED, _W_SUBJECT = _word("message"), _word("name"), _word("createdAt"), _word("subject")
_W_EMBED, _W_HIDE, _W_LABELS, _W_LANGS = _word("embed"), _word("hideFrom"), _word("labels"), _word("langs")
_R_COLLECTION, _R_OPERATION = _word("on"), _word("n")  # what is left of longer ones
_R_WITNESSED, _R_CREATED = _word("dAt"), _word("t")
_W_REPLY, _W_URI, _W_ROOT, _W_MEDIA = _word("reply"), _word("uri"), _word("root"), _word("media")


@inline
def _is(text: U8, p: int, word: U8) -> bool:
    for i in range(word.size):
        if text[p + i] != word[i]:
            return False
    return True


@inline
def _utf8(text: U8, p: int) -> int:
    """Behind the character of several bytes that begins at p, or -1."""
    a, b = text[p], text[p + 1]
    if b & 0xC0 != 0x80:
        return -1
    if 0xC2 <= a <= 0xDF:
        return p + 2
    if text[p + 2] & 0xC0 != 0x80:
        return -1
    if 0xE0 <= a <= 0xEF:
        return -1 if (a == 0xE0 and b < 0xA0) or (a == 0xED and b > 0x9F) else p + 3
    if not 0xF0 <= a <= 0xF4 or text[p + 3] & 0xC0 != 0x80:
        return -1
    return -1 if (a == 0xF0 and b < 0x90) or (a == 0xF4 and b > 0x8F) else p + 4


@inline
def _escape(text: U8, p: int) -> int:
    """Behind the escape at p, or -1. Surrogates are left to `decode`."""
    if _SIMPLE_ESCAPE[text[p + 1]]:
        return p + 2
    if text[p + 1] != 0x75:  # u
        return -1
    value = 0
    for i in range(2, 6):
        digit = i64(_HEX[text[p + i]])
        if digit > 15:
            return -1
        value = value << 4 | digit
    return -1 if 0xD800 <= value <= 0xDFFF else p + 6


@inline
def _string(text: U8, p: int) -> int:
    """Behind the string at p, or -1."""
    if text[p] != _QUOTE:
        return -1
    p += 1
    while True:
        while _CLASS[text[p]] == _PLAIN:
            p += 1
        found = _CLASS[text[p]]
        if found == _ENDS:
            return p + 1
        if found == _HIGH:
            p = _utf8(text, p)
        elif found == _ESCAPES:
            p = _escape(text, p)
        else:
            return -1
        if p < 0:
            return -1


@inline
def _key(text: U8, p: int) -> tuple[int, int, int]:
    """(where its value begins, the key's first eight letters, the next seven); -1 for what has no plain key at p."""
    if text[p] != _QUOTE:
        return -1, 0, 0
    p += 1
    start, word, rest = p, 0, 0
    while _CLASS[text[p]] == _PLAIN:
        if p - start < 8:
            word = word << 8 | i64(text[p])
        elif p - start < 15:
            rest = rest << 8 | i64(text[p])
        p += 1
    if text[p] != _QUOTE or text[p + 1] != _COLON:
        return -1, 0, 0
    return p + 2, word, rest if p - start < 16 else -1


@inline
def _number(text: U8, p: int) -> int:
    """Behind the number at p, or -1: a plain one, not too long."""
    if text[p] == _MINUS:
        p += 1
    start = p
    while _ZERO <= text[p] <= _NINE:
        p += 1
    if p == start or p - start > MAX_DIGITS or (text[start] == _ZERO and p > start + 1):
        return -1
    if text[p] == _DOT:
        p += 1
        start = p
        while _ZERO <= text[p] <= _NINE:
            p += 1
        if p == start or p - start > MAX_DIGITS:
            return -1
    return p


@inline
def _scalar(text: U8, p: int) -> int:
    """Behind a string, number or word."""
    first = text[p]
    if first == _QUOTE:
        return _string(text, p)
    if first == 0x74:
        return p + 4 if _is(text, p, _TRUE) else -1
    if first == 0x66:
        return p + 5 if _is(text, p, _FALSE) else -1
    if first == 0x6E:
        return p + 4 if _is(text, p, _NULL) else -1
    return _number(text, p)


@inline
def _integer(text: U8, p: int) -> tuple[int, int]:
    """(behind it, its value), or -1: zero or more, and not too long."""
    start, value = p, 0
    while _ZERO <= text[p] <= _NINE:
        value = value * 10 + (i64(text[p]) - _ZERO)
        p += 1
        if p - start > MAX_DIGITS:
            return -1, 0
    if p == start or (text[start] == _ZERO and p > start + 1) or text[p] == _DOT or text[p] | 0x20 == 0x65:
        return -1, 0
    return p, value


@inline
def _digits(text: U8, p: int, count: int) -> int:
    """So many digits as a number, or -1."""
    value = 0
    for i in range(count):
        digit = i64(text[p + i]) - _ZERO
        if not 0 <= digit <= 9:
            return -1
        value = value * 10 + digit
    return value


@inline
def _time(text: U8, p: int) -> tuple[int, int, int]:
    """(behind the string, us since 1970, digits of the fraction); -1 for all but `"2026-11-20T12:34:56.789Z"`."""
    year, month, day = _digits(text, p + 1, 4), _digits(text, p + 6, 2), _digits(text, p + 9, 2)
    hour, minute, second = _digits(text, p + 12, 2), _digits(text, p + 15, 2), _digits(text, p + 18, 2)
    if text[p] != _QUOTE or text[p + 5] != _MINUS or text[p + 8] != _MINUS or text[p + 11] != 0x54:
        return -1, 0, 0
    if text[p + 14] != _COLON or text[p + 17] != _COLON or text[p + 20] != _DOT or min(year, month, day) < 1:
        return -1, 0, 0
    if min(hour, minute, second) < 0 or month > 12 or hour > 23 or minute > 59 or second > 59 or day > 31:
        return -1, 0, 0
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    short = month == 4 or month == 6 or month == 9 or month == 11
    if (day > 30 and short) or (month == 2 and day > (29 if leap else 28)):
        return -1, 0, 0
    p += 21
    fraction, places = 0, 0
    while _ZERO <= text[p] <= _NINE and places < 7:
        fraction = fraction * 10 + (i64(text[p]) - _ZERO)
        p, places = p + 1, places + 1
    if not 1 <= places <= 6 or text[p] != 0x5A or text[p + 1] != _QUOTE:
        return -1, 0, 0
    for _ in range(places, 6):
        fraction *= 10
    # Days since 1970, counting years from March, so that the day in February that some have comes last.
    y, m = (year - 1, month + 9) if month < 3 else (year, month - 3)
    days = 365 * y + y // 4 - y // 100 + y // 400 + (153 * m + 2) // 5 + day - 719_469
    return p + 2, (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + fraction, places


@inline
def _plc(text: U8, p: int) -> int:
    """Behind the 24 letters of a did:plc and a quote or slash, or -1."""
    bad = np.uint8(0)
    for i in range(24):
        bad |= _BASE32[text[p + i]]
    return -1 if bad > 31 else p + 24


@inline
def _did(text: U8, p: int) -> int:
    if not _is(text, p, _DID_STARTS):
        return -1
    p = _plc(text, p + 9)
    return p + 1 if p > 0 and text[p] == _QUOTE else -1


@inline
def _tid(text: U8, p: int) -> tuple[int, int]:
    """(behind the 13 letters and a quote, the value), or -1."""
    value, bad = i64(_TID_DIGIT[text[p]]), np.uint8(0)
    if value > 15:
        return -1, 0
    for i in range(1, RKEY_LENGTH):
        digit = _TID_DIGIT[text[p + i]]
        bad |= digit
        value = value << 5 | i64(digit)
    if bad > 31 or text[p + RKEY_LENGTH] != _QUOTE:
        return -1, 0
    return p + RKEY_LENGTH + 1, value


@inline
def _post_uri(text: U8, p: int) -> int:
    """Behind the usual at-uri of a post, or -1."""
    if not _is(text, p, _URI_STARTS):
        return -1
    p = _plc(text, p + 14)
    if p < 0 or not _is(text, p, _URI_MIDDLE):
        return -1
    p, _ = _tid(text, p + _URI_MIDDLE.size)
    return p


@inline
def _field(place: int, word: int, rest: int) -> int:
    """The field that a key means in a place."""
    if place == _PAYLOAD_OBJECT or place == _COMMIT_OBJECT:
        if word == _W_COLLECTION and rest == _R_COLLECTION:
            return _COLLECTION
        if word == _W_OPERATION and rest == _R_OPERATION:
            return _OPERATION
        if word == _W_RECORD:
            return _RECORD
        if word == _W_RKEY:
            return _RKEY
        if place == _COMMIT_OBJECT:
            return _ANY
        if word == _W_DID:
            return _INNER_DID
        if word == _W_SEQ:
            return _SEQ
        if word == _W_TIME:
            return _TIME
        if word == _W_WITNESSED and rest == _R_WITNESSED:
            return _WITNESSED_AT
        if word == _W_TYPE:
            return _ANY_TYPE
        rare = word == _W_ACCOUNT or word == _W_IDENTITY or word == _W_MESSAGE or word == _W_NAME
        return _FORBIDDEN if rare else _ANY
    if place == _RATING_RECORD or place == _FOLLOW_RECORD or place == _POST_RECORD:
        posts = place == _POST_RECORD
        if word == _W_CREATED and rest == _R_CREATED:
            return _CREATED if posts else _DATE
        if word == _W_SUBJECT:
            return _FORBIDDEN if posts else _SUBJECT if place == _RATING_RECORD else _SUBJECT_DID
        if word == _W_LANGS:
            return _LANGS if posts else _FORBIDDEN
        if word == _W_REPLY:
            return _REPLY if posts else _FORBIDDEN
        if word == _W_EMBED:
            return _EMBED if posts else _FORBIDDEN
        return _FORBIDDEN if word == _W_LABELS or word == _W_HIDE else _ANY
    if place == _REF:
        return _URI if word == _W_URI else _ANY
    if place == _REPLY_OBJECT:
        return _ROOT if word == _W_ROOT else _ANY
    if place == _EMBED_OBJECT:
        if word == _W_TYPE:
            return _EMBED_TYPE
        return _FORBIDDEN if word == _W_RECORD or word == _W_MEDIA else _ANY
    if place == _TOP:
        if word == _W_PAYLOAD:
            return _PAYLOAD
        if word == _W_COMMIT:
            return _COMMIT
        if word == _W_TYPE:
            return _TYPE
        if word == _W_KIND:
            return _KIND
        if word == _W_DID:
            return _DID
        if word == _W_TIME_US:
            return _TIME_US
        if word == _W_CURSOR:
            return _CURSOR
        rare = word == _W_IDENTITY or word == _W_ACCOUNT or word == _W_ERROR or word == _W_MESSAGE
        return _FORBIDDEN if rare else _ANY
    return _ANY


@inline
def _opens(field: int, kind: int) -> int:
    """The place that is the object under a field, or -1."""
    if field == _PAYLOAD:
        return _PAYLOAD_OBJECT
    if field == _COMMIT:
        return _COMMIT_OBJECT
    if field == _RECORD:
        return _POST_RECORD if kind == POST else _FOLLOW_RECORD if kind == FOLLOW else _RATING_RECORD
    if field == _SUBJECT or field == _ROOT:
        return _REF
    if field == _REPLY:
        return _REPLY_OBJECT
    return _EMBED_OBJECT if field == _EMBED else -1


@inline
def _collection(text: U8, p: int) -> int:
    if _is(text, p, _LIKE_WORD):
        return LIKE
    if _is(text, p, _POST_WORD):
        return POST
    if _is(text, p, _REPOST_WORD):
        return REPOST
    return FOLLOW if _is(text, p, _FOLLOW_WORD) else UNREAD


@inline
def _embed_flag(text: U8, p: int) -> int:
    if _is(text, p, _IMAGES_WORD):
        return IMAGE
    if _is(text, p, _VIDEO_WORD):
        return VIDEO
    return LINK if _is(text, p, _EXTERNAL_WORD) else 0


@inline
def _langs(text: U8, p: int, f: I64) -> int:
    """Behind a list of strings; the letters of the first go to LANGUAGE."""
    if text[p] != _BRACKET:
        return -1
    p += 1
    if text[p] == _END_BRACKET:
        return p + 1
    start = p + 1
    p = _string(text, p)
    if p < 0 or p - 1 - start > 7:
        return -1
    for i in range(start, p - 1):
        if _CLASS[text[i]] != _PLAIN:
            return -1
        f[LANGUAGE] = f[LANGUAGE] << 8 | i64(text[i])
    while p > 0 and text[p] == _COMMA:
        p = _string(text, p + 1)
    return p + 1 if p > 0 and text[p] == _END_BRACKET else -1


@inline
def _value(text: U8, p: int, field: int, f: I64) -> int:
    """Behind the value of a field that is no object, or -1."""
    if field == _DATE or field == _ANY_TYPE:
        return _string(text, p)
    if field == _URI:
        f[SUBJECT_AT] = p + 1
        return _post_uri(text, p)
    if field == _DID or field == _INNER_DID:
        f[DID_AT] = p + 1
        return _did(text, p)
    if field == _SUBJECT_DID:
        f[SUBJECT_AT] = p + 1
        return _did(text, p)
    if field == _RKEY:
        f[RKEY_AT] = p + 1
        if text[p] != _QUOTE:
            return -1
        p, f[KEY] = _tid(text, p + 1)
        return p
    if field == _TIME_US:
        p, f[TIME] = _integer(text, p)
        return p
    if field == _SEQ or field == _CURSOR:
        p, f[SEQ] = _integer(text, p)
        return p
    if field == _TIME or field == _WITNESSED_AT or field == _CREATED:
        p, us, places = _time(text, p)
        if field == _CREATED and places != 3 and places != 6:
            return -1
        f[TIME if field == _TIME else _CLAIMED if field == _CREATED else _WITNESSED] = us
        return p
    if field == _COLLECTION:
        f[KIND] = _collection(text, p)
        return _string(text, p) if f[KIND] != UNREAD else -1
    if field == _OPERATION:
        f[_CREATES] = _is(text, p, _CREATE_WORD)
        return p + 8 if f[_CREATES] or _is(text, p, _DELETE_WORD) else -1
    if field == _EMBED_TYPE:
        flag = _embed_flag(text, p)
        f[FLAGS] |= flag
        return _string(text, p) if flag else -1
    if field == _LANGS:
        return _langs(text, p, f)
    if field == _KIND:
        return p + 8 if _is(text, p, _COMMIT_WORD) else -1
    if field == _TYPE:
        return p + 9 if _is(text, p, _MESSAGE_WORD) else -1
    return _scalar(text, p)


@inline
def _message(text: U8, p: int, places: I64, f: I64) -> int:
    """Behind the message at p, or -1."""
    if text[p] != _BRACE or text[p + 1] == _END_BRACE:
        return -1
    depth, field, p = 0, _ANY, p + 1
    places[0] = _TOP
    while True:
        if places[depth] != _ANY_ARRAY:
            p, word, rest = _key(text, p)
            if p < 0:
                return -1
            field = _field(places[depth], word, rest)
            if field > _ANY:
                if (
                    field == _FORBIDDEN
                    or f[_SEEN] >> field & 1
                    or (field == _RECORD and not f[_SEEN] >> _COLLECTION & 1)
                ):
                    return -1
                f[_SEEN] |= 1 << field
        opened = _opens(field, f[KIND])
        if opened < 0 and field == _ANY:
            opened = _ANY_OBJECT if text[p] == _BRACE else _ANY_ARRAY if text[p] == _BRACKET else -1
            if opened > 0 and text[p + 1] == text[p] + 2:  # nothing in it
                opened, p = -1, p + 2
            elif opened < 0:
                p = _scalar(text, p)
        elif opened < 0:
            p = _value(text, p, field, f)
        elif text[p] != _BRACE or text[p + 1] == _END_BRACE:
            return -1
        if opened > 0:
            depth += 1
            if depth == MAX_DEPTH:
                return -1
            places[depth], field, p = opened, _ANY, p + 1
            continue
        while p > 0 and text[p] == (_END_BRACKET if places[depth] == _ANY_ARRAY else _END_BRACE):
            depth, p = depth - 1, p + 1
            if depth < 0:
                return p
        if p < 0 or text[p] != _COMMA:
            return -1
        field, p = _ANY, p + 1


@inline
def _has(seen: int, field: int) -> bool:
    return seen >> field & 1 != 0


@inline
def _finish(f: I64) -> bool:
    """Checks that need the whole message."""
    seen, kind = f[_SEEN], f[KIND]
    if not (_has(seen, _RKEY) and _has(seen, _COLLECTION) and _has(seen, _OPERATION)):
        return False
    if _has(seen, _PAYLOAD):  # of one wire only: a message that has something of both is for others to understand
        v1 = 1 << _COMMIT | 1 << _KIND | 1 << _DID | 1 << _TIME_US | 1 << _CURSOR
        if seen & v1 or not _has(seen, _INNER_DID):
            return False
        if _has(seen, _WITNESSED_AT):
            f[TIME] = f[_WITNESSED]
        elif not _has(seen, _TIME):
            return False
    elif not (_has(seen, _COMMIT) and _has(seen, _DID) and _has(seen, _TIME_US)):
        return False
    if not MIN_TIME_US <= f[TIME] < MAX_TIME_US or f[SEQ] >= MAX_SEQ or _has(seen, _RECORD) != (f[_CREATES] == 1):
        return False
    if not f[_CREATES]:
        f[KIND] += DELETE
        return True
    if kind == FOLLOW:
        return _has(seen, _SUBJECT_DID)
    if kind != POST:
        return _has(seen, _SUBJECT) and _has(seen, _URI)
    f[FLAGS] |= KNOWN
    if _has(seen, _REPLY):
        f[FLAGS] |= REPLY
    late_us = f[TIME] // US_PER_S * US_PER_S - LATE_US
    if (_has(seen, _CREATED) and f[_CLAIMED] < f[TIME] - LATE_US) or f[KEY] < late_us << 10:
        f[FLAGS] |= LATE
    return _has(seen, _REPLY) == _has(seen, _URI) and _has(seen, _EMBED) == _has(seen, _EMBED_TYPE)


@njit
def scan_text(text: U8, starts: I64, fields: I64) -> None:
    """Messages that begin at `starts` and are followed by a line end each."""
    f, places = np.zeros(_FIELDS, np.int64), np.zeros(MAX_DEPTH, np.int64)
    for i in range(starts.size - 1):
        f[:] = 0
        if _message(text, starts[i], places, f) == starts[i + 1] - 1 and _finish(f):
            fields[:, i] = f[:COLUMNS]
        else:
            fields[KIND, i] = UNREAD


class Scanned(NamedTuple):
    """One piece of the stream. `text` holds the messages as characters of one byte each; `fields` has a column each."""

    text: str
    fields: I64

    def slices(self, at: I64, length: int) -> list[str]:
        text = self.text
        return [text[start : start + length] for start in at.tolist()]

    def languages(self, which: npt.NDArray[np.intp]) -> list[int]:
        tags, inverse = np.unique(self.fields[LANGUAGE, which], return_inverse=True)
        numbers = [language_of(tag) for tag in tags.tolist()]
        return np.array(numbers, np.int64)[inverse].tolist() if numbers else []


def language_of(tag: int) -> int:
    """Of a tag's letters in base 256."""
    return languages.number(tag.to_bytes(8, "big").lstrip(b"\0").decode("ascii")) if tag else languages.UNKNOWN


def scan(messages: Sequence[bytes]) -> Scanned:
    """`fields[KIND]` is UNREAD for those that `decode` has to look at."""
    joined = b"\n".join((*messages, bytes(_PADDING)))
    starts = np.zeros(len(messages) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, messages), np.int64, len(messages)) + 1, out=starts[1:])
    fields = np.empty((COLUMNS, len(messages)), np.int64)
    scan_text(np.frombuffer(joined, np.uint8), starts, fields)
    return Scanned(joined.decode("latin-1"), fields)
