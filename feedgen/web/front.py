"""The front page, the privacy policy and the terms: what whoever finds this address should know."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from feedgen.web.site import ALWAYS, Page, Site


class Front:
    def __init__(self, site: Site) -> None:
        self._site = site

    def pages(self) -> list[Page]:
        return [
            Page(path="/", answer=self.front, label="front", title="Home", seen=ALWAYS),
            Page(path="/privacy", answer=self.privacy, label="privacy", seen=ALWAYS, early=True),
            Page(path="/terms", answer=self.terms, label="terms", seen=ALWAYS, early=True),
        ]

    async def front(self, request: Request) -> Response:
        return self._site.html(request, "front.html")

    async def privacy(self, request: Request) -> Response:
        return self._site.html(
            request,
            "privacy.html",
            contact_sentence=self._contact(),
            retention_days=self._site.settings.store.retention_days,
        )

    async def terms(self, request: Request) -> Response:
        return self._site.html(request, "terms.html", contact_sentence=self._contact())

    def _contact(self) -> str:
        contact = self._site.settings.web.contact
        if contact:
            return f"Write to {contact}."
        return f"Write to the account that publishes the feeds, {self._site.service.owner_did}."
