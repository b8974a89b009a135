"""Pictures of every page of the demo, for people to look at: `scripts/screenshots`.

A page that is added gets a line in `views`.
"""

from __future__ import annotations

import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

import httpx
from playwright.sync_api import Browser

from tests.process import METHOD, PUBLISHER
from tests.web.browser import DESKTOP, PHONE, Demo, chromium, demo_in, handle_of, visiting

LOOKS = {
    "desktop": {"viewport": DESKTOP},
    "desktop-dark": {"viewport": DESKTOP, "color_scheme": "dark"},
    "phone": {"viewport": PHONE, "device_scale_factor": 2},
    "phone-dark": {"viewport": PHONE, "device_scale_factor": 2, "color_scheme": "dark"},
}


def views(demo: Demo, browser: Browser) -> dict[str, str]:
    """Every page by the name of its picture. What is private is asked on the private address."""
    who = urllib.parse.quote(handle_of(demo))
    public, private = demo.url, demo.private_url
    with visiting(browser, f"{private}/playground?who={who}") as visit:
        why = visit.page.locator(".post a[href^='/why']").first.get_attribute("href")
    return {
        "front": f"{public}/",
        "privacy": f"{public}/privacy",
        "terms": f"{public}/terms",
        "sorry": f"{public}/playground?who=nobody.example.com",
        "playground": f"{public}/playground?who={who}",
        "compare": f"{public}/playground?who={who}&b=foryou&b.popularity_power=0.9",
        "why": f"{public}{why}",
        "left-out": f"{private}/left-out?who={who}",
    }


def some_readers(demo: Demo) -> None:
    """So that the figures are of somebody."""
    service = "did:web:localhost"
    for reader in demo.readers(12):
        token = demo.control(f"token?person={reader['person']}&aud={service}&lxm={METHOD}")["token"]
        uri = f"at://{PUBLISHER}/app.bsky.feed.generator/for-you"
        headers = {"authorization": f"Bearer {token}"}
        httpx.get(f"{demo.url}/xrpc/{METHOD}", params={"feed": uri}, headers=headers).raise_for_status()
    time.sleep(6)  # they are written down every 5 s


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "build/screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, demo_in(Path(data), people=1000, days=4) as demo, chromium() as browser:
        some_readers(demo)
        for name, url in views(demo, browser).items():
            for look, options in LOOKS.items():
                with visiting(browser, url, **options) as visit:
                    visit.page.wait_for_load_state("networkidle")
                    visit.page.screenshot(path=folder / f"{name}-{look}.png")
    print(f"{folder}: {len(list(folder.glob('*.png')))} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
