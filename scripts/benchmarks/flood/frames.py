"""The frames of a flood as templates: text with `<fields>`, taken apart once, so that a compiled loop only copies and
fills in.

One template for each wire, kind of event, and shape of post. The loop that fills them in is `kernels.write`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedgen.simnet import words

V1, V1_CURSOR, V2 = 0, 1, 2

# Kinds of event, in the order of the plan's thresholds (posts are dealt out evenly before).
LIKE, REPOST, FOLLOW, UNLIKE, UNREPOST, UNPOST, UNFOLLOW, PROFILE, BLOCK, IDENTITY, ACCOUNT, POST = range(12)
# Flags of a post: the bits of ingest.events, which this package may not import.
KNOWN, REPLY, QUOTE, IMAGE, VIDEO, LINK, ADULT = 1, 2, 4, 8, 16, 32, 64
SHAPES: Final = (
    1 << 6
)  # templates of a kind: for posts one for each set of flags but KNOWN, for accounts 0 active, 1 away

# What may stand between < and >. A field's group says how it is written.
DIDS: Final = ("actor", "author", "whom", "parent_author")
TIDS: Final = ("rev", "rkey", "post_key", "parent_key")
CIDS: Final = ("cid", "post_cid", "parent_cid", "blob")
TIMES: Final = ("created", "relay_time", "time")
INTS: Final = ("time_us", "seq", "relay_seq", "number", "link")
TEXTS: Final = ("lang", "text")
FIELDS: Final = ("end", *DIDS, *TIDS, *CIDS, *TIMES, *INTS, *TEXTS)

_NSIDS: Final = {
    LIKE: "app.bsky.feed.like", REPOST: "app.bsky.feed.repost", FOLLOW: "app.bsky.graph.follow", BLOCK:
    "app.bsky.graph.block",
    POST: "app.bsky.feed.post", PROFILE: "app.bsky.actor.profile", UNLIKE: "app.bsky.feed.like", UNREPOST:
    "app.bsky.feed.repost",
    UNPOST: "app.bsky.feed.post", UNFOLLOW: "app.bsky.graph.follow",
}  # fmt: skip
_POST_REF: Final = '{"cid":"bafyrei<post_cid>","uri":"at://<author>/app.bsky.feed.post/<post_key>"}'
_PARENT_REF: Final = '{"cid":"bafyrei<parent_cid>","uri":"at://<parent_author>/app.bsky.feed.post/<parent_key>"}'
_RECORDS: Final = {
    LIKE: f'"createdAt":"<created>","subject":{_POST_REF}',
    REPOST: f'"createdAt":"<created>","subject":{_POST_REF}',
    FOLLOW: '"createdAt":"<created>","subject":"<whom>"',
    BLOCK: '"createdAt":"<created>","subject":"<whom>"',
    PROFILE: '"createdAt":"<created>","description":"","displayName":"<number>"',
}
_BLOB: Final = '{"$type":"blob","mimeType":"%s","ref":{"$link":"bafkrei<blob>"},"size":%d}'
_EMBEDS: Final = {
    IMAGE: '"images":[{"alt":"","aspectRatio":{"height":1350,"width":1080},"image":%s}]'
    % (_BLOB % ("image/jpeg", 311_207)),
    VIDEO: '"aspectRatio":{"height":1280,"width":720},"video":%s' % (_BLOB % ("video/mp4", 8_141_022)),
    LINK: '"external":{"description":"","title":"A longer read","uri":"https://read.simnet.test/<link>"}',
    QUOTE: f'"record":{_PARENT_REF}',
}
_EMBED_NAMES: Final = {IMAGE: "images", VIDEO: "video", LINK: "external", QUOTE: "record"}


def _post(flags: int) -> str:
    embed = "".join(
        f',"embed":{{"$type":"app.bsky.embed.{_EMBED_NAMES[kind]}",{body}}}'
        for kind, body in _EMBEDS.items()
        if flags & kind
    )
    adult = ',"labels":{"$type":"com.atproto.label.defs#selfLabels","values":[{"val":"porn"}]}' if flags & ADULT else ""
    reply = f',"reply":{{"parent":{_PARENT_REF},"root":{_PARENT_REF}}}' if flags & REPLY else ""
    return f'"createdAt":"<created>"{embed}{adult},"langs":["<lang>"]{reply},"text":<text>'


def _detail(kind: int, shape: int) -> str:
    """The relay's own event inside an identity or account event."""
    if kind == IDENTITY:
        return '{"did":"<actor>","handle":"flood-<number>.simnet.test","seq":<relay_seq>,"time":"<relay_time>"}'
    away = ',"status":"deactivated"' if shape else ""
    return f'{{"active":{"false" if shape else "true"},"did":"<actor>","seq":<relay_seq>{away},"time":"<relay_time>"}}'


def template(wire: int, kind: int, shape: int) -> str:
    """The frame as text with fields."""
    name = {IDENTITY: "identity", ACCOUNT: "account"}.get(kind, "commit")
    v2 = f'{{"$type":"message","payload":{{"$type":"network.bsky.jetstream.subscribeEvents#{name}",'
    tail = '"seq":<seq>,"time":"<time>"}}'
    cursor = ',"cursor":<seq>' if wire == V1_CURSOR else ""
    v1 = f'{{"did":"<actor>","time_us":<time_us>{cursor},"kind":"{name}","{name}":'
    if kind in (IDENTITY, ACCOUNT):
        detail = _detail(kind, shape)
        if wire != V2:
            return f"{v1}{detail}}}"
        if kind == IDENTITY:
            return f'{v2}"did":"<actor>","identity":{detail},{tail}'
        return f'{v2}"account":{detail},"did":"<actor>",{tail}'
    nsid, rkey = _NSIDS[kind], "self" if kind == PROFILE else "<rkey>"
    if kind in (UNLIKE, UNREPOST, UNPOST, UNFOLLOW):
        if wire == V2:
            return (
                f'{v2}"collection":"{nsid}","did":"<actor>","operation":"delete","rev":"<rev>","rkey":"{rkey}",{tail}'
            )
        return f'{v1}{{"rev":"<rev>","operation":"delete","collection":"{nsid}","rkey":"{rkey}"}}}}'
    operation = "update" if kind == PROFILE else "create"
    body = _post(shape << 1) if kind == POST else _RECORDS[kind]
    record = f'{{"$type":"{nsid}",{body}}}'
    if wire == V2:
        return (
            f'{v2}"cid":"bafyrei<cid>","collection":"{nsid}","did":"<actor>","operation":"{operation}",'
            f'"record":{record},"rev":"<rev>","rkey":"{rkey}",{tail}'
        )
    return (
        f'{v1}{{"rev":"<rev>","operation":"{operation}","collection":"{nsid}","rkey":"{rkey}",'
        f'"record":{record},"cid":"bafyrei<cid>"}}}}'
    )


class Program(NamedTuple):
    """Steps of (copy this piece of text, then fill in this field), and where each template's steps begin."""

    text: NDArray[np.uint8]
    first: NDArray[np.int64]  # of each step: its piece is text[first:last]
    last: NDArray[np.int64]
    fields: NDArray[np.int64]
    starts: NDArray[np.int64]  # by kind * SHAPES + shape
    says: NDArray[np.uint8]  # the texts that a field can be, and where each begins
    says_starts: NDArray[np.int64]


@lru_cache(maxsize=3)
def program(wire: int) -> Program:
    """All templates of a wire, taken apart."""
    pieces: list[bytes] = []
    fields: list[int] = []
    starts = [0]
    for kind in range(POST + 1):
        for shape in range(SHAPES):
            if shape == 0 or kind == POST or (kind == ACCOUNT and shape == 1):
                # The pieces between the fields are at the even places, the fields at the odd ones.
                parts = re.split("<([a-z_]+)>", template(wire, kind, shape))
                pieces += [part.encode() for part in parts[::2]]
                fields += [FIELDS.index(name) for name in (*parts[1::2], "end")]
            starts.append(len(fields))
    ends = np.cumsum([0, *map(len, pieces)], dtype=np.int64)
    says = [lang.encode() for lang in words.LANGUAGES] + [said.encode() for said in _sayings()]
    return Program(
        np.frombuffer(b"".join(pieces), np.uint8), ends[:-1].copy(), ends[1:].copy(), np.array(fields, np.int64),
        np.array(starts, np.int64),
        np.frombuffer(b"".join(says), np.uint8), np.cumsum([0, *map(len, says)], dtype=np.int64),
    )  # fmt: skip


SAYINGS_PER_TOPIC: Final = 4
SAYINGS_EACH: Final = len(words.TOPICS) * SAYINGS_PER_TOPIC  # by language
N_LANGUAGES: Final = len(words.LANGUAGES)


def _sayings() -> list[str]:
    """Texts of posts as JSON strings: by language, then topic."""
    return [
        f'"{words.OPENERS[lang][(topic + n) % len(words.OPENERS[lang])]} {nouns[lang]} '
        f'{words.CLOSERS[lang][(topic * 3 + n) % len(words.CLOSERS[lang])]} {emoji}"'
        for lang in range(N_LANGUAGES)
        for topic, (_, emoji, nouns) in enumerate(words.TOPICS)
        for n in range(SAYINGS_PER_TOPIC)
    ]
