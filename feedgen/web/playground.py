"""The playground: anybody's list as it would be served now, with every parameter to be turned, beside another one.

The address holds the whole state. Without JavaScript the page is a form; with it the lists follow the sliders, as
pieces of the same page (`/playground/lists`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from feedgen.core.ids import US_PER_S
from feedgen.feeds.preview import Placed
from feedgen.serve.http.skeleton import is_post_uri
from feedgen.web import tuning
from feedgen.web.posts import BATCH, Shown, app_url
from feedgen.web.site import Page, Site, Sorry
from feedgen.web.tuning import Setting
from feedgen.web.who import Guests, Who, Workshop

LENGTH: Final = 30
TASTES_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Row:
    """A post in a column. `was` is its place in the other one, None when it is not there."""

    placed: Placed
    place: int
    was: int | None
    shown: Shown | None
    app: str
    why: str
    age_s: float


@dataclass(frozen=True, slots=True)
class Column:
    key: str
    setting: Setting
    rows: list[Row]
    left_out: str


class Playground:
    """`workshop` is asked for when everything is open."""

    def __init__(self, site: Site, guests: Guests, workshop: Callable[[], Workshop]) -> None:
        self._site, self._guests, self._workshop = site, guests, workshop
        self._tastes: list[Placed] = []
        self._tastes_until_s = 0.0

    def pages(self) -> list[Page]:
        return [
            Page(path="/playground", answer=self.page, label="playground", title="Playground"),
            Page(path="/playground/lists", answer=self.lists, label="playground lists"),
            Page(path="/posts", answer=self.posts, label="posts"),
        ]

    async def page(self, request: Request) -> Response:
        query, shop = dict(request.query_params), self._workshop()
        served = shop.preview.services.recipe.params
        settings = self._settings(query, served)
        self._guests.check(request)
        tastes = await self.tastes()
        who, columns, trouble = None, list[Column](), None
        try:
            who = await self._who(request, query, tastes)
            if who is not None:
                columns = await self._columns(who, settings, query.get("feed", ""), plain="plain" in query)
        except Sorry as sorry:
            trouble = sorry
        looks = await shop.posts.of([taste.uri for taste in tastes])
        return self._site.html(
            request,
            "playground.html",
            trouble.status if trouble else 200,
            who=who,
            asked=query.get("who", ""),
            feed=query.get("feed", ""),
            feeds=shop.catalog.previewed(),
            trouble=trouble,
            tastes=[(taste.uri, looks.get(taste.uri)) for taste in tastes],
            settings=settings,
            presets=tuning.ABOUT_PRESETS,
            groups=tuning.sliders(settings, served),
            columns=columns,
            plain="plain" in query,
            plain_address=tuning.address("/playground", **query, plain="1") if "plain" not in query else "",
            likes=await self._likes(who),
        )

    async def lists(self, request: Request) -> Response:
        """The columns alone, for the page's script."""
        query = dict(request.query_params)
        self._guests.check(request)
        who = await self._who(request, query, await self.tastes())
        if who is None:
            raise Sorry(404, "Whose list?", "Enter a handle, a DID or a post.")
        settings = self._settings(query, self._workshop().preview.services.recipe.params)
        columns = await self._columns(who, settings, query.get("feed", ""), plain=False)
        return self._site.html(request, "_lists.html", columns=columns, who=who)

    async def posts(self, request: Request) -> Response:
        """What posts look like, for browsers that can't reach the AppView themselves. Only of posts that we
        know and that anybody may see."""
        self._guests.check(request)
        shop = self._workshop()
        uris = [uri for uri in request.query_params.getlist("uris") if is_post_uri(uri)][:BATCH]
        known = [uri for uri in uris if shop.preview.may_be_shown(uri)]
        return self._site.json({"posts": list((await shop.posts.of(known)).values())})

    async def tastes(self) -> list[Placed]:
        now_s, shop = self._guests.clock.monotonic_s(), self._workshop()
        if now_s >= self._tastes_until_s or not self._tastes:
            self._tastes = await shop.share.run(shop.preview.tastes)
            self._tastes_until_s = now_s + TASTES_S
        return self._tastes

    def _settings(self, query: dict[str, str], served: Any) -> dict[str, Setting]:
        settings = {"a": tuning.setting(query, "a", served)}
        if query.get("b"):
            settings["b"] = tuning.setting(query, "b", served)
        return settings

    async def _who(self, request: Request, query: dict[str, str], tastes: Sequence[Placed]) -> Who | None:
        text = query.get("who", "").strip() or (tastes[0].uri if tastes else "")
        return await self._guests.who(request, self._workshop(), text) if text else None

    async def _likes(self, who: Who | None) -> int:
        if who is None or who.is_taste:
            return 0
        shop, now_us = self._workshop(), self._guests.clock.now_us()
        return await shop.share.run(lambda: shop.preview.likes(who.subject, now_us))

    async def _columns(self, who: Who, settings: dict[str, Setting], feed: str, plain: bool) -> list[Column]:
        shop, now_us = self._workshop(), self._guests.clock.now_us()
        preview = shop.of(feed)
        lists = dict[str, list[Placed]]()
        for key, one in settings.items():
            make = partial(preview.listing, who.subject, one.params, LENGTH, now_us)
            lists[key] = await shop.share.run(make)
        uris = [one.uri for found in lists.values() for one in found if not one.veil]
        shown = await shop.posts.of(uris) if plain else {}
        places = {key: {one.post: i for i, one in enumerate(found, 1)} for key, found in lists.items()}
        columns = []
        for key, found in lists.items():
            asked = {"who": who.text} | ({"feed": feed} if feed else {}) | settings[key].query()
            other = next((places[name] for name in places if name != key), {})
            rows = [
                Row(
                    placed=one,
                    place=place,
                    was=other.get(one.post),
                    shown=shown.get(one.uri),
                    app=app_url(one.uri),
                    why=tuning.address("/why", **asked, post=one.uri),
                    age_s=max(0, now_us - one.time_us) / US_PER_S,
                )
                for place, one in enumerate(found, 1)
            ]
            columns.append(Column(key, settings[key], rows, tuning.address("/left-out", **asked)))
        return columns
