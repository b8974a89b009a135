"""A feed as it was written (`write.py`), made into one that is served: its posts come from sources, the rules after."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from feedgen.core.ids import POST_NSID, parse_at_uri, rkey_to_int
from feedgen.core.telemetry import Counter
from feedgen.feeds import write
from feedgen.feeds.contract import Ask, Item, Known, Made, Page
from feedgen.feeds.for_you import ForYou, Seeds
from feedgen.feeds.guard import Guard
from feedgen.feeds.services import FeedServices
from feedgen.feeds.sources import BY_NAME, has_needs
from feedgen.feeds.sources.source import Rows, Scene
from feedgen.feeds.write import Definition, Part, Posts
from feedgen.graph.access import I64, U32
from feedgen.graph.view import View
from feedgen.rank.listing import Fades, ListRules, Source
from feedgen.rank.params import Formula
from feedgen.rank.request import (
    NOTHING,
    R_AUTHOR,
    R_COUNT,
    R_FLAGS,
    R_LANGUAGE,
    R_POST,
    R_TIME,
    Ranked,
    Request,
    request,
)
from feedgen.rank.tongues import ALL_READ

RANKED: Final = frozenset({"likes", "explore"})  # sources that need a ranking
_NO_POSTS: Final = np.empty(0, np.uint32)

failures = Counter("feedgen_feeds_written_failures_total", "Lists that a feed's own code could not make", "why")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a feed wants for one reader. `only` are the posts of which alone a ranking may hold; None: all."""

    posts: Posts
    ranks: bool
    only: U32 | None


class WrittenFeed(ForYou):
    def __init__(self, services: FeedServices, definition: Definition, guard: Guard) -> None:
        self.name, self.title, self.description = definition.name, definition.title, definition.about
        self.content_mode = definition.content_mode
        super().__init__(services)
        self.definition, self.trouble = definition, ""  # what went wrong the last time, for the operator
        self._guard = guard
        self._last: tuple[Ask, Plan] | None = None
        self._tagged: Posts | None = None  # the last plan, for when there is no time to ask

    @property
    def rules(self) -> ListRules:
        rules, wanted = self.services.rules, self.definition
        if wanted.replies:
            rules = replace(rules, replies=True)
        return replace(rules, author_max=1) if wanted.one_each else rules

    async def page(self, ask: Ask) -> Page:
        wanted = self.definition
        if ask.reader_did is None and wanted.logged_out != "serve":
            items = [Item(wanted.pinned)] if wanted.pinned and ask.cursor is None else []
            return Page(items)
        page = await super().page(ask)
        if not wanted.pinned or ask.cursor is not None or not self._may_pin(ask, wanted.pinned):
            return page
        return replace(page, items=[Item(wanted.pinned, pin=True), *(i for i in page.items if i.uri != wanted.pinned)])

    def _may_pin(self, ask: Ask, uri: str) -> bool:
        post = number_of(self.services, uri)
        view = self.services.library.view()
        return (
            post is not None and self._allowed(ask, view, np.array([post], np.uint32), self._page_policy(ask, view))[0]
        )

    def make(self, ask: Ask, known: Known, cheap: bool) -> Made:
        if ask.reader_did is not None:
            return self.drawn_list(ask, known, cheap)
        drawn = self.draw(ask, known, self.services.formula(cheap, known.recipe))  # shared, so all of it at once
        return Made(drawn.listed.posts, drawn.listed.codes, ask.languages)

    def plan(self, ask: Ask) -> Plan:
        """What the feed's code says, asked once a list. Raises what the code raises."""
        last = self._last
        if last is not None and last[0] is ask:
            return last[1]
        asked = write.Ask(ask.reader_did, ask.languages, ask.now_us)
        try:
            posts = self._guard.run(self.definition, lambda: _posts(self.definition.make(asked)))
        except BaseException as error:
            failures.add(1, "slow" if isinstance(error, TimeoutError) else "bug")
            self.trouble = f"{type(error).__name__}: {error}"[:300]
            if isinstance(error, Exception):
                raise
            raise RuntimeError(self.trouble) from error  # what would end a thread only makes the feed fall back
        self.trouble = ""
        ranked = [part for part in posts.parts if part.source in RANKED]
        allowed = [self._matching(part) for part in ranked]
        only = None
        if allowed and all(one is not None for one in allowed):
            only = np.unique(np.concatenate([one for one in allowed if one is not None]))
        plan = Plan(posts, bool(ranked) and (only is None or only.size > 0), only)
        self._last, self._tagged = (ask, plan), posts
        return plan

    def query(
        self, view: View, f: Formula, ask: Ask, known: Known, liked: Seeds | None = None
    ) -> tuple[Request, Seeds, U32]:
        query, liked, follows = super().query(view, f, ask, known, liked)
        plan = self.plan(ask)
        if not plan.ranks:  # nothing leads anywhere: the ranking is over at once
            query = query._replace(seeds=_NO_POSTS, seed_times=np.empty(0, np.int64), people=_NO_POSTS, less=_NO_POSTS)
            query = query._replace(
                seed_factors=np.empty(0),
                seed_listed=np.empty(0, np.uint8),
                people_weights=np.empty(0),
                less_factors=np.empty(0),
            )
        elif plan.only is not None:
            query = query._replace(only=plan.only)
        require = [part.require for part in plan.posts.parts if part.source in RANKED]
        flags = int(np.bitwise_and.reduce(require)) if require else 0
        return query._replace(require=query.require | flags, early=query.early or bool(flags)), liked, follows

    def fades(self, view: View, ask: Ask, known: Known, query: Request) -> Fades:
        """Only a ranking is mixed with what the reader likes; other orders stay as they are."""
        if self.plan(ask).ranks:
            return super().fades(view, ask, known, query)
        return Fades(_NO_POSTS, np.empty(0), ALL_READ)

    def sources(self, view: View, ask: Ask, query: Request, ranked: Ranked, likes: int) -> list[Source]:
        parts = self.plan(ask).posts.parts
        popular = self.services.popular_rows(ask.languages, video=False)
        follows = self._follows(ask, view) if any(part.followed for part in parts) else set[int]()
        shares, made = _shares(parts), list[Source]()
        for kind, (part, share) in enumerate(zip(parts, shares, strict=True)):
            source = BY_NAME[part.source]
            given = self._given(part)
            scene = Scene(view, ask, query, ranked, popular, likes, self.dice(ask), self._matching(part), given)
            if has_needs(source, scene):
                ints, codes, scores = self._narrowed(part, source.rows(scene), follows)
                made.append(Source(kind, ints, scores, codes, share, source.first))
        return made

    def popular_rows(self, ask: Ask) -> I64:
        """What there is when the feed's code did not answer in time: of its tags, if it has any."""
        posts = self._tagged
        tagged = [] if posts is None else [part for part in posts.parts if part.any_of]
        if posts is None or len(tagged) < len(posts.parts):
            return super().popular_rows(ask)
        view = self.services.library.view()
        popular, nothing = super().popular_rows(ask), request(view.moment_us(ask.now_us))
        found = list[I64]()
        for part in tagged:
            scene = Scene(view, ask, nothing, NOTHING, popular, 0, 0, self._matching(part))
            found.append(self._narrowed(part, BY_NAME["popular"].rows(scene), set()).ints)
        return np.concatenate(found)

    def _matching(self, part: Part) -> U32 | None:
        """Ascending: the posts that match a part's tags; None: it has none."""
        if not part.any_of:
            return None
        tags = self.services.library.tagged
        found = tags(part.any_of[0])
        for group in part.any_of[1:]:
            found &= tags(group)
        if part.none_of:
            found -= tags(part.none_of)
        return np.frombuffer(found.to_array(), np.uint32)

    def _given(self, part: Part) -> tuple[tuple[int, float], ...]:
        found = ((number_of(self.services, one) if isinstance(one, str) else one, weight) for one, weight in part.given)
        return tuple((post, weight) for post, weight in found if post is not None)

    def _narrowed(self, part: Part, rows: Rows, follows: set[int]) -> Rows:
        ints = rows.ints
        keep = (ints[:, R_FLAGS] & part.require == part.require) & (ints[:, R_FLAGS] & part.forbid == 0)
        keep &= (ints[:, R_COUNT] >= part.likes) & (ints[:, R_TIME] >= part.since_us)
        if part.languages:
            keep &= np.isin(ints[:, R_LANGUAGE], part.languages)
        if part.none_of:
            keep &= ~np.isin(ints[:, R_POST], np.array(self.services.library.tagged(part.none_of), np.int64))
        if part.not_authors:
            people = [person for did in part.not_authors if (person := self.services.library.person(did)) is not None]
            keep &= ~np.isin(ints[:, R_AUTHOR], people)
        if part.followed:
            keep &= np.isin(ints[:, R_AUTHOR], list(follows))
        return Rows(ints[keep], rows.codes[keep], None if rows.scores is None else rows.scores[keep])


def _posts(wanted: object) -> Posts:
    """What a feed's function returned. Raises TypeError, ValueError."""
    if isinstance(wanted, Posts):
        return wanted
    if wanted is None or isinstance(wanted, str | bytes):
        raise TypeError("a feed returns posts, like ask.newest(cats), or a list of at-uris")
    return write.given_posts(wanted)  # type: ignore[arg-type]


def _shares(parts: tuple[Part, ...]) -> list[float]:
    """The first part without a share gets what is left; further ones fill up."""
    shares = [part.weight for part in parts]
    total = sum(shares)
    if total > 1:
        return [share / total for share in shares]
    first = next((i for i, share in enumerate(shares) if not share), None)
    if first is not None:
        shares[first] = 1 - total
    return shares


def number_of(services: FeedServices, uri: str) -> int | None:
    """A post's number; None if it is unknown."""
    parsed = parse_at_uri(uri)
    author = services.library.person(parsed.did) if parsed and parsed.collection == POST_NSID else None
    if parsed is None or author is None:
        return None
    post = int(services.library.view().find_posts([author], [rkey_to_int(parsed.rkey)])[0])
    return post if post != 0xFFFF_FFFF else None
