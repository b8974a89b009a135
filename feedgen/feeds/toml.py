"""A feed without code: a table of a TOML file becomes the same definition that a function does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from feedgen.core import languages
from feedgen.core.errors import SettingsError
from feedgen.core.ids import is_did
from feedgen.feeds.write import VIDEO_MODE, Ask, Definition, Posts, Tag, checked, tag
from feedgen.ingest.events import ADULT, ADULT_LABELS

HOURS: Final = 48.0
MEDIA: Final = ("any", "none", "images", "video", "link")
ORDERS: Final = ("newest", "popular", "for-you", "one-each", "trending")


class Any_(msgspec.Struct, forbid_unknown_fields=True, rename={}):
    """What posts must match at least one of."""

    hashtags: list[str] = []
    words: list[str] = []
    links: list[str] = []


class Not(Any_, forbid_unknown_fields=True):
    """What posts may match none of."""

    authors: list[str] = []
    labels: list[str] = []


class Table(msgspec.Struct, forbid_unknown_fields=True, rename={"any_": "any", "not_": "not"}):
    title: str = ""
    about: str = ""
    any_: Any_ | None = None
    not_: Not | None = None
    languages: list[str] = []
    media: str = "any"
    replies: bool = False
    likes: int = 0
    order: str = "newest"
    hours: float = HOURS
    pinned: str = ""
    logged_out: str = "serve"
    followed: bool = False


class InFile(SettingsError):
    """Something wrong, and in which line."""

    def __init__(self, message: str, hint: str, line: int) -> None:
        super().__init__(message, hint)
        self.line = line


def definitions_in(document: dict[str, Any], file: str, text: str) -> tuple[list[Definition], list[Tag]]:
    """The feeds of a TOML file. Raises SettingsError."""
    others = sorted(set(document) - {"feed"})
    tables = document.get("feed", {})
    if others or not isinstance(tables, dict) or not tables:
        raise InFile(f"{others[0]!r} is unknown here" if others else "it defines no feed", "write [feed.name]", 1)
    definitions, tags = list[Definition](), list[Tag]()
    for name, table in tables.items():
        line = _line_of(text, name)
        try:
            definition, of_feed = _definition(name, msgspec.convert(table, Table), file, line)
        except msgspec.ValidationError as error:
            raise InFile(f"[feed.{name}]: {error}", f"known keys: {', '.join(_KEYS)}", line) from None
        except SettingsError as error:
            raise InFile(f"[feed.{name}]: {error.message}", error.hint, line) from None
        definitions.append(definition)
        tags += of_feed
    return definitions, tags


_KEYS: Final = [{"any_": "any", "not_": "not"}.get(key, key) for key in Table.__struct_fields__]


def _line_of(text: str, name: str) -> int:
    found = re.search(rf"^\s*\[\s*feed\s*\.\s*[\"']?{re.escape(name)}[\"']?\s*[\].]", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 + found[0].count("\n") if found else 1


def _definition(name: str, table: Table, file: str, line: int) -> tuple[Definition, list[Tag]]:
    wanted, unwanted = table.any_, table.not_ or Not()
    _check(table, unwanted)
    tags = list[Tag]()
    if wanted is not None:
        tags.append(_tag(name, wanted))
    if any((unwanted.hashtags, unwanted.words, unwanted.links)):
        tags.append(_tag(f"not {name}", unwanted))
    definition = Definition(
        name=name,
        title=table.title,
        about=table.about or table.title,
        make=_maker(table, tags[:1] if wanted is not None else [], tags[1 if wanted is not None else 0 :], unwanted),
        content_mode=VIDEO_MODE if table.media == "video" else None,
        pinned=table.pinned,
        logged_out=table.logged_out,
        replies=table.replies,
        one_each=table.order == "one-each",
        code=False,
        file=file,
        line=line,
        patterns=frozenset(pattern for one in tags for pattern in one.patterns),
    )
    return checked(definition), tags


def _tag(name: str, given: Any_) -> Tag:
    return tag(name, hashtags=given.hashtags, words=given.words, links=given.links)


def _check(table: Table, unwanted: Not) -> None:
    for what, value, allowed in (("media", table.media, MEDIA), ("order", table.order, ORDERS)):
        if value not in allowed:
            raise SettingsError(f"{what} = {value!r}", f"one of {', '.join(allowed)}")
    if not 0 < table.hours <= 24 * 120:
        raise SettingsError(f"hours = {table.hours}", "more than 0, at most 2880")
    if table.likes < 0:
        raise SettingsError(f"likes = {table.likes}", "0 or more")
    for code in table.languages:
        if languages.number(code) == languages.UNKNOWN:
            raise SettingsError(f"languages: {code!r} is not known", "codes like en, pt, ja")
    for did in unwanted.authors:
        if not is_did(did):
            raise SettingsError(f"authors: {did!r} is not a DID", "did:plc:…; `feedgen whoami` finds one")
    for label in unwanted.labels:
        if label not in ADULT_LABELS:
            raise SettingsError(
                f"labels: {label!r} is not kept with posts",
                f"known: {', '.join(sorted(ADULT_LABELS))}; others are hidden everywhere by [labels]",
            )


def _maker(table: Table, wanted: list[Tag], unwanted: list[Tag], given: Not) -> Callable[[Ask], Posts]:
    def make(ask: Ask) -> Posts:
        order = table.order
        posts = ask.newest(*wanted)
        if order == "popular":
            posts = ask.popular(*wanted)
        elif order == "trending":
            posts = ask.trending(*wanted)
        elif order == "for-you":
            ranked = ask.colikers()
            posts = (ranked.only(*wanted) if wanted else ranked) + ask.popular(*wanted)
        posts = ask.hours(posts.without(*unwanted, authors=given.authors), table.hours).media(table.media)
        if given.labels:
            posts = posts.forbidding(ADULT)
        if table.languages:
            posts = posts.languages(*table.languages)
        if table.followed:
            posts = posts.by_followed()
        return posts.at_least(table.likes)

    return make
