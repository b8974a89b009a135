"""Which feeds there are. A new one is a class in this folder and a line here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from feedgen.core.errors import SettingsError
from feedgen.feeds.contract import Feed
from feedgen.feeds.for_you import ForYou
from feedgen.feeds.popular import PopularFeed
from feedgen.feeds.services import FeedServices
from feedgen.feeds.videos import VideosForYou

FEEDS: Final[tuple[Callable[[FeedServices], Feed], ...]] = (ForYou, VideosForYou, PopularFeed)


def make_feeds(services: FeedServices, more: Iterable[Callable[[FeedServices], Feed]] = ()) -> dict[str, Feed]:
    """All feeds by name, ready to be asked."""
    feeds: dict[str, Feed] = {}
    for make in (*FEEDS, *more):
        feed = make(services)
        if feed.name in feeds:
            raise SettingsError(f"two feeds have the name {feed.name!r}", "the name is the record key: choose another")
        feeds[feed.name] = feed
    return feeds


def feed_classes() -> dict[str, type[Feed]]:
    """What each feed says of itself, by name; nothing is made."""
    return {kind.name: kind for kind in FEEDS if isinstance(kind, type) and issubclass(kind, Feed)}
