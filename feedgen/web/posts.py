"""What posts look like: author, text, pictures, counts, asked of the AppView by the server.

That is for browsers without JavaScript, and for those that can't reach the AppView; the others ask it themselves. The
cache is bounded, questions go out in batches of 25, nobody asks for what is being asked for, and while the AppView is
down pages come with links instead.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec

from feedgen.core.budget import OUTSIDE_S
from feedgen.core.clock import Clock
from feedgen.core.errors import UpstreamError
from feedgen.core.ids import parse_at_uri
from feedgen.core.telemetry import Counter
from feedgen.ingest.events import ADULT_LABELS, SIGNED_IN_LABEL
from feedgen.rank.policy import IS_ADULT, REASONS, SIGNED_IN_ONLY
from feedgen.serve.http.limits import Rate, RateLimit
from feedgen.serve.out.outbound import Outbound

BATCH: Final = 25  # what getPosts takes
KEPT_S: Final = 300.0
MAX_KEPT: Final = 3000
MAX_BYTES: Final = 1_000_000  # of one answer
ASK_RATE: Final = Rate(per_s=4, burst=40)  # batches
REST_S: Final = 10.0  # after a failure nobody is asked
MAX_PICTURES: Final = 4
APP: Final = "https://bsky.app/profile"

asked = Counter("feedgen_web_posts_asked_total", "getPosts requests to the AppView, by result", "result")


class Picture(msgspec.Struct, omit_defaults=True):
    thumb: str
    alt: str = ""
    width: int = 4
    height: int = 3


class Link(msgspec.Struct, omit_defaults=True):
    title: str
    host: str = ""


class Quote(msgspec.Struct, omit_defaults=True):
    name: str
    text: str


class Shown(msgspec.Struct, omit_defaults=True):
    """A post as it is shown: plain text everywhere. static/posts.js does the same in the browser."""

    uri: str
    name: str
    handle: str
    text: str
    avatar: str = ""
    pictures: list[Picture] = []
    video: bool = False
    link: Link | None = None
    quote: Quote | None = None
    likes: int = 0
    reposts: int = 0
    replies: int = 0
    veil: str = ""  # the sentence that stands in place of text and pictures


class _Kept(NamedTuple):
    shown: Shown | None  # None: the AppView does not have it
    until_s: float


class Posts:
    """`hosts` are those that pictures may come from; others are left out."""

    def __init__(self, appview_url: str, hosts: Iterable[str], clock: Clock) -> None:
        self._url = f"{appview_url.rstrip('/')}/xrpc/app.bsky.feed.getPosts"
        self._hosts = frozenset(urlsplit(url).netloc for url in (appview_url, *hosts))
        self._clock = clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._coming: dict[str, asyncio.Task[None]] = {}
        self._rate = RateLimit(ASK_RATE, clock)
        self._rests_until_s = 0.0
        self._out = Outbound()  # most browsers ask for themselves

    async def of(self, uris: Sequence[str]) -> dict[str, Shown]:
        """Those that could be had, by at-uri. Never fails."""
        missing = [uri for uri in dict.fromkeys(uris) if not self._has(uri) and uri not in self._coming]
        for start in range(0, len(missing), BATCH):
            self._ask_for(missing[start : start + BATCH])
        waiting = {self._coming[uri] for uri in uris if uri in self._coming}
        if waiting:
            await asyncio.wait(waiting)
        found = ((uri, self._kept.get(uri)) for uri in uris)
        return {uri: kept.shown for uri, kept in found if kept is not None and kept.shown is not None}

    async def close(self) -> None:
        for task in set(self._coming.values()):
            task.cancel()
        await self._out.close()

    def _has(self, uri: str) -> bool:
        kept = self._kept.get(uri)
        return kept is not None and kept.until_s > self._clock.monotonic_s()

    def _ask_for(self, uris: list[str]) -> None:
        if self._clock.monotonic_s() < self._rests_until_s:
            return
        if not self._rate.take("all"):
            asked.add(1, "too many")
            return
        task = asyncio.create_task(self._ask(uris), name="posts")
        for uri in uris:
            self._coming[uri] = task

    async def _ask(self, uris: list[str]) -> None:
        try:
            status, body = await self._out.get(self._url, OUTSIDE_S, MAX_BYTES, [("uris", uri) for uri in uris])
            if status != 200:
                raise UpstreamError(f"the AppView answered with status {status}")
            told = msgspec.json.decode(body)["posts"]
            found = {shown.uri: shown for one in told if (shown := self._shown(one)) is not None}
        except (UpstreamError, msgspec.MsgspecError, KeyError, TypeError, ValueError):
            asked.add(1, "failed")
            self._rests_until_s = self._clock.monotonic_s() + REST_S
            return
        finally:
            for uri in uris:
                self._coming.pop(uri, None)
        asked.add(1, "good")
        until_s = self._clock.monotonic_s() + KEPT_S
        for uri in uris:
            self._kept[uri] = _Kept(found.get(uri), until_s)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    def _shown(self, view: Any) -> Shown | None:
        """What is malformed is left out: it comes from elsewhere."""
        try:
            author, record = view["author"], view["record"]
            shown = Shown(
                uri=str(view["uri"]),
                name=str(author.get("displayName") or author["handle"]),
                handle=str(author["handle"]),
                text=str(record.get("text", "")),
                avatar=self._picture_url(author.get("avatar")),
                likes=int(view.get("likeCount", 0)),
                reposts=int(view.get("repostCount", 0)),
                replies=int(view.get("replyCount", 0)),
            )
            if veil := veil_of(view):
                return Shown(shown.uri, shown.name, shown.handle, "", veil=veil)
            self._embed(shown, view.get("embed") or {})
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return shown

    def _embed(self, shown: Shown, embed: Any) -> None:
        media = embed.get("media") or embed
        for image in (media.get("images") or [])[:MAX_PICTURES]:
            ratio = image.get("aspectRatio") or {}
            picture = Picture(
                self._picture_url(image.get("thumb")),
                str(image.get("alt", "")),
                int(ratio.get("width", 4)) or 4,
                int(ratio.get("height", 3)) or 3,
            )
            if picture.thumb:
                shown.pictures.append(picture)
        shown.video = str(media.get("$type", "")).startswith("app.bsky.embed.video")
        if shown.video and (thumb := self._picture_url(media.get("thumbnail"))):
            shown.pictures.append(Picture(thumb, str(media.get("alt", "")), 16, 9))
        if external := media.get("external"):
            shown.link = Link(str(external.get("title") or external.get("uri", "")), urlsplit(external["uri"]).netloc)
        quoted = embed.get("record") or {}
        quoted = quoted.get("record") if "record" in quoted else quoted
        if quoted and "author" in quoted and not veil_of(quoted):
            author = quoted["author"]
            text = str((quoted.get("value") or {}).get("text", ""))
            shown.quote = Quote(str(author.get("displayName") or author["handle"]), text)

    def _picture_url(self, url: Any) -> str:
        """Empty when a browser may not load it from there."""
        if not isinstance(url, str):
            return ""
        parts = urlsplit(url)
        return url if parts.scheme in ("https", "http") and parts.netloc in self._hosts else ""


def veil_of(view: Any) -> str:
    """Why a post's text and pictures are not shown to everybody, as the AppView's labels say; empty: they are."""
    of_author = {one.get("val") for one in view["author"].get("labels") or []}
    if SIGNED_IN_LABEL in of_author:
        return REASONS[SIGNED_IN_ONLY].text
    said = of_author | {one.get("val") for one in view.get("labels") or []}
    return REASONS[IS_ADULT].text if said & ADULT_LABELS else ""


def app_url(uri: str) -> str:
    """The post's page in the app."""
    parsed = parse_at_uri(uri)
    return f"{APP}/{parsed.did}/post/{quote(parsed.rkey)}" if parsed is not None else APP
