"""The front page, the privacy policy and the terms."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, NamedTuple
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from feedgen.core.ids import US_PER_S
from feedgen.feeds.contract import Feed
from feedgen.feeds.preview import Placed
from feedgen.serve.http.xrpc import XrpcError
from feedgen.web.posts import APP, Shown, app_url
from feedgen.web.site import ALWAYS, Page, Site
from feedgen.web.who import Guests, Workshop

SAMPLE: Final = 6
KEPT_S: Final = 60.0  # also while there is nothing to show: figures and sample: the same for everybody meanwhile


class Live(NamedTuple):
    """`readers` of the last day, `likes` that are remembered, and how far behind the network we are."""

    readers: int
    likes: int
    behind_s: float | None


class Sample(NamedTuple):
    placed: Placed
    place: None
    shown: Shown | None
    app: str
    age_s: float


class Front:
    """`measure`, `feeds` and `workshop` are asked when everything is open."""

    def __init__(
        self,
        site: Site,
        guests: Guests,
        workshop: Callable[[], Workshop],
        feeds: Callable[[], Iterable[Feed]],
        measure: Callable[[], Awaitable[Live]],
    ) -> None:
        self._site, self._guests, self._workshop, self._feeds, self._measure = site, guests, workshop, feeds, measure
        self._live: Live | None = None
        self._sample: list[Placed] = []
        self._until_s = 0.0

    def pages(self) -> list[Page]:
        return [
            Page(path="/", answer=self.front, label="front", title="Home", seen=ALWAYS),
            Page(path="/privacy", answer=self.privacy, label="privacy", seen=ALWAYS, early=True),
            Page(path="/terms", answer=self.terms, label="terms", seen=ALWAYS, early=True),
        ]

    async def front(self, request: Request) -> Response:
        self._guests.check(request)
        open_house = request.state.private or self._site.settings.web.public
        plain = "plain" in request.query_params
        if open_house:
            await self._look()
        owner = quote(self._site.service.owner_did, safe=":")
        feeds = [(feed.title, feed.description, f"{APP}/{owner}/feed/{quote(feed.name)}") for feed in self._feeds()]
        return self._site.html(
            request,
            "front.html",
            feeds=feeds,
            open_house=open_house,
            live=self._live if open_house else None,
            sample=await self._shown(plain) if open_house else [],
            plain=plain,
        )

    async def privacy(self, request: Request) -> Response:
        self._guests.check(request)
        days = self._site.settings.store.retention_days
        return self._site.html(request, "privacy.html", contact_sentence=self._contact(), retention_days=days)

    async def terms(self, request: Request) -> Response:
        self._guests.check(request)
        return self._site.html(request, "terms.html", contact_sentence=self._contact())

    async def _look(self) -> None:
        """Renews the figures and the sample now and then. When there is no time, the last ones do."""
        now_s, shop = self._guests.clock.monotonic_s(), self._workshop()
        if now_s < self._until_s:
            return
        self._until_s = now_s + KEPT_S
        self._live = await self._measure()
        with contextlib.suppress(XrpcError):
            self._sample = await shop.share.run(lambda: shop.preview.popular(SAMPLE))

    async def _shown(self, plain: bool) -> list[Sample]:
        now_us = self._guests.clock.now_us()
        looks = await self._workshop().posts.of([one.uri for one in self._sample]) if plain else {}
        return [
            Sample(one, None, looks.get(one.uri), app_url(one.uri), max(0, now_us - one.time_us) / US_PER_S)
            for one in self._sample
        ]

    def _contact(self) -> str:
        contact = self._site.settings.web.contact
        if contact:
            return f"Write to {contact}."
        return f"Write to the account that publishes the feeds, {self._site.service.owner_did}."
