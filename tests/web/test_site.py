"""Which pages are seen where, and what a page says when it can't be shown."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response

from feedgen.app import build
from feedgen.core.clock import SystemClock
from feedgen.core.settings import Settings, Web
from feedgen.core.settings_network import Service
from feedgen.serve.http.documents import ServiceIdentity
from feedgen.serve.http.private import PrivateParts, make_private_app
from feedgen.serve.http.routes import make_app
from feedgen.serve.http.routing import application
from feedgen.serve.http.server import Server
from feedgen.serve.http.xrpc import rate_limited
from feedgen.web.site import ALWAYS, PRIVATE, Page, Site, Sorry, content_policy
from tests.serve.parts import parts_with

SERVICE = ServiceIdentity(
    "did:web:feed.example.com", "feed.example.com", "", "https://a.example/p", "https://a.example/t"
)


@pytest.mark.parametrize("public", [False, True])
def test_what_strangers_may_see(public: bool) -> None:
    app = build(Settings(service=Service(hostname="feed.example.com"), web=Web(public=public)))
    open_to_all = {row.path for row in app.site.rows(private=False) if not row.path.startswith("/static/")}
    private = {row.path for row in app.site.rows(private=True)}
    assert {"/", "/privacy", "/terms"} <= open_to_all <= private
    for path in ("/playground", "/playground/lists", "/posts", "/why", "/left-out"):
        assert (path in open_to_all) == public and path in private
    assert "/status" not in open_to_all


@asynccontextmanager
async def serving(site: Site, private: bool = False) -> AsyncIterator[httpx.AsyncClient]:
    server = Server(application(site.rows(private), SystemClock()), ["127.0.0.1:0"])
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://{server.addresses[0]}") as client:
            yield client
    finally:
        await server.stop(1.0)


def site_with(*pages: Page, unready: str = "") -> Site:
    site = Site(Settings(), SERVICE, lambda: unready)
    site.add(pages)
    return site


async def sorry(request: Request) -> Response:
    raise Sorry(418, "A <teapot>", "Try & see", {"retry-after": "7"})


async def slower(request: Request) -> Response:
    raise rate_limited()


async def broken(request: Request) -> Response:
    raise ZeroDivisionError("secret")


async def test_errors_are_pages_and_json_for_scripts() -> None:
    pages = [
        Page(path="/sorry", answer=sorry, label="sorry", seen=ALWAYS, title="Sorry"),
        Page(path="/slower", answer=slower, label="slower", seen=ALWAYS, title="Slower"),
        Page(path="/broken", answer=broken, label="broken", seen=ALWAYS),
    ]
    async with serving(site_with(*pages)) as client:
        answer = await client.get("/sorry")
        assert answer.status_code == 418 and answer.headers["retry-after"] == "7"
        assert "A &lt;teapot&gt;" in answer.text and "Try &amp; see" in answer.text and "<teapot>" not in answer.text
        assert 'aria-current="page">Sorry' in answer.text and "https://a.example/p" in answer.text
        told = await client.get("/sorry", headers={"accept": "application/json"})
        assert told.json() == {"error": "A <teapot>", "message": "Try & see"}
        assert (await client.get("/slower")).status_code == 429
        failed = await client.get("/broken")
        assert failed.status_code == 500 and "secret" not in failed.text


async def test_a_page_waits_until_everything_is_open() -> None:
    async def fine(request: Request) -> Response:
        return Response("fine")

    pages = [
        Page(path="/late", answer=fine, label="late", seen=PRIVATE),
        Page(path="/early", answer=fine, label="early", seen=PRIVATE, early=True),
    ]
    site = site_with(*pages, unready="reading 3 days")
    async with serving(site, private=True) as client:
        assert (await client.get("/early")).text == "fine"
        answer = await client.get("/late")
        assert answer.status_code == 503 and "reading 3 days" in answer.text
    async with serving(site) as client:
        assert (await client.get("/early")).status_code == 404


def test_the_policy_names_origins_and_nothing_more() -> None:
    policy = content_policy("https://api.example.com/some/path", ["https://cdn.example.com/img"])
    assert "connect-src 'self' https://api.example.com;" in policy
    assert "img-src 'self' https://api.example.com https://cdn.example.com;" in policy
    assert "script-src 'self';" in policy and "unsafe" not in policy and "*" not in policy


@pytest.mark.parametrize("private", [False, True])
async def test_where_nothing_is_browsers_get_a_page_and_all_others_json(private: bool) -> None:
    app = build(Settings(service=Service(hostname="feed.example.com"), web=Web(public=True)))
    rows, page = app.site.rows(private), app.site.not_found(private)
    if private:
        made = make_private_app(PrivateParts(list, str, lambda: None, SystemClock(), pages=rows, not_found=page))
    else:
        made = make_app(replace(parts_with(), pages=rows, not_found=page))
    browser = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
    server = Server(made, ["127.0.0.1:0"])
    await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://{server.addresses[0]}") as client:
            for path in ("/nothing", "/why/", "/%3Cb%3E", "//evil.example/x", "/static/style.css"):
                shown = await client.get(path, headers=browser)
                assert shown.status_code == 404 and shown.headers["content-type"].startswith("text/html")
                assert "<h1>Page not found</h1>" in shown.text and '<a href="/playground">' in shown.text
                assert ("/status" in shown.text) == private and "evil" not in shown.text and "<b>" not in shown.text
                assert shown.headers["cache-control"] == "no-store" and shown.headers["vary"] == "accept"
                assert "default-src 'none'" in shown.headers["content-security-policy"] and len(shown.content) < 5000
                for accept in ("*/*", "application/json"):
                    told = await client.get(path, headers={"accept": accept})
                    assert told.status_code == 404 and told.headers["content-type"] == "application/json"
                    assert told.json() == {"error": "NotFound", "message": "Nothing is here"}
            method = await client.get("/xrpc/com.example.other", headers=browser)
            assert method.status_code == 501 and method.json()["error"] == "MethodNotImplemented"
            odd = await client.get("/nothing", headers=browser | {"host": "[::"})
            assert odd.status_code in (400, 404)
    finally:
        await server.stop(1.0)
