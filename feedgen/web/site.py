"""What all pages share: the layout, the navigation, what a browser may do on them, and how they say what went wrong.

A page is a function from a request to a response, and a line here that says where it is and who may see it.
`request.state.private` is true on the private address.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from feedgen import __version__
from feedgen.core.budget import HOME_S
from feedgen.core.settings import Settings
from feedgen.serve.http.documents import ServiceIdentity
from feedgen.serve.http.fast_path import waited_s_of
from feedgen.serve.http.routing import Endpoint, Row
from feedgen.serve.http.xrpc import XrpcError, overloaded
from feedgen.web import words
from feedgen.web.posts import app_url
from feedgen.web.static import Static

TEMPLATES: Final = Path(__file__).parent / "templates"
ALWAYS: Final = "always"
PUBLIC: Final = "public"
PRIVATE: Final = "private"

log = logging.getLogger(__name__)


class Sorry(Exception):
    """An error page: what happened, and what to do now."""

    def __init__(self, status: int, title: str, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(title)
        self.status, self.title, self.text, self.headers = status, title, text, dict(headers or {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`title` is its name in the navigation; empty: it is not there. `seen` says on which address: `ALWAYS` on both,
    `PUBLIC` on the public one if `[web] public` says so, `PRIVATE` never there. An `early` page answers while the
    process is still starting.
    """

    path: str
    answer: Endpoint
    label: str
    title: str = ""
    seen: str = PUBLIC
    early: bool = False
    methods: tuple[str, ...] = ("GET",)


class Site:
    """`unready` says why pages can't be answered yet; empty is good."""

    def __init__(self, settings: Settings, service: ServiceIdentity, unready: Callable[[], str]) -> None:
        self.settings, self.service = settings, service
        self._unready = unready
        self._pages: list[Page] = []
        self._static = Static()
        self._headers = {
            "content-security-policy": content_policy(settings.appview.url, settings.web.pictures),
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-opener-policy": "same-origin",
            "cache-control": "no-store",
        }
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals |= {
            "static": self._static.url,
            "service": service,
            "version": __version__,
            "source": settings.web.source,
            "privacy_policy": service.privacy_policy,
            "terms": service.terms_of_service,
            "appview": settings.appview.url.rstrip("/"),
            "pictures": " ".join(map(_origin, (settings.appview.url, *settings.web.pictures))),
        }
        self._templates.filters |= words.FILTERS | {"app_url": app_url}

    def add(self, pages: Iterable[Page]) -> None:
        self._pages += pages

    def rows(self, private: bool) -> list[Row]:
        """What the private or the public address shows."""
        pages = self._shown(private)
        rows = (Row(page.path, self._around(page, private), page.label, page.methods) for page in pages)
        return [*rows, *self._static.rows]

    def not_found(self, private: bool) -> Endpoint:
        """What a browser is shown where nothing is."""

        async def answer(request: Request) -> Response:
            text = "There is no page at this address, or it isn't public here. Check the spelling."
            raise Sorry(404, "Page not found", text, {"vary": "accept"})

        return self._around(Page(path="", answer=answer, label="other", early=True), private)

    def _shown(self, private: bool) -> list[Page]:
        seen = {ALWAYS, PUBLIC} if self.settings.web.public else {ALWAYS}
        return [page for page in self._pages if private or page.seen in seen]

    def _around(self, page: Page, private: bool) -> Endpoint:
        links = [(one.path, one.title) for one in self._shown(private) if one.title]

        async def answer(request: Request) -> Response:
            request.state.private, request.state.links = private, links
            try:
                if not page.early and (reason := self._unready()):
                    raise Sorry(
                        503,
                        "Starting",
                        f"The service is starting: {reason}. Try again in a few seconds.",
                        {"retry-after": "5"},
                    )
                async with asyncio.timeout(None if private else HOME_S - waited_s_of(request.scope)):
                    return await rendered(await page.answer(request))
            except TimeoutError:
                sorry = Sorry(503, *_in_words(overloaded()), {"retry-after": "2"})
            except Sorry as said:
                sorry = said
            except XrpcError as error:
                sorry = Sorry(error.status, *_in_words(error), error.headers)
            except Exception:
                log.exception("unexpected error on the page %s", page.label)
                sorry = Sorry(500, "Something went wrong", "The error was logged. Try again in a moment.")
            return await rendered(self.sorry(request, sorry))

        return answer

    def html(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """A page from its template. What a template is given is escaped there."""
        state = request.state
        values |= {"path": request.scope["path"], "links": state.links, "private": state.private, "request": request}
        return _Html(status, self._headers, lambda: self._templates.get_template(template).render(values))

    def json(self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """What our own scripts ask."""
        named = {"cache-control": "no-store", "x-content-type-options": "nosniff", **(headers or {})}
        return Response(msgspec.json.encode(value), status, named, "application/json")

    def sorry(self, request: Request, sorry: Sorry) -> Response:
        if "application/json" in request.headers.get("accept", ""):
            return self.json({"error": sorry.title, "message": sorry.text}, sorry.status, sorry.headers)
        answer = self.html(request, "sorry.html", sorry.status, sorry=sorry)
        answer.headers.update(sorry.headers)
        return answer


class _Html(Response):
    """A page whose text is not made yet: a long one takes 20 ms, for which the event loop has no time."""

    def __init__(self, status: int, headers: Mapping[str, str], text: Callable[[], str]) -> None:
        super().__init__(b"", status, headers, "text/html")
        self.text = text


async def rendered(answer: Response) -> Response:
    """The same answer; a page's text is made in a thread."""
    if isinstance(answer, _Html):
        answer.body = (await asyncio.to_thread(answer.text)).encode()
        answer.headers["content-length"] = str(len(answer.body))
    return answer


def content_policy(appview_url: str, pictures: Iterable[str]) -> str:
    """Nothing runs and nothing is loaded but our own files, posts, and their pictures."""
    appview = _origin(appview_url)
    images = " ".join(dict.fromkeys([appview, *map(_origin, pictures)]))
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        f"img-src 'self' {images}; connect-src 'self' {appview}; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _in_words(error: XrpcError) -> tuple[str, str]:
    if error.status == 429:
        return "Too many requests", "Wait a few seconds and try again."
    if error.status == 503:
        return "Busy", "The server has too many requests right now. Try again in a moment."
    return "This request failed", error.message.removeprefix("Error: ")
