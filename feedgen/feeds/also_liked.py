"""What people who liked a post liked as well: public, the same for all who ask, and always made cheaply."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from feedgen.core.parameters import MAX_LIKERS_READ
from feedgen.feeds.contract import Ask, Known, Made, Page
from feedgen.feeds.list_feed import ListFeed
from feedgen.feeds.services import FeedServices
from feedgen.rank.kernel import rank
from feedgen.rank.listing import PERSONAL, Source, make_list
from feedgen.rank.paging import tag
from feedgen.rank.params import Formula
from feedgen.rank.request import request


class AlsoLiked(ListFeed):
    """The list of one post: made for a request, and found again by the next through the shared snapshots."""

    name = "also-liked"
    title = "Also liked"
    description = "What people who liked this post liked as well."
    remembered = False  # nobody's page of no feed

    def __init__(self, services: FeedServices, post: int) -> None:
        super().__init__(services)
        self.post = post

    def shared(self, ask: Ask) -> bool:
        return True

    def list_key(self, ask: Ask) -> int:
        return tag(f"also liked {self.post}", 64)

    def make(self, ask: Ask, known: Known, cheap: bool) -> Made:
        view = self.services.library.view()
        seed = np.array([self.post], np.uint32)
        now_us = view.moment_us(ask.now_us)
        q = request(now_us, seeds=seed, excluded=seed, require=self.rules.require, forbid=self.rules.forbidden())
        listed = make_list(view, [Source(PERSONAL, rank(view, self._formula(), q).ints)], self.rules, logged_out=True)
        return Made(listed.posts, np.zeros(listed.posts.size, np.uint8))

    def _formula(self) -> Formula:
        """One seed instead of sixty may be asked for more of its likers, for the same work."""
        cheap = self.services.recipe.cheap
        wider = replace(cheap, seed_likers=min(cheap.seeds * cheap.seed_likers, MAX_LIKERS_READ))
        return wider.formula(self.services.pace.pace_us)


async def also_liked(services: FeedServices, post: int, limit: int, cursor: str | None, now_us: int) -> Page:
    """A page of what people who liked this post liked, for anybody."""
    return await AlsoLiked(services, post).page(Ask(None, None, limit, cursor, (), now_us))
