"""The demo as a process of its own, and Debian's Chromium to look at its pages with.

`demo` starts `feedgen demo` once for all tests of a module; `browser` is the browser; `Visit` is a page in it that
notes whatever a good page does not do: errors, refused scripts, requests that fail.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from tests.process import Feedgen

CATCH_UP_S = 900.0  # kernels may have to be compiled first, on a busy machine
PHONE = {"width": 375, "height": 812}
DESKTOP = {"width": 1280, "height": 900}
AXE = Path(__file__).parent / "axe" / "install"


class Demo(Feedgen):
    """`feedgen demo`; `reader` is one of its made-up people, `private_url` the operator's address."""

    def __init__(self, folder: Path, people: int = 200, days: float = 2, **settings: object) -> None:
        words = ("demo", "--people", str(people), "--days", str(days))
        super().__init__(folder, words=words, **({"service__hostname": "localhost"} | settings))

    def wait(self) -> Demo:
        """Until the made-up past is in."""
        self.said("answering", CATCH_UP_S)

        def look() -> bool:
            behind_s = self.health()["jetstream"]["behind_s"]
            return behind_s is not None and behind_s < 5

        self.wait_for(look, "the past to be in", CATCH_UP_S)
        return self

    @property
    def private_url(self) -> str:
        return f"http://{self.said('the private address answers')['bind']}"

    @property
    def appview_url(self) -> str:
        return str(self.said("the made-up network answers")["appview"])

    def control(self, path: str, body: Any = None) -> Any:
        """A control route of the made-up network (simnet/control.py)."""
        url = f"{self.said('the made-up network answers')['control']}/_ctl/{path}"
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=30) as answer:
            return json.load(answer)

    def readers(self, k: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.control(f"readers?k={k}")
        return found


@contextmanager
def demo_in(folder: Path, **settings: Any) -> Iterator[Demo]:
    """Ended as a person would, so that the made-up network ends with it."""
    demo = Demo(folder, **settings)
    with demo:
        try:
            yield demo.wait()
        finally:
            if demo.process.poll() is None:
                demo.stop()


@contextmanager
def chromium() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path is not None, "chromium is missing (requirements/system.txt)"
    with sync_playwright() as playwright:
        # A sandbox inside of a container is refused to root. These pages are ours.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visit:
    """`troubles` is empty on a good page."""

    page: Page
    troubles: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # every address that the page loaded from

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        self.page.on("console", self._on_console)
        self.page.on("requestfailed", self._on_failed)
        self.page.on("request", lambda request: self.asked.append(request.url))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(f"{message.type}: {message.text}")

    def _on_failed(self, request: Request) -> None:
        if "ERR_ABORTED" not in (request.failure or ""):  # a newer question took this one's place
            self.troubles.append(f"failed: {request.url} {request.failure}")


@contextmanager
def visiting(browser: Browser, url: str = "", **options: Any) -> Iterator[Visit]:
    """A page of its own, with nothing remembered: `viewport=PHONE`, `color_scheme="dark"`, `java_script_enabled`..."""
    context = browser.new_context(**({"viewport": DESKTOP, "reduced_motion": "reduce"} | options))
    try:
        visit = Visit(context.new_page())
        visit.page.set_default_timeout(60_000)
        if url:
            visit.page.goto(url)
        yield visit
    finally:
        context.close()


def axe_script() -> str:
    """axe-core, fetched from npm when it is not here yet."""
    path = subprocess.run([AXE], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    return Path(path).read_text()


def barriers(page: Page, script: str) -> list[str]:
    """What axe calls serious or critical on this page as it is now."""
    page.evaluate(script)  # through the debugger: the page's own policy lets nothing of the kind in
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {one['help']}: {node['html']}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


def layout_shift(page: Page) -> float:
    """How much has jumped since the page was opened, as browsers measure it (0.1 is called good)."""
    return float(
        page.evaluate(
            """() => new Promise(done => {
                let sum = 0;
                new PerformanceObserver(list => {
                    for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
                }).observe({type: "layout-shift", buffered: true});
                setTimeout(() => done(sum), 100);
            })"""
        )
    )


def overflows(page: Page) -> list[str]:
    """What makes the page wider than the screen."""
    found: list[str] = page.evaluate(
        """() => {
            const wide = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= wide) return [];
            const right = one => one.getBoundingClientRect().right;
            const all = [...document.querySelectorAll("body *")].filter(one => right(one) > wide);
            return all.map(one => `${right(one)} of ${wide}: ${one.outerHTML.slice(0, 200)}`);
        }"""
    )
    return found


def handle_of(demo: Demo) -> str:
    """A made-up reader with a taste."""
    return str(demo.readers(1)[0]["handle"])
