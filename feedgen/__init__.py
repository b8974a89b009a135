"""A feed generator for Bluesky that fits on a home PC. Feeds of your own: `from feedgen import Ask, feed, tag`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from feedgen.feeds.write import Ask, Posts, Tag, feed, tag

__version__ = "0.1.0"
__all__ = ["Ask", "Posts", "Tag", "feed", "tag"]


def __getattr__(name: str) -> object:
    """What feeds are written with is imported when it is asked for: most commands need none of it."""
    if name in __all__:
        from feedgen.feeds import write

        return getattr(write, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
