"""Public keys out of DID documents, and the check of a signature with one. The key's type decides the algorithm.

`cryptography` checks P-256 in 0.09 ms, but secp256k1, which nearly every reader has, takes OpenSSL 0.52 ms: it has no
fast code for that curve. libsecp256k1, through `coincurve`, takes 0.05 ms, and is used when it is installed.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

MAX_MULTIBASE: Final = 200  # characters; the longest key needs 91
SIGNATURE_BYTES: Final = 64

_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_BASE58_VALUE: Final = {c: i for i, c in enumerate(_BASE58)}
_SHA256: Final = ec.ECDSA(hashes.SHA256())

K256: Final = "ES256K"
P256: Final = "ES256"
_CURVES: Final[dict[str, ec.EllipticCurve]] = {K256: ec.SECP256K1(), P256: ec.SECP256R1()}
_ORDERS: Final = {
    K256: 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141,
    P256: 0xFFFFFFFF_00000000_FFFFFFFF_FFFFFFFF_BCE6FAAD_A7179E84_F3B9CAC2_FC632551,
}
_FORMS: Final = frozenset({b"\2", b"\3", b"\4"})  # of a point; libsecp256k1 would take a hybrid one, too
_MULTICODECS: Final = {b"\xe7\x01": K256, b"\x80\x24": P256}
_TYPES_OF_2019: Final = {
    "EcdsaSecp256k1VerificationKey2019": K256,
    "EcdsaSecp256r1VerificationKey2019": P256,
}


def _libsecp256k1() -> Any:
    try:
        return importlib.import_module("coincurve")
    except ImportError:
        return None


_fast: Any = _libsecp256k1()


class BadKey(ValueError):
    """It is written in no form that we know, or it is no point of its curve."""


class SigningKey:
    """A public key, ready to check signatures. Two of the same point are equal."""

    __slots__ = ("_fast", "_key", "algorithm", "point")

    def __init__(self, algorithm: str, point: bytes) -> None:
        """`point` as SEC 1 says, compressed or not."""
        self.algorithm, self._fast, self._key = algorithm, None, None
        try:
            if _fast is not None and algorithm == K256 and point[:1] in _FORMS:
                self._fast = _fast.PublicKey(point)
                self.point = self._fast.format(compressed=True)
            else:
                self._key = ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[algorithm], point)
                self.point = self._key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        except ValueError:
            raise BadKey("not a point of the curve") from None

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Both halves of a malleable signature are good: s and n - s."""
        if len(signature) != SIGNATURE_BYTES:
            return False
        r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
        order = _ORDERS[self.algorithm]
        if not (0 < r < order and 0 < s < order):
            return False
        if self._fast is not None:
            return bool(self._fast.verify(encode_dss_signature(r, min(s, order - s)), message))
        assert self._key is not None
        try:
            self._key.verify(encode_dss_signature(r, s), message, _SHA256)
        except InvalidSignature:
            return False
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SigningKey) and (self.algorithm, self.point) == (other.algorithm, other.point)

    def __hash__(self) -> int:
        return hash((self.algorithm, self.point))


def parse_key(kind: str, multibase: str) -> SigningKey:
    """A verification method's `type` and `publicKeyMultibase`."""
    if not multibase.startswith("z") or len(multibase) > MAX_MULTIBASE:
        raise BadKey("not base58")
    data = base58_decode(multibase[1:])
    if kind == "Multikey":
        algorithm = _MULTICODECS.get(data[:2])
        if algorithm is None or len(data) != 35:
            raise BadKey("an unknown kind of key")
        return SigningKey(algorithm, data[2:])
    algorithm = _TYPES_OF_2019.get(kind)
    if algorithm is None or len(data) not in (33, 65):
        raise BadKey("an unknown kind of key")
    return SigningKey(algorithm, data)


def base58_decode(text: str) -> bytes:
    value = 0
    for c in text:
        digit = _BASE58_VALUE.get(c)
        if digit is None:
            raise BadKey("not base58")
        value = value * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    return b"\0" * zeros + value.to_bytes((value.bit_length() + 7) // 8, "big")
