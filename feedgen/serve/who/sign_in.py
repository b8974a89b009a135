"""How readers show who they are on our pages: they post a code from their own account, and we look for it.

    begin   a DID, a code                     kept in a sealed cookie of the browser that asked
    post    "Signing in at HOST: CODE"        by the reader, in their app; may be deleted at once
    finish  the AppView shows that post       the browser gets a sealed cookie that says who it is

Why not AT Protocol's OAuth: the SDK has none, and it would have this machine connect to authorization servers that
callers choose, which shows where it stands (docs/my-feed.md). The AppView is asked for handles anyway.

Cookies are sealed: their content, an end and an HMAC. What one is for is part of what is sealed.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from hashlib import blake2b
from typing import Final

import msgspec

from feedgen.core.budget import OUTSIDE_S
from feedgen.core.clock import Clock
from feedgen.core.errors import UpstreamError
from feedgen.core.ids import US_PER_S
from feedgen.core.telemetry import Counter
from feedgen.serve.http.limits import Rate, RateLimit
from feedgen.serve.out.outbound import Outbound

CODE_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # none that look alike
CODE_LENGTH: Final = 10
CODE_S: Final = 600  # to post it
SESSION_S: Final = 30 * 86_400
EARLIER_S: Final = 60  # a clock that is behind ours
MAX_SEALED: Final = 2000
MAX_BYTES: Final = 1_000_000
ASK_S: Final = 2 * OUTSIDE_S  # nothing else is asked
LOOKED_AT: Final = 10  # newest posts
ASK_RATE: Final = Rate(per_s=3, burst=30)

signed_in = Counter("feedgen_sign_in_total", "Attempts to sign in on our pages, by how they ended", "result")


class Begun(msgspec.Struct, frozen=True):
    """`name` is what they called themselves."""

    did: str
    name: str
    code: str
    at_s: int


class Session(msgspec.Struct, frozen=True):
    did: str
    name: str
    at_s: int


class Seals:
    """Makes texts for cookies that only we can have made."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key, self._clock = key, clock

    def seal(self, what: Begun | Session) -> str:
        content = msgspec.json.encode(what)
        return urlsafe_b64encode(self._mac(type(what).__name__, content) + content).decode().rstrip("=")

    def open(self, sealed: str, kind: type[Begun] | type[Session], good_s: int) -> Begun | Session | None:
        """None for what is forged, of another kind, or too old."""
        if len(sealed) > MAX_SEALED:
            return None
        try:
            raw = urlsafe_b64decode(sealed + "=" * (-len(sealed) % 4))
        except ValueError:
            return None
        if not hmac.compare_digest(raw[:32], self._mac(kind.__name__, raw[32:])):
            return None
        found: Begun | Session = msgspec.json.decode(raw[32:], type=kind)
        return found if 0 <= self.now_s() - found.at_s <= good_s else None

    def token(self, sealed: str) -> str:
        """What a form of this session bears, so that no other site can send it."""
        return self._mac("form", sealed.encode()).hex()

    def now_s(self) -> int:
        return self._clock.now_us() // US_PER_S

    def _mac(self, kind: str, content: bytes) -> bytes:
        return blake2b(kind.encode() + b"\0" + content, digest_size=32, key=self._key).digest()


def new_code() -> str:
    letters = "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
    return f"{letters[:5]}-{letters[5:]}"


def post_text(hostname: str, code: str) -> str:
    """The whole post, so that nobody can be made to sign somebody in by saying something else."""
    return f"Signing in at {hostname}: {code}"


class _Author(msgspec.Struct):
    did: str


class _Record(msgspec.Struct):
    text: str = ""
    createdAt: str = ""


class _Post(msgspec.Struct):
    author: _Author
    record: _Record


class _Item(msgspec.Struct):
    post: _Post


class _Feed(msgspec.Struct):
    feed: list[_Item] = []


class Lookout:
    """Asks the AppView whether somebody posted a text just now."""

    def __init__(self, appview_url: str, clock: Clock) -> None:
        self._url = f"{appview_url.rstrip('/')}/xrpc/app.bsky.feed.getAuthorFeed"
        self._rate = RateLimit(ASK_RATE, clock)
        self._out = Outbound()

    async def posted(self, did: str, text: str, since_s: int) -> bool:
        """Raises UpstreamError when nobody can say just now."""
        if not self._rate.take("all"):
            raise UpstreamError("too many sign-ins at once")
        query = {"actor": did, "limit": str(LOOKED_AT), "filter": "posts_with_replies"}
        try:
            status, body = await self._out.get(self._url, ASK_S, MAX_BYTES, query)
            if status == 400:
                return False  # it does not know them
            if status != 200:
                raise UpstreamError(f"the AppView answered with status {status}")
            found = msgspec.json.decode(body, type=_Feed)
        except (UpstreamError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UpstreamError(f"can't look for a post: {error}") from None
        return any(_is(item.post, did, text, since_s) for item in found.feed)

    async def close(self) -> None:
        await self._out.close()


def _is(post: _Post, did: str, text: str, since_s: int) -> bool:
    """Reposts of others' posts stand in the same answer."""
    if post.author.did != did or post.record.text.strip() != text:
        return False
    try:
        return datetime.fromisoformat(post.record.createdAt).timestamp() >= since_s - EARLIER_S
    except (ValueError, OverflowError):
        return False
