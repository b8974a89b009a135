"""Why a post stands where it does in somebody's list, and what was left out of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from feedgen.core.ids import US_PER_S
from feedgen.feeds.preview import Dropped, Placed, Reasons
from feedgen.rank.left_out import RULES
from feedgen.rank.why import Why
from feedgen.web import tuning
from feedgen.web.posts import Shown, app_url
from feedgen.web.site import Page, Site, Sorry
from feedgen.web.tuning import Setting
from feedgen.web.who import Guests, Who, Workshop

SEEDS_SHOWN: Final = 8
LIST: Final = 100  # posts that "nearly made it" is measured against
EXAMPLES: Final = 3
WIDTH: Final = 100.0  # of half a chart
PEOPLE: Final = "/my/people"


class Bar(NamedTuple):
    """A term of the score. `factor` is how many times that of an average candidate it is; `doublings` is the same, so
    that bars add up to the score's. `x` and `width` are of the drawing, the middle at WIDTH.
    """

    name: str
    value: float
    factor: float
    doublings: float
    x: float
    width: float
    without: int | None


class Group(NamedTuple):
    rule: str
    text: str
    n: int
    examples: list[Any]


class Card(NamedTuple):
    """What `_post.html` shows of a post."""

    placed: Placed
    place: int | None
    shown: Shown | None
    app: str
    why: str
    age_s: float
    note: str = ""


def bars(why: Why) -> list[Bar]:
    """The terms in the order of the formula, and the score last. Terms that are 1 for everybody are left out."""
    found = [(name, value, value / why.average[name], why.without[name]) for name, value in why.terms.items()]
    found = [one for one in found if not (one[1] == 1.0 and one[2] == 1.0)]
    total = math.prod(why.terms[name] / why.average[name] for name in why.terms)
    rows: list[tuple[str, float, float, int | None]] = [*found, ("score", why.score, total, None)]
    doublings = [math.log2(factor) for _, _, factor, _ in rows]
    scale = WIDTH / max(1.0, *(abs(d) for d in doublings))
    return [
        Bar(name, value, factor, d, round(WIDTH + min(d, 0) * scale, 1), round(max(abs(d) * scale, 0.8), 1), without)
        for (name, value, factor, without), d in zip(rows, doublings, strict=True)
    ]


class ReasonPages:
    def __init__(self, site: Site, guests: Guests, workshop: Callable[[], Workshop]) -> None:
        self._site, self._guests, self._workshop = site, guests, workshop

    def pages(self) -> list[Page]:
        return [
            Page(path="/why", answer=self.why, label="why", title="Why"),
            Page(path="/left-out", answer=self.left_out, label="left-out", title="Left out"),
        ]

    async def why(self, request: Request) -> Response:
        query, shop = dict(request.query_params), self._workshop()
        setting = tuning.setting(query, "a", shop.preview.services.recipe.params)
        reasons, who, trouble, plain = None, None, None, "plain" in query
        if query.get("who") and query.get("post"):
            self._guests.check(request)
            try:
                who = await self._guests.who(request, shop, query["who"])
                reasons = await self._reasons(who, setting, query["post"], query.get("feed", ""))
            except Sorry as sorry:
                trouble = sorry
        return self._site.html(
            request,
            "why.html",
            trouble.status if trouble else 200,
            asked=query,
            trouble=trouble,
            who=who,
            plain=plain,
            plain_address="" if plain else tuning.address("/why", **query, plain="1"),
            setting=setting,
            list_address=self._address("/playground", who, setting, **_feed(query)),
            people_address=self._people_address(who, setting, query),
            **await self._told(reasons, plain),
        )

    async def left_out(self, request: Request) -> Response:
        query, shop = dict(request.query_params), self._workshop()
        setting = tuning.setting(query, "a", shop.preview.services.recipe.params)
        who, trouble, plain, kept = None, None, "plain" in query, 0
        groups = list[Group]()
        if query.get("who"):
            self._guests.check(request)
            try:
                who = await self._guests.who(request, shop, query["who"])
                now_us = self._guests.clock.now_us()
                look = partial(shop.of(query.get("feed", "")).left_out, who.subject, setting.params, LIST, now_us)
                kept, dropped = await shop.share.run(look)
                groups = await self._groups(dropped, who, setting, query, plain)
            except Sorry as sorry:
                trouble = sorry
        return self._site.html(
            request,
            "left_out.html",
            trouble.status if trouble else 200,
            asked=query,
            trouble=trouble,
            who=who,
            plain=plain,
            plain_address="" if plain else tuning.address("/left-out", **query, plain="1"),
            kept=kept,
            groups=groups,
            total=sum(group.n for group in groups),
            list_address=self._address("/playground", who, setting, **_feed(query)),
        )

    async def _reasons(self, who: Who, setting: Setting, text: str, feed: str) -> Reasons:
        shop = self._workshop()
        post = await self._guests.post(shop, text)
        ask = partial(shop.of(feed).why, who.subject, setting.params, post, self._guests.clock.now_us())
        found = await shop.share.run(ask)
        if isinstance(found, str):
            raise not_ranked(found)
        return found

    async def _told(self, reasons: Reasons | None, plain: bool) -> dict[str, Any]:
        """What the page says of a post."""
        if reasons is None:
            return {"reasons": None, "bars": [], "card": None, "seeds": [], "changes": []}
        shop, placed = self._workshop(), reasons.placed
        seeds = reasons.seeds[:SEEDS_SHOWN]
        uris = [one.uri for one in seeds if not one.veil] + ([] if placed.veil else [placed.uri])
        shown = await shop.posts.of(uris) if plain else {}
        return {
            "reasons": reasons,
            "bars": bars(reasons.why),
            "card": self._card(placed, None, "", shown),
            "seeds": [(seed, app_url(seed.uri), shown.get(seed.uri)) for seed in seeds],
            "changes": [(app_url(one.seed), one.seed, one.place) for one in reasons.changes],
        }

    async def _groups(
        self, dropped: Iterable[Dropped], who: Who, setting: Setting, query: dict[str, str], plain: bool
    ) -> list[Group]:
        by_rule = dict[str, list[Dropped]]()
        for one in dropped:
            by_rule.setdefault(one.rule, []).append(one)
        examples = {rule: [one for one in found if one.placed][:EXAMPLES] for rule, found in by_rule.items()}
        uris = [one.placed.uri for some in examples.values() for one in some if one.placed and not one.placed.veil]
        shown = await self._workshop().posts.of(uris) if plain else {}
        groups = []
        for rule, found in sorted(by_rule.items(), key=lambda item: -len(item[1])):
            cards = []
            for one in examples[rule]:
                if one.placed is not None:
                    why = self._address("/why", who, setting, **_feed(query), post=one.placed.uri)
                    cards.append(self._card(one.placed, one.place, why, shown))
            groups.append(Group(rule, RULES[rule], len(found), cards))
        return groups

    def _card(self, placed: Placed, place: int | None, why: str, shown: Mapping[str, Shown]) -> Card:
        age_s = max(0, self._guests.clock.now_us() - placed.time_us) / US_PER_S
        return Card(placed, place, shown.get(placed.uri), app_url(placed.uri), why, age_s)

    def _people_address(self, who: Who | None, setting: Setting, query: Mapping[str, str]) -> str:
        """Where readers see who led to a post of their own list. Empty for a taste, which is nobody's."""
        if who is None or who.subject.reader_did is None:
            return ""
        return tuning.address(PEOPLE, who=who.subject.reader_did, post=query["post"], **setting.query())

    def _address(self, path: str, who: Who | None, setting: Setting, **more: str) -> str:
        return tuning.address(path, **({"who": who.text} if who else {}), **setting.query(), **more)


def _feed(query: Mapping[str, str]) -> dict[str, str]:
    """Which feed an address is about, for the next one."""
    return {"feed": query["feed"]} if query.get("feed") else {}


def not_ranked(reason: str) -> Sorry:
    return Sorry(200, "Not in the ranking", f"{reason[:1].upper()}{reason[1:]}.")
