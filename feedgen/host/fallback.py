"""What the VPS answers while the PC is off: the last popular page, asked of the running service as anybody would.

It goes into a folder, or through the tunnel to `feedgen egress` on the VPS; once by `feedgen fallback`, or every
few minutes by the running process. Nothing good is ever replaced by something empty.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx

from feedgen.core.errors import FeedgenError
from feedgen.core.fallback import DESCRIBE_PATH, DID_PATH, SKELETON, SKELETON_PATH, Files, write
from feedgen.core.settings import Settings
from feedgen.core.settings_network import Fallback
from feedgen.core.telemetry import Counter, Gauge

TIMEOUT_S: Final = 10.0
POSTS: Final = 50
POPULAR: Final = "popular"
FIRST_S: Final = 10.0  # after the start, and after a failure
PUSH_PATH: Final = "/fallback"

HANDED = Gauge(
    "feedgen_fallback_handed_timestamp_seconds",
    "When the VPS was last given what it answers while this machine is off, in Unix time; 0: never.",
)
TURNS = Counter("feedgen_fallback_turns_total", "Times that the fallback was made and handed on, by result", "result")

log = logging.getLogger(__name__)


def gather(settings: Settings, url: str) -> Files:
    """The files, as the service at this address answers now."""
    feed = f"at://{settings.service.publisher_did}/app.bsky.feed.generator/{POPULAR}"
    transport = None
    if url.startswith("http://unix:"):
        transport, url = httpx.HTTPTransport(uds=url.removeprefix("http://unix:")), "http://localhost"
    with httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False, transport=transport) as client:
        page = _asked(client, SKELETON_PATH, feed=feed, limit=str(POSTS))
        posts = page.get("feed") if page is not None else None
        if not posts:
            raise FeedgenError(
                "The popular feed is empty: the files stay as they are.", "Let it hear the network first."
            )
        files: dict[str, dict[str, Any]] = {SKELETON: {"feed": [{"post": item["post"]} for item in posts]}}
        for path, name in ((DESCRIBE_PATH, f"{DESCRIBE_PATH}.json"), (DID_PATH, DID_PATH)):
            answer = _asked(client, path)
            if answer is not None:
                files[name] = answer
    return files


def write_fallback(settings: Settings, folder: Path, url: str) -> int:
    """How many posts the page has."""
    files = gather(settings, url)
    write(folder, files)
    return len(files[SKELETON]["feed"])


def push(url: str, files: Files) -> None:
    """To `feedgen egress` on the VPS, through the tunnel."""
    try:
        answer = httpx.put(f"{url.rstrip('/')}{PUSH_PATH}", json=files, timeout=TIMEOUT_S, trust_env=False)
    except httpx.HTTPError as error:
        raise FeedgenError(
            f"The VPS does not take the fallback at {url}: {type(error).__name__}.",
            "Is the tunnel up, and feedgen-egress running there?",
        ) from None
    if answer.status_code != 204:
        raise FeedgenError(
            f"The VPS refused the fallback: {answer.status_code} {answer.text.strip()[:100]}",
            "Look at the VPS: journalctl -u feedgen-egress",
        )


class Pusher:
    """Every few minutes. `address` says where the service answers; a bind, like `127.0.0.1:8090`."""

    def __init__(self, settings: Settings, address: Callable[[], str], first_s: float = FIRST_S) -> None:
        self._settings, self._address, self._wait_s = settings, address, first_s
        self._said = ""

    async def run(self) -> None:
        """Until cancelled. What fails is said once, and tried again."""
        while True:
            await asyncio.sleep(self._wait_s)
            self._wait_s = self._settings.fallback.every_s
            try:
                await asyncio.to_thread(self._turn, self._settings.fallback)
            except FeedgenError as error:
                TURNS.add(1, "failed")
                if str(error) != self._said:
                    log.warning("the fallback could not be handed on: %s", error)
                self._said = str(error)
                self._wait_s = min(self._wait_s, FIRST_S)

    def _turn(self, settings: Fallback) -> None:
        files = gather(self._settings, f"http://{self._address()}")
        if settings.dir:
            write(Path(settings.dir), files)
        if settings.url:
            push(settings.url, files)
        TURNS.add(1, "handed")
        HANDED.set(time.time())
        if self._said:
            log.info("the fallback was handed on again")
        self._said = ""


def _asked(client: httpx.Client, path: str, **query: str) -> dict[str, Any] | None:
    """None: the service has no such thing, like a did.json when its DID is not a did:web."""
    try:
        answer = client.get(path, params=query)
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        told = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise FeedgenError(f"{client.base_url} did not answer {path}: {error}", "Is `feedgen run` running?") from None
    return told if isinstance(told, dict) else None
