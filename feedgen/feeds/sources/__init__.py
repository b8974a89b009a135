"""Where lists take their posts from. A new source is a file in this folder and a line in `SOURCES`.

`[lists] mix` says which are asked, and for what share of all places. Why, left out, the learning page and `feedContext`
know a source by its codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from feedgen.core.errors import SettingsError
from feedgen.feeds.sources.explore import Explore
from feedgen.feeds.sources.fresh import Fresh
from feedgen.feeds.sources.given import Given
from feedgen.feeds.sources.known_authors import KnownAuthors
from feedgen.feeds.sources.likes import Likes
from feedgen.feeds.sources.newest import Newest
from feedgen.feeds.sources.popular import Popular
from feedgen.feeds.sources.source import Needs, PostSource, Scene
from feedgen.feeds.sources.trending import Trending
from feedgen.rank.listing import Source

SOURCES: Final[tuple[PostSource, ...]] = (
    Likes(), Popular(), Explore(), Fresh(), KnownAuthors(), Newest(), Trending(), Given(),
)  # fmt: skip
ENOUGH_LIKES: Final = 20  # before anything is tried on a reader

BY_NAME: Final = {source.name: source for source in SOURCES}
_BY_CODE: Final = {code: source for source in SOURCES for code in source.codes}
if len(_BY_CODE) != sum(len(source.codes) for source in SOURCES):
    raise ValueError("two sources have a code in common")


class Part(NamedTuple):
    """A source of a mix; without a share it fills up what the ones before leave."""

    source: PostSource
    share: float


def parse_mix(texts: Sequence[str]) -> tuple[Part, ...]:
    """`name` or `name:percent`, as `[lists] mix` has it. The first name without percent gets what is left of 100."""
    parts = list[Part]()
    for text in texts:
        name, _, percent = text.partition(":")
        if name not in BY_NAME:
            raise SettingsError(f"lists.mix: {name!r} is not a source", f"known: {', '.join(BY_NAME)}")
        if any(part.source.name == name for part in parts):
            raise SettingsError(f"lists.mix: {name!r} stands there twice", "name each source once")
        try:
            share = float(percent) / 100 if percent else 0.0
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1 or (percent and share == 0):
            raise SettingsError(f"lists.mix: {text!r} has no share from 0 to 100", f"for example {name}:10")
        parts.append(Part(BY_NAME[name], share))
    left = 1.0 - sum(part.share for part in parts)
    if left < -1e-9 or not parts:
        raise SettingsError("lists.mix: the shares are more than 100 percent, or there is no source", "name one")
    first = next((i for i, part in enumerate(parts) if not part.share), None)
    if first is not None:
        parts[first] = parts[first]._replace(share=max(left, 0.0))
    return tuple(parts)


DEFAULT_MIX: Final = parse_mix(("likes", "explore:3.3", "popular"))


def offered(mix: Sequence[Part], scene: Scene) -> list[Source]:
    """What the sources of a mix have for a reader."""
    made = list[Source]()
    for source, share in mix:
        if has_needs(source, scene):
            ints, codes, scores = source.rows(scene)
            made.append(Source(source.codes.start, ints, scores, codes, share, source.first))
    return made


def has_needs(source: PostSource, scene: Scene) -> bool:
    """Whether a source may be asked for this reader."""
    there = Needs.NOTHING
    if len(scene.ranked.ints):
        there |= Needs.RANKED
    if scene.likes >= ENOUGH_LIKES:
        there |= Needs.LIKES
    return source.needs in there


def context(code: int) -> str | None:
    source = _BY_CODE.get(code)
    return None if source is None else source.context(code)


def words(code: int) -> str:
    source = _BY_CODE.get(code)
    return f"code {code}" if source is None else source.words(code)
