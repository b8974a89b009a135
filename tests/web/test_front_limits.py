"""What the front page costs: it is measured once a minute, and everybody has a share of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from feedgen.core.clock import ManualClock
from feedgen.core.settings import Settings, Web
from feedgen.feeds.preview import Placed
from feedgen.serve.http.limits import Limits
from feedgen.serve.http.routing import application
from feedgen.web.allowance import Allowance
from feedgen.web.front import KEPT_S, Front, Live
from feedgen.web.site import Site
from feedgen.web.who import RATE, Guests
from tests.serve.parts import SERVICE


class Measured:
    """The front page of a service that has no popular posts yet."""

    def __init__(self) -> None:
        self.clock, self.times, self.sampled = ManualClock(), 0, 0
        self.allowance = Allowance(self.clock)
        site = Site(Settings(web=Web(public=True)), SERVICE, lambda: "")
        guests = Guests(SimpleNamespace(), Limits(self.clock), self.clock)  # type: ignore[arg-type]
        shop: Any = SimpleNamespace(share=self.allowance, preview=self, posts=None)
        feed: Any = SimpleNamespace(title="t", description="d", name="n")
        site.add(Front(site, guests, lambda: shop, lambda: [feed], self.measure).pages())
        app = application(site.rows(private=False), self.clock)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x")

    async def measure(self) -> Live:
        self.times += 1
        return Live(1, 2, 3.0)

    def popular(self, count: int) -> list[Placed]:
        self.sampled += 1
        return []


async def test_an_empty_sample_is_not_made_again_for_each_visitor() -> None:
    it = Measured()
    try:
        for _ in range(5):
            assert (await it.client.get("/")).status_code == 200
        assert (it.times, it.sampled) == (1, 1)
        it.clock.advance(KEPT_S)
        assert (await it.client.get("/")).status_code == 200
        assert (it.times, it.sampled) == (2, 2)
    finally:
        it.allowance.close()


@pytest.mark.parametrize("path", ["/", "/privacy", "/terms"])
async def test_pages_that_are_always_public_have_a_limit(path: str) -> None:
    it = Measured()
    try:
        codes = [(await it.client.get(path)).status_code for _ in range(RATE.burst + 2)]
        assert codes == [200] * RATE.burst + [429] * 2
    finally:
        it.allowance.close()
