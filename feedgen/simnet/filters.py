"""Who wants which events: the filters of both Jetstream wires, and what each wire says to a bad one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from feedgen.simnet.records import SimEvent

MAX_COLLECTIONS: Final = 100
MAX_DIDS: Final = 10_000
KINDS: Final = ("commit", "identity", "account", "sync")


@dataclass(frozen=True, slots=True)
class Filter:
    """Who wants what. Empty means all."""

    collections: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    dids: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    max_bytes: int = 0

    def wants(self, event: SimEvent) -> bool:
        if self.dids and event.did not in self.dids:
            return False
        if self.kinds and event.kind not in self.kinds:
            return False
        if event.kind != "commit" or not (self.collections or self.prefixes):
            return True
        return event.collection in self.collections or event.collection.startswith(self.prefixes)

    @property
    def everything(self) -> bool:
        return self == Filter()


class BadRequest(Exception):
    """Answered with 400 before the upgrade."""

    def __init__(self, message: str, error: str = "InvalidRequest") -> None:
        super().__init__(message)
        self.error = error


def read_filter(query: dict[str, list[str]], v2: bool) -> Filter:
    """The filter of a query in the wire's own words."""
    names = ("collections", "dids") if v2 else ("wantedCollections", "wantedDids")
    other = ("wantedCollections", "wantedDids", "requireHello", "compress") if v2 else ()
    for name in other:
        if query.get(name, [""])[0]:
            raise BadRequest(f"{name} belongs to /subscribe")
    kinds = frozenset(query.get("kinds", [])) - {""} if v2 else frozenset()
    if unknown := kinds - set(KINDS):
        raise BadRequest(f"unknown kind {min(unknown)!r}; there are {', '.join(KINDS)}")
    size = query.get("maxMessageSizeBytes", ["0"])[0]
    if v2 and not size.isdigit():
        raise BadRequest("maxMessageSizeBytes must be a number")
    found = make_filter(query.get(names[0], []), query.get(names[1], []), int(size) if size.isdigit() else 0)
    if kinds and "commit" not in kinds and (found.collections or found.prefixes):
        raise BadRequest("collections never apply without kinds=commit")
    return replace(found, kinds=kinds)


def make_filter(collections: Sequence[str], dids: Sequence[str], max_bytes: int = 0) -> Filter:
    wanted = {c for c in collections if c}
    people = {d for d in dids if d}
    if len(wanted) > MAX_COLLECTIONS:
        raise BadRequest(f"too many collections: {len(wanted)} > {MAX_COLLECTIONS}")
    if len(people) > MAX_DIDS:
        raise BadRequest(f"too many DIDs: {len(people)} > {MAX_DIDS}")
    for did in people:
        if not did.startswith("did:"):
            raise BadRequest(f"invalid DID {did[:100]!r}")
    for name in wanted:
        if not name.endswith(".*") and name.count(".") < 2:
            raise BadRequest(f"invalid collection {name[:100]!r}")
    prefixes = tuple(sorted(c[:-1] for c in wanted if c.endswith(".*")))
    return Filter(
        frozenset(c for c in wanted if not c.endswith(".*")), prefixes, frozenset(people), frozenset(), max_bytes
    )
