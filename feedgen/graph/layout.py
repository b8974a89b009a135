"""The form of a sidecar: its sections, its checksums, its two pages of header.

Numbers are as short as the day allows. People are numbered within the day, in the order of their hashed keys
(`people_keys`); posts too: the day's own by their number, then older ones in the order of `old_keys`. A rating is such
a number and 8 bits of tick, packed without gaps; all ones is a hole. The header says how many bits each packed
section takes a number. A post's key is a word of 32 bits: 22 bits of microseconds relative to its tick and 9 bits of a
dictionary of clock ids, or a place among the keys that do not fit (`far_keys`).

Format 2 had whole numbers and columns of ticks. It is read until the day is built again.

The first page is a line of JSON (format, day, identity, sections, and a hash of itself) and never changes. The second
page changes when an edge is removed: a checksum for each section, a stamp that says under which boot of the machine
the file was last changed without being flushed, and the version of the truth that the file agrees with.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from feedgen.core.jit import inline

FORMAT: Final = 3
WHOLE_FORMAT: Final = 2
PAGE: Final = 4096
HEADER_BYTES: Final = 2 * PAGE
ALIGN: Final = 64
STAMP_AT: Final = PAGE + 2048
STAMP_BYTES: Final = 36  # a boot id, as the kernel spells it
VERSION_AT: Final = STAMP_AT + 64  # int64: all changes of the truth up to this version are in the file

OWN_OFFSETS_SECTION: Final = 0
LIKERS_SECTION: Final = 1
LIKER_TICKS_SECTION: Final = 2
OWN_HOLES_SECTION: Final = 3
OLD_KEYS_SECTION: Final = 4
OLD_OFFSETS_SECTION: Final = 5
OLD_BUCKETS_SECTION: Final = 6
OLD_HOLES_SECTION: Final = 7
PEOPLE_KEYS_SECTION: Final = 8
PEOPLE_OFFSETS_SECTION: Final = 9
PEOPLE_BUCKETS_SECTION: Final = 10
PEOPLE_HOLES_SECTION: Final = 11
LIKES_SECTION: Final = 12
LIKE_TICKS_SECTION: Final = 13
FOLLOW_KEYS_SECTION: Final = 14
FOLLOW_OFFSETS_SECTION: Final = 15
FOLLOW_BUCKETS_SECTION: Final = 16
FOLLOWS_SECTION: Final = 17
AUTHORS_SECTION: Final = 18
KEYS_SECTION: Final = 19
TICKS_SECTION: Final = 20
FLAGS_SECTION: Final = 21
LANGUAGES_SECTION: Final = 22
ABOUTS_SECTION: Final = 23
FIND_SECTION: Final = 24
FIND_BUCKETS_SECTION: Final = 25
AHEAD_SECTION: Final = 26
FAR_KEYS_SECTION: Final = 27
CLOCKS_SECTION: Final = 28

# In the order of the numbers above.
SECTIONS: Final = (
    ("own_offsets", np.uint32),
    ("likers", np.uint32),
    ("liker_ticks", np.uint8),
    ("own_holes", np.uint8),
    ("old_keys", np.uint32),
    ("old_offsets", np.uint32),
    ("old_buckets", np.uint32),
    ("old_holes", np.uint8),
    ("people_keys", np.uint32),
    ("people_offsets", np.uint32),
    ("people_buckets", np.uint32),
    ("people_holes", np.uint8),
    ("likes", np.uint32),
    ("like_ticks", np.uint8),
    ("follow_keys", np.uint32),
    ("follow_offsets", np.uint32),
    ("follow_buckets", np.uint32),
    ("follows", np.uint32),
    ("authors", np.uint32),
    ("keys", np.int64),
    ("ticks", np.uint16),
    ("flags", np.uint16),
    ("languages", np.uint8),
    ("abouts", np.uint32),
    ("find", np.uint32),
    ("find_buckets", np.uint32),
    ("ahead", np.uint32),
    ("far_keys", np.int64),
    ("clocks", np.uint16),
)
PACKED_SECTIONS: Final = (
    "own_offsets", "likers", "own_holes", "old_offsets", "old_holes", "people_offsets", "people_holes", "likes",
    "follow_offsets", "follows", "authors",
)  # fmt: skip
TICK_BITS: Final = 8  # of a rating's tick: 5.6 minutes

# A post's key as a word.
CLOCK_BITS: Final = 9
MAX_CLOCKS: Final = 1 << CLOCK_BITS
OFFSET_BITS: Final = 22
BEFORE_US: Final = 2_800_000  # how long before its tick's start a near key may be; after it, 1.4 s
FAR: Final = 1 << 31  # the rest is a place in `far_keys`
NO_KEY: Final = (1 << 32) - 1


def section_type(name: str, form: int) -> npt.DTypeLike:
    """What a section of a sidecar of that format is made of; packed ones of words."""
    if form == FORMAT:
        if name in PACKED_SECTIONS:
            return np.int64
        if name == "keys":
            return np.uint32
    return dict(SECTIONS)[name]


def packed_words(count: int, width: int) -> int:
    """How many words a packed section takes, with room for a read of 8 bytes at its end."""
    return -(-count * width // 64) + 1


@inline
def hash_word(index: int, word: int) -> int:
    """What one 8-byte word adds to its section's checksum. Sums can be taken apart again, so one word can change
    without reading the rest.
    """
    h = word + (index + 1) * -7046029254386353131
    h = (h ^ ((h >> 30) & 0x3_FFFF_FFFF)) * -4658895280553007687
    h = (h ^ ((h >> 27) & 0x1F_FFFF_FFFF)) * -7723592293110705685
    return h ^ ((h >> 31) & 0x1_FFFF_FFFF)
