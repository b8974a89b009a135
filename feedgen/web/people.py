"""Readers' own lists as they are served now, and who led to a post, by name: for the reader whose list it is, signed
in on My feed, and to nobody else.

They lie below `/my`, because the session's cookie is sent nowhere else. Who asks decides whose list is looked at; the
address can only say whose it expects, so that a link from somebody else's why page is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from feedgen.core.ids import US_PER_S
from feedgen.feeds.preview import Led
from feedgen.serve.who.sign_in import Session
from feedgen.web import tuning
from feedgen.web.my import LIST, Mine, session_of
from feedgen.web.playground import LENGTH
from feedgen.web.posts import app_url
from feedgen.web.reasons import PEOPLE, Card, not_ranked
from feedgen.web.site import Page, Site, Sorry
from feedgen.web.tuning import Setting
from feedgen.web.who import Guests, Workshop


class People:
    def __init__(self, site: Site, guests: Guests, workshop: Callable[[], Workshop], mine: Callable[[], Mine]) -> None:
        self._site, self._guests, self._workshop, self._mine = site, guests, workshop, mine

    def pages(self) -> list[Page]:
        return [
            Page(path=PEOPLE, answer=self.people, label="my"),
            Page(path=LIST, answer=self.own_list, label="my"),
        ]

    async def own_list(self, request: Request) -> Response:
        """With the reader's wishes and all that they saw and asked for; nothing here counts as seen."""
        session, shop = session_of(request, self._mine().seals), self._workshop()
        if session is None:
            return RedirectResponse("/my", 303)
        self._guests.check(request)
        await shop.load(session.did)
        now_us, plain = self._guests.clock.now_us(), "plain" in request.query_params
        subject = shop.preview.own(session.did, now_us)
        recipe = subject.known.recipe or shop.preview.services.recipe
        placed = await shop.share.run(partial(shop.preview.listing, subject, recipe.params, LENGTH, now_us))
        looks = await shop.posts.of([one.uri for one in placed if not one.veil]) if plain else {}
        cards = [
            Card(one, place, looks.get(one.uri), app_url(one.uri), "", max(0, now_us - one.time_us) / US_PER_S)
            for place, one in enumerate(placed, 1)
        ]
        return self._site.html(
            request, "my_list.html", session=session, cards=cards, plain_address="" if plain else f"{LIST}?plain=1"
        )

    async def people(self, request: Request) -> Response:
        query = dict(request.query_params)
        setting = tuning.setting(query, "a", self._workshop().preview.services.recipe.params)
        session = session_of(request, self._mine().seals)
        led, trouble, why = None, None, ""
        try:
            session = _allowed(session, query.get("who", ""))
            self._guests.check(request)
            led = await self._led(request, session, setting, query.get("post", ""))
            why = tuning.address("/why", who=session.did, post=query["post"], **setting.query())
        except Sorry as sorry:
            trouble = sorry
        status = trouble.status if trouble else 200
        return self._site.html(
            request, "people.html", status, session=session, led=led, trouble=trouble, why_address=why
        )

    async def _led(self, request: Request, session: Session, setting: Setting, text: str) -> Led:
        shop = self._workshop()
        post = await self._guests.post(shop, text)
        who = await self._guests.who(request, shop, session.did, own=True)
        ask = partial(shop.preview.led, who.subject, setting.params, post, self._guests.clock.now_us())
        found = await shop.share.run(ask)
        if isinstance(found, str):
            raise not_ranked(found)
        return found.as_counted()


def _allowed(session: Session | None, expected: str) -> Session:
    """Raises Sorry for everybody but the reader whose list it is."""
    if session is None:
        raise Sorry(401, "Sign in first", "Only the reader whose list it is can see who led to a post.")
    if expected and expected != session.did:
        raise Sorry(403, "This is somebody else's list", "You can see these names for your own list only.")
    return session
