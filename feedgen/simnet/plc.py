"""Where DIDs are looked up: the PLC directory, and the web hosts of those who have a did:web.

The documents have plc.directory's form, with the variety that is out there: Multikeys, both 2019 key types, absolute
and relative ids, and documents whose first key is not the one that signs. A key can be rotated, so that whoever
cached the old one has something to find out.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from feedgen.core.ids import is_did
from feedgen.simnet import text, tokens
from feedgen.simnet.httpd import Request, Response, answer

_TYPES_2019: Final = {
    "secp256k1": "EcdsaSecp256k1VerificationKey2019",
    "secp256r1": "EcdsaSecp256r1VerificationKey2019",
}
_SUITES: Final = {
    "secp256k1": "https://w3id.org/security/suites/secp256k1-2019/v1",
    "secp256r1": "https://w3id.org/security/suites/ecdsa-2019/v1",
}
PLAIN, LABELER_FIRST, RELATIVE, OLD, OLD_RELATIVE = "plain", "labeler-first", "relative", "old", "old-relative"
_FORMS: Final = (PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, LABELER_FIRST, RELATIVE, OLD, OLD_RELATIVE)


class Population(Protocol):
    """The people as directories see them: a World, or the many of a flood."""

    @property
    def n_people(self) -> int: ...
    def did(self, i: int) -> str: ...
    def handle(self, i: int) -> str: ...
    def index(self, did: str) -> int | None: ...
    def by_handle(self, handle: str) -> int | None: ...
    def signing_key(self, i: int) -> ec.EllipticCurvePrivateKey: ...
    def account(self, did: str) -> tuple[bool, str]: ...


class Keyring:
    """The signing key of each person: the world's, until it is rotated."""

    def __init__(self, world: Population) -> None:
        self._world = world
        self._rotated: dict[int, ec.EllipticCurvePrivateKey] = {}

    def key(self, person: int) -> ec.EllipticCurvePrivateKey:
        return self._rotated.get(person) or self._world.signing_key(person)

    def rotate(self, person: int) -> None:
        """A new key on the same curve. Telling the network of it is the caller's business."""
        self._rotated[person] = ec.generate_private_key(self.key(person).curve)

    def form(self, person: int) -> str:
        """How this person's document is written."""
        return _FORMS[text.mix1(person, 101) % len(_FORMS)]

    def document(self, person: int, pds_url: str) -> dict[str, Any]:
        """The DID document as of now."""
        did, key, form = self._world.did(person), self.key(person).public_key(), self.form(person)
        method = {"id": "#atproto" if form in (RELATIVE, OLD_RELATIVE) else f"{did}#atproto"}
        if form in (OLD, OLD_RELATIVE):
            method |= {"type": _TYPES_2019[key.curve.name], "publicKeyMultibase": tokens.multibase_2019(key)}
        else:
            method |= {"type": "Multikey", "publicKeyMultibase": tokens.multikey(key)}
        methods = [method | {"controller": did}]
        services = [{"id": "#atproto_pds", "type": "AtprotoPersonalDataServer", "serviceEndpoint": pds_url}]
        if form == LABELER_FIRST:
            other = tokens.multikey(self._world.signing_key((person + 1) % self._world.n_people).public_key())
            label = {"id": f"{did}#atproto_label", "type": "Multikey", "controller": did, "publicKeyMultibase": other}
            methods.insert(0, label)
            services.append({"id": "#atproto_labeler", "type": "AtprotoLabeler", "serviceEndpoint": pds_url})
        context = ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1", _SUITES[key.curve.name]]
        return {
            "@context": context,
            "id": did,
            "alsoKnownAs": [f"at://{self._world.handle(person)}"],
            "verificationMethod": methods,
            "service": services,
        }


class Directory:
    """`GET /{did}` as plc.directory answers it."""

    def __init__(self, world: Population, keys: Keyring, pds_url: str) -> None:
        self._world, self._keys, self._pds_url = world, keys, pds_url
        self.requests = 0

    async def handle(self, request: Request) -> Response:
        did = request.path.removeprefix("/")
        if did in ("", "_health"):
            return answer({"version": "simnet"})
        self.requests += 1
        if not is_did(did):
            return answer({"message": f"Invalid DID: {did[:200]}"}, 400)
        person = self._world.index(did)
        if person is None or not did.startswith("did:plc:"):
            return answer({"message": f"DID not registered: {did[:200]}"}, 404)
        if self._world.account(did)[1] == "deleted":  # the directory says 410, its caches and mirrors say 404
            return answer({"message": f"DID not available: {did}"}, 410 if person % 2 else 404)
        document = self._keys.document(person, self._pds_url)
        return Response(msgspec.json.encode(document), content_type="application/did+ld+json; charset=utf-8")


class WebHosts:
    """Every host that a person of this world has, told apart by the Host header.

    An HTTP proxy sends the same header, so this server can stand behind `proxy_url`, or be the proxy itself.
    """

    def __init__(self, world: Population, keys: Keyring, pds_url: str) -> None:
        self._world, self._keys, self._pds_url = world, keys, pds_url
        self.requests = 0

    async def handle(self, request: Request) -> Response:
        self.requests += 1
        host = request.host.partition(":")[0].lower()
        if request.path == "/.well-known/did.json":
            person = self._world.index(f"did:web:{host}")
            if person is not None and self._world.account(f"did:web:{host}")[1] != "deleted":
                return answer(self._keys.document(person, self._pds_url))
        elif request.path == "/.well-known/atproto-did":
            person = self._world.by_handle(host)
            if person is not None:
                return Response(self._world.did(person).encode(), content_type="text/plain")
        return Response(b"not found\n", 404, "text/plain")
