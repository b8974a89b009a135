"""DID documents: from bytes that anyone may have written, to the few things we need of them."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import Final

import msgspec

from feedgen.serve.out.hosts import public_origin
from feedgen.serve.who.keys import BadKey, parse_key
from feedgen.store.viewers import Account

MAX_DOCUMENT_BYTES: Final = 64 * 1024
MAX_ENTRIES: Final = 100

_HANDLE: Final = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


class BadDocument(ValueError):
    """It is not this DID's document, or it has no key that could sign."""


def parse_document(did: str, body: bytes, fetched_s: int, trusted_pds: Container[str] = ()) -> Account:
    """The account's PDS is kept only if it is a public host or one of the trusted."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadDocument("not JSON") from None
    if not isinstance(document, dict) or document.get("id") != did:
        raise BadDocument("another DID's document")
    kind, key = _signing_key(did, document)
    return Account(did, kind, key, _pds(did, document, trusted_pds), _handle(document), fetched_s)


def _signing_key(did: str, document: dict[str, object]) -> tuple[str, str]:
    """The first `#atproto` method counts, as in Bluesky's own parser; a bad one is not made good by a second."""
    for method in _entries(document, "verificationMethod"):
        if method.get("id") not in ("#atproto", f"{did}#atproto"):
            continue
        kind, key = method.get("type"), method.get("publicKeyMultibase")
        if not isinstance(kind, str) or not isinstance(key, str):
            break
        try:
            parse_key(kind, key)
        except BadKey as error:
            raise BadDocument(str(error)) from None
        return kind, key
    raise BadDocument("no signing key")


def _pds(did: str, document: dict[str, object], trusted: Container[str]) -> str:
    for service in _entries(document, "service"):
        if service.get("id") in ("#atproto_pds", f"{did}#atproto_pds"):
            endpoint = service.get("serviceEndpoint")
            if not isinstance(endpoint, str):
                return ""
            return endpoint.rstrip("/") if endpoint.rstrip("/") in trusted else public_origin(endpoint)
    return ""


def _handle(document: dict[str, object]) -> str:
    names = document.get("alsoKnownAs")
    for name in names[:MAX_ENTRIES] if isinstance(names, list) else ():
        if isinstance(name, str) and name.startswith("at://"):
            handle = name[5:].lower()
            return handle if len(handle) <= 253 and _HANDLE.fullmatch(handle) else ""
    return ""


def _entries(document: dict[str, object], name: str) -> Iterator[dict[str, object]]:
    entries = document.get(name)
    for entry in entries[:MAX_ENTRIES] if isinstance(entries, list) else ():
        if isinstance(entry, dict):
            yield entry
