"""The one way in which we ask others over HTTP: no redirects, and bounds on time, bytes and connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple

import certifi
import httpx

from feedgen.core.errors import UpstreamError

USER_AGENT: Final = "feedgen"
CONNECTIONS: Final = 4

Params = Mapping[str, str] | Sequence[tuple[str, str]]


class Answer(NamedTuple):
    status: int
    body: bytes  # empty unless the status is 200
    headers: Mapping[str, str]


class TooLong(UpstreamError):
    """An answer has more bytes than the caller takes."""


@cache
def _tls(authorities: str) -> ssl.SSLContext:
    """Reading all the world's certificates takes 20 ms: once for each file of them."""
    return ssl.create_default_context(cafile=authorities)


class Outbound:
    """`keep` connections are kept open for the next question; `unpack` accepts compressed answers.

    An answer may be a bomb: what it unpacks to is bounded, too, piece by piece; without `unpack` it is refused.
    """

    def __init__(
        self,
        proxy_url: str | None = None,
        connections: int = CONNECTIONS,
        keep: int | None = None,
        accept: str = "application/json",
        unpack: bool = False,
    ) -> None:
        self._proxy_url, self._unpack = proxy_url, unpack
        self._limits = httpx.Limits(max_connections=connections, max_keepalive_connections=keep)
        self._headers = {"user-agent": USER_AGENT, "accept": accept}
        if not unpack:
            self._headers["accept-encoding"] = "identity"
        self._client: httpx.AsyncClient | None = None  # made when it is needed: many services are never asked

    async def get(
        self,
        url: str,
        timeout_s: float,
        max_bytes: int,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        certificate_of: str | None = None,
    ) -> tuple[int, bytes]:
        """Status and body; the body is read for status 200 only. Raises UpstreamError."""
        answer = await self.ask(url, timeout_s, max_bytes, params, headers, certificate_of)
        return answer.status, answer.body

    async def ask(
        self,
        url: str,
        timeout_s: float,
        max_bytes: int,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        certificate_of: str | None = None,
    ) -> Answer:
        """The same, with the answer's headers.

        `certificate_of` is the name that the certificate must have when the URL has an address instead.
        """
        if self._client is None:
            # The environment may name proxies for other programs. Steps have no limit of their own: the whole has.
            self._client = httpx.AsyncClient(
                verify=_tls(certifi.where()),
                proxy=self._proxy_url,
                follow_redirects=False,
                trust_env=False,
                timeout=None,
                limits=self._limits,
                headers=self._headers,
            )
        extensions = {} if certificate_of is None else {"sni_hostname": certificate_of}
        query = None if params is None else httpx.QueryParams(params)  # type: ignore[arg-type]
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._client.stream("GET", url, params=query, headers=headers, extensions=extensions) as answer,
            ):
                body = await self._body(answer, max_bytes) if answer.status_code == 200 else b""
                return Answer(answer.status_code, body, answer.headers)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, TimeoutError, OSError) as error:
            raise UpstreamError(f"no answer: {type(error).__name__}") from None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def _body(self, answer: httpx.Response, max_bytes: int) -> bytes:
        if not self._unpack and answer.headers.get("content-encoding", "identity") != "identity":
            raise UpstreamError("an answer is packed")
        body = bytearray()
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > max_bytes:
                raise TooLong("an answer is too long")
        return bytes(body)
