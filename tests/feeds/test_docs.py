"""The feeds that docs/feeds.md and the README write are real: they are taken out of the page, saved, and served."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from feedgen.feeds.files import find_feeds
from feedgen.feeds.guard import Guard
from feedgen.feeds.registry import OURS
from feedgen.feeds.written import WrittenFeed
from tests.feeds.town import Town, ask, make_services

ROOT = Path(__file__).parents[2]
PAGES = {
    "README.md": {"cats-you-would-like": "#cats", "rust": "#rustlang"},
    "docs/feeds.md": {"birds": "#birds", "rust": "#rustlang"},
}


@pytest.mark.parametrize("page", PAGES)
async def test_examples_are_served_as_they_stand(page: str, tmp_path: Path) -> None:
    for i, (kind, text) in enumerate(re.findall(r"```(python|toml)\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)):
        if "feed" in text:
            (tmp_path / f"{i}.{'py' if kind == 'python' else 'toml'}").write_text(text)
    found = find_feeds(tmp_path, OURS, packages=False)
    assert not found.broken and sorted(found.feeds) == sorted(PAGES[page])
    town = Town(video_every=3)
    town.tags.add([(pattern, post) for pattern in PAGES[page].values() for post in town.posts[::2]])
    services, guard = make_services(town), Guard()
    for name, definition in found.feeds.items():
        feed = WrittenFeed(services, definition, guard)
        first = await feed.page(ask(limit=10))
        assert first.items or "images" in (ROOT / page).read_text(), name
        assert not feed.trouble and all(town.index(item.uri) % 2 == 0 for item in first.items)
        second = await feed.page(ask(limit=10, cursor=first.cursor)) if first.cursor else first
        assert first is second or not {item.uri for item in first.items} & {item.uri for item in second.items}
    guard.close()
    services.pool.close()
