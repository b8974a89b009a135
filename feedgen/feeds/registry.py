"""Which feeds come with feedgen. Those of the operator are files (`files.py`); docs/feeds.md says how to write one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from feedgen.core.errors import SettingsError
from feedgen.feeds.contract import Feed
from feedgen.feeds.for_you import ForYou
from feedgen.feeds.guard import Guard
from feedgen.feeds.popular import PopularFeed
from feedgen.feeds.services import FeedServices
from feedgen.feeds.shipped import SHIPPED
from feedgen.feeds.videos import VideosForYou
from feedgen.feeds.write import Definition
from feedgen.feeds.written import WrittenFeed

_CLASSES: Final = (ForYou, VideosForYou, PopularFeed)
OURS: Final = frozenset({kind.name for kind in _CLASSES} | set(SHIPPED))  # names that no file may take


def make_feeds(services: FeedServices, more: Iterable[Callable[[FeedServices], Feed]] = ()) -> dict[str, Feed]:
    """All feeds by name, ready to be asked."""
    feeds: dict[str, Feed] = {}
    guard = Guard()
    shipped = [WrittenFeed(services, definition, guard) for definition in SHIPPED.values()]
    for feed in (*(kind(services) for kind in _CLASSES), *shipped, *(make(services) for make in more)):
        if feed.name in feeds:
            raise SettingsError(f"two feeds have the name {feed.name!r}", "the name is the record key: choose another")
        feeds[feed.name] = feed
    return feeds


def definitions(written: Iterable[Definition] = ()) -> dict[str, Definition]:
    """What each feed says of itself, by name; nothing is made."""
    own = {
        kind.name: Definition(
            name=kind.name,
            title=kind.title,
            about=kind.description,
            make=lambda ask: ask.popular(),
            content_mode=kind.content_mode,
        )
        for kind in _CLASSES
    }
    return own | SHIPPED | {one.name: one for one in written}
