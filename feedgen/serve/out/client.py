"""Several questions to one host that a stranger chose: the PDS in a DID document.

The same rules as for documents (fetch.py): only public hosts, over HTTPS, at the very address that was checked or
through the operator's proxy; no redirects, bounded answers and time. Hosts that the operator trusts are asked as they
are. A visit has connections of its own, so that no host is ever answered for by another at the same address.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from feedgen.core.errors import UpstreamError
from feedgen.core.settings_network import Identity
from feedgen.serve.out.addresses import Lookup, RefusedHost, checked_address, in_url, look_up
from feedgen.serve.out.hosts import is_public_address, public_origin
from feedgen.serve.out.outbound import Outbound

ASK_TIMEOUT_S: Final = 5.0
CONNECTIONS: Final = 2  # of one visit


class HostClient:
    """One host, open for questions."""

    def __init__(self, out: Outbound, url: str, host: str | None = None) -> None:
        """`host` is what the certificate and the Host header say when the URL has an address instead."""
        self._out, self._url, self._host = out, url, host

    async def get(self, method: str, query: Mapping[str, str], max_bytes: int) -> bytes:
        """An XRPC query's answer. Raises UpstreamError for whatever goes wrong."""
        headers = None if self._host is None else {"host": self._host}
        status, body = await self._out.get(
            f"{self._url}/xrpc/{method}", ASK_TIMEOUT_S, max_bytes, query, headers, self._host
        )
        if status != 200:
            raise UpstreamError(f"a PDS answered with status {status}")
        return body


class Hosts(Protocol):
    def visit(self, origin: str) -> AbstractAsyncContextManager[HostClient]:
        """`origin` as in an account: `https://host`. Raises RefusedHost or UpstreamError."""
        ...


class DirectHosts:
    """From here. `look_up`, `is_public`, `scheme` and `port` differ only in tests."""

    def __init__(
        self,
        look_up: Lookup = look_up,
        is_public: Callable[[str], bool] = is_public_address,
        scheme: str = "https",
        port: int = 443,
    ) -> None:
        self._look_up, self._is_public, self._scheme, self._port = look_up, is_public, scheme, port

    @asynccontextmanager
    async def visit(self, origin: str) -> AsyncIterator[HostClient]:
        host = _public_host(origin)
        address = in_url(await checked_address(host, self._look_up, self._is_public))
        async with _outbound() as out:
            yield HostClient(out, f"{self._scheme}://{address}:{self._port}", host)


class ProxiedHosts:
    """Through a proxy that looks the name up and connects in our place."""

    def __init__(self, proxy_url: str) -> None:
        self._proxy_url = proxy_url

    @asynccontextmanager
    async def visit(self, origin: str) -> AsyncIterator[HostClient]:
        host = _public_host(origin)
        async with _outbound(self._proxy_url) as out:
            yield HostClient(out, f"https://{host}")


class TrustedHosts:
    """The operator's own, as they are, and others if there is a way to ask them."""

    def __init__(self, trusted: frozenset[str], others: Hosts | None) -> None:
        self._trusted, self._others = trusted, others

    @asynccontextmanager
    async def visit(self, origin: str) -> AsyncIterator[HostClient]:
        if origin in self._trusted:
            async with _outbound() as out:
                yield HostClient(out, origin)
        elif self._others is None:
            raise RefusedHost("repositories are not asked")
        else:
            async with self._others.visit(origin) as visit:
                yield visit


def make_hosts(settings: Identity, trusted: frozenset[str]) -> Hosts | None:
    """As the settings say; None when nobody may be asked."""
    others: Hosts | None = None
    if settings.pds == "direct":
        others = DirectHosts()
    elif settings.pds == "proxy":
        others = ProxiedHosts(settings.proxy_url)
    return TrustedHosts(trusted, others) if trusted or others is not None else None


def _public_host(origin: str) -> str:
    """Accounts are kept for long: the rules of today count, not those of the day when it was looked up."""
    if public_origin(origin) != origin or not origin:
        raise RefusedHost("not a public host name")
    return origin.removeprefix("https://")


@asynccontextmanager
async def _outbound(proxy_url: str | None = None) -> AsyncIterator[Outbound]:
    out = Outbound(proxy_url, CONNECTIONS, CONNECTIONS)
    try:
        yield out
    finally:
        await out.close()
