"""Who is asking: the reader's DID out of the Authorization header, or nobody.

And whether they may ask once more just now.
"""

from __future__ import annotations

from typing import Final, Protocol

from starlette.requests import Request

from feedgen.core.telemetry import Counter
from feedgen.serve.http.limits import Budget, Limits
from feedgen.serve.http.xrpc import XrpcError

SKELETON_METHODS: Final = frozenset({"app.bsky.feed.getFeedSkeleton", "app.bsky.feed.getFeed"})
INTERACTION_METHODS: Final = frozenset({"app.bsky.feed.sendInteractions"})

# Failures that cost a signature check or a look-up. Only these count against an address: the AppView passes on what its
# users send after checking the signature, so nobody can spend the AppView's share of these for all other readers.
COSTLY: Final = frozenset({"BadJwtSignature", "AuthenticationRequired", "UntrustedIss"})

readers = Counter(
    "feedgen_serve_readers_total", "Callers by how they were known: verified, anonymous, unverifiable, refused", "how"
)


class TokenError(Exception):
    """The token proves nothing. `name` is the official verifier's."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name, self.message = name, message


class Unverifiable(Exception):
    """The token may be good, but its key can't be had: the directory is down, or its host is one that we don't ask."""


class NeedsLookUp(Exception):
    """The token may be good, but its key is not at hand, and the caller may not have it looked up."""


class Verifier(Protocol):
    async def verify(self, token: str, methods: frozenset[str], once: bool = False, may_look_up: bool = True) -> str:
        """The reader's DID. Raises TokenError, Unverifiable or NeedsLookUp. With `once` a token is good for one call;
        without `may_look_up` nobody is asked for a key.
        """
        ...


class Door:
    """Knows a reader by their token, and keeps everyone within the limits."""

    def __init__(self, verifier: Verifier, limits: Limits) -> None:
        self._verifier, self._limits = verifier, limits

    async def reader_or_nobody(self, request: Request, methods: frozenset[str]) -> str | None:
        """For reading: no token is an anonymous reader, a bad one is refused.

        A token that can't be checked just now reads as nobody, who sees least: a page is better than an error.
        """
        token = bearer_token(request)
        address, budget = self._limits.addresses.of(request), self._limits.reading
        did = await self._verified(token, methods, address, budget, once=False) if token is not None else None
        if did is None:
            readers.add(1, "anonymous" if token is None else "unverifiable")
            budget.check_anonymous(address)
        return did

    async def reader(self, request: Request, methods: frozenset[str]) -> str:
        """For writing: only a verified reader will do."""
        token = bearer_token(request)
        address, budget = self._limits.addresses.of(request), self._limits.telling
        if token is None:
            budget.check_anonymous(address)
            raise XrpcError(401, "MissingJwt", "missing jwt")
        did = await self._verified(token, methods, address, budget, once=True)
        if did is None:
            readers.add(1, "unverifiable")
            budget.check_anonymous(address)
            raise XrpcError(502, "UpstreamFailure", "The issuer's key can't be had just now")
        return did

    async def _verified(
        self, token: str, methods: frozenset[str], address: str, budget: Budget, once: bool
    ) -> str | None:
        """None when nobody can say just now."""
        try:
            did = await self._verifier.verify(token, methods, once, budget.may_look_up(address))
        except TokenError as error:
            readers.add(1, "refused")
            if error.name in COSTLY:
                budget.note_failure(address)
            else:
                budget.check_anonymous(address)
            raise XrpcError(401, error.name, error.message) from None
        except NeedsLookUp:
            readers.add(1, "refused")
            raise budget.refuse_look_up() from None
        except Unverifiable:
            return None
        readers.add(1, "verified")
        budget.check_reader(did)
        return did


def bearer_token(request: Request) -> str | None:
    """None when there is no bearer token at all; an empty one is a bad token."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
