"""The posts: their columns, and their text and records, made from the columns whenever somebody asks."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import POST_NSID
from feedgen.simnet import records, text, words
from feedgen.simnet.columns import Table
from feedgen.simnet.people import STYLES, People

I64 = NDArray[np.int64]

TEXT, IMAGE, VIDEO, LINK = 0, 1, 2, 3
ADULT_LABELS: Final = ("porn", "sexual", "nudity", "graphic-media")
MAX_REFS: Final = 100_000
_SALT: Final = 41  # of posts among the hashes


def table() -> Table:
    """`us` is when the network saw it, `key` the TID value of its record key, `gone` when it was deleted (0: it was
    not)."""
    return Table(
        author=np.int32, us=np.int64, key=np.int64, gone=np.int64, topic=np.int8, language=np.int8, media=np.int8,
        adult=np.bool_,
        quality=np.float32, style=np.dtype((np.float32, STYLES)), parent=np.int32, root=np.int32, quote=np.int32,
        likes=np.int32, reposts=np.int32, replies=np.int32, quotes=np.int32, shared=np.int32,
    )  # fmt: skip


class _Shape(NamedTuple):
    topic: int
    language: int
    media: int
    adult: bool
    parent: int
    root: int
    quote: int


class PostWriter:
    """Turns rows of the table into record keys, at-uris, CIDs and JSON."""

    def __init__(self, people: People, posts: Table, seed: int) -> None:
        self._people, self._posts, self._salt = people, posts, seed * 31 + _SALT
        self._refs: dict[int, str] = {}
        self.odd_rkeys: dict[int, str] = {}  # the few whose record key is not a TID
        self.odd_created: dict[int, str] = {}  # the few that claim another time

    def rkeys(self, rows: I64) -> list[str]:
        keys = text.tids(self._posts["key"][rows])
        if self.odd_rkeys:
            odd = self.odd_rkeys
            keys = [odd.get(row, key) for row, key in zip(rows.tolist(), keys, strict=True)]
        return keys

    def uris(self, rows: I64) -> list[str]:
        dids = self._people.dids
        authors = self._posts["author"][rows].tolist()
        return [f"at://{dids[a]}/{POST_NSID}/{key}" for a, key in zip(authors, self.rkeys(rows), strict=True)]

    def cids(self, rows: I64) -> list[str]:
        return text.cids(text.mix(rows, self._salt))

    def refs(self, rows: NDArray[np.signedinteger[Any]]) -> dict[int, str]:
        """References to at least these rows. Posts are liked again and again, so what was made is kept for a while."""
        missing = np.array([row for row in set(rows.tolist()) if row not in self._refs], np.int64)
        if len(missing):
            if len(self._refs) > MAX_REFS:
                self._refs.clear()
                missing = np.unique(rows).astype(np.int64)
            made = map(records.reference, self.cids(missing), self.uris(missing))
            self._refs.update(zip(missing.tolist(), made, strict=True))
        return self._refs

    def records(self, rows: I64) -> list[bytes]:
        p = self._posts
        links = np.concatenate((p["parent"][rows], p["root"][rows], p["quote"][rows]))
        refs = self.refs(links[links >= 0].astype(np.int64))
        created = text.iso_ms(p["key"][rows] >> 10)
        hashes = text.mix(rows, self._salt + 1).tolist()
        shapes = map(_Shape, *(p[name][rows].tolist() for name in _Shape._fields))
        blobs = self._blobs(rows)
        return [
            self._record(h, self.odd_created.get(row, when), shape, refs, blobs.get(row, ""))
            for row, h, when, shape in zip(rows.tolist(), hashes, created, shapes, strict=True)
        ]

    def _blobs(self, rows: I64) -> dict[int, str]:
        """CIDs of the pictures and videos of those that have one."""
        media = self._posts["media"][rows]
        pictured = rows[(media == IMAGE) | (media == VIDEO)]
        return dict(zip(pictured.tolist(), text.cids(text.mix(pictured, self._salt + 2), "bafkrei"), strict=True))

    def _record(self, h: int, created: str, shape: _Shape, refs: dict[int, str], blob: str) -> bytes:
        topic, language, media, adult, parent, root, quote = shape
        embed = _embed(h, topic, language, media, refs.get(quote), blob)
        labels = f',"labels":{records.self_labels((ADULT_LABELS[h >> 40 & 3],))}' if adult else ""
        reply = ""
        if parent >= 0:
            reply = f',"reply":{{"parent":{refs[parent]},"root":{refs[root]}}}'
        langs = f',"langs":["{words.LANGUAGES[language]}"]' if h >> 50 & 15 else ""  # some clients say nothing
        said = records.quoted(post_text(h, topic, language, parent >= 0))
        return f'{{"$type":"{POST_NSID}","createdAt":"{created}"{embed}{labels}{langs}{reply},"text":{said}}}'.encode()


def post_text(h: int, topic: int, language: int, reply: bool) -> str:
    """A few plausible words about the topic."""
    tag, emoji, nouns = words.TOPICS[topic]
    if reply:
        answers = words.REPLIES[language]
        return answers[h % len(answers)] + (f" {emoji}" if h & 0x700_0000 == 0 else "")
    openers, closers = words.OPENERS[language], words.CLOSERS[language]
    parts = f"{openers[h % len(openers)]} {nouns[language]} {closers[(h >> 8) % len(closers)]}"
    if h >> 16 & 3 == 0:
        parts += f" {emoji}"
    if h >> 18 & 7 == 0:
        parts += f"\n\n#{tag}"
    return parts


def _blob(cid: str, mime: str, size: int) -> str:
    return f'{{"$type":"blob","mimeType":"{mime}","ref":{{"$link":"{cid}"}},"size":{size}}}'


def _embed(h: int, topic: int, language: int, media: int, quote: str | None, blob: str) -> str:
    if quote is not None:
        return f',"embed":{{"$type":"app.bsky.embed.record","record":{quote}}}'
    wide, high = ((1600, 1200), (1080, 1350), (2000, 2000), (1280, 720))[h >> 22 & 3]
    ratio = f'"aspectRatio":{{"height":{high},"width":{wide}}}'
    if media == IMAGE:
        alt = records.quoted(words.TOPICS[topic][2][language]) if h >> 24 & 1 else '""'
        return (
            f',"embed":{{"$type":"app.bsky.embed.images","images":[{{"alt":{alt},{ratio},'
            f'"image":{_blob(blob, "image/jpeg", 90_000 + h % 800_000)}}}]}}'
        )
    if media == VIDEO:
        video = _blob(blob, "video/mp4", 900_000 + h % 30_000_000)
        return f',"embed":{{"$type":"app.bsky.embed.video",{ratio},"video":{video}}}'
    if media == LINK:
        tag = words.TOPICS[topic][0]
        return (
            f',"embed":{{"$type":"app.bsky.embed.external","external":{{"description":"",'
            f'"title":"A longer read about {tag}","uri":"https://read.simnet.test/{tag}/{h % 100_000}"}}}}'
        )
    return ""
