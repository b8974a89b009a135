"""How a message is spelled: `graze` and `rs` as the programs of that name do, `feedgen` with all that we know, `raw`.

What is joined is JSON already, so a message is mostly bytes put together. Each format is spelled once for all its
consumers. docs/stream.md has them field by field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from feedgen.core.clock import Clock
from feedgen.stream import cursor
from feedgen.stream.happening import Happening, Mention, Parts, author_of
from feedgen.stream.known import Entry
from feedgen.stream.lane import Sent
from feedgen.stream.visibility import Visibility

NAMES: Final = ("feedgen", "graze", "rs", "raw")
_NULL: Final = b"null"
_UPPER = re.compile("[A-Z]").sub

dump = msgspec.json.Encoder().encode


class Pictures:
    """Addresses of pictures and videos, by the hosts in `[web] pictures`."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._images = f"{hosts[0].rstrip('/')}/img" if hosts else ""
        self._videos = f"{hosts[min(1, len(hosts) - 1)].rstrip('/')}/watch" if hosts else ""

    def of(self, did: str, parts: Parts) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if parts.images:
            found["images"] = [
                {
                    "thumb": self._image("feed_thumbnail", did, one.cid),
                    "fullsize": self._image("feed_fullsize", did, one.cid),
                    "alt": one.alt,
                }
                | ({"aspectRatio": msgspec.Raw(one.ratio)} if one.ratio else {})
                for one in parts.images
            ]
        if parts.video:
            base = f"{self._videos}/{did}/{parts.video}"
            found["video"] = {"playlist": f"{base}/playlist.m3u8", "thumbnail": f"{base}/thumbnail.jpg"}
        if (link := parts.external) is not None:
            found["external"] = {"uri": link.uri, "title": link.title, "description": link.description}
            if link.thumb is not None and link.thumb.ref is not None:
                found["external"]["thumb"] = self._image("feed_thumbnail", did, link.thumb.ref.link)
        return found

    def _image(self, kind: str, did: str, cid: str) -> str:
        return f"{self._images}/{kind}/plain/{did}/{cid}@jpeg"


def envelope(one: Happening) -> bytes:
    """The event as the original Jetstream writes it, whatever wire it came on."""
    if not one.wire_json:
        head = b'{"did":%b,"time_us":%d,"kind":"%b",' % (dump(one.did), one.time_us, one.kind.encode())
        if one.kind != "commit":
            one.wire_json = head + b'"%b":%b}' % (one.kind.encode(), one.detail)
        else:
            record = b',"record":%b,"cid":%b' % (one.record, dump(one.cid)) if one.record is not None else b""
            one.wire_json = head + b'"commit":{"rev":%b,"operation":"%b","collection":"%b","rkey":%b%b}}' % (
                dump(one.rev), one.operation.encode(), one.collection.encode(), dump(one.rkey), record,
            )  # fmt: skip
    return one.wire_json


def snake(value: Any) -> Any:
    """As Graze's SDK spells views: names_like_this, and `py_type` for `$type`."""
    if isinstance(value, dict):
        return {_snake_name(key): snake(one) for key, one in value.items()}
    return [snake(one) for one in value] if isinstance(value, list) else value


def _snake_name(name: str) -> str:
    return "py_type" if name == "$type" else _UPPER(lambda found: "_" + found[0].lower(), name)


def _spelled(entry: Entry, name: str, make: Callable[[], bytes]) -> bytes:
    """The same entry is spelled the same way each time."""
    if entry.spelled is None:
        entry.spelled = {}
    found = entry.spelled.get(name)
    if found is None:
        found = entry.spelled[name] = make()
    return found


def _iso(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Joined:
    """What belongs to one message and may be shown, looked up once for all formats."""

    def __init__(self, sent: Sent, shown: Visibility) -> None:
        one = self.happening = sent.happening
        parts = one.parts or Parts()
        self.sent, self.parts, self.shown = sent, parts, shown
        self.user = shown.profile(one.did)
        uris = [uri for uri in (parts.parent, parts.root, parts.quoted, one.subject) if uri]
        self.posts = shown.posts(list(dict.fromkeys(uris))) if uris else {}
        self.authors = {uri: shown.profile(author_of(uri)) for uri, (entry, _) in self.posts.items() if not entry.view}
        self.mentions = {did: shown.profile(did) for did in parts.mentioned}

    @property
    def missing(self) -> list[str]:
        """What the message refers to, and does not have."""
        parts, one = self.parts, self.happening
        named = {"parent": parts.parent, "root": parts.root, "quoted": parts.quoted, "subject": one.subject}
        found = [name for name, uri in named.items() if uri and uri not in self.posts]
        if self.user is None:
            found.insert(0, "author")
        return found + (["mentions"] if None in self.mentions.values() else [])


class Formats:
    def __init__(self, pictures: Pictures, clock: Clock) -> None:
        self._pictures, self._clock = pictures, clock
        self.by_name: dict[str, Callable[[Joined, int], bytes]] = {
            "feedgen": self._feedgen,
            "graze": self._graze,
            "rs": self._rs,
        }

    def spell(self, name: str, joined: Joined, floor: int = 0) -> bytes:
        return self.by_name[name](joined, floor)

    # Graze's: a list of one object.

    def _graze(self, j: Joined, floor: int) -> bytes:
        one, parts = j.happening, j.parts
        mentions = b",".join(
            b"%b:%b" % (dump(did), _graze_profile(entry)) for did, entry in j.mentions.items() if entry is not None
        )
        return (
            b'[{"at_uri":%b,"did":%b,"time_us":%d,"message":%b,"hydrated_metadata":{"user":%b,"mentions":{%b},'
            b'"parent_post":%b,"reply_post":%b,"quote_post":%b}}]'
        ) % (
            dump(one.uri), dump(one.did), one.time_us, envelope(one), _graze_profile(j.user), mentions,
            self._graze_post(j, parts.parent), self._graze_post(j, parts.root), self._graze_post(j, parts.quoted),
        )  # fmt: skip

    def _graze_post(self, j: Joined, uri: str) -> bytes:
        found = j.posts.get(uri)
        if found is None:
            return _NULL
        entry, _ = found
        if entry.view:
            return _spelled(entry, "graze", lambda: dump(snake(msgspec.json.decode(entry.view))))
        author = j.authors[uri]
        who = _graze_profile(author) if author is not None else dump({"did": author_of(uri)})
        record = _spelled(entry, "graze", lambda: dump(snake(msgspec.json.decode(entry.record))))
        return b'{"uri":%b,"cid":%b,"author":%b,"record":%b,"indexed_at":%b}' % (
            dump(uri), dump(entry.cid), who, record, dump(_iso(entry.known_us)),
        )  # fmt: skip

    # The Rust fork's: an object, in which what is empty is left out.

    def _rs(self, j: Joined, floor: int) -> bytes:
        one, parts = j.happening, j.parts
        about: dict[str, Any] = {}
        if j.user is not None:
            about["author_profile"] = msgspec.Raw(_rs_profile(j.user))
        about["mentioned_profiles"] = [msgspec.Raw(_rs_profile(p)) for p in j.mentions.values() if p is not None]
        uris = dict.fromkeys(uri for uri in (parts.parent, parts.root, parts.quoted) if uri in j.posts)
        about["referenced_posts"] = [msgspec.Raw(_rs_post(j, uri)) for uri in uris]
        about["hashtags"] = [tag.lower() for tag in parts.tags]
        about["urls"] = parts.links
        about["mentions"] = [_rs_mention(mention, j.mentions.get(mention.did)) for mention in parts.mentions]
        if parts.langs:
            about["detected_language"] = parts.langs[0]
        hits, needed = j.sent.hits, j.sent.needed
        took_s = self._clock.monotonic_s() - one.heard_s
        metrics = {
            "hydration_time_ms": max(0, int(took_s * 1000)),
            "api_calls_count": int(hits < needed),
            "cache_hit_rate": hits / needed if needed else 0.0,
            "cache_hits": hits,
            "cache_misses": needed - hits,
        }
        return b'{"message":%b,"hydrated_metadata":%b,"processed_at":%b,"metrics":%b}' % (
            envelope(one), dump({k: v for k, v in about.items() if v}), dump(_iso(self._clock.now_us())), dump(metrics),
        )  # fmt: skip

    # Ours.

    def _feedgen(self, j: Joined, floor: int) -> bytes:
        one, parts = j.happening, j.parts
        at = cursor.spell(j.sent.head, j.sent.pending, floor)
        made = [b'{"cursor":"%b","event":%b' % (at.encode(), envelope(one))]
        if one.kind == "commit":
            made.append(b',"uri":%b,"author":%b' % (dump(one.uri), _known_profile(j.user)))
        if one.parts is not None:
            for name, uri in (("parent", parts.parent), ("root", parts.root), ("quoted", parts.quoted)):
                made.append(b',"%b":%b' % (name.encode(), self._known_post(j, uri)))
            mentions = (
                b"%b:%b" % (dump(did), _known_profile(entry)) for did, entry in j.mentions.items() if entry is not None
            )
            made.append(b',"mentions":{%b}' % b",".join(mentions))
            if media := self._pictures.of(one.did, parts):
                made.append(b',"media":%b' % dump(media))
            if parts.labels:
                made.append(b',"labels":%b' % dump(parts.labels))
        elif one.subject:
            made.append(b',"subject":%b' % self._known_post(j, one.subject))
        if missing := j.missing if one.kind == "commit" else []:
            made.append(b',"missing":%b' % dump(missing))
        made.append(b"}")
        return b"".join(made)

    def _known_post(self, j: Joined, uri: str) -> bytes:
        found = j.posts.get(uri)
        if found is None:
            return _NULL
        entry, ratings = found
        did = author_of(uri)
        if entry.view:
            author = entry.author
        else:
            profile = j.authors[uri]
            author = profile.view if profile is not None else dump({"did": did})
        media = _spelled(entry, "media", lambda: dump(self._pictures.of(did, entry.parts or Parts())))
        return b'{"uri":%b,"cid":%b,"author":%b,"record":%b,"media":%b,"labels":%b,"ratings":%d,"known_us":%d}' % (
            dump(uri), dump(entry.cid), author, entry.record, media, dump(entry.labels), ratings, entry.known_us,
        )  # fmt: skip


def _graze_profile(entry: Entry | None) -> bytes:
    if entry is None:
        return _NULL
    return _spelled(entry, "graze", lambda: dump(snake(msgspec.json.decode(entry.view))))


def _known_profile(entry: Entry | None) -> bytes:
    if entry is None:
        return _NULL
    return _spelled(entry, "feedgen", lambda: entry.view.rstrip()[:-1] + b',"known_us":%d}' % entry.known_us)


_RS_PROFILE: Final = {
    "did": "did", "handle": "handle", "displayName": "displayName", "description": "description", "avatar": "avatar",
    "banner": "banner", "followersCount": "followersCount", "followsCount": "followsCount", "postsCount": "postsCount",
    "indexedAt": "indexed_at", "createdAt": "created_at", "labels": "labels",
}  # fmt: skip


def _rs_profile(entry: Entry) -> bytes:
    def make() -> bytes:
        view = msgspec.json.decode(entry.view)
        return dump({ours: view[theirs] for theirs, ours in _RS_PROFILE.items() if view.get(theirs) is not None})

    return _spelled(entry, "rs", make)


def _rs_post(j: Joined, uri: str) -> bytes:
    entry, _ = j.posts[uri]
    author = j.authors.get(uri)
    if not entry.view:
        return _rs_made(entry, uri, msgspec.json.decode(author.view) if author is not None else {}, {})

    def make() -> bytes:
        view = msgspec.json.decode(entry.view)
        return _rs_made(entry, uri, view["author"], view)

    return _spelled(entry, "rs", make)


def _rs_made(entry: Entry, uri: str, author: dict[str, Any], view: dict[str, Any]) -> bytes:
    parts = entry.parts or Parts()
    post = {
        "uri": uri,
        "cid": entry.cid,
        "text": parts.text,
        "author_did": author_of(uri),
        "author_handle": author.get("handle"),
        "created_at": parts.created,
        "reply_count": view.get("replyCount"),
        "like_count": view.get("likeCount"),
        "repost_count": view.get("repostCount"),
    }
    return dump({name: value for name, value in post.items() if value is not None})


def _rs_mention(mention: Mention, entry: Entry | None) -> dict[str, Any]:
    found: dict[str, Any] = {"did": mention.did, "start_byte": mention.start, "end_byte": mention.end}
    if entry is not None:
        view = msgspec.json.decode(entry.view)
        found |= {
            ours: view[name] for name, ours in (("handle", "handle"), ("displayName", "display_name")) if name in view
        }
    return found
