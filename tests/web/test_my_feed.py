"""Readers sign in by a post of theirs, say how they want their feed, take their data along, and erase it."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page

from feedgen.core.ids import make_tid
from feedgen.feeds.wishes import Wishes
from feedgen.web.my import wishes_of
from feedgen.web.site import Sorry
from tests.web.browser import PHONE, Demo, barriers, handle_of, overflows, visiting

POST = "app.bsky.feed.post"
LIE = "{text} (or so they say)"


def write(demo: Demo, did: str, text: str, age_s: float = 0) -> None:
    """As the reader's app would."""
    at_us = int((time.time() - age_s) * 1e6)
    created = datetime.fromtimestamp(at_us / 1e6, UTC).isoformat().replace("+00:00", "Z")
    record = {"$type": POST, "text": text, "createdAt": created}
    event = {"did": did, "operation": "create", "collection": POST, "rkey": make_tid(at_us), "rev": make_tid(at_us)}
    demo.control("event", event | {"cid": "bafyreib2rxk3rybk", "record": record})


def did_of(demo: Demo, handle: str) -> str:
    url = f"{demo.appview_url}/xrpc/com.atproto.identity.resolveHandle"
    return str(httpx.get(url, params={"handle": handle}).json()["did"])


def begin(page: Page, demo: Demo, handle: str) -> str:
    """The text to post."""
    page.context.clear_cookies()
    page.goto(f"{demo.private_url}/my")
    page.get_by_label("Your handle").fill(handle)
    page.get_by_role("button", name="Sign in").click()
    text = page.locator(".code").inner_text()
    assert re.fullmatch(r"Signing in at localhost: [A-Z2-9]{5}-[A-Z2-9]{5}", text)
    link = page.get_by_role("link", name="Write this post").get_attribute("href")
    assert link is not None and link.startswith("https://bsky.app/intent/compose?text=Signing%20in%20at%20localhost")
    return text


def sign_in(page: Page, demo: Demo, handle: str = "") -> str:
    handle = handle or handle_of(demo)
    text = begin(page, demo, handle)
    did = did_of(demo, handle)
    write(demo, did, text)
    page.get_by_role("button", name="I posted it").click()
    page.get_by_text(f"Signed in as {handle}").wait_for()
    return did


@pytest.mark.needs("chromium", "npm")
def test_who_posts_the_code_is_in_and_nobody_else(demo: Demo, browser: Browser) -> None:
    with visiting(browser) as visit:
        page, handle = visit.page, handle_of(demo)
        text, did = begin(page, demo, handle), did_of(demo, handle)
        other = next(one["did"] for one in demo.readers(5) if one["did"] != did)
        for who, said, age_s in [(other, text, 0.0), (did, LIE.format(text=text), 0.0), (did, text, 3600.0)]:
            write(demo, who, said, age_s)
            page.get_by_role("button", name="I posted it").click()
            page.get_by_text("see your post yet").wait_for()
        write(demo, did, text)
        page.get_by_role("button", name="I posted it").click()
        page.get_by_text(f"Signed in as {handle}").wait_for()
        cookies = {one["name"]: one for one in page.context.cookies()}
        session = cookies["feedgen_session"]
        assert session["httpOnly"] and session["sameSite"] == "Lax" and session["path"] == "/my"
        assert "feedgen_begun" not in cookies and not page.evaluate("document.cookie")
        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("Your handle").wait_for()
        assert visit.troubles == []


@pytest.mark.needs("chromium", "npm")
@pytest.mark.parametrize("look", [{}, {"viewport": PHONE, "color_scheme": "dark"}], ids=["desktop", "phone, dark"])
def test_wishes_count_on_the_next_page_and_stay(
    demo: Demo, browser: Browser, axe: str, look: dict[str, object]
) -> None:
    with visiting(browser, **look) as visit:
        page = visit.page
        assert begin(page, demo, handle_of(demo)) and barriers(page, axe) == []
        did = sign_in(page, demo)
        assert not overflows(page) and barriers(page, axe) == []
        page.get_by_label("Fresher", exact=True).check(force=True)
        page.get_by_role("group", name="Videos").get_by_label("Leave them out").check(force=True)
        page.get_by_label("Languages").fill("de, en")
        page.get_by_label("Posts by one author").fill("1")
        page.get_by_role("button", name="Save").click()
        page.get_by_text("Saved.").wait_for()
        assert page.get_by_label("Languages").input_value() == "de, en"
        assert page.get_by_label("Fresher", exact=True).is_checked()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download all of it").click()
        told = json.loads(download.value.path().read_text())
        assert told["did"] == did and told["wishes"] == {
            "freshness": "fresher", "videos": False, "author_max": 1, "languages": ["de", "en"],
        }  # fmt: skip
        page.get_by_label("Languages").fill("klingonish")
        page.get_by_role("button", name="Save").click()
        page.get_by_text('"klingonish" is not a known language code').wait_for()
        # A mistake loses nothing of the form.
        assert page.get_by_label("Languages").input_value() == "klingonish"
        assert page.get_by_label("Posts by one author").input_value() == "1"
        assert page.get_by_label("Fresher", exact=True).is_checked()
        assert [one for one in visit.troubles if "400" not in one] == []


@pytest.mark.needs("chromium", "npm")
def test_what_was_saved_shows_in_ones_own_list(demo: Demo, browser: Browser, axe: str) -> None:
    with visiting(browser, viewport=PHONE) as visit:
        page = visit.page
        did = sign_in(page, demo)

        def authors() -> list[str]:
            page.locator(".posts .handle", has_text="@").first.wait_for()
            uris = page.locator("[data-uri]").evaluate_all("cards => cards.map(card => card.dataset.uri)")
            return [uri.split("/")[2] for uri in uris]

        page.get_by_role("link", name="Look at your list").click()
        page.get_by_role("heading", name="Your list").wait_for()
        before = authors()
        assert len(before) == 30 and did not in before
        assert barriers(page, axe) == [] and not overflows(page)
        page.get_by_role("link", name="My feed").last.click()
        page.get_by_label("Posts by one author").fill("1")
        page.get_by_role("button", name="Save").click()
        page.get_by_role("link", name="See what it changes").click()
        page.get_by_role("heading", name="Your list").wait_for()
        after = authors()
        assert len(after) == len(set(after)) > 10
        page.goto(f"{demo.private_url}/my")
        page.get_by_label("Posts by one author").fill("")
        page.get_by_role("button", name="Save").click()
        page.context.clear_cookies()
        page.goto(f"{demo.private_url}/my/list")
        page.get_by_label("Your handle").wait_for()
        assert visit.troubles == []


@pytest.mark.needs("chromium", "npm")
def test_a_handle_that_is_wrong_stays_in_the_form(demo: Demo, browser: Browser) -> None:
    with visiting(browser) as visit:
        page = visit.page
        page.goto(f"{demo.private_url}/my")
        for typed, told in (
            ("nobody.simnet.test", "No account is called nobody.simnet.test"),
            ("nobody", "Not an account"),
        ):
            page.get_by_label("Your handle").fill(typed)
            page.get_by_role("button", name="Sign in").click()
            page.get_by_text(told).wait_for()
            assert page.get_by_label("Your handle").input_value() == typed
        page.get_by_label("Your handle").fill(f"https://bsky.app/profile/{handle_of(demo)}")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text(f"To confirm that you are {handle_of(demo)}").wait_for()


@pytest.mark.needs("chromium", "npm")
def test_everything_is_erased_only_when_asked_twice(demo: Demo, browser: Browser) -> None:
    with visiting(browser, java_script_enabled=False) as visit:
        page = visit.page
        did = sign_in(page, demo)
        page.get_by_label("Posts by one author").fill("2")
        page.get_by_role("button", name="Save").click()
        page.get_by_role("button", name="Erase").click()
        page.get_by_text("Nothing was erased").wait_for()
        page.get_by_label("Erase everything").check()
        page.get_by_role("button", name="Erase").click()
        page.get_by_role("heading", name="Your data has been erased").wait_for()
        assert "feedgen_session" not in {one["name"] for one in page.context.cookies()}
        assert sign_in(page, demo) == did
        assert page.get_by_label("Posts by one author").input_value() == ""


def token_of(client: httpx.Client, demo: Demo) -> str:
    """Signs the client in; the token of its forms."""
    handle = handle_of(demo)
    page = client.post("/my/begin", data={"who": handle}).text
    code = re.search(r"[A-Z2-9]{5}-[A-Z2-9]{5}", page)
    assert code is not None
    write(demo, did_of(demo, handle), f"Signing in at localhost: {code[0]}")
    token = re.search(r'name="token" value="([0-9a-f]{64})"', client.post("/my/finish").text)
    assert token is not None
    return token[1]


def test_forms_of_other_sites_are_refused(demo: Demo) -> None:
    with httpx.Client(base_url=demo.private_url, follow_redirects=True) as client:
        token = token_of(client, demo)
        form = {"token": token, "videos": "no"}
        for headers in (
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
            {"origin": "https://evil.example"},
        ):
            assert client.post("/my/wishes", data=form, headers=headers).status_code == 403
        assert client.post("/my/wishes", data={"videos": "no"}).status_code == 403
        assert client.post("/my/erase", data={"token": "0" * 64, "sure": "yes"}).status_code == 403
        assert client.post("/my/wishes", data=form, headers={"sec-fetch-site": "same-origin"}).status_code == 200
        assert client.post("/my/wishes", data={"token": token, "x": "y" * 9000}).status_code == 413
        assert client.get("/my/wishes").status_code == 405
        sealed = client.cookies["feedgen_session"]
        forged = sealed[:-3] + ("AAA" if sealed[-3:] != "AAA" else "BBB")
    for cookie in (forged, "x", "", "é" * 10):
        answer = httpx.post(
            f"{demo.private_url}/my/wishes", data=form, headers={"cookie": f"feedgen_session={cookie}".encode()}
        )
        assert answer.status_code == 401


def test_attempts_are_limited_and_nobody_unknown_can_begin(demo: Demo) -> None:
    answers = [httpx.post(f"{demo.url}/my/begin", data={"who": "nobody.example"}) for _ in range(30)]
    assert answers[-1].status_code == 429 and {one.status_code for one in answers} == {404, 429}
    assert httpx.post(f"{demo.private_url}/my/finish").status_code == 400  # the operator is not kept waiting


@pytest.mark.parametrize(
    "form",
    [
        {"freshness": "rotten"},
        {"follows": "all"},
        {"videos": "maybe"},
        {"author_max": "0"},
        {"author_max": "21"},
        {"author_max": "²"},
        {"languages": "en, xx"},
        {"languages": "en de fr es it pt ja ko pl"},
    ],
)
def test_odd_wishes_are_refused(form: dict[str, str]) -> None:
    with pytest.raises(Sorry) as told:
        wishes_of(form)
    assert told.value.status == 400


def test_wishes_as_a_form_says_them() -> None:
    form: dict[str, Any] = {
        "freshness": "calmer",
        "follows": "much",
        "replies": "yes",
        "videos": "",
        "languages": "EN;de de",
    }
    assert wishes_of(form) == Wishes("calmer", "much", True, None, None, ("en", "de"))
    assert wishes_of({}) == Wishes()
