"""Handles to DIDs, for links that people paste: asked of the AppView that the settings name, seldom, and remembered."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple, Protocol

import msgspec

from feedgen.core.budget import OUTSIDE_S
from feedgen.core.clock import Clock
from feedgen.core.errors import UpstreamError
from feedgen.core.ids import is_did
from feedgen.core.names import Name
from feedgen.core.telemetry import Counter
from feedgen.serve.http.limits import Rate, RateLimit
from feedgen.serve.out.outbound import Outbound

MAX_BYTES: Final = 16 * 1024
MAX_KEPT: Final = 10_000
KEPT_S: Final = 3600.0
MISS_KEPT_S: Final = 300.0
ASK_RATE: Final = Rate(per_s=5, burst=50)

asked = Counter("feedgen_serve_handles_total", "Handles looked up at the AppView, by result", "result")


class UnknownHandle(Exception):
    """Nobody has it."""


class HandleSource(Protocol):
    async def did(self, handle: str) -> str:
        """Raises UnknownHandle or UpstreamError."""
        ...


async def did_of(name: Name, handles: HandleSource) -> str:
    """Of whatever names an account or a post. Raises UnknownHandle or UpstreamError."""
    return name.authority if name.has_did else await handles.did(name.authority)


class _Answer(msgspec.Struct):
    did: str


class _Kept(NamedTuple):
    did: str  # empty: nobody's
    until_s: float


_answer = msgspec.json.Decoder(_Answer)


class Handles:
    def __init__(self, appview_url: str, clock: Clock) -> None:
        self._url = f"{appview_url.rstrip('/')}/xrpc/com.atproto.identity.resolveHandle"
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._rate = RateLimit(ASK_RATE, clock)
        self._out = Outbound()

    async def did(self, handle: str) -> str:
        """Raises UnknownHandle, or UpstreamError when nobody can say just now. `handle` is one, in lower case."""
        kept = self._kept.get(handle)
        if kept is None or kept.until_s <= self._clock.monotonic_s():
            if not self._rate.take("all"):
                asked.add(1, "too many")
                raise UpstreamError("too many handles are being looked up")
            kept = await self._ask(handle)
            self._kept[handle] = kept
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        if not kept.did:
            raise UnknownHandle(handle)
        return kept.did

    async def close(self) -> None:
        await self._out.close()

    async def _ask(self, handle: str) -> _Kept:
        now_s = self._clock.monotonic_s()
        try:
            status, body = await self._out.get(self._url, OUTSIDE_S, MAX_BYTES, {"handle": handle})
            if status == 400:
                asked.add(1, "unknown")
                return _Kept("", now_s + MISS_KEPT_S)
            if status != 200:
                raise UpstreamError(f"the AppView answered with status {status}")
            did = _answer.decode(body).did
        except (UpstreamError, msgspec.DecodeError, UnicodeDecodeError) as error:
            asked.add(1, "failed")
            raise UpstreamError(f"can't look up a handle: {error}") from None
        if not is_did(did):
            raise UpstreamError("the AppView's answer is no DID")
        asked.add(1, "good")
        return _Kept(did, now_s + KEPT_S)
