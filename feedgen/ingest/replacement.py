"""A repository that its host read again as a whole, because it had missed something of it (a `#sync` event).

All records follow the sync as creates, with its time. Records of ours that are not among them were deleted: once the
stream's time moves on, a `Replaced` lists all keys. Until then the cursor stays at the sync: a restart gets it again.
"""

from __future__ import annotations

from typing import Final

from msgspec import structs

from feedgen.core.ids import FOLLOW_NSID, LIKE_NSID, POST_NSID, REPOST, REPOST_NSID, rkey_to_int
from feedgen.ingest.dating import one_dated_us
from feedgen.ingest.events import Event, Follow, Post, Rating, Replaced, Sync

MAX_RECORDS: Final = 200_000  # of one repository; with more of them nothing is removed


class Replacement:
    """Between a sync and the first event after its records."""

    def __init__(self, sync: Sync, retention_us: int) -> None:
        self._since_us = sync.time_us - retention_us
        self.did, self.time_us, self.seq = sync.did, sync.time_us, sync.seq
        self._keys: dict[str, set[int]] = {name: set() for name in (LIKE_NSID, REPOST_NSID, POST_NSID, FOLLOW_NSID)}
        self._subjects: set[str] = set()
        self._count = 0

    def is_over(self, event: Event) -> bool:
        """Witnessed times grow, so a later one means that all records have come."""
        return event.time_us > self.time_us or isinstance(event, Sync)

    def has(self, event: Event) -> bool:
        mine = event.did == self.did and event.time_us == self.time_us
        return mine and isinstance(event, Rating | Post | Follow) and not event.updated

    def take(self, event: Event) -> Event | None:
        """The same record, dated; None if it is older than what we keep."""
        assert isinstance(event, Rating | Post | Follow)
        key = rkey_to_int(event.rkey)
        made_us = one_dated_us(key, self.time_us)
        kept = made_us >= self._since_us or isinstance(event, Follow)  # who follows whom has no age
        self._count += 1
        if self._count <= MAX_RECORDS:
            self._keys[_collection(event)].add(key)
            if kept and isinstance(event, Rating):
                self._subjects.add(event.subject)
        return structs.replace(event, made_us=made_us) if kept else None

    def end(self, time_us: int, seq: int) -> Replaced | None:
        """The repository's present content. None if that is not known: too many records, or none of the kinds we keep.

        A host may also tell a sync and replace nothing. To lose somebody's likes is worse than to keep some too long.
        """
        if not 0 < self._count <= MAX_RECORDS:
            return None
        return Replaced(
            did=self.did, time_us=time_us, seq=seq, before_us=self.time_us, keys=self._keys, subjects=self._subjects
        )


def _collection(event: Rating | Post | Follow) -> str:
    if isinstance(event, Rating):
        return REPOST_NSID if event.kind == REPOST else LIKE_NSID
    return POST_NSID if isinstance(event, Post) else FOLLOW_NSID
