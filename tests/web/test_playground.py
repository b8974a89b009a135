"""The playground and the pages about one list, as people use them: by mouse, by keyboard, on a phone, without scripts,
with an AppView that is down, and with posts that mean harm.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from feedgen.core.parameters import table
from tests.web.browser import PHONE, Demo, barriers, handle_of, layout_shift, overflows, visiting

pytestmark = pytest.mark.needs("chromium", "npm")

NOBODY = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
LOOKS: dict[str, dict[str, Any]] = {
    "desktop": {},
    "desktop, dark": {"color_scheme": "dark"},
    "phone": {"viewport": PHONE},
    "phone, dark": {"viewport": PHONE, "color_scheme": "dark"},
}


def playground(demo: Demo, **query: str) -> str:
    return f"{demo.url}/playground?" + urllib.parse.urlencode({"who": handle_of(demo), **query})


def why_address(demo: Demo) -> str:
    found = re.search(r'href="(/why\?[^"]+)"', httpx.get(playground(demo)).text)
    assert found is not None
    return found[1].replace("&amp;", "&")


def uris(page: Page, column: str = "a") -> list[str]:
    found: list[str] = page.locator(f".column.{column} .post").evaluate_all("all => all.map(one => one.dataset.uri)")
    return found


def is_filled(page: Page) -> None:
    """Every post that may be shown has its author."""
    expect(page.locator(".waiting")).to_have_count(0)
    expect(page.locator(".post.bare:not(.done, [data-veil])")).to_have_count(0)


def after(page: Page, act: Callable[[], object]) -> None:
    """Until the lists that an action asked for are there."""
    with page.expect_response(re.compile("/playground/lists")):
        act()
    expect(page.locator("#lists[aria-busy]")).to_have_count(0)


@pytest.mark.parametrize("look", LOOKS.values(), ids=list(LOOKS))
@pytest.mark.parametrize("name", ["playground", "compare", "why", "left-out", "nobody"])
def test_every_page_is_sound(demo: Demo, browser: Browser, axe: str, name: str, look: dict[str, Any]) -> None:
    url = {
        "playground": playground(demo),
        "compare": playground(demo, **{"b": "foryou", "b.window": "3"}),
        "why": demo.url + why_address(demo),
        "left-out": f"{demo.url}/left-out?who={handle_of(demo)}",
        "nobody": f"{demo.url}/playground?who=nobody.simnet.test",
    }[name]
    with visiting(browser, url, **look) as visit:
        is_filled(visit.page)
        assert overflows(visit.page) == []
        assert layout_shift(visit.page) < 0.1
        assert barriers(visit.page, axe) == []
        if name != "nobody":
            assert visit.troubles == []
        hosts = {urllib.parse.urlsplit(url).netloc for url in visit.asked}
        assert hosts <= {urllib.parse.urlsplit(base).netloc for base in (demo.url, demo.appview_url)}


def test_posts_are_asked_of_the_appview_by_the_browser(demo: Demo, browser: Browser) -> None:
    with visiting(browser, playground(demo)) as visit:
        is_filled(visit.page)
        assert any(url.startswith(f"{demo.appview_url}/xrpc/app.bsky.feed.getPosts") for url in visit.asked)
        assert not any("/posts?" in url for url in visit.asked)
        assert visit.page.locator(".post:not(.bare) .handle").first.text_content()


def test_a_slider_moves_the_list_and_the_address_holds_it(demo: Demo, browser: Browser) -> None:
    with visiting(browser, playground(demo)) as visit:
        page = visit.page
        before = uris(page)
        page.get_by_text("The post itself").click()
        slider = page.get_by_role("slider", name="Popularity power")
        after(page, lambda: slider.press("End"))
        expect(page.locator("input[name='a.popularity_power']")).to_have_value("1.5")
        moved = uris(page)
        assert moved != before and len(moved) == len(before)
        assert "a.popularity_power=1.5" in page.url
        is_filled(page)
        with visiting(browser, page.url) as other:  # somebody whom the address was sent to
            assert set(uris(other.page)[:10]) & set(moved[:15])
            expect(other.page.locator("input[name='a.popularity_power']")).to_have_value("1.5")
        page.go_back()
        expect(page.locator("input[name='a.popularity_power']")).to_have_value("0.6")
        page.go_forward()
        expect(page.locator("input[name='a.popularity_power']")).to_have_value("1.5")
        assert visit.troubles == []


def test_every_parameter_has_a_slider_with_its_meaning(demo: Demo, browser: Browser) -> None:
    with visiting(browser, playground(demo)) as visit:
        page = visit.page
        for summary in page.locator(".group summary").all():
            summary.click()
        for entry in table():
            number = page.locator(f"input[name='a.{entry.name}']")
            slider = page.locator(f"input[type=range][data-for='a.{entry.name}']")
            about = page.locator(f"#{slider.get_attribute('aria-describedby')}").text_content()
            assert about and entry.meaning.lower()[:30] in about.lower()
            was = number.input_value()
            slider.press("End" if float(was) < float(number.get_attribute("max") or 0) else "Home")
            assert number.input_value() != was, entry.name
            assert f"a.{entry.name}=" in page.url, entry.name
        after(page, lambda: page.get_by_role("group", name="Preset").get_by_label("cheap").check())
        assert "a=cheap" in page.url and "a.window" not in page.url
        assert visit.troubles == []


def test_two_settings_side_by_side(demo: Demo, browser: Browser) -> None:
    with visiting(browser, playground(demo)) as visit:
        page = visit.page
        with page.expect_navigation():
            page.get_by_role("group", name="Compare with").get_by_label("foryou").check()
        assert "b=foryou" in page.url
        a, b = uris(page), uris(page, "b")
        assert a and b and a != b
        for column, mine, theirs in (("a", a, b), ("b", b, a)):
            for place, uri in enumerate(mine[:15], 1):
                mark = page.locator(f".column.{column} .post").nth(place - 1).locator(".moved")
                was = theirs.index(uri) + 1 if uri in theirs else None
                if was is None:
                    expect(mark).to_have_text("only here")
                elif was == place:
                    expect(mark).to_have_count(0)
                else:
                    expect(mark).to_contain_text(f"{'▲' if was > place else '▼'} {abs(was - place)}")


def test_by_keyboard_alone(demo: Demo, browser: Browser) -> None:
    with visiting(browser, f"{demo.url}/playground") as visit:
        page = visit.page
        page.keyboard.press("Tab")
        expect(page.locator(".skip")).to_be_focused()
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == "who":
                break
        page.keyboard.type(handle_of(demo))
        page.keyboard.press("Enter")
        expect(page.locator("#status")).to_contain_text(handle_of(demo), timeout=30_000)
        for _ in range(60):  # on to the first "Why?"
            page.keyboard.press("Tab")
            if (page.evaluate("document.activeElement.getAttribute('href')") or "").startswith("/why?"):
                break
        page.keyboard.press("Enter")
        expect(page.locator("h1")).to_have_text("Why this post?", timeout=30_000)
        expect(page.locator(".bars tbody tr")).not_to_have_count(0)


def test_without_javascript(demo: Demo, browser: Browser) -> None:
    with visiting(browser, playground(demo), java_script_enabled=False) as visit:
        page = visit.page
        page.wait_for_url(re.compile("plain=1"))
        assert page.locator(".post:not(.bare) .words").count() > 5  # the server asked for them
        page.get_by_text("What they like now").click()
        page.locator("input[name='a.window']").fill("2")
        page.get_by_role("button", name="Apply").click()
        page.wait_for_url(re.compile(r"a\.window=2"))
        expect(page.locator("input[name='a.window']")).to_have_value("2")
        assert page.locator(".post").count() > 0
        page.get_by_role("group", name="Preset").locator("input[value=foryou]").check()
        page.get_by_role("button", name="Apply").click()
        expect(page.locator("input[name='a.window']")).to_have_value("12")  # of the new preset, not of the old form
        page.locator(".post a[href^='/why']").first.click()
        page.wait_for_url(re.compile("plain=1"))
        expect(page.locator(".bars tbody tr")).not_to_have_count(0)
        page.goto(demo.url)
        page.wait_for_url(re.compile("plain=1"))
        assert page.locator(".post:not(.bare)").count() > 0


def test_an_appview_that_is_down(demo: Demo, browser: Browser) -> None:
    """The browser asks our server; when that does not know either, links are left."""
    with visiting(browser) as visit:
        visit.page.route(f"{demo.appview_url}/**", lambda route: route.abort())
        visit.page.goto(playground(demo))
        is_filled(visit.page)
        assert any("/posts?" in url for url in visit.asked)
        assert visit.page.locator(".post:not(.bare)").count() > 5
    with visiting(browser) as visit:
        visit.page.route(f"{demo.appview_url}/**", lambda route: route.abort())
        visit.page.route("**/posts?*", lambda route: route.fulfill(status=503, body="{}"))
        visit.page.goto(playground(demo))
        expect(visit.page.locator(".waiting")).to_have_count(0)
        post = visit.page.locator(".post").first
        assert "bsky.app/profile/did:" in (post.locator(".name").get_attribute("href") or "")
        expect(post.get_by_text("The post in the app")).to_be_visible()
        expect(post.get_by_text("Why?")).to_be_visible()


HARM = {
    "script": "<script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'>",
    "template": "{{ 7 * 7 }} ${window.harmed = 1} </p></li></script>",
    "bidi": "\u202egnp.exe \u2066\u2067 \u0000 \ufeff",
    "long": "مرحبا بالعالم 👩‍👩‍👧‍👦 " * 15,
    "wide": "a" * 300,
}


def harmful(route: Route) -> None:
    """The AppView's answer, with somebody's worst in every place that a person can write to."""
    asked = urllib.parse.parse_qs(urllib.parse.urlsplit(route.request.url).query).get("uris", [])
    posts = []
    for i, uri in enumerate(asked):
        text = list(HARM.values())[i % len(HARM)]
        author = {"did": uri.split("/")[2], "handle": "evil.example.com", "displayName": text}
        author["avatar"] = "javascript:window.harmed=1"
        external = {"uri": "javascript:window.harmed=1", "title": text, "description": text}
        image = {"thumb": "https://tracker.example.com/x.png", "alt": text, "aspectRatio": {"width": 1, "height": 9000}}
        embeds = [
            {"$type": "app.bsky.embed.external#view", "external": external},
            {"$type": "app.bsky.embed.images#view", "images": [image, {"thumb": None}]},
            {"$type": "app.bsky.embed.record#view", "record": {"author": author, "value": {"text": text}}},
            {"$type": 7, "media": "?"},
        ]
        record = {"text": text, "createdAt": "yesterday"}
        posts.append({"uri": uri, "author": author, "record": record, "embed": embeds[i % 4], "likeCount": "many"})
    headers = {"access-control-allow-origin": "*", "content-type": "application/json"}
    route.fulfill(status=200, headers=headers, body=json.dumps({"posts": [*posts, {"uri": 7}, None]}))


@pytest.mark.parametrize("look", [{}, {"viewport": PHONE}], ids=["desktop", "phone"])
def test_posts_that_mean_harm(demo: Demo, browser: Browser, look: dict[str, Any]) -> None:
    with visiting(browser, **look) as visit:
        page = visit.page
        page.add_init_script(
            "window.refused = []; addEventListener('securitypolicyviolation', e => refused.push(e.blockedURI))"
        )
        page.route(f"{demo.appview_url}/xrpc/**", harmful)
        page.goto(playground(demo))
        is_filled(page)
        text = page.locator(".posts").text_content() or ""
        assert "<script>window.harmed" in text and "{{ 7 * 7 }}" in text and "👩‍👩‍👧‍👦" in text
        assert page.evaluate("window.harmed") is None and page.evaluate("window.refused") == []
        assert overflows(page) == [] and visit.troubles == []
        assert not any("tracker" in url or "javascript" in url for url in visit.asked)
        rtl = page.locator(".words", has_text="مرحبا").first
        assert rtl.evaluate("one => getComputedStyle(one).direction") == "rtl"


def test_addresses_that_mean_harm(demo: Demo, browser: Browser) -> None:
    for path in ("/playground?who=", "/left-out?who=", f"/why?who={NOBODY}&post=", "/playground?a.window=", "/x/"):
        for text in ("<script>window.harmed=1</script>", '"><img src=x onerror=window.harmed=1>', "%00", "at://" * 99):
            with visiting(browser) as visit:
                answer = visit.page.goto(demo.url + path + urllib.parse.quote(text))
                assert answer is not None and answer.status < 500
                assert visit.page.evaluate("window.harmed") is None


def test_a_reader_without_likes_and_one_whom_nobody_knows(demo: Demo, browser: Browser) -> None:
    with visiting(browser, f"{demo.url}/playground?who={NOBODY}") as visit:
        expect(visit.page.locator("#status")).to_contain_text("made from 0 likes known here")
        assert len(uris(visit.page)) > 5
    with visiting(browser, f"{demo.url}/playground?who=nobody.simnet.test") as visit:
        expect(visit.page.locator("#status")).to_contain_text("No account is called nobody.simnet.test")
        expect(visit.page.locator("#who")).to_have_value("nobody.simnet.test")
    assert httpx.get(f"{demo.url}/playground?who=nobody.simnet.test").status_code == 404
    assert httpx.get(f"{demo.url}/playground/lists?who=nobody.simnet.test").status_code == 404


def test_a_taste_and_why_a_post_is_not_there(demo: Demo, browser: Browser) -> None:
    with visiting(browser, f"{demo.url}/playground") as visit:
        page = visit.page
        expect(page.locator("#status")).to_contain_text("someone who likes one post")
        assert len(uris(page)) > 5
        if page.locator(".tastes a").count() > 1:
            with page.expect_navigation():
                page.locator(".tastes a").nth(1).click()
            assert len(uris(page)) > 5
        liked = uris(page)[0]
    with visiting(browser, f"{demo.url}/why?" + urllib.parse.urlencode({"who": NOBODY, "post": liked})) as visit:
        expect(visit.page.get_by_role("status")).to_contain_text("Not in the ranking")


def test_the_why_page_says_what_the_command_says(demo: Demo) -> None:
    told: dict[str, Any] = {}
    for _ in range(20):  # events keep coming: a post may leave the ranking just now
        address = why_address(demo)
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(address).query)
        did = httpx.get(
            f"{demo.appview_url}/xrpc/com.atproto.identity.resolveHandle", params={"handle": query["who"][0]}
        ).json()["did"]
        told = httpx.get(f"{demo.private_url}/why.json", params={"reader": did, "post": query["post"][0]}).json()
        if "place" in told:
            break
    page = httpx.get(demo.url + address).text
    assert f"place {told['place']}</b>" in page
    for name in told["terms"]:
        if told["terms"][name] != 1:
            assert name.capitalize() in page.replace("&#39;", "'")


def test_a_list_is_rate_limited_and_says_so(demo: Demo) -> None:
    """By the address that the proxy tells: a stranger's flood is not felt by others."""
    headers = {"x-forwarded-for": "203.0.113.9", "accept": "application/json"}
    url = f"{demo.url}/playground/lists?who={NOBODY}"
    with httpx.Client(headers=headers, timeout=30) as client:
        codes = [client.get(url).status_code for _ in range(200)]
        assert 429 in codes and set(codes) <= {200, 429, 503}
        refused = next(answer for answer in (client.get(url) for _ in range(200)) if answer.status_code == 429)
    assert refused.json()["error"] and "retry-after" in refused.headers
