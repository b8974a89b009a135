"""How feeds are written: `from feedgen import Ask, feed, tag`. docs/feeds.md explains it with examples.

A feed's function says which posts it wants. What may be shown to the reader, paging, and what was seen are applied to
its answer afterwards, so it can't forget them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from feedgen.core import languages as language_codes
from feedgen.core.errors import SettingsError
from feedgen.core.ids import POST_NSID, parse_at_uri
from feedgen.ingest import matcher
from feedgen.ingest.events import IMAGE, LINK, VIDEO

HOUR_US: Final = 3_600_000_000
MAX_GIVEN: Final = 2_000  # posts that a feed's function may name itself
MAX_PARTS: Final = 32  # sources that are added up
MEDIA: Final = {"any": 0, "images": IMAGE, "video": VIDEO, "link": LINK}
LOGGED_OUT: Final = ("serve", "explain", "deny")
VIDEO_MODE: Final = "app.bsky.feed.defs#contentModeVideo"
DEFINITION: Final = "__feedgen_feed__"
is_name: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?").fullmatch
F = TypeVar("F", bound="Callable[[Ask], Wanted]")


@dataclass(frozen=True, slots=True)
class Tag:
    """Posts that match at least one of these patterns, found while they pass."""

    name: str
    patterns: tuple[str, ...]


def tag(
    name: str,
    *,
    hashtags: Iterable[str] = (),
    words: Iterable[str] = (),
    links: Iterable[str] = (),
) -> Tag:
    """Name patterns once, at the top level of a feed's file. Raises SettingsError for what can't be matched."""
    patterns = [
        *map(matcher.hashtag, _texts("hashtags", hashtags)),
        *map(matcher.word, _texts("words", words)),
        *map(matcher.link, _texts("links", links)),
    ]
    if not patterns:
        raise SettingsError(f"the tag {name!r} is empty", "give it hashtags, words or links")
    return Tag(name, tuple(sorted(set(patterns))))


def _texts(what: str, given: Iterable[str]) -> list[str]:
    texts: list[Any] = [given] if isinstance(given, str) else list(given)
    if not all(isinstance(one, str) for one in texts):
        raise SettingsError(f"{what} holds something that is no text", f'{what} = ["one", "two"]')
    return texts


@dataclass(frozen=True, slots=True)
class Part:
    """Posts of one source, narrowed down."""

    source: str  # a name in feeds/sources
    any_of: tuple[tuple[str, ...], ...] = ()  # of each group of patterns at least one
    none_of: tuple[str, ...] = ()
    not_authors: tuple[str, ...] = ()  # DIDs
    weight: float = 0.0  # share of all places
    likes: int = 0
    since_us: int = 0
    require: int = 0  # flags of posts
    forbid: int = 0
    languages: tuple[int, ...] = ()
    followed: bool = False
    given: tuple[tuple[str | int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Posts:
    """Posts to choose from. Every method gives new ones; `+` puts them together."""

    parts: tuple[Part, ...]

    def __add__(self, other: Posts) -> Posts:
        if len(self.parts) + len(other.parts) > MAX_PARTS:
            raise ValueError(f"more than {MAX_PARTS} sources are added up")
        return Posts(self.parts + other.parts)

    def only(self, *tags: Tag) -> Posts:
        """Those that match at least one of these tags."""
        patterns = tuple(sorted({pattern for one in tags for pattern in one.patterns}))
        return Posts(tuple(replace(part, any_of=(*part.any_of, patterns)) for part in self.parts))

    def without(self, *tags: Tag, authors: Iterable[str] = ()) -> Posts:
        """Those that match none of these tags and are by none of these authors (DIDs)."""
        patterns = tuple(pattern for one in tags for pattern in one.patterns)
        dids = tuple(_texts("authors", authors))
        return Posts(
            tuple(
                replace(part, none_of=part.none_of + patterns, not_authors=part.not_authors + dids)
                for part in self.parts
            )
        )

    def share(self, share: float) -> Posts:
        """The share of all places that these get, 0 to 1. Without one, they get what the others leave."""
        if not 0 < share <= 1:
            raise ValueError(f"a share is more than 0 and at most 1, not {share!r}")
        return self._each(weight=float(share) / max(len(self.parts), 1))

    def at_least(self, likes: int) -> Posts:
        """Those with so many likes and reposts."""
        return self._each(likes=int(likes))

    def media(self, kind: str) -> Posts:
        """Those with `images`, with a `video`, with a `link`, or with `none` of them."""
        if kind == "none":
            return Posts(tuple(replace(part, forbid=part.forbid | IMAGE | VIDEO | LINK) for part in self.parts))
        if kind not in MEDIA:
            raise ValueError(f"there is no media {kind!r}: any, none, images, video, link")
        return Posts(tuple(replace(part, require=part.require | MEDIA[kind]) for part in self.parts))

    def forbidding(self, flags: int) -> Posts:
        """Those that have none of these flags (ingest/events.py)."""
        return Posts(tuple(replace(part, forbid=part.forbid | flags) for part in self.parts))

    def languages(self, *codes: str) -> Posts:
        """Those in one of these languages, like `en`; posts that name none are left out."""
        return self._each(languages=tuple(language_codes.number(code) for code in codes))

    def by_followed(self) -> Posts:
        """Those by people whom the reader follows."""
        return self._each(followed=True)

    def _each(self, **changes: object) -> Posts:
        return Posts(tuple(replace(part, **changes) for part in self.parts))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Ask:
    """Who asks, and what a feed can be made of."""

    reader_did: str | None  # None: somebody who is logged out
    languages: tuple[str, ...]
    now_us: int

    def colikers(self) -> Posts:
        """What people who like what the reader likes are liking now."""
        return Posts((Part("likes"),))

    def popular(self, *tags: Tag) -> Posts:
        """What everybody likes just now, in the reader's languages."""
        return _of("popular", tags)

    def newest(self, *tags: Tag) -> Posts:
        """Newest first."""
        return _of("newest", tags)

    def trending(self, *tags: Tag) -> Posts:
        """What rises now: liked more within the last hour than its age lets expect."""
        return _of("trending", tags)

    def explore(self) -> Posts:
        """Now and then something that the reader would not have been shown."""
        return Posts((Part("explore"),))

    def posts(self, given: Iterable[str | tuple[str, float]]) -> Posts:
        """Posts that the feed names itself: at-uris, or (at-uri, weight)."""
        return given_posts(given)

    def hours(self, posts: Posts, hours: float) -> Posts:
        """Those that were written within so many hours."""
        since_us = self.now_us - int(hours * HOUR_US)
        return Posts(tuple(replace(part, since_us=max(part.since_us, since_us)) for part in posts.parts))


Wanted = Posts | Iterable[str | tuple[str, float]]


def _of(source: str, tags: tuple[Tag, ...]) -> Posts:
    posts = Posts((Part(source),))
    return posts.only(*tags) if tags else posts


def given_posts(given: Iterable[str | tuple[str, float]]) -> Posts:
    """Raises ValueError for more than MAX_GIVEN, without asking for the rest."""
    kept = list[tuple[str | int, float]]()
    for one in given:
        if len(kept) == MAX_GIVEN:
            raise ValueError(f"a feed names at most {MAX_GIVEN:,} posts")
        named: Any = (one, 1.0 / (1 + len(kept))) if isinstance(one, str) else one
        if not isinstance(named, tuple) or len(named) != 2:
            raise ValueError(f"{one!r} is neither an at-uri nor (at-uri, weight)")
        uri, weight = named
        if not isinstance(uri, str) or not weight >= 0 or weight == float("inf"):
            raise ValueError(f"{one!r} is neither an at-uri nor (at-uri, weight)")
        kept.append((uri[:3_000], float(weight)))
    return Posts((Part("given", given=tuple(kept)),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A feed as it was written."""

    name: str
    title: str
    about: str
    make: Callable[[Ask], Wanted]
    content_mode: str | None = None
    pinned: str = ""
    logged_out: str = "serve"
    replies: bool = False
    one_each: bool = False
    code: bool = True  # written in Python: called with a time limit
    file: str = ""
    line: int = 0
    patterns: frozenset[str] = field(default_factory=frozenset)


def feed(
    name: str,
    *,
    title: str,
    about: str,
    video: bool = False,
    pinned: str = "",
    logged_out: str = "serve",
    replies: bool = False,
    one_each: bool = False,
) -> Callable[[F], F]:
    """Publish what this function wants as a feed. `name` is the record key of the feed's generator record."""

    def decorate(make: F) -> F:
        code = make.__code__ if hasattr(make, "__code__") else None
        definition = checked(
            Definition(
                name=name,
                title=title,
                about=about,
                make=make,
                content_mode=VIDEO_MODE if video else None,
                pinned=pinned,
                logged_out=logged_out,
                replies=replies,
                one_each=one_each,
                file=code.co_filename if code else "",
                line=code.co_firstlineno if code else 0,
            )
        )
        setattr(make, DEFINITION, definition)
        return make

    return decorate


def checked(definition: Definition) -> Definition:
    """Raises SettingsError for what can't be a feed."""
    name = definition.name
    if not is_name(str(name)):
        raise SettingsError(f"{name!r} can't be a feed's name", "1 to 64 small letters, digits and dashes")
    for what in ("title", "about"):
        text = getattr(definition, what)
        if not isinstance(text, str) or not text.strip():
            raise SettingsError(f"the feed {name!r} has no {what}", f'{what} = "…", for people')
    if definition.logged_out not in LOGGED_OUT:
        raise SettingsError(f"logged_out = {definition.logged_out!r}", f"one of {', '.join(LOGGED_OUT)}")
    if definition.logged_out == "explain" and not definition.pinned:
        raise SettingsError(f"the feed {name!r} has nothing to explain with", "pinned = the at-uri of a post")
    if definition.pinned and not _is_post(definition.pinned):
        raise SettingsError(f"pinned = {definition.pinned!r} is no post", "at://did:plc:…/app.bsky.feed.post/3k…")
    return definition


def _is_post(uri: str) -> bool:
    parsed = parse_at_uri(uri)
    return parsed is not None and parsed.collection == POST_NSID
