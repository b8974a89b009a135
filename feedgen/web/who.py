"""Whose list a page is about, as its address says: a handle, a DID, or a post that stands for a taste.

On the public address only what is public of a reader counts: what they like. What they saw and asked for is known to
the operator alone, on the private address.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from feedgen.core.clock import Clock
from feedgen.core.errors import UpstreamError
from feedgen.core.ids import NO_POST
from feedgen.core.names import ACCOUNT, POST, parse_name
from feedgen.feeds.catalog import Catalog
from feedgen.feeds.for_you import ForYou
from feedgen.feeds.preview import Preview, Subject
from feedgen.serve.http.limits import Limits, Rate, RateLimit, refused
from feedgen.serve.http.xrpc import rate_limited
from feedgen.serve.out.handles import HandleSource, UnknownHandle, did_of
from feedgen.web.allowance import Allowance
from feedgen.web.posts import Posts
from feedgen.web.site import Sorry

SEE_OWN: Final = "If it is your list, sign in on My feed to see it."
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
    catalog: Catalog

    def of(self, feed: str) -> Preview:
        """Lists of one feed, for you without a name. Raises Sorry."""
        if not feed or feed == ForYou.name:
            return self.preview
        try:
            return self.catalog.preview(feed)
        except KeyError:
            raise Sorry(404, "There is no such feed", f"There are: {', '.join(self.catalog.previewed())}.") from None


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
    """Requests for lists on pages: rate limits, and the reader that they name."""

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
        name = parse_name(text)
        did = await self.did(text)
        if name is not None and name.rkey:
            subject = Subject(post=self._known(workshop, name.subject(did)))
            self._check_subject(request, workshop, subject)
            return Who(name.subject(did), subject, "somebody who likes this post")
        if request.state.private:
            await workshop.load(did)
        subject = workshop.preview.reader(did, request.state.private, self.clock.now_us())
        if not own:
            self._check_subject(request, workshop, subject)
        called = did if name is None else name.authority
        return Who(called, subject, called)

    async def post(self, workshop: Workshop, text: str) -> int:
        """The post that somebody named. Raises Sorry."""
        name = parse_name(text)
        if name is None or not name.rkey:
            raise Sorry(400, "Not a post", f"Enter {POST}.")
        return self._known(workshop, name.subject(await self.did(text)))

    def _known(self, workshop: Workshop, uri: str) -> int:
        post = workshop.preview.post(uri)
        if post == NO_POST:
            raise Sorry(404, "Unknown post", "It may have been deleted, or it is older than the days kept here.")
        return post

    def _check_subject(self, request: Request, workshop: Workshop, subject: Subject) -> None:
        """Raises Sorry. The operator sees everybody's list."""
        if not request.state.private and (reason := workshop.preview.why_not(subject)):
            raise Sorry(403, "This list is private", f"{reason} {SEE_OWN if subject.reader_did else ''}".strip())

    async def did(self, text: str) -> str:
        """Of an account, or of a post's author. Raises Sorry."""
        name = parse_name(text)
        if name is None:
            raise Sorry(400, "Not an account", f"Enter {ACCOUNT}.")
        try:
            return await did_of(name, self._handles)
        except UnknownHandle:
            raise Sorry(
                404, f"No account is called {name.authority}", "Check the spelling, or enter the DID."
            ) from None
        except UpstreamError:
            raise Sorry(
                502,
                "Handle lookup failed",
                "Bluesky's servers don't answer. Enter the DID instead, or try again in a moment.",
            ) from None
