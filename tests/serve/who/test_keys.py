from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedgen.serve.who import keys
from feedgen.serve.who.keys import K256, P256, BadKey, SigningKey, base58_decode, parse_key
from tests.serve.accounts import CODECS, ORDERS, Keypair, base58

DID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"


@pytest.fixture(params=["installed", "without coincurve"], autouse=True)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of checking secp256k1 must agree on everything here."""
    if request.param == "without coincurve":
        monkeypatch.setattr(keys, "_fast", None)


@pytest.mark.parametrize("form", ["Multikey", "2019"])
@pytest.mark.parametrize("algorithm", [K256, P256])
def test_every_form_of_key(algorithm: str, form: str) -> None:
    pair = Keypair(algorithm)
    method = pair.method(DID, form)
    key = parse_key(method["type"], method["publicKeyMultibase"])
    assert key == pair.public and key.algorithm == algorithm
    assert key.verifies(b"message", pair.sign(b"message"))


def test_a_2019_key_may_be_compressed() -> None:
    pair = Keypair(P256)
    assert parse_key("EcdsaSecp256r1VerificationKey2019", "z" + base58(pair.point())) == pair.public


@pytest.mark.parametrize("algorithm", [K256, P256])
@pytest.mark.parametrize("high_s", [True, False])
def test_low_and_high_s(algorithm: str, high_s: bool) -> None:
    pair = Keypair(algorithm)
    for n in range(5):
        assert pair.public.verifies(b"%d" % n, pair.sign(b"%d" % n, high_s=high_s))


@pytest.mark.parametrize("algorithm", [K256, P256])
def test_signatures_that_are_none(algorithm: str) -> None:
    pair, order = Keypair(algorithm), ORDERS[algorithm]
    key, good = pair.public, pair.sign(b"m")
    r, s = good[:32], good[32:]
    zero, n, most = bytes(32), order.to_bytes(32, "big"), b"\xff" * 32
    for bad in (b"", good[:-1], good + b"\0", zero + s, r + zero, zero + zero, n + s, r + n, most + most, s + r):
        assert not key.verifies(b"m", bad)
    assert not key.verifies(b"n", good)
    other = Keypair(P256 if algorithm == K256 else K256)
    assert not key.verifies(b"m", other.sign(b"m"))
    assert not other.public.verifies(b"m", good)


@pytest.mark.parametrize(
    ("kind", "multibase"),
    [
        ("Multikey", ""),
        ("Multikey", "z"),
        ("Multikey", "m" + "A" * 40),
        ("Multikey", "z0OIl"),
        ("Multikey", "z" + "1" * 199),
        ("Multikey", "z" + "2" * 10_000),
        ("Multikey", "z" + base58(CODECS[K256] + b"\x02" + b"\xff" * 32)),
        ("Multikey", "z" + base58(CODECS[K256] + Keypair(K256).point(compressed=False))),
        ("Multikey", "z" + base58(b"\xed\x01" + bytes(32))),
        ("Ed25519VerificationKey2020", "z" + base58(Keypair(K256).point())),
        ("EcdsaSecp256k1VerificationKey2019", "z" + base58(bytes(65))),
        ("EcdsaSecp256k1VerificationKey2019", "z" + base58(Keypair(P256, 5).point(compressed=False))),
        ("EcdsaSecp256k1VerificationKey2019", "z" + base58(b"\x04" * 64)),
        ("", "z" + base58(Keypair(K256).point())),
    ],
)
def test_what_is_no_key(kind: str, multibase: str) -> None:
    with pytest.raises(BadKey):
        parse_key(kind, multibase)


@given(st.binary(max_size=80))
def test_base58_comes_back(data: bytes) -> None:
    assert base58_decode(base58(data)) == data


@settings(max_examples=60)
@given(st.binary(min_size=64, max_size=64))
def test_no_chance_signature_is_good(signature: bytes) -> None:
    for algorithm in (K256, P256):
        assert not Keypair(algorithm, 7).public.verifies(b"m", signature)


def test_keys_of_one_point_are_equal() -> None:
    pair = Keypair(K256)
    assert SigningKey(K256, pair.point()) == SigningKey(K256, pair.point(compressed=False))
    assert len({pair.public, SigningKey(K256, pair.point(compressed=False))}) == 1
    assert pair.public != Keypair(K256).public and pair.public != "key"
