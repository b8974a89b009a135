"""How much one caller may ask, and how much may be in work at once.

Most calls come from the AppView's few addresses, so verified readers are limited by who they are. Addresses count
only for callers without a valid token, and an address out of a header is believed only when a proxy that we trust
wrote it.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from starlette.requests import Request

from feedgen.core.clock import Clock
from feedgen.core.settings_network import LOCAL_PROXIES
from feedgen.core.telemetry import Counter, Gauge
from feedgen.serve.http.xrpc import XrpcError, overloaded, rate_limited

MAX_KEYS: Final = 50_000
MAX_FORWARDED: Final = 200  # characters at the end of X-Forwarded-For that are looked at
MAX_CACHED: Final = 4096
UNKNOWN_ADDRESS: Final = "unknown"

refused = Counter("feedgen_serve_refused_total", "Callers turned away, by limit", "limit")
in_work = Gauge("feedgen_serve_in_work", "Pages being made just now")
waiting = Gauge("feedgen_serve_waiting", "Callers waiting for their page to be started")
untrusted = Counter(
    "feedgen_serve_untrusted_proxy_total", "Requests whose X-Forwarded-For came from a peer that is not trusted"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rate:
    """`burst` at once, then `per_s`."""

    per_s: float
    burst: int


class RateLimit:
    """Many callers, each with its own bucket.

    A caller costs one float, for as long as the bucket is not full again: a full one is like none. When the table is
    full the longest-silent caller is forgotten.
    """

    def __init__(self, rate: Rate, clock: Clock, max_keys: int = MAX_KEYS) -> None:
        self._interval_s = 1.0 / rate.per_s
        self._slack_s = self._interval_s * (rate.burst - 1)
        self._clock, self._max_keys = clock, max_keys
        self._full_at: OrderedDict[str, float] = OrderedDict()  # when a bucket will be full; the longest silent first

    def take(self, key: str) -> bool:
        """False when the caller has used up its share."""
        now_s = self._clock.monotonic_s()
        full_at = max(self._full_at.pop(key, now_s), now_s)
        allowed = full_at - now_s <= self._slack_s
        self._full_at[key] = full_at + self._interval_s if allowed else full_at
        self._let_go(now_s)
        return allowed

    def _let_go(self, now_s: float) -> None:
        """Two for each one that came, so that a flood of strangers leaves as fast as it came."""
        for _ in range(2):
            key, full_at = next(iter(self._full_at.items()))
            if full_at > now_s and len(self._full_at) <= self._max_keys:
                break
            del self._full_at[key]

    def is_spent(self, key: str) -> bool:
        """Whether `take` would refuse, without taking."""
        return self._full_at.get(key, 0.0) - self._clock.monotonic_s() > self._slack_s

    def __len__(self) -> int:
        return len(self._full_at)


class Gate:
    """At most `slots` in work.

    A short queue behind them, in which verified readers go first and anonymous ones get fewer places.
    """

    def __init__(self, slots: int = 512, places: int = 512, anonymous_places: int = 64, wait_s: float = 1.5) -> None:
        self._free = slots
        self._slots, self._places, self._anonymous_places, self._wait_s = slots, places, anonymous_places, wait_s
        self._known: deque[asyncio.Future[None]] = deque()
        self._anonymous: deque[asyncio.Future[None]] = deque()

    @property
    def in_work(self) -> int:
        return self._slots - self._free

    @property
    def waiting(self) -> int:
        return len(self._known) + len(self._anonymous)

    def slot(self, known: bool) -> _Slot:
        """`async with` one: waits for it, and gives it back."""
        return _Slot(self, known)

    async def enter(self, known: bool) -> None:
        if self._free:
            self._free -= 1
        else:
            await self._wait(known)
        in_work.set(self.in_work)

    def leave(self) -> None:
        self._release()
        in_work.set(self.in_work)

    async def _wait(self, known: bool) -> None:
        queue, places = (self._known, self._places) if known else (self._anonymous, self._anonymous_places)
        if len(queue) >= places:
            refused.add(1, "queue" if known else "anonymous_queue")
            raise overloaded()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        waiting.set(self.waiting)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._release()  # our turn came in the instant we gave up: pass it on
            elif turn in queue:
                queue.remove(turn)
            if isinstance(error, TimeoutError):
                refused.add(1, "wait")
                raise overloaded() from None
            raise
        finally:
            waiting.set(self.waiting)

    def _release(self) -> None:
        for queue in (self._known, self._anonymous):
            while queue:
                turn = queue.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._free += 1


class _Slot:
    __slots__ = ("_gate", "_known")

    def __init__(self, gate: Gate, known: bool) -> None:
        self._gate, self._known = gate, known

    async def __aenter__(self) -> None:
        await self._gate.enter(self._known)

    async def __aexit__(self, *error: object) -> None:
        self._gate.leave()


class ClientAddresses:
    """The address that stands for a caller.

    `trusted` are networks of proxies, or `unix` for whoever comes through a unix socket.
    """

    def __init__(self, trusted: Iterable[str] = LOCAL_PROXIES) -> None:
        named = set(trusted)
        self._mark_key = secrets.token_bytes(16)
        self._warned = False
        self._unix = "unix" in named
        # The same few hops ask again and again.
        self._resolved = lru_cache(MAX_CACHED)(self._resolve)
        self._networks = tuple(ip_network(name) for name in sorted(named - {"unix"}))

    def of(self, request: Request) -> str:
        peer = request.client.host if request.client else "unix"
        forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
        return self._resolved(peer, forwarded[-MAX_FORWARDED:])

    def mark(self, request: Request) -> str:
        """Tells two callers apart without telling who they are: `feedgen doctor` compares its own marks."""
        return blake2b(self.of(request).encode(), digest_size=8, key=self._mark_key).hexdigest()

    def _resolve(self, peer: str, forwarded: str) -> str:
        """Walk from the nearest hop outwards as long as the hops are ours."""
        nearest = _address(peer)
        if nearest is None and not (peer == "unix" and self._unix):
            return UNKNOWN_ADDRESS
        if nearest is not None and not self._is_trusted(nearest):
            if forwarded:
                self._warn(peer)
            return _key(nearest)
        for hop in reversed(forwarded.split(",")):
            address = _address(hop.strip())
            if address is None:
                break
            nearest = address
            if not self._is_trusted(address):
                break
        return _key(nearest) if nearest is not None else UNKNOWN_ADDRESS

    def _warn(self, peer: str) -> None:
        untrusted.add(1)
        if not self._warned:
            self._warned = True
            log.warning(
                "%s sends X-Forwarded-For, but [service] trusted_proxies does not name it: if it is your VPS, all "
                "callers look like one and share one caller's limits; add it and restart",
                peer,
            )

    def _is_trusted(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._networks)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _key(address: IPv4Address | IPv6Address) -> str:
    """Whoever has one IPv6 address has the /64 around it."""
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address)


class Budget:
    """What callers may ask of one kind. Each kind has its own, so that a burst of reading loses nothing that apps tell.

    A failure that costs a look-up counts against its address. Such an address can cause no further look-ups for a
    while; readers at the same address whose key is at hand notice nothing.
    """

    def __init__(self, clock: Clock, reader: Rate, anonymous: Rate, bad_token: Rate, kind: str = "") -> None:
        self._reader = RateLimit(reader, clock)
        self._anonymous = RateLimit(anonymous, clock)
        self._bad_token = RateLimit(bad_token, clock)
        self._kind = kind

    def check_reader(self, did: str) -> None:
        if not self._reader.take(did):
            raise self._refusal("reader")

    def check_anonymous(self, address: str) -> None:
        if not self._anonymous.take(address):
            raise self._refusal("anonymous")

    def may_look_up(self, address: str) -> bool:
        """False for addresses that sent many bad tokens."""
        return not self._bad_token.is_spent(address)

    def refuse_look_up(self) -> XrpcError:
        return self._refusal("bad_token")

    def note_failure(self, address: str) -> None:
        self._bad_token.take(address)

    def _refusal(self, limit: str) -> XrpcError:
        refused.add(1, self._kind + limit)
        return rate_limited()


class Limits:
    """All limits of the public side, with numbers that leave ordinary use alone.

    An app asks a few times a minute; a person scrolling fast, once a second; what was seen is told every ten seconds.
    An anonymous address may be the AppView, which asks for every logged-out visitor of Bluesky. A bad token can cost
    a look-up, so few of them are put up with.
    """

    def __init__(
        self,
        clock: Clock,
        addresses: ClientAddresses | None = None,
        gate: Gate | None = None,
        reader: Rate = Rate(per_s=2, burst=60),
        telling: Rate = Rate(per_s=1, burst=60),
        anonymous: Rate = Rate(per_s=50, burst=500),
        bad_token: Rate = Rate(per_s=2, burst=60),
        public: Rate = Rate(per_s=2, burst=40),
    ) -> None:
        self.addresses = addresses or ClientAddresses()
        self.gate = gate or Gate()
        self.reading = Budget(clock, reader, anonymous, bad_token)
        self.telling = Budget(clock, telling, anonymous, bad_token, "interactions_")
        self._public = RateLimit(public, clock)

    def check_public(self, address: str) -> None:
        """For what is no feed: people's own browsers and programs ask it, each from an address of theirs."""
        if not self._public.take(address):
            refused.add(1, "public")
            raise rate_limited()
