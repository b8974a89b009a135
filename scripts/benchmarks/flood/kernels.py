"""The compiled loops of the flood: what event number j is, and its frame on either wire.

All arithmetic of identity is on 64-bit integers, so the same plan gives the same bytes everywhere.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedgen.core.jit import inline, njit
from feedgen.simnet import words
from feedgen.simnet.kernels import B32_CHARS, mix, put_cid, put_digits, put_tid, put_time, unit
from scripts.benchmarks.flood.frames import (
    ACCOUNT,
    ADULT,
    BLOCK,
    CIDS,
    DIDS,
    FIELDS,
    FOLLOW,
    IMAGE,
    INTS,
    KNOWN,
    LIKE,
    LINK,
    N_LANGUAGES,
    POST,
    QUOTE,
    REPLY,
    REPOST,
    SAYINGS_EACH,
    SHAPES,
    TIDS,
    TIMES,
    UNFOLLOW,
    UNLIKE,
    UNPOST,
    UNREPOST,
    VIDEO,
    Program,
)  # fmt: skip

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]

DID_WIDTH: Final = 32
TABLE: Final = 1 << 16  # entries in a table of throws
TEXT, BINARY = np.int64(1), np.int64(2)  # of websocket messages
MAX_FRAME: Final = 2_048
USUAL_FRAME: Final = 720
NONE: Final = -(1 << 62)  # instead of a post's number; numbers below zero are posts of the days before
COMMUNITIES: Final = 64
POOLS: Final = 16  # a community cares for one post in so many
OWN_TASTE: Final = 0.8  # share of the likes that follow the community
REV_US: Final = 25_000  # a commit is this much older than its event
RELAY_US: Final = 250_000  # and the relay's event
SEARCH: Final = 48  # events that a deletion looks back through for something of its kind


class Scalars(NamedTuple):
    """A plan as the loops need it."""

    events: int
    posts: int
    people: int
    start_us: int
    gap_us: int
    gap_rest: int
    salt: int
    thresholds: NDArray[np.float64]
    readers: I64
    authors: I64
    ages_us: I64
    step: int
    near: int  # posts among which a community has its favourites, a power of two
    steep: int  # the higher this power, the more likes the favourites get
    wide: int  # posts among which everybody has the same favourites, a power of two


@inline
def time_of(s: Any, j: Any) -> Any:
    """Evenly spread, with a jitter smaller than the gap, so that times are strictly increasing."""
    jitter = np.int64(mix(np.uint64(j), s.salt) % np.uint64(max(s.gap_us, 1)))
    return s.start_us + j * s.gap_us + j * s.gap_rest // s.events + jitter


@njit
def event_time(s: Scalars, j: int) -> Any:
    return time_of(s, j)


@inline
def person_of(table: Any, h: Any, people: Any) -> Any:
    """A throw through a table of shares."""
    cell = np.int64(h & np.uint64(0xFFFF))
    low, high = table[cell], table[cell + 1]
    return min(low + np.int64((h >> np.uint64(16)) % np.uint64(max(high - low, 1))), people - 1)


@inline
def key_of(s: Any, j: Any) -> Any:
    """The TID value of the record that event j makes: the client's clock is up to a second behind."""
    h = mix(np.uint64(j), s.salt + 1)
    lag = 50_000 + np.int64(h & np.uint64(0xFFFFF))
    return (time_of(s, j) - lag) << 10 | np.int64(h >> np.uint64(59))


@inline
def event_of_post(s: Any, k: Any) -> Any:
    return -((-(k + 1) * s.events) // s.posts) - 1


@inline
def posts_before(s: Any, j: Any) -> Any:
    return j * s.posts // s.events


@inline
def is_post(s: Any, j: Any) -> Any:
    return posts_before(s, j + 1) > posts_before(s, j)


@inline
def author_of(s: Any, k: Any) -> Any:
    """Who wrote post k: other people write much than read much."""
    rank = person_of(s.authors, mix(np.uint64(k), s.salt + 3), s.people)
    return (rank * s.step + s.salt) % s.people


@inline
def kind_of(s: Any, j: Any) -> Any:
    if is_post(s, j):
        return POST
    u = unit(mix(np.uint64(j), s.salt + 4))
    kind = LIKE
    while kind < ACCOUNT and u >= s.thresholds[kind]:
        kind += 1
    return kind


@inline
def actor_of(s: Any, j: Any) -> Any:
    return person_of(s.readers, mix(np.uint64(j), s.salt + 5), s.people)


@inline
def post_of(s: Any, j: Any, actor: Any) -> Any:
    """The post that event j likes or shares: one that is some hours old, and a favourite of the actor's community or
    of all."""
    h = mix(np.uint64(j), s.salt + 6)
    age = s.ages_us[h & np.uint64(0xFFFF)]
    gap = np.float64(s.gap_us) + np.float64(s.gap_rest) / np.float64(s.events)
    newest = posts_before(s, j)  # exclusive
    around = posts_before(s, j - np.int64(np.float64(age) / gap))
    u = unit(mix(h, 2))
    if unit(mix(h, 1)) < OWN_TASTE:
        community = actor % COMMUNITIES
        size, pools, pool, salt = s.near, POOLS, community % POOLS, s.salt + (community + 1) * 7919
    else:
        size, pools, pool, salt = s.wide, 1, 0, s.salt
    share = u
    for _ in range(s.steep - 1):
        share *= u
    rank = np.uint64(np.float64(size // pools) * share)
    block = around // size
    while True:
        # An odd multiplier and an offset permute the pool: each block and community has favourites of its own.
        turn = mix(np.uint64(block), salt)
        place = (rank * (turn | np.uint64(1)) + (turn >> np.uint64(32))) & np.uint64(size // pools - 1)
        k = block * size + np.int64(place) * pools + pool
        if k < newest and author_of(s, k) != actor:
            return k
        block -= 1


@inline
def looks_back(s: Any, j: Any, kind: Any) -> Any:
    """An earlier event of this kind, minutes or hours before j; j itself if there is none near."""
    h = mix(np.uint64(j), s.salt + 7)
    # Log-uniform from 2^7 events on: many change their mind at once.
    shift = np.uint64(7) + h % np.uint64(14)
    back = np.int64(np.uint64(1) << shift) + np.int64((h >> np.uint64(8)) & ((np.uint64(1) << shift) - np.uint64(1)))
    for at in range(j - back, j - back - SEARCH, -1):
        if kind_of(s, at) == kind:
            return at
    return j


@inline
def is_reply(s: Any, k: Any) -> Any:
    return mix(np.uint64(k), s.salt + 8) % np.uint64(100) < np.uint64(38)


@inline
def parent_of(s: Any, k: Any) -> Any:
    """A post not long before that is no reply itself."""
    parent = k - 1 - np.int64(mix(np.uint64(k), s.salt + 9) % np.uint64(60_000))
    for _ in range(SEARCH):
        if not is_reply(s, parent):
            break
        parent -= 1
    return parent


@inline
def post_flags(s: Any, k: Any) -> Any:
    h = mix(np.uint64(k), s.salt + 10)
    reply = is_reply(s, k)
    throw = h % np.uint64(100)
    flags = KNOWN | (REPLY if reply else 0)
    if reply:
        return flags | (IMAGE if throw < 4 else 0)
    if throw < 30:
        flags |= IMAGE
    elif throw < 36:
        flags |= VIDEO
    elif throw < 48:
        flags |= LINK
    elif throw < 56:
        flags |= QUOTE
    if flags & (IMAGE | VIDEO) and (h >> np.uint64(20)) % np.uint64(40) == np.uint64(0):
        flags |= ADULT
    return flags


LANGUAGE_SUMS: Final = np.cumsum(np.array(words.LANGUAGE_SHARES))


@inline
def language_of(s: Any, k: Any) -> Any:
    """An author mostly keeps to one language."""
    u = unit(mix(np.uint64(author_of(s, k)), s.salt + 11))
    language = 0
    while language < len(LANGUAGE_SUMS) - 1 and u >= LANGUAGE_SUMS[language]:
        language += 1
    return language


@njit
def fill(s: Scalars, first: int, c: Any) -> None:
    """What the events from number `first` on are."""
    for i in range(len(c.seq)):
        j = first + i
        kind = kind_of(s, j)
        c.seq[i], c.time_us[i], c.kind[i] = j + 1, time_of(s, j), kind
        c.post[i] = c.parent[i] = NONE
        c.author[i] = c.whom[i] = c.post_key[i] = -1
        c.flags[i] = c.language[i] = 0
        at = j
        if kind in (UNLIKE, UNREPOST, UNFOLLOW):
            at = looks_back(s, j, LIKE if kind == UNLIKE else REPOST if kind == UNREPOST else FOLLOW)
        actor = actor_of(s, at)
        c.key[i] = key_of(s, at)
        if kind in (POST, UNPOST):
            k = posts_before(s, j)
            if kind == UNPOST:
                k -= 1 + np.int64(mix(np.uint64(j), s.salt + 12) % np.uint64(40_000))
            actor = author_of(s, k)
            c.key[i] = key_of(s, event_of_post(s, k))
            c.post[i], c.author[i], c.post_key[i] = k, actor, c.key[i]
            if kind == POST:
                c.flags[i], c.language[i] = post_flags(s, k), language_of(s, k)
                if c.flags[i] & (REPLY | QUOTE):
                    c.parent[i] = parent_of(s, k)
        elif kind in (LIKE, REPOST):
            k = post_of(s, j, actor)
            c.post[i], c.author[i], c.post_key[i] = k, author_of(s, k), key_of(s, event_of_post(s, k))
        elif kind in (FOLLOW, BLOCK):
            whom = author_of(s, np.int64(mix(np.uint64(j), s.salt + 13) >> np.uint64(4)))
            c.whom[i] = whom if whom != actor else (whom + 1) % s.people
        c.actor[i] = actor


# How it is written.

_ENDS: Final = np.cumsum([1, len(DIDS), len(TIDS), len(CIDS), len(TIMES), len(INTS)])
DID_END, TID_END, CID_END, TIME_END, INT_END = (int(end) for end in _ENDS[1:])
(
    F_END, F_ACTOR, F_AUTHOR, F_WHOM, F_PARENT_AUTHOR, F_REV, F_RKEY, F_POST_KEY, F_PARENT_KEY, F_CID, F_POST_CID,
    F_PARENT_CID, F_BLOB,
    F_CREATED, F_RELAY_TIME, F_TIME, F_TIME_US, F_SEQ, F_RELAY_SEQ, F_NUMBER, F_LINK, F_LANG, F_TEXT,
) = range(len(FIELDS))  # fmt: skip


@inline
def put_did(out: Any, at: Any, person: Any, salt: Any) -> Any:
    """`did:plc:` and 24 characters: 60 bits that look like a hash, and 60 that hide the person, so that a DID can be
    read back."""
    first = mix(np.uint64(person), salt + 1) & np.uint64(0xFFFFFFFFFFFFFFF)
    second = np.uint64(person) ^ (mix(first, salt + 2) & np.uint64(0xFFFFFFFFFFFFFFF))
    out[at], out[at + 1], out[at + 2], out[at + 3] = 100, 105, 100, 58
    out[at + 4], out[at + 5], out[at + 6], out[at + 7] = 112, 108, 99, 58
    for k in range(12):
        shift = np.uint64(5 * k)
        out[at + 8 + k] = B32_CHARS[np.int64((first >> shift) & np.uint64(31))]
        out[at + 20 + k] = B32_CHARS[np.int64((second >> shift) & np.uint64(31))]
    return at + 32


@njit
def did_of(out: U8, person: int, salt: int) -> None:
    put_did(out, np.int64(0), np.int64(person), salt)


@inline
def shape_of(s: Any, c: Any, i: Any) -> Any:
    if c.kind[i] == POST:
        return np.int64(c.flags[i]) >> 1
    if c.kind[i] == ACCOUNT and mix(np.uint64(c.seq[i]), s.salt + 25) % np.uint64(3) == np.uint64(0):
        return np.int64(1)
    return np.int64(0)


@njit
def values(s: Scalars, c: Any, which: I64, v: I64) -> None:
    """Of each event its template, and the value of each field that it may need: DIDs as persons, CIDs as hashes,
    texts as numbers."""
    for i in range(len(c.seq)):
        which[i] = np.int64(c.kind[i]) * SHAPES + shape_of(s, c, i)
        us, post = c.time_us[i], c.post[i]
        v[i, F_ACTOR], v[i, F_AUTHOR], v[i, F_WHOM] = c.actor[i], c.author[i], c.whom[i]
        v[i, F_REV], v[i, F_RKEY], v[i, F_POST_KEY] = (us - REV_US) << 10, c.key[i], c.post_key[i]
        v[i, F_CREATED], v[i, F_RELAY_TIME], v[i, F_TIME] = c.key[i] >> 10, us - RELAY_US, us
        v[i, F_TIME_US], v[i, F_SEQ], v[i, F_RELAY_SEQ], v[i, F_NUMBER] = us, c.seq[i], us // 2_000, c.actor[i]
        v[i, F_CID] = np.int64(mix(np.uint64(c.seq[i]), s.salt + 24))
        if post != NONE:
            v[i, F_POST_CID] = np.int64(mix(np.uint64(post), s.salt + 20))
        if c.kind[i] == POST:
            # A post's own CID is that of every reference to it.
            v[i, F_CID] = v[i, F_POST_CID]
            v[i, F_BLOB] = np.int64(mix(np.uint64(post), s.salt + 21))
            h = mix(np.uint64(post), s.salt + 22)
            v[i, F_LINK] = np.int64(h % np.uint64(1_000_000))
            v[i, F_LANG] = c.language[i]
            v[i, F_TEXT] = (
                N_LANGUAGES + c.language[i] * SAYINGS_EACH + np.int64((h >> np.uint64(32)) % np.uint64(SAYINGS_EACH))
            )
            if c.parent[i] != NONE:
                parent = c.parent[i]
                v[i, F_PARENT_AUTHOR], v[i, F_PARENT_KEY] = author_of(s, parent), key_of(s, event_of_post(s, parent))
                v[i, F_PARENT_CID] = np.int64(mix(np.uint64(parent), s.salt + 20))


@inline
def put_int(out: Any, at: Any, value: Any) -> Any:
    width, rest = np.int64(1), value // 10
    while rest:
        width += 1
        rest //= 10
    put_digits(out, at, value, width)
    return at + width


@inline
def put_text(out: Any, at: Any, text: Any, first: Any, last: Any) -> Any:
    for k in range(last - first):
        out[at + k] = text[first + k]
    return at + last - first


@inline
def put_header(out: Any, at: Any, opcode: Any, length: Any) -> Any:
    """An unmasked websocket header of a whole message; the length always in two bytes, which a frame of 126 or more
    needs."""
    out[at] = 0x80 | opcode
    if length < 126:
        out[at + 1] = length
        return at + 2
    out[at + 1], out[at + 2], out[at + 3] = 126, length >> 8, length & 255
    return at + 4


@njit
def write(p: Program, which: I64, v: I64, salt: int, websocket: bool, out: U8, offsets: I64) -> Any:
    """Follow the steps of each event's template, until `out` is nearly full. Returns how many events were written."""
    at, n = np.int64(0), np.int64(0)
    offsets[0] = 0
    while n < len(which) and at + MAX_FRAME <= len(out):
        begin = at
        if websocket:
            at += 4  # every frame is longer than 125 bytes and shorter than 65,536
        for step in range(p.starts[which[n]], p.starts[which[n] + 1]):
            at = put_text(out, at, p.text, p.first[step], p.last[step])
            field = p.fields[step]
            value = v[n, field]
            if field == F_END:
                break
            if field < DID_END:
                at = put_did(out, at, value, salt)
            elif field < TID_END:
                put_tid(out, at, value)
                at += 13
            elif field < CID_END:
                put_cid(out, at, np.uint64(value))
                at += 52
            elif field < TIME_END:
                digits = np.int64(6 if field == F_TIME else 3)
                put_time(out, at, value, digits)
                at += 21 + digits
            elif field < INT_END:
                at = put_int(out, at, value)
            else:
                at = put_text(out, at, p.says, p.says_starts[value], p.says_starts[value + 1])
        if websocket:
            put_header(out, begin, TEXT, at - begin - 4)
        n += 1
        offsets[n] = at
    return n


@njit
def frame(data: U8, offsets: I64) -> tuple[U8, I64]:
    """Payloads as binary websocket messages."""
    n = len(offsets) - 1
    out, packed = np.empty(len(data) + 4 * n, np.uint8), np.empty(n + 1, np.int64)
    at = np.int64(0)
    packed[0] = 0
    for i in range(n):
        length = offsets[i + 1] - offsets[i]
        at = put_header(out, at, BINARY, length)
        for k in range(length):
            out[at + k] = data[offsets[i] + k]
        at += length
        packed[i + 1] = at
    return out[:at], packed
