"""What the VPS answers while the PC is off: the last popular page, kept there as files.

Asked of the running service like anybody would; written so that a reader of the folder sees whole files only. Nothing
good is ever replaced by something empty.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

import httpx

from feedgen.core.errors import FeedgenError
from feedgen.core.settings import Settings

TIMEOUT_S: Final = 10.0
POSTS: Final = 50
DID_PATH: Final = "/.well-known/did.json"
DESCRIBE_PATH: Final = "/xrpc/app.bsky.feed.describeFeedGenerator"
SKELETON_PATH: Final = "/xrpc/app.bsky.feed.getFeedSkeleton"
POPULAR: Final = "popular"


def write_fallback(settings: Settings, folder: Path, url: str) -> int:
    """How many posts the page has."""
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
        _write(folder, SKELETON_PATH + ".json", {"feed": [{"post": item["post"]} for item in posts]})
        for path, name in ((DESCRIBE_PATH, DESCRIBE_PATH + ".json"), (DID_PATH, DID_PATH)):
            answer = _asked(client, path)
            if answer is not None:
                _write(folder, name, answer)
    return len(posts)


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


def _write(folder: Path, name: str, value: dict[str, Any]) -> None:
    path = folder / name.removeprefix("/")
    draft = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps(value, separators=(",", ":")))
        draft.chmod(0o644)
        os.replace(draft, path)
    except OSError as error:
        raise FeedgenError(f"can't write {path}: {error.strerror}", "Look at the folder's owner and rights.") from None
