"""What is known of people and posts: records that passed by and the AppView's answers, bounded, with a time to live."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import Final

import msgspec

from feedgen.core.clock import Clock
from feedgen.core.ids import POST_NSID, PROFILE_NSID
from feedgen.ingest.events import (
    ADULT,
    ADULT_LABELS,
    HIDDEN,
    NO_UNAUTHENTICATED,
    PERSON_ADULT,
    PERSON_HIDDEN,
    SIGNED_IN_LABEL,
    Account,
)
from feedgen.stream.happening import Happening, Parts, author_of, parts_of

PROFILE_S: Final = 3600.0
PASSED_POST_S: Final = 6 * 3600.0  # a record does not change; updates pass by as well
ASKED_POST_S: Final = 600.0
MISSING_S: Final = 60.0  # what the AppView left out is asked for again after that
MAX_GONE: Final = 100_000  # accounts that were deleted or deactivated while we listened
SWEEP: Final = 2_000  # entries that one sweep looks at
HIDE_LABELS: Final = frozenset({"!hide", "!takedown", "!suspend"})


class Entry(msgspec.Struct):
    """`view` is the AppView's JSON, empty for records that passed by; `there` is False for what does not exist."""

    until_s: float
    known_us: int
    there: bool = True
    view: bytes = b""
    flags: int = 0  # labels, as flags of posts or of people
    author: bytes = b""  # in a post's view
    author_flags: int = 0
    labels: list[str] = []
    record: bytes = b""
    cid: str = ""
    parts: Parts | None = None
    spelled: dict[str, bytes] | None = None  # the view in other formats, made when first asked for


class Table:
    """Entries by DID or at-uri; the longest unused is forgotten."""

    def __init__(self, size: int, clock: Clock) -> None:
        self.size, self._clock = size, clock
        self.entries: OrderedDict[str, Entry] = OrderedDict()

    def get(self, key: str) -> Entry | None:
        """Fresh ones only."""
        entry = self.entries.get(key)
        if entry is None or entry.until_s < self._clock.monotonic_s():
            return None
        self.entries.move_to_end(key)
        return entry

    def put(self, key: str, entry: Entry) -> None:
        self.entries[key] = entry
        self.entries.move_to_end(key)
        while len(self.entries) > self.size:
            self.entries.popitem(last=False)

    def forget(self, key: str) -> None:
        self.entries.pop(key, None)

    def __len__(self) -> int:
        return len(self.entries)


class Known:
    """Two tables, and the accounts that went away while we listened."""

    def __init__(self, clock: Clock, profiles: int, posts: int) -> None:
        self._clock = clock
        self.profiles, self.posts = Table(profiles, clock), Table(posts, clock)
        self.gone: OrderedDict[str, None] = OrderedDict()

    def pass_by(self, happening: Happening) -> None:
        """Keep what a record tells; drop what a deletion takes away."""
        uri = happening.uri
        if happening.parts is not None and happening.record is not None:
            entry = Entry(self._clock.monotonic_s() + PASSED_POST_S, happening.time_us)
            entry.flags, entry.record, entry.cid = happening.flags, happening.record, happening.cid
            entry.parts, entry.labels = happening.parts, happening.parts.labels
            self.posts.put(uri, entry)
        elif happening.operation == "delete" and happening.collection == POST_NSID:
            self.posts.put(uri, Entry(self._clock.monotonic_s() + PASSED_POST_S, happening.time_us, there=False))
        elif happening.collection == PROFILE_NSID or happening.kind == "identity":
            self.profiles.forget(happening.did)  # the AppView tells the new one, with its counts
        elif isinstance(happening.event, Account):
            self._account(happening.did, happening.event.active)

    def _account(self, did: str, active: bool) -> None:
        if active:
            self.gone.pop(did, None)
            return
        self.profiles.forget(did)
        self.gone[did] = None
        if len(self.gone) > MAX_GONE:
            self.gone.popitem(last=False)

    def sweep(self) -> None:
        """Forget posts of accounts that are gone, and what is outdated, some at a time, the longest unused first."""
        now_s = self._clock.monotonic_s()
        for table in (self.posts, self.profiles):
            for key in list(islice(table.entries, SWEEP)):
                entry = table.entries[key]
                did = author_of(key) if table is self.posts else key
                if entry.until_s < now_s or did in self.gone:
                    del table.entries[key]
                elif table is self.posts:
                    table.entries.move_to_end(key)

    def profile_came(self, did: str, view: bytes | None) -> None:
        """The AppView's answer; None: it has none."""
        now_s, now_us = self._clock.monotonic_s(), self._clock.now_us()
        if view is None:
            self.profiles.put(did, Entry(now_s + MISSING_S, now_us, there=False))
        else:
            self.profiles.put(did, Entry(now_s + PROFILE_S, now_us, view=view, flags=_person_flags(_labels_of(view))))

    def post_came(self, uri: str, view: bytes | None) -> None:
        now_s, now_us = self._clock.monotonic_s(), self._clock.now_us()
        if view is None:
            self.posts.put(uri, Entry(now_s + MISSING_S, now_us, there=False))
            return
        read = _view(view)
        entry = Entry(now_s + ASKED_POST_S, now_us, view=view, cid=read.cid, record=bytes(read.record))
        entry.labels, entry.author = [one.val for one in read.labels], bytes(read.author)
        entry.flags = _post_flags(entry.labels)
        entry.author_flags = _person_flags(_labels_of(entry.author))
        entry.parts = parts_of(entry.record)
        self.posts.put(uri, entry)


class _Label(msgspec.Struct):
    val: str = ""


class _Author(msgspec.Struct):
    labels: list[_Label] = []


class _View(msgspec.Struct):
    author: msgspec.Raw
    record: msgspec.Raw
    cid: str = ""
    labels: list[_Label] = []


_view = msgspec.json.Decoder(_View).decode
_author = msgspec.json.Decoder(_Author).decode


def check_post_view(view: bytes) -> None:
    """Raises msgspec.MsgspecError for what is no view of a post."""
    _author(_view(view).author)


def _labels_of(profile: bytes) -> list[str]:
    return [one.val for one in _author(profile).labels]


def _person_flags(labels: Iterable[str]) -> int:
    flags = 0
    for label in labels:
        if label == SIGNED_IN_LABEL:
            flags |= NO_UNAUTHENTICATED
        elif label in HIDE_LABELS:
            flags |= PERSON_HIDDEN
        elif label in ADULT_LABELS:
            flags |= PERSON_ADULT
    return flags


def _post_flags(labels: Iterable[str]) -> int:
    flags = 0
    for label in labels:
        flags |= HIDDEN if label in HIDE_LABELS else ADULT if label in ADULT_LABELS else 0
    return flags
