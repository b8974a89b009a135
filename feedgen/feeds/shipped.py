"""Feeds that come with feedgen, beside the personal ones: written as anybody's are (docs/feeds.md)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from feedgen.feeds.write import DEFINITION, Ask, Definition, Posts, feed


@feed("gallery", title="Gallery", about="Pictures that people who like what you like are liking now.")
def gallery(ask: Ask) -> Posts:
    """Co-likers' posts with images; popular pictures fill up what is left."""
    return (ask.colikers() + ask.popular()).media("images")


@feed("trending", title="Trending", about="Posts that are rising right now, in your languages.")
def trending(ask: Ask) -> Posts:
    """By velocity: likes of the last hour against all likes. Popular posts fill up what is left."""
    return ask.trending() + ask.popular()


def _definitions() -> dict[str, Definition]:
    made = [replace(getattr(make, DEFINITION), code=False, file="feedgen") for make in (gallery, trending)]
    return {one.name: one for one in made}


SHIPPED: Final = _definitions()
