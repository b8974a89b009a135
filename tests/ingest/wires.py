"""Frames of both wires for tests: valid ones, made from a few words."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from feedgen.core.ids import make_tid

NOW_US = 1_790_000_000_000_000
DID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
AUTHOR = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"
RKEY = make_tid(NOW_US - 1_000_000, 3)
POST_URI = f"at://{AUTHOR}/app.bsky.feed.post/{make_tid(NOW_US - 60_000_000)}"
ROOT_URI = f"at://{AUTHOR}/app.bsky.feed.post/{make_tid(NOW_US - 90_000_000)}"
CID = "bafyreib2rxk3rybk3aobmv5cjuql3bm2twh4jo5uxgf5kpqcsgz7soitae"
WIRES = ("v1", "v2")
EVENT = "network.bsky.jetstream.subscribeEvents"


def iso(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def ref(uri: str = POST_URI) -> dict[str, Any]:
    return {"cid": CID, "uri": uri}


def like(uri: str = POST_URI, collection: str = "app.bsky.feed.like", **more: Any) -> dict[str, Any]:
    return {"$type": collection, "createdAt": iso(NOW_US), "subject": ref(uri), **more}


def post(**more: Any) -> dict[str, Any]:
    return {"$type": "app.bsky.feed.post", "createdAt": iso(NOW_US), "text": "hello", **more}


def commit(
    wire: str,
    collection: str = "app.bsky.feed.like",
    record: Any = None,
    *,
    operation: str = "create",
    did: Any = DID,
    rkey: Any = RKEY,
    time_us: int = NOW_US,
    seq: int = 7,
) -> dict[str, Any]:
    """A frame as an object, so that a test can change any part of it."""
    inner: dict[str, Any] = {"rev": RKEY, "operation": operation, "collection": collection, "rkey": rkey}
    if record is not None:
        inner |= {"record": record, "cid": CID}
    if wire == "v1":
        return {"did": did, "time_us": time_us, "cursor": seq, "kind": "commit", "commit": inner}
    return v2("commit", seq=seq, did=did, time=iso(time_us), **inner)


def v2(kind: str, **payload: Any) -> dict[str, Any]:
    return {"$type": "message", "payload": {"$type": f"{EVENT}#{kind}", **payload}}


def identity(wire: str, handle: Any = "someone.example.com") -> dict[str, Any]:
    inner = {"did": DID, "seq": 1, "time": iso(NOW_US), "handle": handle}
    if wire == "v1":
        return {"did": DID, "time_us": NOW_US, "cursor": 7, "kind": "identity", "identity": inner}
    return v2("identity", seq=7, did=DID, time=iso(NOW_US), identity=inner)


def account(wire: str, active: Any = False, status: Any = "deleted") -> dict[str, Any]:
    inner = {"active": active, "did": DID, "seq": 1, "time": iso(NOW_US), "status": status}
    if wire == "v1":
        return {"did": DID, "time_us": NOW_US, "cursor": 7, "kind": "account", "account": inner}
    return v2("account", seq=7, did=DID, time=iso(NOW_US), account=inner)


def dump(frame: Any) -> bytes:
    return json.dumps(frame, separators=(",", ":")).encode()
