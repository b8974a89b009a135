"""The feed that this is all about: what people who like what you like are liking now.

With few likes the people whom the reader follows speak as well, the louder the fewer likes there are; what is popular
fills up what is left, so that a page is full from the first day.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from feedgen.core.ids import NO_PERSON
from feedgen.core.languages import number
from feedgen.core.telemetry import Counter
from feedgen.feeds import sources
from feedgen.feeds.contract import Ask, Fetched, Known, Made
from feedgen.feeds.list_feed import ListFeed
from feedgen.feeds.sources import offered
from feedgen.feeds.sources.source import Scene
from feedgen.graph.access import I64, U8, U32
from feedgen.graph.view import View
from feedgen.rank.compose import PAGE
from feedgen.rank.kernel import MAX_EXCLUDED, rank
from feedgen.rank.listing import Fades, Listed, Source, make_list
from feedgen.rank.numeric import F64
from feedgen.rank.paging import tag
from feedgen.rank.params import Formula
from feedgen.rank.request import Ranked, Request, request
from feedgen.rank.scorer import learned
from feedgen.rank.seen import MORE_SEED_FACTOR, VISIT_US, Taste
from feedgen.rank.tongues import language_factors, languages_of, told_languages
from feedgen.rank.why import Why, absent, explain

ENOUGH_SEEDS: Final = 50  # from here on the people one follows have no say of their own
MOST_FROM_FOLLOWS: Final = 0.9  # of all weight, with no likes at all
MAX_FOLLOWS: Final = 2000
PLACES: Final = 120  # that are composed at once: few readers come to the end of them
MAX_LIKED: Final = 3000  # newest ratings that are kept off the list

edges_total = Counter("feedgen_rank_edges_total", "Likes that rankings looked at, by preset", "preset")


class Seeds(NamedTuple):
    posts: U32
    times_us: I64
    factors: F64
    listed: U8  # 1: the arrays hold the reader's own edge

    def only(self, rows: NDArray[np.intp]) -> Seeds:
        return Seeds(self.posts[rows], self.times_us[rows], self.factors[rows], self.listed[rows])


class Drawn(NamedTuple):
    """A list, and what it was made from."""

    view: View
    query: Request
    ranked: Ranked
    sources: list[Source]
    listed: Listed
    liked: Seeds
    follows: U32


class ForYou(ListFeed):
    name = "for-you"
    title = "For You"
    description = "Posts that people who like what you like are liking now."
    early = False  # judge flags before the best are chosen: for feeds that few posts pass

    def context(self, code: int) -> str | None:
        return sources.context(code)

    def make(self, ask: Ask, known: Known, cheap: bool) -> Made:
        if ask.reader_did is None:
            return self.popular_list(ask, known)
        return self.drawn_list(ask, known, cheap)

    def drawn_list(self, ask: Ask, known: Known, cheap: bool) -> Made:
        """A list for one reader, as far as they read it."""
        laps = self.services.laps(cheap, known.recipe)
        size = min(PLACES, self.rules_for(known).size - known.above.size)
        drawn = self.draw(ask, known, self.services.formula(cheap, known.recipe), lap=laps.lap, size=size)
        edges_total.add(drawn.ranked.edges, laps.preset)
        posts = drawn.listed.posts
        above = known.above if posts.size == PLACES else None
        return Made(posts, drawn.listed.codes, told_languages(languages_of(drawn.view, posts[:PAGE])), above=above)

    def draw(
        self,
        ask: Ask,
        known: Known,
        f: Formula,
        liked: Seeds | None = None,
        lap: Callable[[str], None] = lambda stage: None,
        size: int | None = None,
    ) -> Drawn:
        """A list with all that it was made from. `liked` stands for what the reader likes, if they are made up; `lap`
        is told when a stage is done; `size` is how many posts, if fewer than the rules say."""
        view, rules = self.services.library.view(), self.rules_for(known)
        query, liked, follows = self.query(view, f, ask, known, liked)
        lap("seeds")
        ranked = learned(view, f, query, rank(view, f, query), self.services.scorer)
        lap("ranking")
        made_of = self.sources(view, ask, query, ranked, liked.posts.size)
        listed = make_list(
            view,
            made_of,
            rules if size is None else replace(rules, size=size),
            reader=NO_PERSON if ask.person is None else ask.person,
            liked=np.sort(liked.posts),
            seen=known.seen,
            follows=np.sort(follows),
            hidden_posts=either(known.taste.hidden_posts, known.skip),
            hidden_authors=known.taste.hidden_authors,
            fades=self.fades(view, ask, known, query),
            before=view.names_of(known.above)[0],
            logged_out=ask.reader_did is None,
        )
        lap("list")
        return Drawn(view, query, ranked, made_of, listed, liked, follows)

    def fades(self, view: View, ask: Ask, known: Known, query: Request) -> Fades:
        """What was shown before counts less, and what is in a language that the reader likes nothing in."""
        named = [number(language) for language in ask.languages]
        return Fades(*known.faded, language_factors(languages_of(view, query.seeds), named))

    def sources(self, view: View, ask: Ask, query: Request, ranked: Ranked, likes: int) -> list[Source]:
        """What this reader's list is made of."""
        scene = Scene(view, ask, query, ranked, self.popular_rows(ask), likes, self.dice(ask))
        return offered(self.services.mix, scene)

    def dice(self, ask: Ask) -> int:
        """For draws: the same for a reader within one visit."""
        return tag(f"{ask.reader_did} {ask.now_us // VISIT_US}", 63)

    async def why(self, ask: Ask, post: int) -> Why | str:
        """Why a post would stand in the list this reader would get now, or why not. Nothing is remembered of it."""
        view, known = self.services.library.view(), self._known(ask, self.recipe_of(ask), again=False)
        f = self.services.formula(cheap=False, recipe=known.recipe)

        def look(cheap: bool) -> Why | str:
            query, _, _ = self.query(view, f, ask, known)
            return explain(view, f, query, post, self.services.scorer) or absent(view, query, post)

        return await self.services.pool.run(look, ask.arrived_s)

    def query(
        self, view: View, f: Formula, ask: Ask, known: Known, liked: Seeds | None = None
    ) -> tuple[Request, Seeds, U32]:
        """(what ranking is asked, all that the reader rated, whom they follow)."""
        fetched = self.services.library.fetched(ask.reader_did) if ask.reader_did is not None else None
        follows = follows_of(view, ask.person, fetched)
        liked = liked_by(view, ask.person, fetched) if liked is None else liked
        now_us = view.moment_us(ask.now_us)
        seeds = seeds_of(liked, now_us, f, known.taste)
        return self._request(view, ask, now_us, seeds, liked.posts, follows, known), liked, follows

    def _request(
        self, view: View, ask: Ask, now_us: int, seeds: Seeds, liked: U32, follows: U32, known: Known
    ) -> Request:
        few = max(0.0, 1.0 - seeds.posts.size / ENOUGH_SEEDS)
        taste, rules = known.taste, self.rules_for(known)
        authors, factors = _authors(view, known, liked)
        share = known.wishes.share(MOST_FROM_FOLLOWS * few)
        return request(
            now_us,
            reader=NO_PERSON if ask.person is None else ask.person,
            seeds=seeds.posts,
            seed_times=seeds.times_us,
            seed_factors=seeds.factors,
            seed_listed=seeds.listed,
            less=taste.less,
            less_factors=taste.less_weights,
            people=follows[: MAX_FOLLOWS if share > 0 else 0],
            people_share=share,
            excluded=excluded_posts(liked, taste.hidden_posts, known.skip),
            authors=authors,
            author_factors=factors,
            require=rules.require,
            forbid=rules.forbidden(),
            early=self.early,
        )


def _authors(view: View, known: Known, liked: U32) -> tuple[U32, F64]:
    """(authors, ascending; what they count), as the reader said, and of whom they saw much and liked nothing."""
    taste = known.taste
    if not known.ignored:
        return taste.authors, taste.author_factors
    found = dict(zip(taste.authors.tolist(), taste.author_factors.tolist(), strict=True))
    liked_authors = set(view.names_of(liked)[0].tolist())
    for author, factor in known.ignored.items():
        if author not in liked_authors:
            found[author] = found.get(author, 1.0) * factor
    return np.array(sorted(found), np.uint32), np.array([found[author] for author in sorted(found)], np.float64)


def excluded_posts(liked: U32, hidden: U32, skip: U32) -> U32:
    """What need not be ranked: the newest likes first of all. Lists leave out the rest, too; but each takes a place of
    a candidate in the memory of a ranking.
    """
    return np.concatenate([liked[: MAX_EXCLUDED // 2], hidden, skip])[:MAX_EXCLUDED]


def among(values: NDArray[np.integer[Any]], few: U32) -> NDArray[np.bool_]:
    """`np.isin`, which takes longer than a cheap ranking does even when there is nothing to look for."""
    return np.isin(values, few) if few.size and values.size else np.zeros(values.size, np.bool_)


def either(one: U32, other: U32) -> U32:
    """Both, ascending."""
    if one.size and other.size:
        return np.union1d(one, other)
    return np.sort(one if one.size else other)


def follows_of(view: View, person: int | None, fetched: Fetched | None) -> U32:
    """Whom the reader follows: what we heard, and what their repository told."""
    heard = np.empty(0, np.uint32) if person is None else view.follows_of(person)
    if fetched is None:
        return heard
    return np.concatenate([heard, fetched.follows[~np.isin(fetched.follows, heard)]])


def liked_by(view: View, person: int | None, fetched: Fetched | None) -> Seeds:
    """All that the reader rated, newest first: what we heard, then what their repository told."""
    posts, times = (
        (np.empty(0, np.uint32), np.empty(0, np.int64)) if person is None else view.likes_of(person, MAX_LIKED)
    )
    listed = np.ones(posts.size, np.uint8)
    if fetched is not None:
        new = ~np.isin(fetched.posts, posts)
        posts, times = np.concatenate([posts, fetched.posts[new]]), np.concatenate([times, fetched.times_us[new]])
        listed = np.concatenate([listed, np.zeros(int(new.sum()), np.uint8)])
    liked = Seeds(posts, times, np.ones(posts.size), listed)
    return liked if fetched is None else liked.only(np.argsort(-times, kind="stable"))


def seeds_of(liked: Seeds, now_us: int, f: Formula, taste: Taste) -> Seeds:
    """The newest within the window, without what the reader wants less of, and first what they want more of."""
    good = (liked.times_us >= now_us - f.n.seed_window_us) & ~among(liked.posts, taste.less)
    seeds = liked.only(np.flatnonzero(good)[: f.n.seeds])
    seeds.factors[among(seeds.posts, taste.more)] = MORE_SEED_FACTOR
    more = taste.more[~among(taste.more, seeds.posts)]
    if not more.size:
        return seeds
    return Seeds(
        np.concatenate([more, seeds.posts]),
        np.concatenate([np.full(more.size, now_us), seeds.times_us]),
        np.concatenate([np.full(more.size, MORE_SEED_FACTOR), seeds.factors]),
        np.concatenate([np.zeros(more.size, np.uint8), seeds.listed]),
    )
