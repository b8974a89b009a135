"""Getting DID documents: from the directory that we chose, and, if at all, from hosts that a stranger chose.

No redirects, bounded bodies, bounded time; strangers' hosts only at addresses that were checked (addresses.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Protocol

import httpx

from feedgen.core.errors import UpstreamError
from feedgen.serve.out.addresses import Lookup, RefusedHost, checked_address, in_url, look_up
from feedgen.serve.out.hosts import did_web_host, is_public_address
from feedgen.serve.who.did_document import MAX_DOCUMENT_BYTES, BadDocument

FETCH_TIMEOUT_S: Final = 3.0
MAX_CONNECTIONS: Final = 10
USER_AGENT: Final = "feedgen"


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
        self._client = _client(None)

    async def fetch(self, did: str) -> bytes:
        return await _get(self._client, f"{self._url}/{did}")

    async def close(self) -> None:
        await self._client.aclose()


class ProxiedWebFetcher:
    """did:web, through a proxy that looks the name up and connects in our place."""

    def __init__(self, proxy_url: str) -> None:
        self._client = _client(proxy_url)

    async def fetch(self, did: str) -> bytes:
        return await _get(self._client, f"https://{_host(did)}/.well-known/did.json")

    async def close(self) -> None:
        await self._client.aclose()


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
        self._client = _client(None, keep=0)

    async def fetch(self, did: str) -> bytes:
        host = _host(did)
        address = in_url(await checked_address(host, self._look_up, self._is_public))
        url = f"{self._scheme}://{address}:{self._port}/.well-known/did.json"
        # The certificate is checked against the name, the connection goes to the address.
        return await _get(self._client, url, {"host": host}, {"sni_hostname": host})

    async def close(self) -> None:
        await self._client.aclose()


def _host(did: str) -> str:
    host = did_web_host(did)
    if not host:
        raise RefusedHost("not a public host name")
    return host


def _client(proxy_url: str | None, keep: int = MAX_CONNECTIONS) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        proxy=proxy_url,
        follow_redirects=False,
        # The environment may name proxies for other programs.
        trust_env=False,
        timeout=FETCH_TIMEOUT_S,
        limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=keep),
        headers={"user-agent": USER_AGENT, "accept": "application/did+ld+json, application/json"},
    )


async def _get(
    client: httpx.AsyncClient,
    url: str,
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, str] | None = None,
) -> bytes:
    """httpx bounds each step; this bounds them all together."""
    try:
        async with (
            asyncio.timeout(FETCH_TIMEOUT_S),
            client.stream("GET", url, headers=headers, extensions=dict(extensions or {})) as answer,
        ):
            if answer.status_code in (404, 410):
                raise UnknownDid("no such account")
            if answer.status_code != 200:
                raise UpstreamError(f"a DID's document was answered with status {answer.status_code}")
            return await _body(answer)
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, TimeoutError, OSError) as error:
        raise UpstreamError(f"can't get a DID's document: {type(error).__name__}") from None


async def _body(answer: httpx.Response) -> bytes:
    """What a bomb unpacks to is bounded, too: httpx gives decoded pieces as they come."""
    pieces: list[bytes] = []
    total = 0
    async for piece in answer.aiter_bytes(16 * 1024):
        total += len(piece)
        if total > MAX_DOCUMENT_BYTES:
            raise BadDocument("too long")
        pieces.append(piece)
    return b"".join(pieces)
