"""What whoever finds the address sees, in a real browser."""

from __future__ import annotations

import httpx
import pytest
from playwright.sync_api import Browser

from tests.web.browser import PHONE, Demo, barriers, overflows, visiting

pytestmark = pytest.mark.needs("chromium", "npm")


@pytest.mark.parametrize("path", ["/", "/privacy", "/terms"])
@pytest.mark.parametrize("look", [{}, {"viewport": PHONE, "color_scheme": "dark"}], ids=["desktop", "phone, dark"])
def test_pages_that_are_always_public(
    demo: Demo, browser: Browser, axe: str, path: str, look: dict[str, object]
) -> None:
    for base in (demo.url, demo.private_url):
        with visiting(browser, base + path, **look) as visit:
            assert visit.page.locator("h1").count() == 1
            assert overflows(visit.page) == []
            assert barriers(visit.page, axe) == []
            assert visit.troubles == []


def test_what_is_said_to_the_browser(demo: Demo) -> None:
    answer = httpx.get(demo.url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and demo.appview_url in policy
    assert "<script>" not in answer.text and "style=" not in answer.text and "set-cookie" not in answer.headers


def test_static_files_are_kept_for_long_under_names_that_never_mean_two_things(demo: Demo) -> None:
    text = httpx.get(demo.url).text
    style = text.partition('rel="stylesheet" href="')[2].partition('"')[0]
    answer = httpx.get(demo.url + style)
    assert answer.headers["content-type"].startswith("text/css") and "immutable" in answer.headers["cache-control"]
    assert httpx.get(demo.url + "/static/style.css").status_code == 404


def test_what_the_feed_says_of_itself_leads_to_the_policy_and_the_terms(demo: Demo) -> None:
    links = httpx.get(demo.url + "/xrpc/app.bsky.feed.describeFeedGenerator").json()["links"]
    assert links == {"privacyPolicy": "https://localhost/privacy", "termsOfService": "https://localhost/terms"}
