"""DID documents, read by somebody else's code."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from feedgen.simnet import tokens
from feedgen.simnet.faults import Faults
from feedgen.simnet.httpd import HttpServer
from feedgen.simnet.plc import LABELER_FIRST, OLD, OLD_RELATIVE, PLAIN, RELATIVE, Directory, Keyring, WebHosts
from tests.simnet.test_tokens import verify

PDS = "http://pds.example"


class Few:
    """A population by hand: everybody of number 3 modulo 10 has a did:web, odd ones have a P-256 key."""

    n_people = 100

    def __init__(self) -> None:
        self.status: dict[str, str] = {}
        self.numbers = {self.did(i): i for i in range(self.n_people)}

    def did(self, i: int) -> str:
        if i % 10 == 3:
            return f"did:web:{self.handle(i)}"
        return "did:plc:" + base64.b32encode(hashlib.sha256(b"%d" % i).digest()[:15]).decode().lower()

    def handle(self, i: int) -> str:
        return f"someone-{i}.example"

    def index(self, did: str) -> int | None:
        return self.numbers.get(did)

    def by_handle(self, handle: str) -> int | None:
        number = handle.removeprefix("someone-").removesuffix(".example")
        return int(number) if number.isdigit() else None

    def signing_key(self, i: int) -> ec.EllipticCurvePrivateKey:
        return ec.derive_private_key(i + 1, ec.SECP256R1() if i % 2 else ec.SECP256K1())

    def account(self, did: str) -> tuple[bool, str]:
        status = self.status.get(did, "")
        return not status, status


class Town:
    def __init__(self) -> None:
        self.people = Few()
        self.keys = Keyring(self.people)
        self.plc = HttpServer("plc", Directory(self.people, self.keys, PDS).handle, Faults())
        self.web = HttpServer("web", WebHosts(self.people, self.keys, PDS).handle, Faults())
        self.http = httpx.AsyncClient(timeout=10)

    async def document(self, person: int) -> dict[str, Any]:
        answer = await self.http.get(f"{self.plc.url}/{self.people.did(person)}")
        assert answer.headers["content-type"].startswith("application/did+ld+json")
        found: dict[str, Any] = answer.json()
        return found

    def with_form(self, form: str, curve: type[ec.EllipticCurve]) -> int:
        for i in range(self.people.n_people):
            if self.keys.form(i) == form and isinstance(self.keys.key(i).curve, curve) and i % 10 != 3:
                return i
        raise AssertionError(f"nobody with a {form} document")


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    made = Town()
    await made.plc.start()
    await made.web.start()
    yield made
    await made.http.aclose()
    await made.plc.stop()
    await made.web.stop()


def decode(method: dict[str, Any]) -> ec.EllipticCurvePublicKey:
    """A key out of a verification method, by the specification's own words."""
    alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    text = method["publicKeyMultibase"]
    assert text[0] == "z"
    value = 0
    for char in text[1:]:
        value = value * 58 + alphabet.index(char)
    data = value.to_bytes((value.bit_length() + 7) // 8, "big")
    if method["type"] == "Multikey":
        assert len(data) == 35
        codecs: dict[bytes, ec.EllipticCurve] = {b"\xe7\x01": ec.SECP256K1(), b"\x80\x24": ec.SECP256R1()}
        return ec.EllipticCurvePublicKey.from_encoded_point(codecs[data[:2]], data[2:])
    curves: dict[str, ec.EllipticCurve] = {
        "EcdsaSecp256k1VerificationKey2019": ec.SECP256K1(),
        "EcdsaSecp256r1VerificationKey2019": ec.SECP256R1(),
    }
    assert len(data) == 65
    return ec.EllipticCurvePublicKey.from_encoded_point(curves[method["type"]], data)


@pytest.mark.parametrize("form", [PLAIN, LABELER_FIRST, RELATIVE, OLD, OLD_RELATIVE])
@pytest.mark.parametrize("curve", [ec.SECP256K1, ec.SECP256R1])
async def test_documents(town: Town, form: str, curve: type[ec.EllipticCurve]) -> None:
    person = town.with_form(form, curve)
    did, document = town.people.did(person), await town.document(person)
    assert document["id"] == did
    assert document["alsoKnownAs"] == [f"at://{town.people.handle(person)}"]
    wanted = "#atproto" if form in (RELATIVE, OLD_RELATIVE) else f"{did}#atproto"
    [method] = [m for m in document["verificationMethod"] if m["id"] == wanted]
    assert decode(method).public_numbers() == town.keys.key(person).public_key().public_numbers()
    assert (len(document["verificationMethod"]) == 2) == (form == LABELER_FIRST)
    pds = next(s for s in document["service"] if s["id"] == "#atproto_pds")
    assert (pds["type"], pds["serviceEndpoint"]) == ("AtprotoPersonalDataServer", PDS)
    token = tokens.service_token(did, town.keys.key(person), "did:web:feed.example", now_s=1_000)
    assert verify(token, decode(method))["iss"] == did


async def test_who_is_unknown(town: Town) -> None:
    assert (await town.http.get(f"{town.plc.url}/did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")).status_code == 404
    assert (await town.http.get(f"{town.plc.url}/{town.people.did(3)}")).status_code == 404
    assert (await town.http.get(f"{town.plc.url}/alice")).status_code == 400


async def test_who_is_gone(town: Town) -> None:
    statuses = []
    for person in (0, 1):
        did = town.people.did(person)
        town.people.status[did] = "deleted"
        statuses.append((await town.http.get(f"{town.plc.url}/{did}")).status_code)
    assert statuses == [404, 410]
    for status in ("takendown", "suspended", "deactivated"):
        town.people.status[town.people.did(2)] = status
        assert (await town.document(2))["id"] == town.people.did(2)


async def test_web_hosts(town: Town) -> None:
    did, host = town.people.did(3), town.people.handle(3)
    url = f"{town.web.url}/.well-known/did.json"
    document = (await town.http.get(url, headers={"host": host})).json()
    assert document["id"] == did
    assert (await town.http.get(url, headers={"host": f"{host.upper()}:443"})).json() == document
    assert (await town.http.get(url, headers={"host": "elsewhere.example"})).status_code == 404
    assert (await town.http.get(url, headers={"host": town.people.handle(4)})).status_code == 404
    async with httpx.AsyncClient(proxy=town.web.url) as through:
        assert (await through.get(f"http://{host}/.well-known/did.json")).json() == document
    handle = await town.http.get(f"{town.web.url}/.well-known/atproto-did", headers={"host": town.people.handle(4)})
    assert handle.text == town.people.did(4)
    town.people.status[did] = "deleted"
    assert (await town.http.get(url, headers={"host": host})).status_code == 404


@pytest.mark.parametrize("person", [4, 5])
async def test_a_rotated_key(town: Town, person: int) -> None:
    before = await town.document(person)
    old = town.keys.key(person)
    town.keys.rotate(person)
    assert (await town.document(person))["verificationMethod"] != before["verificationMethod"]
    assert tokens.algorithm(town.keys.key(person)) == tokens.algorithm(old)
