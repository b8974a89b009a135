"""Members of Bluesky's lists, asked of the AppView when a consumer names one, and kept for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from feedgen.core.budget import OUTSIDE_S
from feedgen.core.clock import Clock
from feedgen.core.errors import UpstreamError
from feedgen.core.ids import is_did, parse_at_uri
from feedgen.serve.out.outbound import Outbound
from feedgen.stream.filters import MAX_DIDS, BadQuery

KEPT_S: Final = 600.0
MAX_KEPT: Final = 200
MAX_LISTS: Final = 10  # of one consumer
MAX_PAGES: Final = 100  # of 100 members
MAX_BYTES: Final = 1 << 20
LIST_NSID: Final = "app.bsky.graph.list"


class _Subject(msgspec.Struct):
    did: str


class _Item(msgspec.Struct):
    subject: _Subject


class _Page(msgspec.Struct):
    items: list[_Item]
    cursor: str = ""


_page = msgspec.json.Decoder(_Page).decode


class Lists:
    def __init__(self, appview_url: str, clock: Clock) -> None:
        self._url, self._clock = f"{appview_url.rstrip('/')}/xrpc/app.bsky.graph.getList", clock
        self._out = Outbound()
        self._kept: OrderedDict[str, tuple[float, frozenset[str]]] = OrderedDict()

    async def close(self) -> None:
        await self._out.close()

    async def of(self, values: Sequence[str]) -> Callable[[str], frozenset[str]]:
        """Members of each list that is named. Raises BadQuery."""
        names = [name.strip() for value in values for name in value.split(",") if name.strip()]
        if len(names) > MAX_LISTS:
            raise BadQuery(f"lists: {len(names)} are too many; {MAX_LISTS} are allowed")
        found = {name: await self._members(name) for name in names}
        return lambda name: found.get(name, frozenset())

    async def _members(self, uri: str) -> frozenset[str]:
        parsed = parse_at_uri(uri)
        if parsed is None or parsed.collection != LIST_NSID:
            raise BadQuery(f"lists: {uri[:200]!r} is no at-uri of a list, with a DID in it")
        until_s, members = self._kept.get(uri, (0.0, frozenset[str]()))
        if until_s < self._clock.monotonic_s():
            try:
                members = await self._ask(uri)
            except (UpstreamError, msgspec.MsgspecError) as error:
                raise BadQuery(f"lists: the AppView can't tell who is in {uri}: {error}") from None
            self._kept[uri] = self._clock.monotonic_s() + KEPT_S, members
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return members

    async def _ask(self, uri: str) -> frozenset[str]:
        members: set[str] = set()
        cursor = ""
        for _ in range(MAX_PAGES):
            params = {"list": uri, "limit": "100"} | ({"cursor": cursor} if cursor else {})
            status, body = await self._out.get(self._url, OUTSIDE_S, MAX_BYTES, params)
            if status != 200:
                raise UpstreamError(f"status {status}")
            page = _page(body)
            members.update(item.subject.did for item in page.items if is_did(item.subject.did))
            if not page.cursor or page.cursor == cursor or len(members) >= MAX_DIDS:
                break
            cursor = page.cursor
        return frozenset(members)
