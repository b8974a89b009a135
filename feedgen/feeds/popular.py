"""What everybody likes just now, in the reader's languages. The same list for all who speak the same."""

from __future__ import annotations

from feedgen.feeds.contract import Ask, Known, Made
from feedgen.feeds.list_feed import ListFeed


class PopularFeed(ListFeed):
    name = "popular"
    title = "Popular"
    description = "What people like right now, in your languages."
    personal = False

    def shared(self, ask: Ask) -> bool:
        return True

    def context(self, code: int) -> str | None:
        return "popular"

    def make(self, ask: Ask, known: Known, cheap: bool) -> Made:
        return self.popular_list(ask, known)
