"""All pages, on one site. They exist before anything is opened: `runtime` gives what they need once it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from feedgen.core.clock import Clock
from feedgen.core.ids import US_PER_DAY
from feedgen.core.settings import Settings
from feedgen.feeds.catalog import Catalog
from feedgen.graph.archive import Archive
from feedgen.host.health import Vitals
from feedgen.learn.learner import Learner
from feedgen.serve.http.documents import ServiceIdentity
from feedgen.serve.http.limits import Limits
from feedgen.serve.out.handles import Handles
from feedgen.store.figures import Figures
from feedgen.store.viewers import Viewers
from feedgen.web.front import Front, Live
from feedgen.web.learning import Learning
from feedgen.web.my import Mine, MyFeed
from feedgen.web.people import People
from feedgen.web.playground import Playground
from feedgen.web.reasons import ReasonPages
from feedgen.web.site import Site
from feedgen.web.status import Status
from feedgen.web.who import Guests, Workshop


class Opened(Protocol):
    """What pages are made of."""

    @property
    def archive(self) -> Archive: ...
    @property
    def viewers(self) -> Viewers: ...
    @property
    def catalog(self) -> Catalog: ...
    @property
    def figures(self) -> Figures: ...
    @property
    def learner(self) -> Learner | None: ...
    @property
    def vitals(self) -> Vitals: ...
    @property
    def workshop(self) -> Workshop: ...
    @property
    def mine(self) -> Mine: ...


def make_site(
    settings: Settings,
    service: ServiceIdentity,
    unready: Callable[[], str],
    limits: Limits,
    handles: Handles,
    clock: Clock,
    opened: Callable[[], Opened],
) -> Site:
    """`opened` is called by requests only, which wait until `unready` says nothing."""

    def workshop() -> Workshop:
        return opened().workshop

    def mine() -> Mine:
        return opened().mine

    async def live() -> Live:
        return await _live(opened(), clock.now_us())

    site = Site(settings, service, unready)
    guests = Guests(handles, limits, clock)
    site.add(Front(site, guests, workshop, lambda: opened().catalog.feeds.values(), live).pages())
    site.add(Playground(site, guests, workshop).pages())
    site.add(ReasonPages(site, guests, workshop).pages())
    site.add(MyFeed(site, guests, limits, clock, mine).pages())
    site.add(People(site, guests, workshop, mine).pages())
    site.add(Learning(site, clock).pages())
    site.add(
        Status(
            site, clock, lambda: opened().figures, lambda: opened().learner, lambda: opened().catalog.troubles()
        ).pages()
    )
    return site


async def _live(opened: Opened, now_us: int) -> Live:
    """What the front page says of us."""
    view = opened.archive.library.view()
    likes = await asyncio.to_thread(lambda: int(view.arrays.person_ratings.sum(dtype="uint64")))
    return Live(await opened.viewers.pages.readers_since(now_us - US_PER_DAY), likes, opened.vitals.behind_s())
