"""The names of things: TIDs, record keys, DIDs, at-uris, and the numbers that stand for days and posts.

Everything here is pure. ARCHITECTURE.md, "Numbers", says why they look as they do.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

NO_PERSON: Final = 0xFFFF_FFFF
NO_POST: Final = 0xFFFF_FFFF
US_PER_S: Final = 1_000_000
US_PER_DAY: Final = 86_400 * US_PER_S
TICKS_PER_DAY: Final = 65_536
DATED_TICK: Final = 0  # of a rating that is much older than its day: a day's other ratings begin with the next tick
POSTS_PER_DAY: Final = 1 << 24

LIKE: Final = 0
REPOST: Final = 1

LIKE_NSID: Final = "app.bsky.feed.like"
REPOST_NSID: Final = "app.bsky.feed.repost"
POST_NSID: Final = "app.bsky.feed.post"
FOLLOW_NSID: Final = "app.bsky.graph.follow"
BLOCK_NSID: Final = "app.bsky.graph.block"
PROFILE_NSID: Final = "app.bsky.actor.profile"
VISIBILITY_NSID: Final = "app.bsky.actor.contentVisibilityDeclaration"
FEED_NSID: Final = "app.bsky.feed.generator"

_TID_ALPHABET: Final = "234567abcdefghijklmnopqrstuvwxyz"
# int() reads these digits, four times faster than a loop.
_AS_DIGITS: Final = str.maketrans(_TID_ALPHABET, "0123456789abcdefghijklmnopqrstuv")
_DID_AS_DIGITS: Final = str.maketrans("abcdefghijklmnopqrstuvwxyz234567", "0123456789abcdefghijklmnopqrstuv")
# The syntax allows a first letter up to j, but a TID has 63 bits: with the top bit set it is as odd as any other key.
_TID = re.compile(r"[2-7ab][2-7a-z]{12}")
_DID = re.compile(r"did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]")
_PLC = re.compile(r"did:plc:[a-z2-7]{24}")
_RKEY = re.compile(r"[a-zA-Z0-9_~.:-]{1,512}")
_NSID = re.compile(r"[a-zA-Z][a-zA-Z0-9-]{0,62}(\.[a-zA-Z0-9][a-zA-Z0-9-]{0,62})+")


def day_of(us: int) -> int:
    """The UTC day (since 1970) of a time in microseconds."""
    return us // US_PER_DAY


def tick_of(us: int) -> int:
    """The time of day as 1/65536 of a day."""
    return (us % US_PER_DAY) * TICKS_PER_DAY // US_PER_DAY


def tick_us(day: int, tick: int) -> int:
    """The first microsecond of a tick."""
    return day * US_PER_DAY + -(-tick * US_PER_DAY // TICKS_PER_DAY)


def is_tid(text: str) -> bool:
    return _TID.fullmatch(text) is not None


def tid_to_int(text: str) -> int:
    """A TID's 63-bit value; ValueError for anything else."""
    if not is_tid(text):
        raise ValueError("not a TID")
    return int(text.translate(_AS_DIGITS), 32)


def int_to_tid(value: int) -> str:
    return "".join(_TID_ALPHABET[value >> shift & 31] for shift in range(60, -1, -5))


def tid_us(value: int) -> int:
    """The microsecond that a TID claims."""
    return value >> 10


def make_tid(us: int, clock_id: int = 0) -> str:
    return int_to_tid(us << 10 | clock_id)


def is_rkey(text: str) -> bool:
    return _RKEY.fullmatch(text) is not None and text not in (".", "..")


def rkey_to_int(text: str) -> int:
    """A record key as int64: a TID is its value (positive), any other key is negative, a hash."""
    if is_tid(text):
        return tid_to_int(text)
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") | 1 << 63) - (1 << 64)


def is_did(text: str) -> bool:
    return len(text) <= 2048 and _DID.fullmatch(text) is not None


def is_plc(text: str) -> bool:
    """A did:plc in its one form: 32 characters."""
    return _PLC.fullmatch(text) is not None


def pack_plc(did: str) -> tuple[int, int] | None:
    """The 120 bits of a did:plc as 64 and 56; None for anything else."""
    if not is_plc(did):
        return None
    value = int(did[8:].translate(_DID_AS_DIGITS), 32)
    return value >> 56, value & (1 << 56) - 1


def is_nsid(text: str) -> bool:
    return len(text) <= 317 and _NSID.fullmatch(text) is not None


class AtUri(NamedTuple):
    did: str
    collection: str
    rkey: str

    def __str__(self) -> str:
        return f"at://{self.did}/{self.collection}/{self.rkey}"


def parse_at_uri(text: str) -> AtUri | None:
    """A record's at-uri with a DID (never a handle) as its authority; None for anything else."""
    if not text.startswith("at://") or len(text) > 3000:
        return None
    parts = text[5:].split("/")
    if len(parts) != 3 or not is_did(parts[0]) or not is_nsid(parts[1]) or not is_rkey(parts[2]):
        return None
    return AtUri(parts[0], parts[1], parts[2])
