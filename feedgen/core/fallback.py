"""The files that the VPS answers with while the PC is off: their names, what they may say, how they are written.

Standard library only: the VPS runs this file too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from feedgen.core.errors import FeedgenError

DID_PATH: Final = "/.well-known/did.json"
DESCRIBE_PATH: Final = "/xrpc/app.bsky.feed.describeFeedGenerator"
SKELETON_PATH: Final = "/xrpc/app.bsky.feed.getFeedSkeleton"
# The files mirror the paths, so no part of a request's query chooses one.
SKELETON: Final = f"{SKELETON_PATH}.json"
NAMES: Final = (SKELETON, f"{DESCRIBE_PATH}.json", DID_PATH)

MAX_POSTS: Final = 100
MAX_BYTES: Final = 100_000  # of all files together

Files = Mapping[str, Mapping[str, Any]]  # name -> what it says


def checked(told: object) -> Files:
    """Files that somebody sent, if they are nothing but that: a FeedgenError says what is wrong with them."""
    if not isinstance(told, dict) or not told or not all(name in NAMES for name in told):
        raise FeedgenError("these are not the fallback's files")
    if not all(isinstance(value, dict) for value in told.values()):
        raise FeedgenError("a file is not an object")
    if SKELETON in told:
        posts = told[SKELETON].get("feed")
        if not isinstance(posts, list) or not 0 < len(posts) <= MAX_POSTS or not all(map(_is_post, posts)):
            raise FeedgenError("the page has no posts, too many, or something else")
    return told


def write(folder: Path, files: Files) -> None:
    """Atomic: readers of the folder see complete files only."""
    for name, value in files.items():
        path = folder / name.removeprefix("/")
        draft = path.with_name(f".{path.name}.new")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(json.dumps(value, separators=(",", ":")))
            draft.chmod(0o644)
            os.replace(draft, path)
        except OSError as error:
            raise FeedgenError(
                f"can't write {path}: {error.strerror}", "Look at the folder's owner and rights."
            ) from None


def _is_post(item: object) -> bool:
    post = item.get("post") if isinstance(item, dict) and set(item) == {"post"} else None
    return isinstance(post, str) and post.startswith("at://did:") and len(post) < 500
