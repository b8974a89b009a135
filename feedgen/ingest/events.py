"""What can happen on the network, as typed values, and how bytes become them.

`decode` is pure and total: bytes in, an event or a counted reason out. Nothing that arrives can make it raise.
"""

from __future__ import annotations

from typing import Final

import msgspec

# What a post is, as bits of a uint16 (kept in the arrays, so that ranking can filter without asking the disk).
KNOWN: Final = 1  # its record was seen; without it, the post is a stub that was only referred to
REPLY: Final = 2
QUOTE: Final = 4
IMAGE: Final = 8
VIDEO: Final = 16
LINK: Final = 32
ADULT: Final = 64  # self-labelled porn, sexual, nudity or graphic-media
LATE: Final = 128  # created long before it was witnessed
DELETED: Final = 256
HIDDEN: Final = 512  # labelled !hide or taken down, or blocked by the operator

# What a person is, as bits of a uint8.
INACTIVE: Final = 1  # the account is deactivated, suspended or taken down: hide, keep
GONE: Final = 2  # deleted: erased
OPTED_OUT: Final = 4  # contentVisibilityDeclaration: hideFromAlgorithmicRecommendations
NO_UNAUTHENTICATED: Final = 8  # never shown to logged-out readers
PERSON_ADULT: Final = 16
PERSON_HIDDEN: Final = 32  # labelled !hide, or blocked by the operator
SPAMMY: Final = 64  # likes so much, or so fast, that its likes carry no weight


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What all have in common: who, and when the server witnessed it. `seq` is 0 on a wire without sequences."""

    did: str
    time_us: int
    seq: int = 0


class Rating(Event, frozen=True, kw_only=True):
    """A like or a repost: both say "I like this"."""

    kind: int  # ids.LIKE or ids.REPOST
    rkey: str
    subject: str  # at-uri of the post


class Post(Event, frozen=True, kw_only=True):
    rkey: str
    flags: int  # KNOWN | ...
    language: int  # core.languages: 0 is unknown
    about: str | None = None  # at-uri of the post it quotes, else of the root it replies to
    created_us: int = 0  # what the record claims, 0 if it claims nothing sensible


class Follow(Event, frozen=True, kw_only=True):
    rkey: str
    subject: str  # DID


class Block(Event, frozen=True, kw_only=True):
    rkey: str
    subject: str


class Delete(Event, frozen=True, kw_only=True):
    """A record went away. It names no subject: (did, collection, rkey) is all there is."""

    collection: str
    rkey: str


class Profile(Event, frozen=True, kw_only=True):
    """Flags that the person's own profile record sets: NO_UNAUTHENTICATED, PERSON_ADULT, PERSON_HIDDEN."""

    flags: int


class Visibility(Event, frozen=True, kw_only=True):
    hide: bool


class Identity(Event, frozen=True, kw_only=True):
    handle: str | None = None


class Account(Event, frozen=True, kw_only=True):
    active: bool
    status: str | None = None


class Dropped(msgspec.Struct, frozen=True):
    """Not an event we keep; `reason` is one of a small fixed set of words and is counted."""

    reason: str
