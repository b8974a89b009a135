"""Pages of a list that does not change while it is read, and the cursors that lead through it.

The first page ranks once; what it found is kept as an immutable snapshot. A personal list is composed for its first
places only: who comes to their end gets a new one, without what they were served.

A cursor is short, means nothing to others, and is authenticated, so nobody can read or invent one. It says which
snapshot and where, but also whose and when, so that paging can go on when the snapshot is gone (expired, pushed out,
restarted): the feed then makes a new list without what this reader was already served.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, NamedTuple

from feedgen.core.errors import FeedgenError
from feedgen.core.ids import US_PER_S
from feedgen.core.telemetry import Counter, Gauge
from feedgen.graph.access import U8, U32

LIFE_US: Final = 600 * US_PER_S
MAX_SNAPSHOTS: Final = 200_000
MAX_BYTES: Final = 256 << 20
MAX_OF_ONE: Final = 32  # of one reader and feed: nobody's impatience takes the lists of others; a shared one has 20
OVERHEAD_BYTES: Final = 400  # of one snapshot: objects, keys, table entries
PRUNE_AT_ONCE: Final = 500  # half a millisecond of whoever calls
MAX_CURSOR: Final = 64
_BODY: Final = struct.Struct(">BHQQH")  # version, feed, reader, snapshot, position
_MAC_BYTES: Final = 12  # 33 bytes in all, which is base64 without padding
_VERSION: Final = 1

snapshots_gone = Counter("feedgen_rank_snapshots_gone_total", "Snapshots that a cursor asked for in vain", "why")
snapshot_bytes = Gauge("feedgen_rank_snapshot_bytes", "Memory that snapshots of lists take")


class BadCursor(FeedgenError):
    """Not a cursor of ours: garbage, or made by somebody else. `serve` answers 400 InvalidRequest, as it does for any
    parameter that can't be: to start afresh would show a client with a bug the same first page for ever. A cursor of
    ours that is old, or of another reader or feed, is *not* an error; paging then goes on as well as it can.
    """


class Cursor(NamedTuple):
    feed: int
    reader: int
    snapshot: int
    position: int


def tag(text: str, bits: int) -> int:
    """A short number for a name, to compare and not to look up."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> (64 - bits)


class Cursors:
    """Writes and reads cursors. The key must outlive a restart, or old cursors become garbage."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("a cursor key has at least 16 bytes")
        self._key = key

    def write(self, cursor: Cursor) -> str:
        body = _BODY.pack(_VERSION, cursor.feed, cursor.reader, cursor.snapshot, cursor.position)
        return base64.urlsafe_b64encode(body + self._mac(body)).decode()

    def read(self, text: str) -> Cursor:
        """Raises `BadCursor` for anything that `write` did not give."""
        if len(text) > MAX_CURSOR or not text.isascii():
            raise BadCursor("this is not a cursor of this feed")
        try:
            raw = base64.b64decode(text, b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise BadCursor("this is not a cursor of this feed") from None
        body, mac = raw[: _BODY.size], raw[_BODY.size :]
        # Base64 has several spellings of the same bytes; ours is the only good one.
        if not hmac.compare_digest(mac, self._mac(body)) or self.spelled(raw) != text:
            raise BadCursor("this is not a cursor of this feed")
        version, *fields = _BODY.unpack(body)
        if version != _VERSION:
            raise BadCursor("this cursor is of another version")
        return Cursor(*fields)

    @staticmethod
    def spelled(raw: bytes) -> str:
        return base64.urlsafe_b64encode(raw).decode()

    def _mac(self, body: bytes) -> bytes:
        # Keyed BLAKE2 is a MAC by itself, and so short that it keeps the GIL, which hmac.digest gives up and waits for.
        return hashlib.blake2b(body, digest_size=_MAC_BYTES, key=self._key).digest()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A list as it was made. `codes` say where each post came from, in the words of the feed that made it; `preset` is
    what the formula is called."""

    id: int
    feed: int
    reader: int
    made_us: int
    posts: U32
    codes: U8
    languages: tuple[str, ...] = ()
    preset: str = ""
    above: U32 | None = None  # what the reader was shown before it, when more can be made; None: this is all

    @property
    def size_bytes(self) -> int:
        above = 0 if self.above is None else self.above.nbytes
        return self.posts.nbytes + self.codes.nbytes + above + OVERHEAD_BYTES


class Snapshots:
    """The newest snapshots, bounded by age, count and bytes; used by one thread.

    Of each reader and feed the newest is kept for the day when a new list can't be made in time. Once it has expired
    it stands apart (`_last`), so that pruning looks at each snapshot once.
    """

    def __init__(self, max_count: int = MAX_SNAPSHOTS, max_bytes: int = MAX_BYTES, life_us: int = LIFE_US) -> None:
        self.max_count, self.max_bytes, self.life_us = max_count, max_bytes, life_us
        self._fresh: OrderedDict[int, Snapshot] = OrderedDict()  # by id, the oldest first
        self._last: OrderedDict[int, Snapshot] = OrderedDict()  # expired, older than all above
        self._of: dict[tuple[int, int], list[int]] = {}  # ids by feed and reader, the newest last
        self._feeds: set[int] = set()
        self._bytes = 0
        self._last_id = 0

    def __len__(self) -> int:
        return len(self._fresh) + len(self._last)

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def put(
        self,
        feed: int,
        reader: int,
        posts: U32,
        codes: U8,
        now_us: int,
        languages: tuple[str, ...] = (),
        preset: str = "",
        above: U32 | None = None,
    ) -> Snapshot:
        posts.setflags(write=False)
        codes.setflags(write=False)
        # Time makes ids differ across restarts; they never repeat within a process.
        self._last_id = max(now_us, self._last_id + 1)
        made = Snapshot(self._last_id, feed, reader, now_us, posts, codes, languages, preset, above)
        of_one = self._of.get((feed, reader), [])
        if of_one and (len(of_one) >= MAX_OF_ONE or self._find(of_one[0]).made_us < now_us - self.life_us):
            self._forget(of_one[0])
        self._fresh[made.id] = made
        self._of.setdefault((feed, reader), []).append(made.id)
        self._feeds.add(feed)
        self._bytes += made.size_bytes
        while len(self) > self.max_count or self._bytes > self.max_bytes:
            self._forget(next(iter(self._last or self._fresh)))
        snapshot_bytes.set(self._bytes)
        return made

    def get(self, cursor: Cursor, now_us: int) -> Snapshot | None:
        """The snapshot that a cursor is about, unless it is gone, too old, or another's."""
        found = self._fresh.get(cursor.snapshot) or self._last.get(cursor.snapshot)
        if found is None:
            snapshots_gone.add(1, "unknown")
        elif now_us - found.made_us > self.life_us:
            snapshots_gone.add(1, "expired")
        elif (found.feed, found.reader) != (cursor.feed, cursor.reader):
            snapshots_gone.add(1, "foreign")
        else:
            return found
        return None

    def latest(self, feed: int, reader: int) -> Snapshot | None:
        """The reader's last list, however old: better than none."""
        of_one = self._of.get((feed, reader))
        return self._find(of_one[-1]) if of_one else None

    def prune(self, now_us: int) -> int:
        """Lets expired ones go, but for each reader's last. Looks at PRUNE_AT_ONCE at most, and says at how many."""
        looked = 0
        while self._fresh and looked < PRUNE_AT_ONCE:
            found = next(iter(self._fresh.values()))
            if now_us - found.made_us <= self.life_us:
                break
            looked += 1
            if self._of[found.feed, found.reader][-1] != found.id:
                self._forget(found.id)
            else:
                self._last[found.id] = self._fresh.pop(found.id)
        return looked

    def forget_reader(self, reader: int) -> None:
        for feed in self._feeds:
            for snapshot in list(self._of.get((feed, reader), ())):
                self._forget(snapshot)

    def _find(self, snapshot: int) -> Snapshot:
        return self._fresh.get(snapshot) or self._last[snapshot]

    def _forget(self, snapshot: int) -> None:
        found = self._fresh.pop(snapshot, None) or self._last.pop(snapshot)
        self._bytes -= found.size_bytes
        of_one = self._of[found.feed, found.reader]
        of_one.remove(snapshot)
        if not of_one:
            del self._of[found.feed, found.reader]
