"""Whose list a page is about, as its address says: a handle, a DID, or a post that stands for a taste.

On the public address only what is public of a reader counts: what they like. What they saw and asked for is known to
the operator alone, on the private address.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from starlette.requests import Request

from feedgen.core.clock import Clock
from feedgen.core.errors import UpstreamError
from feedgen.core.ids import NO_POST, POST_NSID, AtUri, is_did
from feedgen.feeds.preview import Preview, Subject
from feedgen.serve.http.also_liked import HandleSource, parse_post
from feedgen.serve.http.limits import Limits, Rate, RateLimit, refused
from feedgen.serve.http.xrpc import rate_limited
from feedgen.serve.out.handles import UnknownHandle, is_handle
from feedgen.web.allowance import Allowance
from feedgen.web.posts import Posts
from feedgen.web.site import Sorry

MAX_WHO: Final = 300
SEE_OWN: Final = "Is it yours? Sign in on My feed to see it."
RATE: Final = Rate(per_s=6, burst=80)  # lists an address: a slider that moves asks a few times a second


@dataclass(frozen=True, slots=True)
class Workshop:
    """What pages about lists are made with, once everything is open. `load` brings what is known of a reader into
    memory.
    """

    preview: Preview
    share: Allowance
    posts: Posts
    load: Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Who:
    """`text` is what the address says; `name` what a page calls them."""

    text: str
    subject: Subject
    name: str

    @property
    def is_taste(self) -> bool:
        return self.subject.post != NO_POST


class Guests:
    """Whoever looks at lists on pages: are they too many, and whom do they ask for?"""

    def __init__(self, handles: HandleSource, limits: Limits, clock: Clock) -> None:
        self._handles, self._limits, self.clock = handles, limits, clock
        self._rate = RateLimit(RATE, clock)

    def check(self, request: Request) -> None:
        """Raises XrpcError (429). The operator may ask as much as the share of the machine allows."""
        if not request.state.private and not self._rate.take(self._limits.addresses.of(request)):
            refused.add(1, "pages")
            raise rate_limited()

    async def who(self, request: Request, workshop: Workshop, text: str, own: bool = False) -> Who:
        """Raises Sorry for people who can't be found, and for those whose list this visitor may not see. `own` lists
        may be seen by their readers."""
        text = unquote(text).strip().lstrip("@").rstrip("/")[:MAX_WHO]
        if name := parse_post(text):
            did = await self.did(name.authority)
            post = workshop.preview.post(str(AtUri(did, POST_NSID, name.rkey)))
            if post == NO_POST:
                raise Sorry(404, "This post is not known here", "It may be older than what is kept, or deleted.")
            subject = Subject(post=post)
            self._check_subject(request, workshop, subject)
            return Who(str(AtUri(did, POST_NSID, name.rkey)), subject, "somebody who likes this post")
        did = await self.did(text.removeprefix("https://bsky.app/profile/"))
        if request.state.private:
            await workshop.load(did)
        subject = workshop.preview.reader(did, request.state.private, self.clock.now_us())
        if not own:
            self._check_subject(request, workshop, subject)
        return Who(text, subject, text)

    def _check_subject(self, request: Request, workshop: Workshop, subject: Subject) -> None:
        """Raises Sorry. The operator sees everybody's list."""
        if not request.state.private and (reason := workshop.preview.why_not(subject)):
            raise Sorry(403, "This list is not shown", f"{reason} {SEE_OWN if subject.reader_did else ''}".strip())

    async def did(self, authority: str) -> str:
        """Of a handle or a DID. Raises Sorry."""
        authority = authority.strip().lstrip("@")
        if is_did(authority):
            return authority
        handle = authority.lower()
        if not is_handle(handle):
            raise Sorry(
                400,
                "That is no account",
                "Give a handle like alice.example.com, a DID like did:plc:..., or the address of a post.",
            )
        try:
            return await self._handles.did(handle)
        except UnknownHandle:
            raise Sorry(404, f"Nobody is called {handle}", "Is it spelled right? A DID works, too.") from None
        except UpstreamError:
            raise Sorry(
                502, "Handles can't be looked up just now", "Bluesky's servers don't answer. A DID works meanwhile."
            ) from None
