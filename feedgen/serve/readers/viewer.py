"""All that is kept of one reader: read it or erase it, in the file, beside a running process or not."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_right
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from feedgen.core.ids import US_PER_S
from feedgen.feeds.contract import reader_key
from feedgen.rank.seen import ReaderState, UnreadableState
from feedgen.serve.out.fetched import unpack
from feedgen.store.pages import EVENTS, NO_CODE, Outcome, ShownPage
from feedgen.store.post_names import dids_of, uris_of
from feedgen.store.viewers import Viewers

WAIT_S: Final = 10.0  # for a running process to forget as well
POLL_S: Final = 0.2


async def told_of(folder: Path, did: str) -> dict[str, Any]:
    """All that is kept of a reader, with names instead of numbers."""
    reader = reader_key(did)
    async with await Viewers.open(folder) as viewers:
        account, packed = await viewers.account(did), await viewers.reader(reader)
        fetched = await viewers.fetched(reader)
        wishes = dict(await viewers.wishes()).get(reader)
        damaged = await viewers.damaged(reader)
        pages, outcomes = await viewers.pages.pages_of(reader), await viewers.pages.outcomes_of(reader)
    state = ReaderState()
    try:
        state = ReaderState.unpack(packed) if packed is not None else state
    except UnreadableState:
        damaged = list(dict.fromkeys([*damaged, packed or b""]))
    seen = sorted({post for bitmap in state.seen.buckets.values() for post in bitmap})
    repository = unpack(fetched[1], fetched[0] * US_PER_S) if fetched is not None else None
    liked = repository.posts.tolist() if repository is not None else []
    follows = repository.follows.tolist() if repository is not None else []
    named = [*seen, *liked, *(o.post for o in state.opinions), *(p for page in pages for p in page.posts)]
    uris = await asyncio.to_thread(uris_of, folder, [*named, *(p for one in outcomes for p in one.posts)])

    shown = Shown(pages)

    def name(post: int) -> str | int:
        return uris.get(post, post)

    return {
        "did": did,
        "account": account,
        "wishes": None if wishes is None else msgspec.json.decode(wishes),
        "repository_asked_at": None if fetched is None else _time(fetched[0] * US_PER_S),
        "repository_likes": [name(post) for post in liked],
        "repository_follows": await asyncio.to_thread(dids_of, folder, follows),
        "seen": [name(post) for post in seen],
        "opinions": [
            {"post": name(o.post), "wants": "less" if o.less else "more", "at": _time(o.at_s * US_PER_S)}
            for o in state.opinions
        ],
        "damaged_states": [each.hex() for each in damaged],
        "pages": [_page(page, name) for page in pages],
        "outcomes": [row for one in outcomes for row in _outcome(one, shown, name)],
    }


def _page(page: ShownPage, name: Any) -> dict[str, Any]:
    posts = [{"post": name(post), "from": code} for post, code in zip(page.posts, page.codes, strict=True)]
    return {
        "at": _time(page.at_us),
        "feed": page.feed,
        "preset": page.preset,
        "arm": page.arm,
        "list": page.list_us,
        "position": page.position,
        "posts": posts,
    }


def _outcome(one: Outcome, shown: Shown, name: Any) -> list[dict[str, Any]]:
    rows = []
    for post, event, code in zip(one.posts, one.events, one.codes, strict=True):
        page = shown.page(one, post)
        rows.append(
            {
                "at": _time(one.at_us),
                "post": name(post),
                "event": EVENTS[event] if event < len(EVENTS) else event,
                "from": None if code == NO_CODE else code,
                "page": None if page is None else _time(page.at_us),
            }
        )
    return rows


class Shown:
    """Pages by what they showed. A reader has thousands of pages and can tell a million things of them."""

    def __init__(self, pages: list[ShownPage]) -> None:
        """Oldest first."""
        self._of_post: dict[tuple[int, int | None], list[ShownPage]] = {}  # by post, and by post and list
        for page in pages:
            for post in dict.fromkeys(page.posts):
                self._of_post.setdefault((post, None), []).append(page)
                self._of_post.setdefault((post, page.list_us), []).append(page)

    def page(self, one: Outcome, post: int) -> ShownPage | None:
        """The page that showed the post: of the list that the app named, or else the newest one before."""
        for list_us in dict.fromkeys((one.list_us, None)):
            found = self._of_post.get((post, list_us), [])
            if at := bisect_right(found, one.at_us, key=lambda page: page.at_us):
                return found[at - 1]
        return None


async def erase(folder: Path, did: str, wait_s: float = WAIT_S) -> bool:
    """For good. Whether a running process forgot them too."""
    reader = reader_key(did)
    async with await Viewers.open(folder) as viewers:
        await viewers.pages.ask_to_forget(did, int(time.time()))
        await viewers.forget_account(did)
        await viewers.forget_reader(reader)
        await viewers.forget_wishes(reader)
        await viewers.forget_fetched(reader)
        await viewers.pages.forget(reader)
        await viewers.sync()
        deadline_s = time.monotonic() + wait_s
        while did in await viewers.pages.to_forget():
            if time.monotonic() > deadline_s:
                return False
            await asyncio.sleep(POLL_S)
    return True


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / US_PER_S, UTC).isoformat()
