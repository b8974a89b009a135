"""A feed that makes a list and lets others page through it: extend `ListFeed` and write `make`."""

from __future__ import annotations

import logging
from abc import abstractmethod
from array import array
from dataclasses import replace
from typing import Final

import numpy as np

from feedgen.core.ids import US_PER_S
from feedgen.core.telemetry import Counter
from feedgen.feeds.contract import (
    NO_CODE,
    NO_FORMULA,
    NO_WISHES,
    NOBODY,
    Ask,
    Feed,
    Item,
    Known,
    Made,
    Page,
    Shown,
    reader_key,
    req_id_of,
)
from feedgen.feeds.recipes import Recipe
from feedgen.feeds.services import MAX_POPULAR_ROWS, FeedServices
from feedgen.graph.access import I64, U32
from feedgen.graph.view import View
from feedgen.ingest.events import VIDEO
from feedgen.rank.listing import POPULAR, Fades, ListRules, Source, make_list
from feedgen.rank.paging import Cursor, Snapshot, tag
from feedgen.rank.policy import MAY, NO_NUMBERS, NOT_FOLLOWED, Policy, verdicts
from feedgen.rank.pool import TooLate
from feedgen.rank.seen import NO_TASTE, TOP
from feedgen.rank.tongues import ALL_READ

FRESH_US: Final = 30 * US_PER_S  # a peek, and a shared list, may be this old
LAST_PAGES: Final = 200  # posts before a cursor's place that its page, and the one before, may have shown

log = logging.getLogger(__name__)

fallbacks = Counter(
    "feedgen_feeds_fallbacks_total",
    "Pages answered with something else than a new list, and why: late, or a bug",
    "to",
    "why",
)


class ListFeed(Feed):
    """A feed that makes a list and is paged through: snapshots, cursors, peeks, deletions and fallbacks are done
    here."""

    remembered: bool = True  # which pages were served is kept

    def __init__(self, services: FeedServices) -> None:
        self.services = services
        self.tag = tag(self.name, 16)
        self._said: list[str | None] = []
        self._contexts: dict[str, int] = {}

    @property
    def rules(self) -> ListRules:
        return self.services.rules

    @abstractmethod
    def make(self, ask: Ask, known: Known, cheap: bool) -> Made:
        """The list. Called in a ranking thread; must not touch `services.readers`, which is the loop's."""

    def context(self, code: int) -> str | None:
        """What `feedContext` says of a post: short, no `|`."""
        return None

    def code_of(self, context: str) -> int | None:
        """The code of which `context` made that."""
        if not self._contexts:
            said = list(enumerate(self._contexts_by_code()))
            self._contexts = {context: code for code, context in reversed(said) if context is not None}
        return self._contexts.get(context)

    def _contexts_by_code(self) -> list[str | None]:
        """`context` of every code: a page needs thirty of them."""
        self._said = self._said or [self.context(code) for code in range(NO_CODE)]
        return self._said

    def shared(self, ask: Ask) -> bool:
        """Whether everybody who asks like this gets the same list."""
        return ask.reader_did is None

    def rules_for(self, known: Known) -> ListRules:
        return known.wishes.rules(self.rules)

    async def page(self, ask: Ask) -> Page:
        if languages := self.services.wishes_of(ask.reader_did).languages:
            ask = replace(ask, languages=languages)
        reader, recipe = self.list_key(ask), self.recipe_of(ask)
        if ask.cursor is None:
            found = self._fresh_enough(ask, reader) or await self._new(ask, reader, recipe, again=False)
            return self._answer(ask, found, 0, recipe.arm)
        cursor = self.services.cursors.read(ask.cursor)
        snapshot = self.services.snapshots.get(cursor, ask.now_us)
        if snapshot is not None and (cursor.feed, cursor.reader) == (self.tag, reader):
            self._mark_seen(ask, snapshot.posts[max(0, cursor.position - LAST_PAGES) : cursor.position])
            found = await self._go_on(ask, snapshot, cursor.position, recipe)
            return self._answer(ask, found, cursor.position if found is snapshot else 0, recipe.arm)
        # The list is gone, or another's. A shared list goes on at the same place, a personal one without what was
        # served.
        snapshot = await self._new(ask, reader, recipe, again=not self.shared(ask))
        return self._answer(ask, snapshot, cursor.position if self.shared(ask) else 0, recipe.arm)

    async def _go_on(self, ask: Ask, snapshot: Snapshot, position: int, recipe: Recipe) -> Snapshot:
        """The same list, or a new one of what was not served of it: where no more was composed, or more is known."""
        left, above = snapshot.posts.size - position, snapshot.posts[:position]
        at_end = snapshot.above is not None and left < ask.limit
        if ask.peek or not (at_end or self._knows_more(ask, snapshot)):
            return snapshot
        if snapshot.above is not None:
            above = np.concatenate([snapshot.above, above])
        if above.size >= self.rules.size:
            return snapshot
        otherwise = snapshot if left else None
        return await self._new(ask, snapshot.reader, recipe, again=True, otherwise=otherwise, above=above)

    def list_key(self, ask: Ask) -> int:
        """Under what the list is kept: the reader, or what all who get it have in common."""
        if self.shared(ask) or ask.reader_did is None:
            return tag(f"shared {ask.reader_did is None} {' '.join(ask.languages)}", 64)
        return reader_key(ask.reader_did)

    def _knows_more(self, ask: Ask, snapshot: Snapshot) -> bool:
        """Whether the reader liked something, or said what they want less of, or their repository told something since
        this list was made. Then what was not yet served is ranked again."""
        if ask.reader_did is None or self.shared(ask):
            return False
        fetched = self.services.library.fetched(ask.reader_did)
        if fetched is not None and fetched.fetched_us > snapshot.made_us:
            return True
        state = self.services.readers.get(reader_key(ask.reader_did))
        if state is not None and state.opinions and state.opinions[-1].at_s * US_PER_S > snapshot.made_us:
            return True
        if ask.person is None:
            return False
        times_us = self.services.library.view().likes_of(ask.person, 1)[1]
        return bool(times_us.size and times_us[0] > snapshot.made_us)

    def _fresh_enough(self, ask: Ask, reader: int) -> Snapshot | None:
        if not (ask.peek or self.shared(ask)):
            return None
        last = self.services.snapshots.latest(self.tag, reader)
        # An empty list is never good enough: the next one may not be.
        return last if last is not None and last.posts.size and ask.now_us - last.made_us <= FRESH_US else None

    async def _new(
        self,
        ask: Ask,
        reader: int,
        recipe: Recipe,
        again: bool,
        otherwise: Snapshot | None = None,
        above: U32 = NO_NUMBERS,
    ) -> Snapshot:
        """A new list; `again` means in the middle of paging. When there is no time: `otherwise`, or else the last."""
        pool = self.services.pool
        try:
            if ask.arrived_s is not None:
                pool.left_s(ask.arrived_s, ask.lag_s)  # before anything is got ready
            known = self._known(ask, recipe, again, above)
            made, cheap = await pool.run(lambda cheap: (self.make(ask, known, cheap), cheap), ask.arrived_s)
        except Exception as error:
            why = "late" if isinstance(error, TooLate) else "bug"
            if why == "bug":
                # Of ours: the operator should see it and the reader should not.
                log.exception("a list for %s could not be made", self.name)
            last = self.services.snapshots.latest(self.tag, reader) if otherwise is None and not again else otherwise
            if last is not None and last.posts.size:
                fallbacks.add(1, "last list", why)
                return last
            fallbacks.add(1, "popular", why)
            made, cheap = self._at_once(ask, recipe, again), True
        preset = made.preset or recipe.called(cheap)
        return self.services.snapshots.put(
            self.tag, reader, made.posts, made.codes, ask.now_us, made.languages, preset, made.above
        )

    def _at_once(self, ask: Ask, recipe: Recipe, again: bool) -> Made:
        """The popular list, for a reader who gets no other. Who asked for nothing gets the one that all get: to leave
        out what they saw takes longer than there is."""
        state = None if ask.reader_did is None else self.services.readers.get(reader_key(ask.reader_did))
        asked = again or (state is not None and state.opinions) or self.services.wishes_of(ask.reader_did) != NO_WISHES
        return self.popular_list(ask, self._known(ask, recipe, again) if asked else Known(NO_TASTE))

    def _known(self, ask: Ask, recipe: Recipe, again: bool, above: U32 = NO_NUMBERS) -> Known:
        state = None
        if ask.reader_did is not None and not self.shared(ask):
            state = self.services.readers.get(reader_key(ask.reader_did))
        wishes = self.services.wishes_of(None if self.shared(ask) else ask.reader_did)
        skip = np.sort(above)
        if state is None:
            return Known(NO_TASTE, skip=skip, above=above, recipe=recipe, wishes=wishes)
        if again and not above.size:  # what the list held is forgotten
            skip = state.sent(ask.now_us)
        now_us = ask.now_us
        return Known(
            state.taste(now_us),
            state.seen.ascending(now_us),
            skip,
            above,
            faded=state.faded(now_us),
            ignored=state.ignored(),
            recipe=recipe,
            wishes=wishes,
        )

    def recipe_of(self, ask: Ask) -> Recipe:
        """Worked out once a page. A shared list is in no experiment."""
        return self.services.recipe_of(None if self.shared(ask) else ask.reader_did)

    def popular_list(self, ask: Ask, known: Known) -> Made:
        """What there is when there is no time, or nothing personal: cheap enough for the event loop, and made once a
        minute for all of whom nothing is known."""
        nothing_known = not (known.seen.size or known.skip.size or known.taste.hidden_posts.size)
        nothing_known = nothing_known and not known.faded[0].size
        nothing_known = nothing_known and known.wishes == NO_WISHES
        key = (self.name, ask.languages, ask.reader_did is None)
        made = self.services.popular_lists.get(key) if nothing_known else None
        if made is None:
            made = self._make_popular(ask, known)
            if nothing_known and made.posts.size and len(self.services.popular_lists) < MAX_POPULAR_ROWS:
                self.services.popular_lists[key] = made
        return made

    def _make_popular(self, ask: Ask, known: Known) -> Made:
        listed = make_list(
            self.services.library.view(),
            [Source(POPULAR, self.popular_rows(ask))],
            self.rules_for(known),
            seen=known.seen,
            hidden_posts=np.union1d(known.skip, known.taste.hidden_posts),
            hidden_authors=known.taste.hidden_authors,
            fades=Fades(*known.faded, ALL_READ),
            logged_out=ask.reader_did is None,
        )
        return Made(listed.posts, np.zeros(listed.posts.size, np.uint8), ask.languages, NO_FORMULA)

    def popular_rows(self, ask: Ask) -> I64:
        return self.services.popular_rows(ask.languages, video=bool(self.rules.require & VIDEO))

    def _answer(self, ask: Ask, snapshot: Snapshot, position: int, arm: str) -> Page:
        """The next posts that still may be shown, and where to go on."""
        view, items, shown, codes = self.services.library.view(), list[Item](), list[int](), list[int]()
        start, contexts, policy = position, self._contexts_by_code(), self._page_policy(ask, view)
        while position < snapshot.posts.size and len(items) < ask.limit:
            rows = slice(position, position + ask.limit - len(items))
            posts = snapshot.posts[rows]
            allowed = self._allowed(ask, view, posts, policy)
            found = zip(
                posts.tolist(), snapshot.codes[rows].tolist(), self.services.library.uris(posts), allowed, strict=True
            )
            good = [(post, code, uri) for post, code, uri, may in found if may and uri is not None]
            items += [Item(uri, contexts[code]) for _, code, uri in good]
            shown += [post for post, _, _ in good]
            codes += [code for _, code, _ in good]
            position += posts.size
        self._mark_served(ask, shown, start)
        if self.remembered and not ask.peek and shown:
            reader = NOBODY if ask.reader_did is None else reader_key(ask.reader_did)
            self.services.log.served(Shown(reader, self.name, snapshot.preset, snapshot.id, start, shown, codes, arm))
        cursor = None
        if (position < snapshot.posts.size or snapshot.above is not None) and items:
            at = Cursor(self.tag, snapshot.reader, snapshot.id, position)
            cursor = self.services.cursors.write(at)
        return Page(items, cursor, req_id_of(self.tag, snapshot.id), snapshot.languages)

    def _page_policy(self, ask: Ask, view: View) -> Policy:
        """What this reader may see now: the list may be older than their last "show less"."""
        state = None if ask.reader_did is None else self.services.readers.get(reader_key(ask.reader_did))
        taste = NO_TASTE if state is None else state.taste(ask.now_us)
        wishes = NO_WISHES if self.shared(ask) else self.services.wishes_of(ask.reader_did)
        return wishes.rules(self.rules).policy(
            view,
            hidden_posts=taste.hidden_posts,
            hidden_authors=taste.hidden_authors,
            logged_out=ask.reader_did is None,
        )

    def _allowed(self, ask: Ask, view: View, posts: U32, policy: Policy) -> list[bool]:
        """Which posts may be shown to this reader now."""
        found = verdicts(view, posts, policy)
        if (found == NOT_FOLLOWED).any():  # few authors ask for it: seldom are follows needed
            follows = np.array(sorted(self._follows(ask, view)), np.uint32)
            found = verdicts(view, posts, policy._replace(follows=follows))
        allowed: list[bool] = (found == MAY).tolist()
        return allowed

    def _follows(self, ask: Ask, view: View) -> set[int]:
        if ask.reader_did is None or self.shared(ask):
            return set()
        fetched = self.services.library.fetched(ask.reader_did)
        told = set[int]() if fetched is None else set(fetched.follows.tolist())
        return told if ask.person is None else told | set(view.follows_of(ask.person).tolist())

    def _mark_served(self, ask: Ask, posts: list[int], start: int) -> None:
        if ask.reader_did is not None and not ask.peek and posts:
            top = posts[: max(0, TOP - start)] if ask.cursor is None else []
            self.services.readers.edit(reader_key(ask.reader_did)).was_served(posts, ask.now_us, top)

    def _mark_seen(self, ask: Ask, posts: U32) -> None:
        """Who asks for a later page has scrolled past the earlier ones. All but the newest were marked before."""
        if ask.reader_did is not None and not ask.peek and posts.size:
            state, view = self.services.readers.edit(reader_key(ask.reader_did)), self.services.library.view()
            state.saw(array("I", posts.tobytes()), ask.now_us, view)


__all__ = ["Ask", "Known", "ListFeed", "Made", "Page"]
