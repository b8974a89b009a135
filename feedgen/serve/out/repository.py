"""What a new reader's own repository tells: whom they follow, and what they liked before we listened.

Asked for behind the reader's back, once, from the PDS that their DID document names. Their first page waits for it a
little; what comes later is there for the next. Records become numbers by looking them up: what the arrays don't know
is left out, for numbers are given in the ingest thread only.
"""

from __future__ import annotations

import asyncio
import logging
from array import array
from collections import OrderedDict
from typing import Final, Protocol

import msgspec
import numpy as np

from feedgen.core.clock import Clock
from feedgen.core.errors import FeedgenError, StoreError
from feedgen.core.ids import (
    FOLLOW_NSID,
    LIKE_NSID,
    NO_POST,
    POST_NSID,
    US_PER_DAY,
    US_PER_S,
    is_did,
    is_tid,
    parse_at_uri,
    rkey_to_int,
    tid_to_int,
    tid_us,
)
from feedgen.core.telemetry import Counter, Gauge
from feedgen.feeds.contract import Fetched, Library, reader_key
from feedgen.ingest.events import time_to_us
from feedgen.serve.http.limits import Rate, RateLimit
from feedgen.serve.out.addresses import RefusedHost
from feedgen.serve.out.client import HostClient, Hosts
from feedgen.serve.out.fetched import pack, unpack
from feedgen.serve.who.auth import TokenError, Unverifiable
from feedgen.store.viewers import Account

LIST_RECORDS: Final = "com.atproto.repo.listRecords"
PAGE_RECORDS: Final = 100
PAGE_BYTES: Final = 512 * 1024
LIKE_PAGES: Final = 10
FOLLOW_PAGES: Final = 20
WINDOW_US: Final = 90 * US_PER_DAY  # older likes are no seeds
FETCH_S: Final = 60.0  # one repository, in all
MAX_FLIGHTS: Final = 32
FETCH_RATE: Final = Rate(per_s=5, burst=100)  # new readers
ENOUGH_HEARD: Final = 300  # ratings; whoever has so many in the arrays need not be asked
FRESH_S: Final = 7 * 24 * 3600
RETRY_S: Final = 3600.0  # after a failure, and until ratings are counted again
MAX_QUIET: Final = 100_000
MAX_BYTES: Final = 64 << 20  # of what is kept in memory
OVERHEAD_BYTES: Final = 600
fetches = Counter(
    "feedgen_readers_repositories_total", "Looks into a new reader's repository, by how they ended", "result"
)
flights_now = Gauge("feedgen_readers_repositories_now", "Repositories being read just now")

log = logging.getLogger(__name__)


class Accounts(Protocol):
    """Who knows a reader's PDS. Raises TokenError or Unverifiable."""

    async def account(self, did: str) -> Account: ...


class FetchedStore(Protocol):
    """What `store.viewers` does for us. Raises StoreError."""

    async def fetched(self, reader: int) -> tuple[int, bytes] | None: ...
    async def put_fetched(self, reader: int, fetched_s: int, told: bytes) -> None: ...
    async def forget_fetched(self, reader: int) -> None: ...


class _Record(msgspec.Struct):
    uri: str
    value: msgspec.Raw


class _Page(msgspec.Struct):
    records: list[_Record] = []
    cursor: str | None = None


class _Subject(msgspec.Struct):
    uri: str


class _Like(msgspec.Struct):
    subject: _Subject
    createdAt: str = ""


class _Follow(msgspec.Struct):
    subject: str


_page = msgspec.json.Decoder(_Page)
_like = msgspec.json.Decoder(_Like)
_follow = msgspec.json.Decoder(_Follow)


class _Found:
    """What came so far. `shows`: a part is better than what is known until now, which is nothing."""

    def __init__(self, shows: bool) -> None:
        self.shows = shows
        self.posts, self.times_us, self.follows = array("I"), array("q"), array("I")
        self._posts: set[int] = set()

    def add_likes(self, library: Library, records: list[_Record], now_us: int) -> bool:
        """False when the rest is too old to matter."""
        authors, keys, times = array("I"), array("q"), array("q")
        young = True
        for record in records:
            found = _liked(record)
            if found is None:
                continue
            uri, time_us = found
            young = time_us > now_us - WINDOW_US
            subject = parse_at_uri(uri)
            author = library.person(subject.did) if subject is not None and subject.collection == POST_NSID else None
            if subject is not None and author is not None and young:
                authors.append(author)
                keys.append(rkey_to_int(subject.rkey))
                times.append(min(time_us, now_us))
        numbers = library.view().find_posts(np.array(authors, np.uint32), np.array(keys, np.int64))
        for post, time_us in zip(numbers.tolist(), times, strict=True):
            if post != NO_POST and post not in self._posts:
                self._posts.add(post)
                self.posts.append(post)
                self.times_us.append(time_us)
        return young

    def add_follows(self, library: Library, records: list[_Record]) -> bool:
        known = set(self.follows)
        for record in records:
            did = _followed(record)
            person = library.person(did) if did else None
            if person is not None and person not in known:
                known.add(person)
                self.follows.append(person)
        return True

    def told(self, now_us: int) -> Fetched:
        times = np.array(self.times_us, np.int64)
        newest = np.argsort(-times, kind="stable")
        posts = np.array(self.posts, np.uint32)
        return Fetched(posts[newest], times[newest], np.array(self.follows, np.uint32), now_us)


def _liked(record: _Record) -> tuple[str, int] | None:
    """(the post's at-uri, when it was liked); None for what makes no sense."""
    try:
        like = _like.decode(record.value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    rkey = record.uri.rpartition("/")[2]
    time_us = tid_us(tid_to_int(rkey)) if is_tid(rkey) else time_to_us(like.createdAt)
    return None if time_us is None else (like.subject.uri, time_us)


def _followed(record: _Record) -> str | None:
    try:
        did = _follow.decode(record.value).subject
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return did if is_did(did) else None


class Repositories:
    """One for the process; without `hosts` nobody is asked. `fetched` may be called from any thread, all else belongs
    to the event loop."""

    def __init__(
        self, accounts: Accounts, hosts: Hosts | None, library: Library, store: FetchedStore | None, clock: Clock
    ) -> None:
        self._accounts, self._hosts, self._library, self._store, self._clock = accounts, hosts, library, store, clock
        self._known: OrderedDict[str, Fetched] = OrderedDict()
        self._bytes = 0
        self._quiet: OrderedDict[str, float] = OrderedDict()  # until when not to ask
        self._flights: dict[str, asyncio.Task[None]] = {}
        self._rate = RateLimit(FETCH_RATE, clock)

    def fetched(self, did: str) -> Fetched | None:
        """What is known by now."""
        return self._known.get(did)

    async def meet(self, did: str, wait_s: float) -> None:
        """A reader is here: see that their repository is asked if that can help, and wait for it at most so long."""
        if self._hosts is None:
            return
        known = self._known.get(did)
        if known is not None:
            self._known.move_to_end(did)
        if did not in self._flights:
            if (known is not None and self._is_fresh(known)) or self._is_quiet(did):
                return
            if known is None and await self._stored(did):
                return
            self._take_off(did)
        flight = self._flights.get(did)
        if flight is not None and wait_s > 0:
            await asyncio.wait([flight], timeout=wait_s)

    async def forget(self, did: str) -> None:
        flight = self._flights.get(did)
        if flight is not None:
            flight.cancel()
            await asyncio.wait([flight])
        self._drop(did)
        self._quiet.pop(did, None)
        if self._store is not None:
            await self._store.forget_fetched(reader_key(did))

    async def close(self) -> None:
        for flight in list(self._flights.values()):
            flight.cancel()
        await asyncio.gather(*self._flights.values(), return_exceptions=True)

    # Whether to ask

    def _is_fresh(self, known: Fetched) -> bool:
        return self._clock.now_us() - known.fetched_us < FRESH_S * US_PER_S

    def _is_quiet(self, did: str) -> bool:
        now_s = self._clock.monotonic_s()
        if self._quiet.get(did, 0.0) > now_s:
            return True
        person = self._library.person(did)
        heard = 0 if person is None else self._library.view().likes_of(person, ENOUGH_HEARD)[0].size
        if heard >= ENOUGH_HEARD:
            self._be_quiet(did)
        return heard >= ENOUGH_HEARD

    def _be_quiet(self, did: str) -> None:
        self._quiet.pop(did, None)
        self._quiet[did] = self._clock.monotonic_s() + RETRY_S
        if len(self._quiet) > MAX_QUIET:
            self._quiet.popitem(last=False)

    def _take_off(self, did: str) -> None:
        if did in self._flights:
            return
        if len(self._flights) >= MAX_FLIGHTS or not self._rate.take("all"):
            fetches.add(1, "too many")
            return
        flight = asyncio.create_task(self._fetch(did))
        self._flights[did] = flight
        flights_now.set(len(self._flights))
        flight.add_done_callback(lambda done: self._landed(did))

    def _landed(self, did: str) -> None:
        self._flights.pop(did, None)
        flights_now.set(len(self._flights))

    # Asking

    async def _fetch(self, did: str) -> None:
        found = _Found(shows=did not in self._known)
        try:
            account = await self._accounts.account(did)
            if self._hosts is None or not account.pds:
                raise RefusedHost("no PDS that we may ask")
            async with asyncio.timeout(FETCH_S), self._hosts.visit(account.pds) as visit:
                await self._read(did, visit, found)
        except (RefusedHost, TokenError):
            self._failed(did, "refused")
        except (FeedgenError, Unverifiable, TimeoutError):
            self._failed(did, "failed")
        except Exception:
            log.exception("reading a repository ended by an unexpected error")
            self._failed(did, "failed")
        else:
            fetches.add(1, "good")
            await self._keep(did, found.told(self._clock.now_us()))

    def _failed(self, did: str, result: str) -> None:
        """What came before it failed is of use, and is asked for again later."""
        fetches.add(1, result)
        self._be_quiet(did)
        known = self._known.get(did)
        if known is not None:
            self._known[did] = known._replace(fetched_us=self._clock.now_us() - FRESH_S * US_PER_S)

    async def _read(self, did: str, visit: HostClient, found: _Found) -> None:
        """Likes and follows side by side; what came is of use at once."""
        now_us = self._clock.now_us()
        reading = [
            self._read_likes(did, visit, found, now_us),
            self._read_follows(did, visit, found),
        ]
        errors = [e for e in await asyncio.gather(*reading, return_exceptions=True) if isinstance(e, BaseException)]
        if errors:
            raise errors[0]

    async def _read_likes(self, did: str, visit: HostClient, found: _Found, now_us: int) -> None:
        cursor: str | None = None
        for _ in range(LIKE_PAGES):
            page = await _list(visit, did, LIKE_NSID, cursor)
            goes_on = found.add_likes(self._library, page.records, now_us)
            self._put_part(did, found)
            cursor = page.cursor
            if not (goes_on and page.records and cursor):
                return

    async def _read_follows(self, did: str, visit: HostClient, found: _Found) -> None:
        cursor: str | None = None
        for _ in range(FOLLOW_PAGES):
            page = await _list(visit, did, FOLLOW_NSID, cursor)
            found.add_follows(self._library, page.records)
            self._put_part(did, found)
            cursor = page.cursor
            if not (page.records and cursor):
                return

    # Keeping

    def _put_part(self, did: str, found: _Found) -> None:
        if found.shows:
            self._put(did, found.told(self._clock.now_us()))

    def _put(self, did: str, told: Fetched) -> None:
        self._drop(did)
        self._known[did] = told
        self._bytes += _size(told)
        while self._bytes > MAX_BYTES and self._known:
            self._drop(next(iter(self._known)))

    def _drop(self, did: str) -> None:
        known = self._known.pop(did, None)
        if known is not None:
            self._bytes -= _size(known)

    async def _stored(self, did: str) -> bool:
        """Whether an earlier life of this process asked, and what it was told."""
        if self._store is None:
            return False
        try:
            row = await self._store.fetched(reader_key(did))
        except StoreError as error:
            log.warning("can't read what a repository told: %s", error.message)
            return False
        told = None if row is None else unpack(row[1], row[0] * US_PER_S)
        if told is None or not self._is_fresh(told):
            return False
        self._put(did, told)
        return True

    async def _keep(self, did: str, told: Fetched) -> None:
        self._put(did, told)
        if self._store is None:
            return
        try:
            await self._store.put_fetched(reader_key(did), told.fetched_us // US_PER_S, pack(told))
        except StoreError as error:
            log.warning("can't keep what a repository told: %s", error.message)


async def _list(visit: HostClient, did: str, collection: str, cursor: str | None) -> _Page:
    query = {"repo": did, "collection": collection, "limit": str(PAGE_RECORDS)}
    body = await visit.get(LIST_RECORDS, query | ({"cursor": cursor} if cursor else {}), PAGE_BYTES)
    try:
        page = _page.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise FeedgenError("a PDS's list can't be read") from None
    del page.records[PAGE_RECORDS:]
    return page


def _size(told: Fetched) -> int:
    return told.posts.nbytes + told.times_us.nbytes + told.follows.nbytes + OVERHEAD_BYTES


class LibraryWithRepositories:
    """The library, and what readers' own repositories told."""

    def __init__(self, library: Library, repositories: Repositories) -> None:
        self._repositories = repositories
        self.view, self.person, self.did = library.view, library.person, library.did
        self.uri, self.uris, self.numbers, self.tagged = library.uri, library.uris, library.numbers, library.tagged

    def fetched(self, did: str) -> Fetched | None:
        return self._repositories.fetched(did)
