"""DIDs to accounts: one resolver for the process, which asks as seldom as it can.

A known reader is never waited for: what we know is used, and looked up again behind their back when it is a day old.
That also carries us when the directory is down. An unknown one is looked up once, however many requests wait for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Container
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from feedgen.core.budget import KEY_S
from feedgen.core.clock import Clock
from feedgen.core.errors import StoreError, UpstreamError
from feedgen.core.ids import US_PER_S
from feedgen.core.settings_network import Identity
from feedgen.core.telemetry import Counter, Gauge
from feedgen.serve.http.limits import Rate, RateLimit
from feedgen.serve.out.addresses import RefusedHost
from feedgen.serve.out.fetch import DirectWebFetcher, Fetcher, PlcFetcher, ProxiedWebFetcher, UnknownDid
from feedgen.serve.who.auth import NeedsLookUp, TokenError, Unverifiable
from feedgen.serve.who.did_document import BadDocument, parse_document
from feedgen.serve.who.keys import SigningKey, parse_key
from feedgen.store.viewers import Account

FRESH_S: Final = 24 * 3600
NEGATIVE_S: Final = 300.0  # an unknown account, a bad document, a refused host
RETRY_S: Final = 30.0  # a look that failed for reasons that may pass
DOWN_AFTER: Final = 3  # failures in a row that mean that the directory is down
DOWN_S: Final = 10.0  # then nobody is made to wait for it for so long
REFETCH_S: Final = 60.0  # least time between two looks at one DID because of bad signatures
MAX_ACCOUNTS: Final = 50_000
MAX_KEYS: Final = 20_000
MAX_NEGATIVE: Final = 20_000
MAX_FLIGHTS: Final = 64

# First looks and looks after bad signatures have budgets of their own: the second kind is what an attacker can cause.
FETCH_RATE: Final = Rate(per_s=10, burst=100)
REFETCH_RATE: Final = Rate(per_s=1, burst=20)

lookups = Counter("feedgen_identity_lookups_total", "Looks at a DID's document, by result", "result")
flights_now = Gauge("feedgen_identity_flights", "Look-ups under way")

log = logging.getLogger(__name__)

T = TypeVar("T")


class AccountStore(Protocol):
    """What `store.viewers` does for us. Raises StoreError."""

    async def account(self, did: str) -> Account | None: ...
    async def put_account(self, account: Account) -> None: ...
    async def forget_account(self, did: str) -> None: ...
    async def mark_account_stale(self, did: str) -> None: ...


class _Miss(NamedTuple):
    """Why a DID has no answer, until when. No name: it may have one later."""

    until_s: float
    name: str
    message: str

    def error(self) -> TokenError | Unverifiable:
        return TokenError(self.name, self.message) if self.name else Unverifiable(self.message)


class _Recent(Generic[T]):
    """The most recently used. Not a plain dict: looking for its oldest entry walks over all the holes before it."""

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._values: OrderedDict[str, T] = OrderedDict()

    def get(self, key: str) -> T | None:
        value = self._values.get(key)
        if value is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: str, value: T) -> None:
        self._values[key] = value
        self._values.move_to_end(key)
        if len(self._values) > self._max_size:
            self._values.popitem(last=False)

    def drop(self, key: str) -> None:
        self._values.pop(key, None)

    def __len__(self) -> int:
        return len(self._values)


class Resolver:
    """`web` is None when did:web is off; `store` is None where nothing need outlive the process."""

    def __init__(
        self,
        plc: Fetcher,
        web: Fetcher | None,
        store: AccountStore | None,
        clock: Clock,
        trusted_pds: Container[str] = (),
    ) -> None:
        self._plc, self._web, self._store, self._clock = plc, web, store, clock
        self._trusted_pds = trusted_pds
        self._accounts: _Recent[Account] = _Recent(MAX_ACCOUNTS)
        self._keys: _Recent[tuple[Account, SigningKey]] = _Recent(MAX_KEYS)
        self._misses: _Recent[_Miss] = _Recent(MAX_NEGATIVE)
        self._looked_s: _Recent[float] = _Recent(MAX_NEGATIVE)
        self._flights: dict[str, asyncio.Task[Account]] = {}
        self._fetch_rate = RateLimit(FETCH_RATE, clock)
        self._refetch_rate = RateLimit(REFETCH_RATE, clock)
        self._failures = 0
        self._down_until_s = 0.0

    async def key(self, did: str, may_look_up: bool = True) -> SigningKey:
        """The key that this account signs with, as far as we know. Raises NeedsLookUp without `may_look_up`."""
        account = await self.account(did, may_look_up)
        known = self._keys.get(did)
        if known is not None and known[0].key == account.key and known[0].key_kind == account.key_kind:
            return known[1]
        key = parse_key(account.key_kind, account.key)
        self._keys.put(did, (account, key))
        return key

    async def fresher_key(self, did: str) -> SigningKey | None:
        """After a bad signature: the key as it is now, unless we looked within the last minute."""
        now_s = self._clock.monotonic_s()
        looked_s = self._looked_s.get(did)
        if looked_s is not None and now_s - looked_s < REFETCH_S:
            return None
        flight = self._take_off(did, self._refetch_rate)
        if flight is None:
            return None
        try:
            await self._wait_for(flight)
            return await self.key(did)
        except (TokenError, Unverifiable):
            return None

    async def account(self, did: str, may_look_up: bool = True) -> Account:
        """Raises TokenError when there is no such account, Unverifiable when nobody can say just now."""
        if did.startswith("did:web:") and self._web is None:
            raise Unverifiable("did:web is off")
        account = self._accounts.get(did) or await self._stored(did)
        miss = self._misses.get(did)
        if miss is not None and miss.until_s <= self._clock.monotonic_s():
            miss = None
        if account is not None:
            if self._clock.now_us() // US_PER_S - account.fetched_s > FRESH_S and miss is None:
                self._take_off(did, self._fetch_rate)
            return account
        if miss is not None:
            raise miss.error()
        if not may_look_up:
            raise NeedsLookUp
        flight = self._take_off(did, self._fetch_rate)
        if flight is None:
            raise Unverifiable("too many look-ups")
        return await self._wait_for(flight)

    async def changed(self, did: str) -> None:
        """The network said that this identity changed: look again when it is next needed."""
        self._misses.drop(did)
        self._looked_s.drop(did)
        account = self._accounts.get(did)
        if account is not None:
            self._accounts.put(did, msgspec.structs.replace(account, fetched_s=0))
        await self._tell_store(lambda store: store.mark_account_stale(did))

    async def forget(self, did: str) -> None:
        """For good. Raises StoreError when it has to be tried again."""
        self._accounts.drop(did)
        self._keys.drop(did)
        if self._store is not None:
            await self._store.forget_account(did)

    async def close(self) -> None:
        for flight in list(self._flights.values()):
            flight.cancel()
        await asyncio.gather(*self._flights.values(), return_exceptions=True)
        await self._plc.close()
        if self._web is not None:
            await self._web.close()

    # Looking

    def _take_off(self, did: str, rate: RateLimit) -> asyncio.Task[Account] | None:
        """The look-up of this DID: the one under way, or a new one if there may be one."""
        flight = self._flights.get(did)
        if flight is not None:
            return flight
        is_down = did.startswith("did:plc:") and self._clock.monotonic_s() < self._down_until_s
        if is_down or len(self._flights) >= MAX_FLIGHTS or not rate.take("all"):
            lookups.add(1, "down" if is_down else "too_many")
            return None
        self._looked_s.put(did, self._clock.monotonic_s())
        flight = asyncio.create_task(self._look(did))
        self._flights[did] = flight
        flights_now.set(len(self._flights))
        flight.add_done_callback(lambda done: self._landed(did, done))
        return flight

    def _landed(self, did: str, flight: asyncio.Task[Account]) -> None:
        self._flights.pop(did, None)
        flights_now.set(len(self._flights))
        error = None if flight.cancelled() else flight.exception()
        if error is not None and not isinstance(error, TokenError | Unverifiable):
            log.error("a look-up ended by an unexpected error", exc_info=error)

    async def _wait_for(self, flight: asyncio.Task[Account]) -> Account:
        """A caller that gives up does not take the look-up from the others."""
        try:
            async with asyncio.timeout(KEY_S):  # the look-up itself goes on
                return await asyncio.shield(flight)
        except TimeoutError:
            raise Unverifiable("the look-up takes too long") from None
        except (TokenError, Unverifiable):
            raise
        except Exception:
            raise Unverifiable("the look-up failed") from None

    async def _look(self, did: str) -> Account:
        fetcher = self._plc if did.startswith("did:plc:") else self._web
        if fetcher is None:
            raise Unverifiable("did:web is off")
        try:
            body = await fetcher.fetch(did)
            account = parse_document(did, body, self._clock.now_us() // US_PER_S, self._trusted_pds)
        except UnknownDid:
            self._works(fetcher)
            await self._no_such(did)
            raise self._miss(did, "unknown", NEGATIVE_S, "AuthenticationRequired", "identity unknown") from None
        except BadDocument:
            self._works(fetcher)
            await self._no_such(did)
            raise self._miss(did, "bad_document", NEGATIVE_S, "AuthenticationRequired", "missing or bad key") from None
        except RefusedHost:
            raise self._miss(did, "refused_host", NEGATIVE_S, "UntrustedIss", "Untrusted issuer") from None
        except UpstreamError as error:
            self._fails(fetcher)
            wait_s = RETRY_S if fetcher is self._plc else NEGATIVE_S
            raise self._miss(did, "failed", wait_s, "", error.message) from None
        self._works(fetcher)
        lookups.add(1, "good")
        self._misses.drop(did)
        self._accounts.put(did, account)
        await self._tell_store(lambda store: store.put_account(account))
        return account

    async def _no_such(self, did: str) -> None:
        self._accounts.drop(did)
        self._keys.drop(did)
        await self._tell_store(lambda store: store.forget_account(did))

    def _miss(self, did: str, result: str, wait_s: float, name: str, message: str) -> TokenError | Unverifiable:
        lookups.add(1, result)
        miss = _Miss(self._clock.monotonic_s() + wait_s, name, message)
        self._misses.put(did, miss)
        return miss.error()

    def _works(self, fetcher: Fetcher) -> None:
        if fetcher is self._plc:
            self._failures = 0

    def _fails(self, fetcher: Fetcher) -> None:
        if fetcher is not self._plc:
            return
        self._failures += 1
        if self._failures >= DOWN_AFTER:
            if self._failures == DOWN_AFTER:
                log.warning("the DID directory does not answer; readers that we know go on as before")
            self._down_until_s = self._clock.monotonic_s() + DOWN_S

    # The store: what can't be kept is had again

    async def _stored(self, did: str) -> Account | None:
        if self._store is None:
            return None
        try:
            account = await self._store.account(did)
        except StoreError as error:
            log.warning("can't read a known account: %s", error.message)
            return None
        if account is not None:
            self._accounts.put(did, account)
        return account

    async def _tell_store(self, say: Callable[[AccountStore], Awaitable[None]]) -> None:
        if self._store is None:
            return
        try:
            await say(self._store)
        except StoreError as error:
            log.warning("can't keep a known account: %s", error.message)


def trusted_origins(settings: Identity) -> frozenset[str]:
    """The operator's trusted PDS addresses as they stand in DID documents."""
    return frozenset(url.rstrip("/") for url in settings.trusted_pds)


def make_resolver(settings: Identity, store: AccountStore | None, clock: Clock) -> Resolver:
    """As the settings say. Opens no connection yet."""
    web: Fetcher | None = None
    if settings.did_web == "direct":
        web = DirectWebFetcher()
    elif settings.did_web == "proxy":
        web = ProxiedWebFetcher(settings.proxy_url)
    return Resolver(PlcFetcher(settings.plc_url), web, store, clock, trusted_origins(settings))
