"""Accounts with real keys: their DID documents, and tokens of every kind, good and bad."""

from __future__ import annotations

import hashlib
import json
from base64 import b32encode, urlsafe_b64encode
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from feedgen.serve.who.keys import K256, P256, SigningKey

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
CURVES: dict[str, ec.EllipticCurve] = {K256: ec.SECP256K1(), P256: ec.SECP256R1()}
CODECS = {K256: b"\xe7\x01", P256: b"\x80\x24"}
KINDS_OF_2019 = {K256: "EcdsaSecp256k1VerificationKey2019", P256: "EcdsaSecp256r1VerificationKey2019"}
ORDERS = {
    K256: 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
    P256: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
}


def base58(data: bytes) -> str:
    value, text = int.from_bytes(data, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        text = ALPHABET[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def plc(name: str) -> str:
    """A well-formed did:plc for a name."""
    return "did:plc:" + b32encode(hashlib.sha256(name.encode()).digest()).decode().lower()[:24]


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


class Keypair:
    def __init__(self, algorithm: str = K256, secret: int | None = None) -> None:
        self.algorithm = algorithm
        curve = CURVES[algorithm]
        self.private = ec.derive_private_key(secret, curve) if secret else ec.generate_private_key(curve)

    def point(self, compressed: bool = True) -> bytes:
        kind = (
            serialization.PublicFormat.CompressedPoint if compressed else serialization.PublicFormat.UncompressedPoint
        )
        return self.private.public_key().public_bytes(serialization.Encoding.X962, kind)

    @property
    def public(self) -> SigningKey:
        return SigningKey(self.algorithm, self.point())

    def sign(self, message: bytes, high_s: bool | None = None) -> bytes:
        r, s = decode_dss_signature(self.private.sign(message, ec.ECDSA(hashes.SHA256())))
        order = ORDERS[self.algorithm]
        if high_s is not None and (s > order // 2) != high_s:
            s = order - s
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    def method(self, did: str, form: str = "Multikey", id: str = "#atproto") -> dict[str, str]:
        """A verification method, as `Multikey` or as `2019`."""
        if form == "Multikey":
            kind, multibase = "Multikey", "z" + base58(CODECS[self.algorithm] + self.point())
        else:
            kind, multibase = KINDS_OF_2019[self.algorithm], "z" + base58(self.point(compressed=False))
        return {
            "id": did + id if id.startswith("#") else id,
            "type": kind,
            "controller": did,
            "publicKeyMultibase": multibase,
        }

    def token(self, claims: object, header: object = None, **signing: bool) -> str:
        header = {"typ": "JWT", "alg": self.algorithm} if header is None else header
        return self.token_of(json.dumps(header).encode(), json.dumps(claims).encode(), **signing)

    def token_of(self, header: bytes, payload: bytes, **signing: bool) -> str:
        signed = f"{b64(header)}.{b64(payload)}"
        return f"{signed}.{b64(self.sign(signed.encode(), **signing))}"


def document(did: str, *methods: dict[str, str], **more: Any) -> dict[str, Any]:
    return {
        "@context": ["https://www.w3.org/ns/did/v1"],
        "id": did,
        "alsoKnownAs": ["at://reader.example.com"],
        "verificationMethod": list(methods),
        "service": [
            {
                "id": "#atproto_pds",
                "type": "AtprotoPersonalDataServer",
                "serviceEndpoint": "https://pds.example.com",
            }
        ],
        **more,
    }
