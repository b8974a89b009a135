"""Find tags' patterns in posts while they pass: hashtags, words, hosts of links, members of lists.

One automaton (Aho-Corasick) looks for all words at once, so the cost grows with the text and with what is found, not
with the number of patterns. A pattern is a short string whose first letter says its kind; only hits are kept.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from feedgen.core.errors import SettingsError

HASHTAG, WORD, LINK, LIST = "#", "w", "l", "@"  # the first letter of a pattern
MAX_PATTERNS: Final = 10_000  # in all feeds together
MAX_LETTERS: Final = 100  # of a word or hashtag
MAX_TEXT: Final = 4_000  # letters of a post that are looked at; the lexicon allows 3,000 bytes
MAX_LINKS: Final = 64  # links and hashtags of a post that are looked at
MAX_LABELS: Final = 8  # parts of a host name

# Scripts without spaces: a word may stand anywhere. Korean words carry their particles at the end.
_SPACELESS: Final = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\U00020000-\U0003ffff]"
).match
_HANGUL: Final = re.compile(r"[\u1100-\u11ff\uac00-\ud7af]").match
_HOST: Final = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,63}").fullmatch
_AUTHORITY: Final = re.compile(r"(?:[^/?#\\@]*@)?([\w.-]*[\w-])").match
_LIST_URI: Final = re.compile(r"at://did:[a-z]+:[\w.:%-]+/app\.bsky\.graph\.list/[\w.~:-]+").fullmatch


class _Feature(msgspec.Struct, gc=False):
    uri: str = ""
    tag: str = ""


class _Facet(msgspec.Struct, gc=False):
    features: list[_Feature] = msgspec.field(default_factory=list)


class _External(msgspec.Struct, gc=False):
    uri: str = ""


class _Media(msgspec.Struct, gc=False):
    external: _External | None = None


class _Embed(msgspec.Struct, gc=False):
    external: _External | None = None
    media: _Media | None = None


class _Text(msgspec.Struct, gc=False):
    embed: msgspec.Raw = msgspec.Raw()
    facets: msgspec.Raw = msgspec.Raw()
    tags: msgspec.Raw = msgspec.Raw()
    text: str = ""


class _Commit(msgspec.Struct, gc=False):
    record: _Text | None = None
    did: str = ""


class _Message(msgspec.Struct, gc=False):
    payload: _Commit | None = None
    commit: _Commit | None = None
    did: str = ""


_message = msgspec.json.Decoder(_Message).decode
_facets = msgspec.json.Decoder(list[_Facet]).decode
_strings = msgspec.json.Decoder(list[str]).decode
_embed = msgspec.json.Decoder(_Embed).decode
_UNREADABLE: Final = (msgspec.DecodeError, RecursionError, ValueError, OverflowError)


def folded(text: str) -> str:
    """Text as it is compared: without case, width and odd spaces."""
    text = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")
    return " ".join(text.split()) if "\n" in text or "  " in text or "\t" in text else text.strip(" ")


def hashtag(text: str) -> str:
    """The pattern of a hashtag."""
    plain = folded(text.strip().lstrip("#\uff03"))
    if not plain or len(plain) > MAX_LETTERS or any(letter.isspace() or letter in "#*" for letter in plain):
        raise SettingsError(f"{text!r} is not a hashtag", f"one word of at most {MAX_LETTERS} letters, without a space")
    return HASHTAG + plain


def word(text: str) -> str:
    """The pattern of a word or phrase; a `*` at its end stands for any ending."""
    plain = folded(text)
    stem = plain.removesuffix("*")
    if "*" in stem or any(sign in plain for sign in ("\\", "[", "(", "|", ".+")):
        raise SettingsError(
            f"{text!r} looks like a regular expression, which could be slow",
            "name the words themselves; a * may stand at the end of one",
        )
    if not any(letter.isalnum() or not letter.isascii() for letter in stem) or len(plain) > MAX_LETTERS:
        raise SettingsError(f"{text!r} is not a word", f"1 to {MAX_LETTERS} letters, at least one of them no sign")
    if len(stem) < 2 and stem.isascii():
        raise SettingsError(f"{text!r} is too short", "a word has at least two letters")
    return WORD + plain


def link(text: str) -> str:
    """The pattern of a host: links to it and to its subdomains."""
    plain = folded(text).removeprefix("https://").removeprefix("http://").removeprefix("www.").rstrip("/")
    if not _HOST(plain):
        raise SettingsError(f"{text!r} is not the name of a site", "for example crates.io, without a path")
    return LINK + plain


def list_of(text: str) -> str:
    """The pattern of a list: posts of its members."""
    if not _LIST_URI(text):
        raise SettingsError(f"{text!r} is not a list", "for example at://did:plc:…/app.bsky.graph.list/3k…")
    return LIST + text


class Matcher:
    """The patterns of all feeds. `members` says who is on each list, by DID; it may change at any time."""

    def __init__(self, patterns: Iterable[str], members: Mapping[str, Iterable[str]] | None = None) -> None:
        every = sorted(set(patterns))
        if len(every) > MAX_PATTERNS:
            raise SettingsError(f"the feeds have {len(every):,} patterns", f"at most {MAX_PATTERNS:,} in all")
        self.patterns = every
        self._hashtags = {one[1:]: one for one in every if one[0] == HASHTAG}
        self._links = {one[1:]: one for one in every if one[0] == LINK}
        words = [one for one in every if one[0] in (WORD, HASHTAG)]
        self._words = [(one, *_borders(one)) for one in words]
        needles = [(one[1:].removesuffix("*") if one[0] == WORD else one) for one in words]
        self._find = _finder(needles) if needles else None
        self._lists: dict[str, tuple[str, ...]] = {}
        self.set_members(members or {})

    def set_members(self, members: Mapping[str, Iterable[str]]) -> None:
        """Who is on the lists, now."""
        lists: dict[str, list[str]] = {}
        for one in self.patterns:
            if one[0] == LIST:
                for did in members.get(one[1:], ()):
                    lists.setdefault(did, []).append(one)
        self._lists = {did: tuple(found) for did, found in lists.items()}

    def match(self, message: bytes) -> tuple[str, ...]:
        """The patterns that hit in a create or update of a post, inflated. Total: what can't be read hits nothing."""
        try:
            read = _message(message)
        except _UNREADABLE:
            return ()
        commit = read.payload or read.commit
        if commit is None or commit.record is None:
            return ()
        found = set(self._lists.get(read.did or commit.did, ()))
        record = commit.record
        if self._find is not None and record.text:
            self._in_text(record.text[:MAX_TEXT], found)
        if record.facets and (self._hashtags or self._links):
            self._in_facets(record.facets, found)
        if record.tags and self._hashtags:
            self._in_tags(record.tags, found)
        if record.embed and self._links:
            self._in_embed(record.embed, found)
        return tuple(sorted(found)) if found else ()

    def _in_text(self, text: str, found: set[str]) -> None:
        assert self._find is not None
        text = folded(text)
        for index, start, end in self._find(text, overlapping=True):
            pattern, left, right = self._words[index]
            if pattern in found:
                continue
            if left and start > 0 and _joins(text[start - 1], left):
                continue
            if right and end < len(text) and _joins(text[end], right):
                continue
            found.add(pattern)

    def _in_facets(self, facets: msgspec.Raw, found: set[str]) -> None:
        try:
            read = _facets(facets)
        except _UNREADABLE:
            return
        for facet in read[:MAX_LINKS]:
            for feature in facet.features[:MAX_LABELS]:
                if feature.tag:
                    self._hashtag(feature.tag, found)
                elif feature.uri:
                    self._link(feature.uri, found)

    def _in_tags(self, tags: msgspec.Raw, found: set[str]) -> None:
        try:
            read = _strings(tags)
        except _UNREADABLE:
            return
        for tag in read[:MAX_LINKS]:
            self._hashtag(tag, found)

    def _in_embed(self, embed: msgspec.Raw, found: set[str]) -> None:
        try:
            read = _embed(embed)
        except _UNREADABLE:
            return
        external = read.external or (read.media.external if read.media is not None else None)
        if external is not None and external.uri:
            self._link(external.uri, found)

    def _hashtag(self, tag: str, found: set[str]) -> None:
        hit = self._hashtags.get(folded(tag[:MAX_LETTERS].lstrip("#\uff03")))
        if hit is not None:
            found.add(hit)

    def _link(self, uri: str, found: set[str]) -> None:
        host = host_of(uri)
        for _ in range(MAX_LABELS):
            hit = self._links.get(host)
            if hit is not None:
                found.add(hit)
            _, dot, host = host.partition(".")
            if not dot:
                return


def _finder(needles: list[str]) -> Callable[..., list[tuple[int, int, int]]]:
    """(which, from, to) of every needle in a text. Imported here: without feeds by words it is not needed."""
    import ahocorasick_rs

    find: Callable[..., list[tuple[int, int, int]]] = ahocorasick_rs.AhoCorasick(needles).find_matches_as_indexes
    return find


def host_of(uri: str) -> str:
    """The host of an http address, in small letters; empty for any other."""
    scheme, _, rest = uri[:2_000].partition("://")
    if scheme.lower() not in ("http", "https"):
        return ""
    found = _AUTHORITY(rest)
    return found[1].lower() if found else ""


_NONE, _SPACED, _ANY = 0, 1, 2  # which letters beside a match make it a part of a longer word


def _borders(pattern: str) -> tuple[int, int]:
    """What must not stand before and behind a pattern."""
    text = pattern[1:]
    if pattern[0] == HASHTAG:
        return _ANY, _ANY
    left = _SPACED if _is_letter(text[0]) and not _SPACELESS(text[0]) else _NONE
    last = text[-1]
    open_end = last == "*" or not _is_letter(last) or _SPACELESS(last) or _HANGUL(last)
    return left, _NONE if open_end else _SPACED


def _is_letter(letter: str) -> bool:
    return letter.isalnum() or letter == "_" or unicodedata.category(letter)[0] == "M"


def _joins(letter: str, border: int) -> bool:
    """Whether a neighbour continues the word."""
    if letter.isascii():
        return letter.isalnum() or letter == "_"
    return _is_letter(letter) and (border == _ANY or not _SPACELESS(letter))
