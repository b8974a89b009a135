"""Which messages a consumer wants: its query, judged once, then asked of each event before anything is joined."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from feedgen.core.ids import FOLLOW_NSID, LIKE_NSID, POST_NSID, REPOST_NSID, is_did
from feedgen.ingest.events import COLLECTIONS
from feedgen.stream.formats import NAMES
from feedgen.stream.happening import Happening

MAX_DIDS: Final = 10_000
MAX_VALUES: Final = 100
MEDIA: Final = ("image", "video", "link", "quote", "none")
KINDS: Final = ("identity", "account")  # may stand among the collections
_SHORT: Final = {"post": POST_NSID, "like": LIKE_NSID, "repost": REPOST_NSID, "follow": FOLLOW_NSID}
_POSTS_ONLY: Final = ("graze", "rs")


class BadQuery(Exception):
    """A parameter that can't be; the text says what is allowed."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a consumer asked for."""

    format: str = "feedgen"
    collections: frozenset[str] = frozenset({POST_NSID})
    dids: frozenset[str] = frozenset()
    languages: frozenset[str] = frozenset()
    media: frozenset[str] = frozenset()
    sample: float = 1.0
    shard: tuple[int, int] = (0, 1)
    feed: str = ""
    cursor: str = ""
    control: bool = False

    @property
    def joins(self) -> bool:
        return self.format != "raw"

    def wants(self, one: Happening) -> bool:
        """The cheap questions first."""
        if (one.collection or one.kind) not in self.collections:
            return False
        if self.dids and one.did not in self.dids:
            return False
        if self.sample < 1 and _share(one.uri or one.did) >= self.sample:
            return False
        if self.shard[1] > 1 and zlib.crc32(one.did.encode()) % self.shard[1] != self.shard[0]:
            return False
        if not self.languages and not self.media:
            return True
        return one.operation == "delete" or self._wants_parts(one)

    def _wants_parts(self, one: Happening) -> bool:
        """Languages and media are those of posts; a record without them does not qualify."""
        parts = one.parts
        if parts is None:
            return False
        if self.languages and not any(name.partition("-")[0].lower() in self.languages for name in parts.langs):
            return False
        if not self.media:
            return True
        has = parts.media | ({"quote"} if parts.quoted else set())
        return bool(self.media & (has or {"none"}))


def _share(name: str) -> float:
    """A post is in every larger sample, too."""
    return zlib.crc32(name.encode()) / (1 << 32)


def parse(params: Mapping[str, Sequence[str]], members: Callable[[str], frozenset[str]], feeds: Sequence[str]) -> Query:
    """Raises BadQuery. `members` are the DIDs of a list that the settings name, `feeds` those that may be asked for."""
    known = set(Query.__dataclass_fields__) | {"lists", "token", "media", "langs"}
    for name in params:
        if name not in known:
            raise BadQuery(f"no parameter {name[:40]!r}; there are {', '.join(sorted(known))}")
    form = _one(params, "format", "feedgen")
    if form not in NAMES:
        raise BadQuery(f"format must be one of {', '.join(NAMES)}")
    dids = set(_many(params, "dids", MAX_DIDS))
    if bad := next((did for did in dids if not is_did(did)), None):
        raise BadQuery(f"dids: {bad[:80]!r} is no DID")
    for name in _many(params, "lists", MAX_VALUES):
        found = members(name)
        if not found:
            raise BadQuery(f"lists: nobody is known to be in {name[:200]!r}")
        dids |= found
    return Query(
        format=form,
        collections=_collections(params, form),
        dids=frozenset(dids),
        languages=frozenset(one.lower() for one in _many(params, "langs", MAX_VALUES)),
        media=_choices(params, "media", MEDIA),
        sample=_sample(_one(params, "sample", "1")),
        shard=_shard(_one(params, "shard", "0/1")),
        feed=_choice(_one(params, "feed", ""), "feed", feeds),
        cursor=_one(params, "cursor", ""),
        control=_one(params, "control", "0") in ("1", "true"),
    )


def _one(params: Mapping[str, Sequence[str]], name: str, default: str) -> str:
    values = params.get(name, ())
    if len(values) > 1:
        raise BadQuery(f"{name} is given {len(values)} times")
    return values[0] if values else default


def _many(params: Mapping[str, Sequence[str]], name: str, limit: int) -> list[str]:
    """Repeated, or with commas."""
    found = [one.strip() for value in params.get(name, ()) for one in value.split(",") if one.strip()]
    if len(found) > limit:
        raise BadQuery(f"{name}: {len(found)} are too many; {limit} are allowed")
    return found


def _choice(value: str, name: str, allowed: Sequence[str]) -> str:
    if value and value not in allowed:
        raise BadQuery(f"{name} must be one of {', '.join(allowed) or 'none: there are none'}")
    return value


def _choices(params: Mapping[str, Sequence[str]], name: str, allowed: Sequence[str]) -> frozenset[str]:
    return frozenset(_choice(one, name, allowed) for one in _many(params, name, MAX_VALUES))


def _collections(params: Mapping[str, Sequence[str]], form: str) -> frozenset[str]:
    found = [_SHORT.get(one, one) for one in _many(params, "collections", MAX_VALUES)] or [POST_NSID]
    for one in found:
        _choice(one, "collections", (*COLLECTIONS, *_SHORT, *KINDS))
        if form in _POSTS_ONLY and one != POST_NSID:
            raise BadQuery(f"the format {form} has posts only")
    return frozenset(found)


def _sample(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise BadQuery("sample must be a number above 0, 1 at most")
    return share


def _shard(text: str) -> tuple[int, int]:
    """`i/n`, by the author's DID."""
    i, slash, n = text.partition("/")
    if not (slash and i.isdecimal() and n.isdecimal() and len(n) < 5 and int(i) < int(n)):
        raise BadQuery("shard must be i/n, like 0/4")
    return int(i), int(n)
