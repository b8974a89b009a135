"""Getting DID documents: from the directory that we chose, and, if at all, from hosts that a stranger chose.

No redirects, bounded bodies, bounded time; strangers' hosts only at addresses that were checked (addresses.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from feedgen.core.errors import UpstreamError
from feedgen.serve.out.addresses import Lookup, RefusedHost, checked_address, in_url, look_up
from feedgen.serve.out.hosts import did_web_host, is_public_address
from feedgen.serve.out.outbound import Outbound, TooLong
from feedgen.serve.who.did_document import MAX_DOCUMENT_BYTES, BadDocument

FETCH_TIMEOUT_S: Final = 3.0
MAX_CONNECTIONS: Final = 10


class UnknownDid(Exception):
    """Whoever should know says that there is no such account."""


class Fetcher(Protocol):
    async def fetch(self, did: str) -> bytes:
        """The document's bytes. Raises UnknownDid, BadDocument, RefusedHost or UpstreamError."""
        ...

    async def close(self) -> None: ...


class PlcFetcher:
    """did:plc, from the directory."""

    def __init__(self, plc_url: str) -> None:
        self._url = plc_url.rstrip("/")
        self._out = _outbound()

    async def fetch(self, did: str) -> bytes:
        return await _get(self._out, f"{self._url}/{did}")

    async def close(self) -> None:
        await self._out.close()


class ProxiedWebFetcher:
    """did:web, through a proxy that looks the name up and connects in our place."""

    def __init__(self, proxy_url: str) -> None:
        self._out = _outbound(proxy_url)

    async def fetch(self, did: str) -> bytes:
        return await _get(self._out, f"https://{_host(did)}/.well-known/did.json")

    async def close(self) -> None:
        await self._out.close()


class DirectWebFetcher:
    """did:web, from here. `look_up`, `is_public`, `scheme` and `port` differ only in tests."""

    def __init__(
        self,
        look_up: Lookup = look_up,
        is_public: Callable[[str], bool] = is_public_address,
        scheme: str = "https",
        port: int = 443,
    ) -> None:
        self._look_up, self._is_public, self._scheme, self._port = look_up, is_public, scheme, port
        # A connection is not kept: the next host at the same address would be taken for the one that it was made for.
        self._out = _outbound(keep=0)

    async def fetch(self, did: str) -> bytes:
        host = _host(did)
        address = in_url(await checked_address(host, self._look_up, self._is_public))
        url = f"{self._scheme}://{address}:{self._port}/.well-known/did.json"
        # The certificate is checked against the name, the connection goes to the address.
        return await _get(self._out, url, host)

    async def close(self) -> None:
        await self._out.close()


def _host(did: str) -> str:
    host = did_web_host(did)
    if not host:
        raise RefusedHost("not a public host name")
    return host


def _outbound(proxy_url: str | None = None, keep: int = MAX_CONNECTIONS) -> Outbound:
    accept = "application/did+ld+json, application/json"
    return Outbound(proxy_url, MAX_CONNECTIONS, keep, accept, unpack=True)


async def _get(out: Outbound, url: str, host: str | None = None) -> bytes:
    """`host` is the name when the URL has an address instead."""
    headers = None if host is None else {"host": host}
    try:
        status, body = await out.get(url, FETCH_TIMEOUT_S, MAX_DOCUMENT_BYTES, headers=headers, certificate_of=host)
    except TooLong:
        raise BadDocument("too long") from None
    if status in (404, 410):
        raise UnknownDid("no such account")
    if status != 200:
        raise UpstreamError(f"a DID's document was answered with status {status}")
    return body
