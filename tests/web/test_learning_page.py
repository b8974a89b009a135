"""The page that says what readers made of their pages. The figures themselves: tests/feeds/test_learning.py."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import httpx
import pytest
from playwright.sync_api import Browser
from starlette.requests import Request

from feedgen.core.clock import ManualClock
from feedgen.core.settings import Settings, Store
from feedgen.core.settings_ranking import Experiment
from feedgen.serve.http.documents import ServiceIdentity
from feedgen.store.pages import Outcome, ShownPage
from feedgen.store.viewers import Viewers
from feedgen.web.learning import Learning
from feedgen.web.site import Site, rendered
from tests.web.browser import PHONE, Demo, barriers, overflows, visiting

NOW_US = 1_790_000_000_000_000
ARMS = ("control 50%", "better 50% age_half_life=1.5")


async def told(folder: Path, clock: ManualClock, *arms: str) -> str:
    """The page as text, without tags."""
    experiment = Experiment(name="age", arms=arms) if arms else Experiment()
    settings = Settings(store=Store(dir=str(folder)), experiment=experiment)
    site = Site(settings, ServiceIdentity("did:web:x", "x", "did:web:x", "/privacy", "/terms"), lambda: "")
    page = Learning(site, clock)
    scope = {"type": "http", "method": "GET", "path": "/learning", "query_string": b"days=7", "headers": []}
    request = Request(scope | {"state": {"links": [], "private": True}})
    answer = await rendered(await page.page(request))
    assert answer.status_code == 200
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", bytes(answer.body).decode()))


async def serve(folder: Path, readers: int = 400) -> None:
    """Readers of one arm like twice as much; each sees one page of ten."""
    chance = Random(1)
    async with await Viewers.open(folder) as viewers:
        for reader in range(1, readers + 1):
            arm, rate = ("age/control", 0.1) if reader % 2 else ("age/better", 0.2)
            at_us, posts = NOW_US - 10_000 * reader, [reader * 100 + i for i in range(10)]
            page = ShownPage(at_us, reader, "for-you", "default", at_us - 1, 0, posts, [5] * 10, arm)
            events = [(post, 0) for post in posts] + [(post, 1) for post in posts if chance.random() < rate]
            outcome = Outcome(
                at_us + 9, reader, at_us - 1, [p for p, _ in events], [e for _, e in events], [5] * len(events)
            )
            await viewers.pages.put([page], [outcome])


async def test_arms_are_compared_and_paths_are_told(tmp_path: Path) -> None:
    await serve(tmp_path)
    text = await told(tmp_path, ManualClock(NOW_US), *ARMS)
    assert "control 200 2,000 2,000" in text and "What the others are compared with" in text
    assert re.search(
        r"better 200 .* Better : \+\d+\.\d% \(\+\d+\.\d% to \+\d+\.\d%\) likes per post seen, p = 0\.000", text
    )
    assert "for-you, default 400 4,000 4,000" in text and "3-4 people 400 4,000 4,000" in text
    assert "Permutation test over readers (4,999 permutations)" in text and "for all comparisons" not in text


async def test_with_few_readers_it_says_so(tmp_path: Path) -> None:
    await serve(tmp_path, readers=40)
    text = await told(tmp_path, ManualClock(NOW_US), *ARMS, "third 0.1%")
    assert "Too early to say" in text and re.search(r"\d more readers needed", text)
    assert "third 0 0 0 - - - - Too few likes to compare yet" in text and "for all comparisons" in text


async def test_without_an_experiment_and_without_readers(tmp_path: Path) -> None:
    async with await Viewers.open(tmp_path):
        pass
    clock = ManualClock(NOW_US)
    text = await told(tmp_path, clock)
    assert "No experiment is running" in text and "No pages were served in this period" in text


@pytest.mark.needs("chromium", "npm")
@pytest.mark.parametrize("look", [{}, {"viewport": PHONE, "color_scheme": "dark"}], ids=["desktop", "phone, dark"])
def test_the_page(demo: Demo, browser: Browser, axe: str, look: dict[str, object]) -> None:
    with visiting(browser, demo.private_url + "/learning", **look) as visit:
        page = visit.page
        page.get_by_role("link", name="A week").click()
        page.wait_for_url("**/learning?days=7")
        assert page.get_by_role("heading", name="By preset").count() == 1
        assert not overflows(page) and barriers(page, axe) == [] and visit.troubles == []
    assert httpx.get(demo.url + "/learning").status_code == 404
