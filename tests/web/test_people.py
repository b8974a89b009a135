"""Who led to a post is told by name to the reader whose list it is, signed in, and to nobody else."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Route

from tests.web.browser import PHONE, Demo, barriers, overflows, visiting
from tests.web.test_my_feed import did_of, sign_in, token_of

NAMED = re.compile(r'data-did="(did:plc:[a-z2-7]{24})"')


def post_of(demo: Demo, did: str) -> tuple[str, int]:
    """A post of their list, and how many led to it."""
    page = httpx.get(f"{demo.private_url}/playground", params={"who": did, "plain": "1"}, timeout=60).text
    cards = re.findall(r'data-uri="(at://[^"]+)"(.*?)</article>', page, re.S)
    led = [(uri, re.search(r"<span>(\d+) (?:person|people) led here", card)) for uri, card in cards]
    return max(((uri, int(found[1])) for uri, found in led if found), key=lambda one: one[1])


def signed_in(demo: Demo, client: httpx.Client) -> str:
    token_of(client, demo)
    return did_of(demo, demo.readers(1)[0]["handle"])


def is_refused(answer: httpx.Response, status: int) -> bool:
    return answer.status_code == status and not NAMED.search(answer.text)


def test_names_are_for_the_session_of_the_same_reader(demo: Demo) -> None:
    with httpx.Client(base_url=demo.private_url, follow_redirects=True, timeout=60) as client:
        did = signed_in(demo, client)
        post, people = post_of(demo, did)
        other = next(one["did"] for one in demo.readers(5) if one["did"] != did)
        why = client.get("/why", params={"who": did, "post": post})
        assert "People are counted here and never named" in why.text and not NAMED.search(why.text)
        address = re.search(r'href="(/my/people[^"]+)"', why.text)
        assert address is not None
        own = client.get(address[1].replace("&amp;", "&"))
        named = NAMED.findall(own.text)
        assert own.status_code == 200 and named and len(named) == len(set(named)) <= min(people, 25)
        assert did not in named and own.headers["cache-control"] == "no-store"
        # An address cannot say whose list it is: only whose it expects.
        assert NAMED.findall(client.get("/my/people", params={"post": post}).text) == named
        for who in (other, "x", "did:plc:x"):
            assert is_refused(client.get("/my/people", params={"who": who, "post": post}), 403)
        assert is_refused(client.get("/my/people"), 400)
        assert is_refused(client.get("/my/people", params={"post": post[:-13] + "3k2la3b4c5d2e"}), 404)
        sealed = client.cookies["feedgen_session"]
    asked = {"who": did, "post": post}
    for base in (demo.url, demo.private_url):
        good = httpx.get(f"{base}/my/people", params=asked, headers={"cookie": f"feedgen_session={sealed}"}, timeout=60)
        assert NAMED.findall(good.text) == named
        assert is_refused(httpx.get(f"{base}/my/people", params=asked), 401)
        for cookie in (sealed[:-3] + ("AAA" if sealed[-3:] != "AAA" else "BBB"), sealed[:50], did, "", "x"):
            answer = httpx.get(f"{base}/my/people", params=asked, headers={"cookie": f"feedgen_session={cookie}"})
            assert is_refused(answer, 401)
        # A sealed text of another kind, and the session under another name.
        begun = httpx.post(f"{demo.private_url}/my/begin", data={"who": did}).cookies["feedgen_begun"]
        for cookie in (f"feedgen_session={begun}", f"feedgen_begun={sealed}"):
            assert is_refused(httpx.get(f"{base}/my/people", params=asked, headers={"cookie": cookie}), 401)


def test_the_session_of_another_reader_shows_their_own_list_or_nothing(demo: Demo) -> None:
    with httpx.Client(base_url=demo.private_url, follow_redirects=True, timeout=60) as client:
        did = signed_in(demo, client)
        for one in demo.readers(5):
            if one["did"] != did:
                post, _ = post_of(demo, one["did"])
                assert is_refused(client.get("/my/people", params={"who": one["did"], "post": post}), 403)
                break


@pytest.mark.needs("chromium", "npm")
@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without"])
def test_from_the_why_page_to_names_and_back(demo: Demo, browser: Browser, axe: str, scripts: bool) -> None:
    with visiting(browser, java_script_enabled=scripts, viewport=PHONE) as visit:
        page = visit.page
        did = sign_in(page, demo)
        post, _ = post_of(demo, did)
        page.goto(f"{demo.private_url}/why?who={did}&post={post}&plain=1")
        page.get_by_role("link", name="Show me who they are").click()
        page.get_by_role("heading", name="Who led here?").wait_for()
        named = page.locator("a[href*='/did:plc:']")  # one whose handle the directory knows
        first = page.locator(".people li").filter(has=named).first
        if scripts:
            first.get_by_text("@").wait_for()
            assert page.locator(".people li").count() == page.locator(".people .handle", has_text="@").count()
            assert barriers(page, axe) == [] and not overflows(page)
        link = first.get_by_role("link")
        assert str(link.get_attribute("href")).startswith("https://bsky.app/profile/did:plc:")
        assert link.inner_text().startswith("did:plc:") != scripts
        page.get_by_role("link", name="Back to why").click()
        page.get_by_role("heading", name="Why this post?").wait_for()
        page.context.clear_cookies()
        page.get_by_role("link", name="Show me who they are").click()
        page.get_by_text("Sign in first").wait_for()
        assert urlsplit(page.url).path == "/my/people" and page.locator(".people").count() == 0
        assert [one for one in visit.troubles if "401" not in one] == []


@pytest.mark.needs("chromium", "npm")
def test_the_appview_has_the_last_word_on_who_is_named(demo: Demo, browser: Browser) -> None:
    """A profile may say "signed-in viewers only" since before this service listened: it can't know."""

    def answer(route: Route) -> None:
        profiles = route.fetch().json()["profiles"]
        profiles[0]["labels"] = [{"val": "!no-unauthenticated"}]
        route.fulfill(json={"profiles": [one for i, one in enumerate(profiles) if i != 1]})

    with visiting(browser, viewport=PHONE) as visit:
        page, did = visit.page, sign_in(visit.page, demo)
        post, _ = post_of(demo, did)
        page.route("**/app.bsky.actor.getProfiles*", answer)
        with page.expect_response("**/app.bsky.actor.getProfiles*") as asked:
            page.goto(f"{demo.private_url}/my/people?post={post}")
        shown = [one["did"] for one in asked.value.json()["profiles"]][1:]
        page.get_by_text("Bluesky hides these from people who are signed out").wait_for()
        left = page.locator(".people li").evaluate_all("rows => rows.map(row => row.dataset.did)")
        assert set(left) <= set(shown) and len(left) > 0
        assert page.locator(".people .handle", has_text="@").count() == len(left)
        named = asked.value.request.url.count("actors=")
        assert page.locator(".not-shown b").inner_text() == str(named - len(left))
