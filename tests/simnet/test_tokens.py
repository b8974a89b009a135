"""Tokens, checked by `cryptography` and by the official SDK, not by the code that made them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgen.simnet import tokens

DID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
AUD = "did:web:feed.example"
KEYS = {"ES256K": ec.derive_private_key(7, ec.SECP256K1()), "ES256": ec.derive_private_key(7, ec.SECP256R1())}
HALF = {
    "ES256K": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141 // 2,
    "ES256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551 // 2,
}


def unpack(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verify(token: str, key: ec.EllipticCurvePublicKey) -> dict[str, Any]:
    """The claims, or InvalidSignature."""
    head, body, signature = token.split(".")
    raw = unpack(signature)
    assert len(raw) == 64
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    key.verify(der, f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))
    claims: dict[str, Any] = json.loads(unpack(body))
    return claims


@pytest.mark.parametrize("name", KEYS)
def test_a_good_token(name: str) -> None:
    token = tokens.service_token(DID, KEYS[name], AUD, now_s=1_000)
    claims = verify(token, KEYS[name].public_key())
    assert json.loads(unpack(token.split(".")[0])) == {"typ": "JWT", "alg": name}
    assert claims.pop("jti")
    assert claims == {"iss": DID, "aud": AUD, "iat": 1_000, "exp": 1_060, "lxm": "app.bsky.feed.getFeedSkeleton"}


@pytest.mark.parametrize("name", KEYS)
@given(message=st.binary())
@settings(max_examples=20, deadline=None)
def test_low_and_high_s(name: str, message: bytes) -> None:
    for high in (False, True):
        signature = tokens.sign(KEYS[name], message, high_s=high)
        assert (int.from_bytes(signature[32:], "big") > HALF[name]) == high
        der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        KEYS[name].public_key().verify(der, message, ec.ECDSA(hashes.SHA256()))


def test_what_can_be_bent() -> None:
    key = KEYS["ES256K"]
    token = tokens.service_token(
        DID, key, AUD, None, now_s=5, lifetime_s=-10, fragment="atproto_labeler", header={"alg": "none", "typ": None},
        claims={"iat": None, "aud": 7, "extra": [1]},
    )  # fmt: skip
    claims = verify(token, key.public_key())
    assert json.loads(unpack(token.split(".")[0])) == {"alg": "none"}
    assert claims.pop("jti")
    assert claims == {"iss": f"{DID}#atproto_labeler", "aud": 7, "exp": -5, "extra": [1]}


def test_another_key_does_not_fit() -> None:
    token = tokens.service_token(DID, KEYS["ES256K"], AUD, now_s=5)
    with pytest.raises(InvalidSignature):
        verify(token, ec.derive_private_key(8, ec.SECP256K1()).public_key())


def test_the_sdk_accepts_them() -> None:
    from atproto_crypto.verify import verify_signature  # type: ignore[import-untyped]

    for key in KEYS.values():
        head, body, signature = tokens.service_token(DID, key, AUD, now_s=5).split(".")
        did_key = "did:key:" + tokens.multikey(key.public_key())
        assert verify_signature(did_key, f"{head}.{body}".encode(), unpack(signature))


def test_base58() -> None:
    assert tokens.base58(b"\0\0hello world") == "11StV1DL6CwTryKyV"
    assert tokens.base58(b"") == ""
