"""What goes over the wire, before it is put into a wire's shape: events, and the records inside them as JSON.

Keys of a record stand in alphabetical order, as the real servers write them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from feedgen.core.ids import BLOCK_NSID, FOLLOW_NSID, LIKE_NSID, POST_NSID, PROFILE_NSID, REPOST_NSID, VISIBILITY_NSID

COLLECTIONS: Final = (LIKE_NSID, REPOST_NSID, POST_NSID, FOLLOW_NSID, BLOCK_NSID, PROFILE_NSID, VISIBILITY_NSID)


class SimEvent(msgspec.Struct, gc=False):
    """One event of the made-up network. `record` and `detail` are finished JSON; wire.py only puts them into a
    frame."""

    seq: int
    time_us: int
    did: str
    kind: str  # "commit" | "identity" | "account" | "sync"
    operation: str = ""  # "create" | "update" | "delete"
    collection: str = ""
    rkey: str = ""
    rev: str = ""
    cid: str = ""
    record: bytes | None = None
    detail: bytes = b""  # the relay's own event, for identity, account and sync
    resync: bool = False  # a record that a sync put in place of what was there; its time is the sync's
    odd: str = ""  # why this event is not as it should be; "" for nearly all


class Record(msgspec.Struct, frozen=True):
    """A record in somebody's repository."""

    uri: str
    rkey: str
    cid: str
    value: bytes


def quoted(text: str) -> str:
    """A JSON string."""
    return msgspec.json.encode(text).decode()


def reference(cid: str, uri: str) -> str:
    """A strong reference, as JSON."""
    return f'{{"cid":"{cid}","uri":"{uri}"}}'


def like(created: str, subject: str, via: str = "") -> bytes:
    """`subject` and `via` are references."""
    more = f',"via":{via}' if via else ""
    return f'{{"$type":"app.bsky.feed.like","createdAt":"{created}","subject":{subject}{more}}}'.encode()


def repost(created: str, subject: str) -> bytes:
    return f'{{"$type":"app.bsky.feed.repost","createdAt":"{created}","subject":{subject}}}'.encode()


def follow(created: str, did: str) -> bytes:
    return f'{{"$type":"app.bsky.graph.follow","createdAt":"{created}","subject":"{did}"}}'.encode()


def block(created: str, did: str) -> bytes:
    return f'{{"$type":"app.bsky.graph.block","createdAt":"{created}","subject":"{did}"}}'.encode()


def visibility(created: str, hide: bool) -> bytes:
    return (
        f'{{"$type":"{VISIBILITY_NSID}","createdAt":"{created}",'
        f'"hideFromAlgorithmicRecommendations":{"true" if hide else "false"}}}'
    ).encode()


def profile(created: str, name: str, description: str, avatar_cid: str, labels: tuple[str, ...]) -> bytes:
    avatar = (
        f'"avatar":{{"$type":"blob","mimeType":"image/jpeg","ref":{{"$link":"{avatar_cid}"}},"size":48213}},'
        if avatar_cid
        else ""
    )
    marks = f'"labels":{self_labels(labels)},' if labels else ""
    return (
        f'{{"$type":"app.bsky.actor.profile",{avatar}"createdAt":"{created}","description":{quoted(description)},'
        f'"displayName":{quoted(name)}{"," + marks[:-1] if marks else ""}}}'
    ).encode()


def self_labels(values: tuple[str, ...]) -> str:
    marks = ",".join(f'{{"val":"{value}"}}' for value in values)
    return f'{{"$type":"com.atproto.label.defs#selfLabels","values":[{marks}]}}'
