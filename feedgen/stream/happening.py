"""One event of the network as the stream passes it on: its envelope, its record as it came, and what it refers to."""

from __future__ import annotations

import contextlib
from typing import Final

import msgspec

from feedgen.core.ids import LIKE_NSID, POST_NSID, REPOST_NSID, is_did, parse_at_uri
from feedgen.ingest.events import Account, Event, Identity, Post, Sync, decode

MAX_MENTIONS: Final = 20  # of one post that are joined; the app allows about as many
MAX_FACETS: Final = 200
MAX_LABELS: Final = 32
MAX_IMAGES: Final = 20  # of a gallery
_COLLECTION: Final = b'"collection":"'
_FACET: Final = "app.bsky.richtext.facet#"

# How records may be read at all: open unions, of which any part may have any shape.
_UNREADABLE: Final = (msgspec.DecodeError, RecursionError, ValueError, OverflowError)


class _Commit(msgspec.Struct, gc=False):
    rev: str = ""
    operation: str = ""
    rkey: str = ""
    cid: str = ""
    record: msgspec.Raw = msgspec.Raw()


class _Payload(msgspec.Struct, gc=False):
    operation: str = ""
    rkey: str = ""
    rev: str = ""
    cid: str = ""
    record: msgspec.Raw = msgspec.Raw()
    account: msgspec.Raw = msgspec.Raw()
    identity: msgspec.Raw = msgspec.Raw()


class _Frame(msgspec.Struct, gc=False):
    commit: _Commit | None = None
    payload: _Payload | None = None
    account: msgspec.Raw = msgspec.Raw()
    identity: msgspec.Raw = msgspec.Raw()


class _Ref(msgspec.Struct, gc=False):
    uri: str = ""


class _Reply(msgspec.Struct, gc=False):
    root: _Ref | None = None
    parent: _Ref | None = None


class _Record(msgspec.Struct, gc=False):
    text: str = ""
    langs: list[str] = []
    tags: list[str] = []
    created: str = msgspec.field(default="", name="createdAt")
    embed: msgspec.Raw = msgspec.Raw()
    facets: msgspec.Raw = msgspec.Raw()
    labels: msgspec.Raw = msgspec.Raw()
    reply: _Reply | None = None


class _Link(msgspec.Struct, gc=False):
    link: str = msgspec.field(default="", name="$link")


class _Blob(msgspec.Struct, gc=False):
    ref: _Link | None = None


class _Image(msgspec.Struct, gc=False):
    image: _Blob | None = None
    alt: str = ""
    ratio: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="aspectRatio")


class _External(msgspec.Struct, gc=False):
    uri: str = ""
    title: str = ""
    description: str = ""
    thumb: _Blob | None = None


class _Media(msgspec.Struct, gc=False):
    images: list[_Image] = []
    items: list[_Image] = []  # of a gallery
    video: _Blob | None = None
    alt: str = ""
    external: _External | None = None


class _Quoted(msgspec.Struct, gc=False):
    uri: str = ""
    record: _Ref | None = None


class _Embed(_Media, gc=False):
    record: _Quoted | None = None
    media: _Media | None = None


class _Index(msgspec.Struct, gc=False):
    start: int = msgspec.field(default=0, name="byteStart")
    end: int = msgspec.field(default=0, name="byteEnd")


class _Feature(msgspec.Struct, gc=False):
    type: str = msgspec.field(default="", name="$type")
    did: str = ""
    uri: str = ""
    tag: str = ""


class _Facet(msgspec.Struct, gc=False):
    index: _Index = msgspec.field(default_factory=_Index)
    features: list[_Feature] = []


class _Label(msgspec.Struct, gc=False):
    val: str = ""


class _Labels(msgspec.Struct, gc=False):
    values: list[_Label] = []


class _Subject(msgspec.Struct, gc=False):
    subject: _Ref | None = None


_frame = msgspec.json.Decoder(_Frame).decode
_record = msgspec.json.Decoder(_Record).decode
_embed = msgspec.json.Decoder(_Embed).decode
_facets = msgspec.json.Decoder(list[_Facet]).decode
_labels = msgspec.json.Decoder(_Labels).decode
_subject = msgspec.json.Decoder(_Subject).decode


class Picture(msgspec.Struct, gc=False):
    cid: str
    alt: str
    ratio: bytes  # JSON, or empty


class Mention(msgspec.Struct, gc=False):
    did: str
    start: int
    end: int


class Parts(msgspec.Struct):
    """What a post's record refers to and holds. At-uris are those of posts, by DID."""

    text: str = ""
    langs: list[str] = []
    created: str = ""
    parent: str = ""
    root: str = ""
    quoted: str = ""
    mentions: list[Mention] = []
    tags: list[str] = []
    links: list[str] = []
    labels: list[str] = []
    images: list[Picture] = []
    video: str = ""  # the blob's CID
    external: _External | None = None

    @property
    def mentioned(self) -> list[str]:
        return list(dict.fromkeys(one.did for one in self.mentions))[:MAX_MENTIONS]

    @property
    def media(self) -> set[str]:
        found = {"image"} if self.images else set()
        if self.video:
            found.add("video")
        if self.external is not None:
            found.add("link")
        return found


class Happening(msgspec.Struct):
    """`seq` is 0 on a wire without sequences. `record` is JSON as it came; None for what is no record."""

    host: str
    event: Event
    message: bytes
    kind: str = "commit"
    operation: str = ""
    collection: str = ""
    rkey: str = ""
    rev: str = ""
    cid: str = ""
    record: bytes | None = None
    detail: bytes = b""  # of an identity or account event
    parts: Parts | None = None
    subject: str = ""  # the post that is liked or reposted
    number: int = 0  # in the order in which the hub heard it
    heard_s: float = 0.0  # when, by the monotonic clock
    wire_json: bytes = b""  # `envelope`, once somebody asked for it

    @property
    def did(self) -> str:
        return self.event.did

    @property
    def seq(self) -> int:
        return self.event.seq

    @property
    def time_us(self) -> int:
        return self.event.time_us

    @property
    def uri(self) -> str:
        return f"at://{self.event.did}/{self.collection}/{self.rkey}" if self.collection else ""

    @property
    def flags(self) -> int:
        return self.event.flags if isinstance(self.event, Post) else 0

    @property
    def key(self) -> tuple[object, ...]:
        """The same for the same event from any host, and when it comes again."""
        return self.event.did, self.collection, self.rkey, self.operation, self.rev or self.event.time_us


def collection_of(message: bytes) -> bytes:
    """A commit's collection, without decoding it: both wires name it before the record. Empty: it is no commit."""
    at = message.find(_COLLECTION)
    if at < 0:
        return b""
    at += len(_COLLECTION)
    return message[at : message.find(b'"', at)]


def read(host: str, message: bytes) -> Happening | None:
    """None for what is no event that we know. Never raises: `decode` is asked first, and is total."""
    event = decode(message)
    if not isinstance(event, Event) or isinstance(event, Sync):
        return None
    try:
        frame = _frame(message)
    except _UNREADABLE:
        return None
    if isinstance(event, Identity | Account):
        kind = "identity" if isinstance(event, Identity) else "account"
        detail = bytes(getattr(frame.payload or frame, kind))
        return Happening(host, event, message, kind=kind, detail=detail)
    commit: _Commit | _Payload | None = frame.payload if frame.commit is None else frame.commit
    if commit is None:
        return None
    collection = collection_of(message).decode()
    c = commit
    made = Happening(host, event, message, "commit", c.operation, collection, c.rkey, c.rev, c.cid)
    if commit.operation != "delete" and commit.record:
        made.record = bytes(commit.record)
        if isinstance(event, Post):
            made.parts = parts_of(made.record)
        elif collection in (LIKE_NSID, REPOST_NSID):
            made.subject = _post_uri(_subject(made.record).subject)
    return made


def parts_of(record: bytes) -> Parts:
    """Of a post's record. What is malformed is left out, the rest still counts."""
    try:
        r = _record(record)
    except _UNREADABLE:
        return Parts()
    parts = Parts(r.text, r.langs, r.created, tags=list(r.tags))
    if r.reply is not None:
        parts.parent, parts.root = _post_uri(r.reply.parent), _post_uri(r.reply.root)
    if r.embed:
        _read_embed(bytes(r.embed), parts)
    if r.facets:
        _read_facets(bytes(r.facets), parts)
    if r.labels:
        with contextlib.suppress(*_UNREADABLE):
            parts.labels = [one.val for one in _labels(r.labels).values][:MAX_LABELS]
    return parts


def _read_embed(raw: bytes, parts: Parts) -> None:
    try:
        embed = _embed(raw)
    except _UNREADABLE:
        return
    quoted = embed.record
    if quoted is not None:
        parts.quoted = _post_uri(quoted.record if quoted.record is not None else _Ref(quoted.uri))
    media: _Media = embed if embed.media is None else embed.media
    for image in (media.images or media.items)[:MAX_IMAGES]:
        if image.image is not None and image.image.ref is not None:
            parts.images.append(Picture(image.image.ref.link, image.alt, bytes(image.ratio)))
    if media.video is not None and media.video.ref is not None:
        parts.video = media.video.ref.link
    parts.external = media.external


def _read_facets(raw: bytes, parts: Parts) -> None:
    try:
        facets = _facets(raw)
    except _UNREADABLE:
        return
    for facet in facets[:MAX_FACETS]:
        for feature in facet.features[:8]:
            kind = feature.type.removeprefix(_FACET)
            if kind == "mention" and is_did(feature.did):
                parts.mentions.append(Mention(feature.did, facet.index.start, facet.index.end))
            elif kind == "link" and feature.uri:
                parts.links.append(feature.uri)
            elif kind == "tag" and feature.tag:
                parts.tags.append(feature.tag)


def _post_uri(ref: _Ref | None) -> str:
    if ref is None:
        return ""
    parsed = parse_at_uri(ref.uri)
    return ref.uri if parsed is not None and parsed.collection == POST_NSID else ""


def author_of(uri: str) -> str:
    """The DID in an at-uri that was judged before."""
    return uri[5 : uri.index("/", 5)]
