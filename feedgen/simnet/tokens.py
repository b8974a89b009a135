"""Service tokens as a PDS signs them, and as an attacker would like them: real ECDSA over secp256k1 or P-256.

`service_token` makes a good one; every part can be bent, so that a table of bad tokens is a table of arguments.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

GET_FEED_SKELETON: Final = "app.bsky.feed.getFeedSkeleton"
SEND_INTERACTIONS: Final = "app.bsky.feed.sendInteractions"
LIFETIME_S: Final = 60

_ORDERS: Final = {
    "secp256k1": 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141,
    "secp256r1": 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551,
}
_ALGORITHMS: Final = {"secp256k1": "ES256K", "secp256r1": "ES256"}
_CODECS: Final = {"secp256k1": b"\xe7\x01", "secp256r1": b"\x80\x24"}
_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def algorithm(key: ec.EllipticCurvePrivateKey) -> str:
    """`ES256K` or `ES256`."""
    return _ALGORITHMS[key.curve.name]


def sign(key: ec.EllipticCurvePrivateKey, message: bytes, *, high_s: bool = False) -> bytes:
    """64 bytes r | s, with the low s that atproto asks for, or the high one that is just as valid to mathematics."""
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    order = _ORDERS[key.curve.name]
    if (s > order // 2) != high_s:
        s = order - s
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def encode_jwt(
    key: ec.EllipticCurvePrivateKey, header: dict[str, Any], claims: dict[str, Any], *, high_s: bool = False
) -> str:
    """Any header, any claims, a true signature."""
    body = f"{_b64(_json(header))}.{_b64(_json(claims))}"
    return f"{body}.{_b64(sign(key, body.encode(), high_s=high_s))}"


def service_token(
    did: str,
    key: ec.EllipticCurvePrivateKey,
    aud: str,
    lxm: str | None = GET_FEED_SKELETON,
    *,
    now_s: float,
    lifetime_s: float = LIFETIME_S,
    fragment: str = "",
    jti: str = "",
    high_s: bool = False,
    header: dict[str, Any] | None = None,
    claims: dict[str, Any] | None = None,
) -> str:
    """What the person's PDS would send. `header` and `claims` are laid over the usual ones; None leaves one out."""
    usual: dict[str, Any] = {
        "iss": f"{did}#{fragment}" if fragment else did,
        "aud": aud,
        "iat": int(now_s),
        "exp": int(now_s + lifetime_s),
        "lxm": lxm,
        "jti": jti or _jti(did, aud, lxm, now_s),
        **(claims or {}),
    }
    head = {"typ": "JWT", "alg": algorithm(key), **(header or {})}
    kept = {name: value for name, value in usual.items() if value is not None}
    return encode_jwt(key, {n: v for n, v in head.items() if v is not None}, kept, high_s=high_s)


def multikey(key: ec.EllipticCurvePublicKey) -> str:
    """The key as `publicKeyMultibase` of a Multikey: z-base58 of the codec and the compressed point."""
    return "z" + base58(_CODECS[key.curve.name] + _point(key, compressed=True))


def multibase_2019(key: ec.EllipticCurvePublicKey) -> str:
    """The same of the 2019 types: z-base58 of the uncompressed point alone."""
    return "z" + base58(_point(key, compressed=False))


def base58(data: bytes) -> str:
    value, text = int.from_bytes(data, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        text = _BASE58[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def _point(key: ec.EllipticCurvePublicKey, *, compressed: bool) -> bytes:
    numbers = key.public_numbers()
    x = numbers.x.to_bytes(32, "big")
    if compressed:
        return bytes([2 + (numbers.y & 1)]) + x
    return b"\x04" + x + numbers.y.to_bytes(32, "big")


def _jti(did: str, aud: str, lxm: str | None, now_s: float) -> str:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(f"{did} {aud} {lxm} {now_s!r}".encode())
    return digest.finalize()[:16].hex()


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
