from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.serve.who.did_document import BadDocument, parse_document
from feedgen.serve.who.keys import K256, P256
from tests.serve.accounts import Keypair, document, plc

DID = plc("reader")
PAIR = Keypair(K256, 21)


def parse(document: object, did: str = DID) -> Any:
    return parse_document(did, json.dumps(document).encode(), 5)


@pytest.mark.parametrize("form", ["Multikey", "2019"])
@pytest.mark.parametrize("algorithm", [K256, P256])
@pytest.mark.parametrize("id", ["#atproto", f"{DID}#atproto", "bare"])
def test_what_we_need_of_a_document(algorithm: str, form: str, id: str) -> None:
    pair = Keypair(algorithm)
    method = pair.method(DID, form)
    method["id"] = "#atproto" if id == "bare" else method["id"]
    account = parse(document(DID, Keypair().method(DID, id="#atproto_label"), method))
    assert (account.did, account.key_kind, account.key) == (DID, method["type"], method["publicKeyMultibase"])
    assert (account.pds, account.handle, account.fetched_s) == ("https://pds.example.com", "reader.example.com", 5)


def test_what_is_not_usable_is_empty() -> None:
    service = [{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://127.0.0.1"}]
    account = parse(document(DID, PAIR.method(DID), service=service, alsoKnownAs=[1, "at://not a handle"]))
    assert (account.pds, account.handle) == ("", "")
    account = parse({"id": DID, "verificationMethod": [PAIR.method(DID)], "service": {}, "alsoKnownAs": "at://x.y"})
    assert (account.pds, account.handle) == ("", "")


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {},
        document(plc("other"), PAIR.method(DID)),
        document(DID.upper(), PAIR.method(DID)),
        document(DID),
        document(DID, PAIR.method(DID, id="#other")),
        document(DID, PAIR.method(plc("other"))),
        document(DID, {**PAIR.method(DID), "publicKeyMultibase": "zzz"}),
        document(DID, {**PAIR.method(DID), "type": "Ed25519VerificationKey2020"}),
        document(DID, {**PAIR.method(DID), "publicKeyMultibase": 5}),  # type: ignore[dict-item]
        document(DID, {"id": "#atproto", "type": "JsonWebKey2020"}, PAIR.method(DID)),
        {"id": DID, "verificationMethod": {"#atproto": PAIR.method(DID)}},
        document(DID, *[Keypair(K256, 3).method(DID, id=f"#k{n}") for n in range(101)], PAIR.method(DID)),
    ],
)
def test_documents_without_a_key(bad: object) -> None:
    with pytest.raises(BadDocument):
        parse(bad)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 60_000, b'{"id":"\\ud800"}', b"<html>"])
def test_bytes_that_are_no_document(body: bytes) -> None:
    with pytest.raises(BadDocument):
        parse_document(DID, body, 0)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["verificationMethod", "service", "alsoKnownAs", "id"]), json_values)
def test_any_value_anywhere_is_an_account_or_bad(name: str, value: object) -> None:
    with suppress(BadDocument):
        assert parse({**document(DID, PAIR.method(DID)), name: value}).did == DID


@given(st.sampled_from(["id", "type", "publicKeyMultibase"]), json_values)
def test_any_value_in_a_method_is_an_account_or_bad(name: str, value: object) -> None:
    with suppress(BadDocument):
        assert parse(document(DID, {**PAIR.method(DID), name: value})).did == DID  # type: ignore[dict-item]
