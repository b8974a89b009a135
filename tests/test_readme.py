"""What the README shows is run, and what it links to is there."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from feedgen.feeds.list_feed import ListFeed
from feedgen.feeds.registry import make_feeds
from tests.feeds.town import Town, ask, make_services

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


async def test_the_example_of_a_feed() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) <= 22
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    fresh: type[ListFeed] = names["Fresh"]
    town = Town()
    services = make_services(town)
    feed = make_feeds(services, [fresh])["fresh"]
    first = await feed.page(ask(limit=20))
    second = await feed.page(ask(limit=20, cursor=first.cursor))
    times = [town.view().post_time_us(town.posts[town.index(item.uri)]) for item in first.items]
    assert len(first.items) == len(second.items) == 20
    assert not {item.uri for item in first.items} & {item.uri for item in second.items}
    assert sum(a >= b for a, b in pairwise(times)) >= 15  # but for authors kept apart
    assert {item.context for item in first.items} == {"fresh"}
    services.pool.close()


def test_links_lead_somewhere() -> None:
    for path in ROOT.glob("*.md"):
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name} links to {link}"
