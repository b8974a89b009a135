"""Service tokens: who a reader is, proven by a signature with the key of their account.

Our own verifier, because what is at hand is either too trusting or too strict (a missing `exp`, a far-off one, any
method; no high-S, no audience with a fragment). The checks come in the order of Bluesky's own verifier and fail under
its names, so that a client sees from us what it would see from any other service. Only the signature costs anything;
it is checked last, and once for each token.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from collections import OrderedDict
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple, NoReturn, Protocol, TypeGuard

from feedgen.core import ids
from feedgen.core.clock import Clock
from feedgen.core.ids import US_PER_S
from feedgen.core.telemetry import Counter
from feedgen.serve.who.auth import TokenError
from feedgen.serve.who.keys import K256, P256, SigningKey

MAX_TOKEN: Final = 4096  # characters; a real one has about 400
MAX_VERIFIED: Final = 20_000  # tokens remembered as good until they expire
MAX_USED: Final = 50_000  # tokens remembered as used up
MAX_TIME_S: Final = 1e15
MAX_AHEAD_S: Final = 3600.0
CLOCK_DIFFERENCE_S: Final = 60.0

_THREE_PARTS: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
# Tokens for other purposes, which must not be taken for ours.
_OTHER_TYPES: Final = frozenset({"at+jwt", "refresh+jwt", "dpop+jwt"})

checked = Counter(
    "feedgen_serve_tokens_total", "Tokens looked at: remembered, or checked and good, or the error's name", "result"
)


class KeySource(Protocol):
    """Where an account's signing key comes from. May raise TokenError (no such key) or auth.Unverifiable (not now)."""

    async def key(self, did: str, may_look_up: bool = True) -> SigningKey:
        """Raises auth.NeedsLookUp when it is not at hand and may not be looked up."""
        ...

    async def fresher_key(self, did: str) -> SigningKey | None:
        """Asked after a bad signature, in case the key was changed. None when it is too soon to look again."""
        ...


class Claims(NamedTuple):
    did: str
    method: str
    expires_s: float
    once: bytes  # what may be used once only: the jti, or the whole of what was signed


class TokenVerifier:
    def __init__(self, service_did: str, keys: KeySource, clock: Clock) -> None:
        self._audiences = frozenset({service_did, service_did + "#bsky_fg"})
        self._keys, self._clock = keys, clock
        self._verified: OrderedDict[bytes, Claims] = OrderedDict()
        self._used: OrderedDict[bytes, float] = OrderedDict()

    async def verify(self, token: str, methods: frozenset[str], once: bool = False, may_look_up: bool = True) -> str:
        """The reader's DID. With `once`, a second use of the same token is refused."""
        try:
            claims = await self._claims(token, methods, may_look_up)
            if once:
                self._use_up(claims)
        except TokenError as error:
            checked.add(1, error.name)
            raise
        return claims.did

    async def _claims(self, token: str, methods: frozenset[str], may_look_up: bool) -> Claims:
        if len(token) > MAX_TOKEN:
            _bad("jwt is too long")
        now_s = self._clock.now_us() / US_PER_S
        digest = blake2b(token.encode(errors="replace"), digest_size=16).digest()
        known = self._verified.get(digest)
        if known is not None:
            _check_expiry(known.expires_s, now_s)
            _check_method(known.method, methods)
            checked.add(1, "remembered")
            return known
        if _THREE_PARTS.fullmatch(token) is None:
            _bad()
        signed, _, signature = token.rpartition(".")
        header, _, payload = signed.partition(".")
        _check_header(header)
        claims = self._read(_json(payload), methods, now_s, signed)
        await self._check_signature(claims.did, signed.encode(), _bytes(signature), may_look_up)
        checked.add(1, "good")
        self._verified[digest] = claims
        if len(self._verified) > MAX_VERIFIED:
            self._verified.popitem(last=False)
        return claims

    def _read(self, payload: dict[str, object], methods: frozenset[str], now_s: float, signed: str) -> Claims:
        issuer, audience, method = payload.get("iss"), payload.get("aud"), payload.get("lxm")
        expires_s, jti = payload.get("exp"), payload.get("jti")
        if not isinstance(issuer, str) or not isinstance(audience, str) or not _is_number(expires_s):
            _bad()
        if method is not None and not isinstance(method, str):
            _bad()
        _check_expiry(expires_s, now_s)
        for claim in ("iat", "nbf"):
            begins_s = payload.get(claim, 0)
            if not _is_number(begins_s) or begins_s > now_s + CLOCK_DIFFERENCE_S:
                _bad("jwt is not valid yet")
        if audience not in self._audiences:
            raise TokenError("BadJwtAudience", "jwt audience does not match service did")
        _check_method(method, methods)
        did, hash_sign, fragment = issuer.partition("#")
        if not _is_account(did) or bool(hash_sign) != bool(fragment) or "#" in fragment:
            raise TokenError("BadJwtIss", "jwt iss is not a valid did")
        unique = jti if isinstance(jti, str) and jti else signed
        once = blake2b(f"{did} {unique}".encode(errors="replace"), digest_size=16).digest()
        return Claims(did, method or "", expires_s, once)

    async def _check_signature(self, did: str, signed: bytes, signature: bytes, may_look_up: bool) -> None:
        key = await self._keys.key(did, may_look_up)
        if key.verifies(signed, signature):
            return
        fresher = await self._keys.fresher_key(did) if may_look_up else None
        if fresher is None or fresher == key or not fresher.verifies(signed, signature):
            raise TokenError("BadJwtSignature", "jwt signature does not match jwt issuer")

    def _use_up(self, claims: Claims) -> None:
        now_s = self._clock.now_us() / US_PER_S
        if self._used.get(claims.once, 0.0) + CLOCK_DIFFERENCE_S >= now_s:
            _bad("jwt was used before")
        self._used.pop(claims.once, None)
        self._used[claims.once] = claims.expires_s
        if len(self._used) > MAX_USED:
            self._used.popitem(last=False)


def _bad(message: str = "poorly formatted jwt") -> NoReturn:
    raise TokenError("BadJwt", message)


def _bytes(part: str) -> bytes:
    try:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        _bad()


def _no_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Of two claims with one name, the issuer and we might believe different ones."""
    claims = dict(pairs)
    if len(claims) != len(pairs):
        raise ValueError("repeated claim")
    return claims


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decoder = json.JSONDecoder(object_pairs_hook=_no_repeats, parse_constant=_no_constant)


def _json(part: str) -> dict[str, object]:
    try:
        value = _decoder.decode(_bytes(part).decode())
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        _bad()
    if not isinstance(value, dict):
        _bad()
    return value


@lru_cache(maxsize=64)
def _check_header(part: str) -> None:
    """All tokens of one sender have the same; bad ones raise, and so are not remembered."""
    header = _json(part)
    algorithm, kind = header.get("alg"), header.get("typ")
    if not isinstance(algorithm, str) or "crit" in header:
        _bad()
    if isinstance(kind, str) and kind.lower() in _OTHER_TYPES:
        raise TokenError("BadJwtType", f'Invalid jwt type "{kind}"')
    if algorithm not in (K256, P256):
        raise TokenError("BadJwtSignature", "could not verify jwt signature")


def _is_number(value: object) -> TypeGuard[float]:
    """A time that can be reckoned with: no boolean, no infinity, and no integer of a thousand digits."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -MAX_TIME_S < value < MAX_TIME_S


def _check_expiry(expires_s: float, now_s: float) -> None:
    if now_s > expires_s + CLOCK_DIFFERENCE_S:
        raise TokenError("JwtExpired", "jwt expired")
    if expires_s > now_s + MAX_AHEAD_S + CLOCK_DIFFERENCE_S:
        _bad("jwt expires too far in the future")


def _check_method(method: str | None, methods: frozenset[str]) -> None:
    if method in methods:
        return
    found = "bad" if method else "missing"
    raise TokenError(
        "BadJwtLexiconMethod", f'{found} jwt lexicon method ("lxm"). must match: {" or ".join(sorted(methods))}'
    )


def _is_account(did: str) -> bool:
    """A DID of one of the two methods that accounts have."""
    if did.startswith("did:plc:"):
        return ids.is_plc(did)
    return did.startswith("did:web:") and ids.is_did(did)
