"""The table of tokens: each with the answer it must get."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from feedgen.core.clock import ManualClock
from feedgen.serve.who import tokens
from feedgen.serve.who.auth import INTERACTION_METHODS, SKELETON_METHODS, NeedsLookUp, TokenError, Unverifiable
from feedgen.serve.who.keys import K256, P256, SigningKey
from feedgen.serve.who.tokens import TokenVerifier
from tests.serve.accounts import Keypair, b64, plc

SERVICE = "did:web:feed.example.com"
READER = plc("reader")
NOW_S = 1_790_000_000
GET = "app.bsky.feed.getFeedSkeleton"

K256_PAIR, P256_PAIR, OTHER_PAIR, ROTATED_PAIR = (
    Keypair(K256, 11),
    Keypair(P256, 12),
    Keypair(K256, 13),
    Keypair(K256, 14),
)
PEOPLE = {
    READER: K256_PAIR,
    plc("p256"): P256_PAIR,
    plc("other"): OTHER_PAIR,
    "did:web:reader.example.com": P256_PAIR,
}


@dataclass
class Keys:
    """What a resolver would say: `rotated` is who changed their key a moment ago."""

    at_hand: tuple[str, ...] = (READER,)
    asked: list[str] = field(default_factory=list)
    fresher: list[str] = field(default_factory=list)

    async def key(self, did: str, may_look_up: bool = True) -> SigningKey:
        if not may_look_up and did not in self.at_hand:
            raise NeedsLookUp
        self.asked.append(did)
        if did == plc("down"):
            raise Unverifiable("down")
        if did == plc("rotated"):
            return K256_PAIR.public
        if did not in PEOPLE:
            raise TokenError("AuthenticationRequired", "identity unknown")
        return PEOPLE[did].public

    async def fresher_key(self, did: str) -> SigningKey | None:
        self.fresher.append(did)
        return ROTATED_PAIR.public if did == plc("rotated") else await self.key(did)


def claims(**changes: object) -> dict[str, object]:
    good = {"iss": READER, "aud": SERVICE, "exp": NOW_S + 60, "iat": NOW_S, "lxm": GET, "jti": "0123456789abcdef"}
    return {name: value for name, value in {**good, **changes}.items() if value is not ...}


def token(pair: Keypair = K256_PAIR, header: object = None, **changes: object) -> str:
    return pair.token(claims(**changes), header)


def header(**changes: object) -> dict[str, object]:
    return {name: value for name, value in {"typ": "JWT", "alg": "ES256K", **changes}.items() if value is not ...}


def hs256_with_public_key() -> str:
    signed = f"{b64(json.dumps(header(alg='HS256')).encode())}.{b64(json.dumps(claims()).encode())}"
    mac = HMAC(K256_PAIR.point(), SHA256())
    mac.update(signed.encode())
    return f"{signed}.{b64(mac.finalize())}"


def edited(change: Callable[[list[str]], list[str]], original: str | None = None) -> str:
    return ".".join(change((original or token()).split(".")))


def raw(payload: bytes, head: bytes = b'{"typ":"JWT","alg":"ES256K"}') -> str:
    return K256_PAIR.token_of(head, payload)


def with_text(find: str, replace: str) -> str:
    return raw(json.dumps(claims()).replace(find, replace).encode())


GOOD = {
    "plain": token(),
    "low s": K256_PAIR.token(claims(), high_s=False),
    "high s": K256_PAIR.token(claims(), high_s=True),
    "P-256": token(P256_PAIR, iss=plc("p256")),
    "P-256 low s": P256_PAIR.token(claims(iss=plc("p256")), high_s=False),
    "P-256 high s": P256_PAIR.token(claims(iss=plc("p256")), high_s=True),
    "did:web": token(P256_PAIR, iss="did:web:reader.example.com"),
    "audience with fragment": token(aud=SERVICE + "#bsky_fg"),
    "issuer with fragment": token(iss=READER + "#bsky_appview"),
    "getFeed": token(lxm="app.bsky.feed.getFeed"),
    "an hour": token(exp=NOW_S + 3600),
    "an hour and a clock behind": token(exp=NOW_S + 3659),
    "just expired, clocks differ": token(exp=NOW_S - 59),
    "issued ahead, clocks differ": token(iat=NOW_S + 59),
    "exp with a fraction": token(exp=NOW_S + 0.5),
    "no iat": token(iat=...),
    "no jti": token(jti=...),
    "jti of another type": token(jti=7),
    "nbf that has passed": token(nbf=NOW_S - 1),
    "unknown claims": token(extra={"a": [1]}, sub="x", nonce="y"),
    "no typ": token(header=header(typ=...)),
    "an odd typ": token(header=header(typ=5)),
    "unknown header": token(header=header(kid="#atproto")),
    "the header names the other curve: the key decides": token(header=header(alg="ES256")),
    "P-256 key, header says ES256K": token(P256_PAIR, header=header(alg="ES256K"), iss=plc("p256")),
    "spaces in the JSON": raw(json.dumps(claims(), indent=4).encode()),
    "key rotated a moment ago": token(ROTATED_PAIR, iss=plc("rotated")),
    "unicode in a claim": token(extra="é 🎈 \u0000"),
}

BAD: dict[str, tuple[str, str]] = {
    "empty": ("", "BadJwt"),
    "one part": ("abc", "BadJwt"),
    "two parts": (edited(lambda p: p[:2]), "BadJwt"),
    "four parts": (edited(lambda p: [*p, "AA"]), "BadJwt"),
    "empty header": (edited(lambda p: ["", p[1], p[2]]), "BadJwt"),
    "empty payload": (edited(lambda p: [p[0], "", p[2]]), "BadJwt"),
    "spaces": (token() + " ", "BadJwt"),
    "a line break": (token() + "\n", "BadJwt"),
    "padding": (edited(lambda p: [p[0] + "=", p[1], p[2]]), "BadJwt"),
    "padded signature": (token() + "==", "BadJwt"),
    "the other base64": (edited(lambda p: [p[0], p[1], "+/" + p[2][2:]]), "BadJwt"),
    "impossible length": (edited(lambda p: [p[0], p[1] + "A" * (5 - len(p[1]) % 4), p[2]]), "BadJwt"),
    "unicode": (token() + "é", "BadJwt"),
    "a lone surrogate": (token()[:-1] + "\ud800", "BadJwt"),
    "1 MB": ("a" * 1_000_000, "BadJwt"),
    "1 MB claim": (token(extra="a" * 1_000_000), "BadJwt"),
    "header is a list": (token(header=["ES256K"]), "BadJwt"),
    "header is no JSON": (edited(lambda p: [b64(b"{"), p[1], p[2]]), "BadJwt"),
    "header is no UTF-8": (edited(lambda p: [b64(b"\xff\xfe"), p[1], p[2]]), "BadJwt"),
    "payload is null": (K256_PAIR.token(None), "BadJwt"),
    "payload is a list": (K256_PAIR.token([claims()]), "BadJwt"),
    "payload is deep": (raw(b"[" * 2900), "BadJwt"),
    "payload has more after it": (raw(json.dumps(claims()).encode() + b"{}"), "BadJwt"),
    "duplicated claim": (with_text('"lxm"', '"iss": "did:web:other.example.com", "lxm"'), "BadJwt"),
    "duplicated claim, same value": (with_text('"lxm"', f'"iss": "{READER}", "lxm"'), "BadJwt"),
    "duplicated claim, escaped": (with_text('"lxm"', '"\\u0069ss": "x", "lxm"'), "BadJwt"),
    "duplicated header": (raw(json.dumps(claims()).encode(), b'{"alg":"none","alg":"ES256K"}'), "BadJwt"),
    "NaN": (with_text(str(NOW_S + 60), "NaN"), "BadJwt"),
    "Infinity": (with_text(str(NOW_S + 60), "Infinity"), "BadJwt"),
    "no alg": (token(header=header(alg=...)), "BadJwt"),
    "alg of another type": (token(header=header(alg=["ES256K"])), "BadJwt"),
    "crit": (token(header=header(crit=["b64"], b64=False)), "BadJwt"),
    "alg none, unsigned": (edited(lambda p: [b64(b'{"alg":"none"}'), p[1], ""]), "BadJwtSignature"),
    "alg none, signed": (token(header=header(alg="none")), "BadJwtSignature"),
    "HS256 with the public key": (hs256_with_public_key(), "BadJwtSignature"),
    "RS256": (token(header=header(alg="RS256")), "BadJwtSignature"),
    "an access token": (token(header=header(typ="at+jwt")), "BadJwtType"),
    "a refresh token": (token(header=header(typ="refresh+jwt")), "BadJwtType"),
    "a DPoP proof": (token(header=header(typ="dpop+jwt")), "BadJwtType"),
    "an access token in capitals": (token(header=header(typ="AT+JWT")), "BadJwtType"),
    "no iss": (token(iss=...), "BadJwt"),
    "iss null": (token(iss=None), "BadJwt"),
    "iss a number": (token(iss=5), "BadJwt"),
    "iss a list": (token(iss=[READER]), "BadJwt"),
    "iss empty": (token(iss=""), "BadJwtIss"),
    "iss a handle": (token(iss="reader.example.com"), "BadJwtIss"),
    "iss a URL": (token(iss="https://reader.example.com"), "BadJwtIss"),
    "iss of an unknown method": (token(iss="did:key:zQ3shunBKsXixLxKtC5qeSG9E4J5RkGN57im31pcTzbNQnm5w"), "BadJwtIss"),
    "iss a short did:plc": (token(iss="did:plc:abc"), "BadJwtIss"),
    "iss in capitals": (token(iss=READER.upper()), "BadJwtIss"),
    "iss with an empty fragment": (token(iss=READER + "#"), "BadJwtIss"),
    "iss with two fragments": (token(iss=READER + "#a#b"), "BadJwtIss"),
    "iss with a path": (token(iss=READER + "/../x"), "BadJwtIss"),
    "iss with a query": (token(iss="did:web:example.com?x=y"), "BadJwtIss"),
    "iss with spaces": (token(iss=f" {READER}"), "BadJwtIss"),
    "iss with unicode": (token(iss="did:web:exämple.com"), "BadJwtIss"),
    "iss huge": (token(iss="did:web:" + "a" * 2500), "BadJwtIss"),
    "no aud": (token(aud=...), "BadJwt"),
    "aud a list": (token(aud=[SERVICE]), "BadJwt"),
    "aud empty": (token(aud=""), "BadJwtAudience"),
    "other service": (token(aud="did:web:other.example.com"), "BadJwtAudience"),
    "other fragment": (token(aud=SERVICE + "#bsky_appview"), "BadJwtAudience"),
    "aud in capitals": (token(aud=SERVICE.upper()), "BadJwtAudience"),
    "aud with more after it": (token(aud=SERVICE + ".evil.example.com"), "BadJwtAudience"),
    "no exp": (token(exp=...), "BadJwt"),
    "exp null": (token(exp=None), "BadJwt"),
    "exp text": (token(exp=str(NOW_S + 60)), "BadJwt"),
    "exp true": (token(exp=True), "BadJwt"),
    "exp zero": (token(exp=0), "JwtExpired"),
    "exp negative": (token(exp=-1), "JwtExpired"),
    "expired": (token(exp=NOW_S - 61), "JwtExpired"),
    "exp in milliseconds": (token(exp=NOW_S * 1000), "BadJwt"),
    "exp two hours ahead": (token(exp=NOW_S + 7200), "BadJwt"),
    "exp huge": (with_text(str(NOW_S + 60), "9" * 2000), "BadJwt"),
    "exp 1e999": (with_text(str(NOW_S + 60), "1e999"), "BadJwt"),
    "not yet valid by iat": (token(iat=NOW_S + 61), "BadJwt"),
    "not yet valid by nbf": (token(nbf=NOW_S + 61), "BadJwt"),
    "iat text": (token(iat="now"), "BadJwt"),
    "nbf true": (token(nbf=True), "BadJwt"),
    "no lxm": (token(lxm=...), "BadJwtLexiconMethod"),
    "lxm null": (token(lxm=None), "BadJwtLexiconMethod"),
    "lxm empty": (token(lxm=""), "BadJwtLexiconMethod"),
    "lxm a list": (token(lxm=[GET]), "BadJwt"),
    "other method": (token(lxm="com.atproto.repo.createRecord"), "BadJwtLexiconMethod"),
    "lxm star": (token(lxm="*"), "BadJwtLexiconMethod"),
    "lxm in capitals": (token(lxm=GET.upper()), "BadJwtLexiconMethod"),
    "interactions, not skeleton": (token(lxm="app.bsky.feed.sendInteractions"), "BadJwtLexiconMethod"),
    "no signature": (edited(lambda p: [p[0], p[1], ""]), "BadJwtSignature"),
    "signature cut short": (token()[:-2], "BadJwtSignature"),
    "signature too long": (token() + "AAAA", "BadJwtSignature"),
    "signature of zeros": (edited(lambda p: [p[0], p[1], b64(bytes(64))]), "BadJwtSignature"),
    "signature of ones": (edited(lambda p: [p[0], p[1], b64(b"\xff" * 64)]), "BadJwtSignature"),
    "signature of another token": (edited(lambda p: [p[0], p[1], token(jti="x").split(".")[2]]), "BadJwtSignature"),
    "payload changed": (edited(lambda p: [p[0], b64(json.dumps(claims(jti="x")).encode()), p[2]]), "BadJwtSignature"),
    "header changed": (edited(lambda p: [b64(b'{"alg":"ES256K"}'), p[1], p[2]]), "BadJwtSignature"),
    "somebody else's key": (token(OTHER_PAIR), "BadJwtSignature"),
    "the other curve's key": (token(P256_PAIR), "BadJwtSignature"),
    "swapped keys": (token(K256_PAIR, iss=plc("p256")), "BadJwtSignature"),
    "the key before the rotation... of another": (token(ROTATED_PAIR), "BadJwtSignature"),
    "unknown account": (token(iss=plc("nobody")), "AuthenticationRequired"),
}


def verifier(clock: ManualClock | None = None) -> tuple[TokenVerifier, Keys]:
    keys = Keys()
    return TokenVerifier(SERVICE, keys, clock or ManualClock(NOW_S * 1_000_000)), keys


def test_the_table_is_long_enough() -> None:
    assert len(GOOD) + len(BAD) >= 60


@pytest.mark.parametrize("name", GOOD)
async def test_a_good_token(name: str) -> None:
    verify, _ = verifier()
    did = await verify.verify(GOOD[name], SKELETON_METHODS)
    assert did in {*PEOPLE, plc("rotated")}
    if "P-256" not in name and "did:web" not in name and "rotated" not in name:
        assert did == READER


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token(name: str) -> None:
    text, error = BAD[name]
    verify, keys = verifier()
    for _ in range(2):  # nothing about it is remembered as good
        with pytest.raises(TokenError) as caught:
            await verify.verify(text, SKELETON_METHODS)
        assert caught.value.name == error
        assert caught.value.message
    if error not in ("BadJwtSignature", "AuthenticationRequired"):
        assert not keys.asked  # nobody is looked up for a token that is wrong by itself


async def test_a_token_is_verified_once_while_it_lives() -> None:
    clock = ManualClock(NOW_S * 1_000_000)
    verify, keys = verifier(clock)
    good = token()
    for _ in range(3):
        assert await verify.verify(good, SKELETON_METHODS) == READER
    assert keys.asked == [READER]
    with pytest.raises(TokenError, match="lxm"):
        await verify.verify(good, INTERACTION_METHODS)
    clock.advance(119)
    assert await verify.verify(good, SKELETON_METHODS) == READER
    clock.advance(2)
    with pytest.raises(TokenError, match="expired"):
        await verify.verify(good, SKELETON_METHODS)
    assert keys.asked == [READER]


async def test_a_key_that_can_not_be_had_is_not_a_bad_token() -> None:
    verify, _ = verifier()
    with pytest.raises(Unverifiable):
        await verify.verify(token(iss=plc("down")), SKELETON_METHODS)


async def test_a_write_is_good_once_whatever_its_signature_looks_like() -> None:
    verify, _ = verifier()
    write = claims(lxm="app.bsky.feed.sendInteractions")
    low, high = K256_PAIR.token(write, high_s=False), K256_PAIR.token(write, high_s=True)
    assert await verify.verify(low, INTERACTION_METHODS, once=True) == READER
    for again in (low, high, K256_PAIR.token({**write, "iat": NOW_S - 1})):
        with pytest.raises(TokenError, match="before"):
            await verify.verify(again, INTERACTION_METHODS, once=True)
    other = OTHER_PAIR.token({**write, "iss": plc("other")})
    assert await verify.verify(other, INTERACTION_METHODS, once=True) == plc("other")
    unnamed = {name: value for name, value in write.items() if name != "jti"}
    assert await verify.verify(K256_PAIR.token(unnamed), INTERACTION_METHODS, once=True) == READER


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_VERIFIED", 3)
    monkeypatch.setattr(tokens, "MAX_USED", 3)
    verify, keys = verifier()
    for n in range(6):
        await verify.verify(token(jti=f"{n}"), SKELETON_METHODS, once=True)
    assert (len(verify._verified), len(verify._used), len(keys.asked)) == (3, 3, 6)


async def test_a_token_whose_key_is_at_hand_is_good_without_a_look_up() -> None:
    verify, keys = verifier()
    assert await verify.verify(token(), SKELETON_METHODS, may_look_up=False) == READER
    with pytest.raises(NeedsLookUp):
        await verify.verify(token(P256_PAIR, iss=plc("p256")), SKELETON_METHODS, may_look_up=False)
    with pytest.raises(TokenError, match="signature"):
        await verify.verify(token(OTHER_PAIR), SKELETON_METHODS, may_look_up=False)
    assert keys.fresher == []
