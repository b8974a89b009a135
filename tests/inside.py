"""The whole service in the test's own event loop, on a made-up network beside it, asked through real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from feedgen.app import App, build
from feedgen.core.settings import Labels, Settings, Store, Stream, Web
from feedgen.core.settings_network import Appview, Identity, Jetstream, Service
from feedgen.runtime import Runtime
from feedgen.simnet.server import Simnet
from feedgen.simnet.tokens import SEND_INTERACTIONS
from tests.process import METHOD, PUBLISHER, SERVICE

PATIENCE_S = 60.0
EVENTS = "app.bsky.feed.defs#"


@dataclass
class Inside:
    """`person` is a number of the made-up network; None is a logged-out reader."""

    app: App
    sim: Simnet
    client: httpx.AsyncClient

    @property
    def runtime(self) -> Runtime:
        assert self.app.runtime is not None
        return self.app.runtime

    def headers(self, person: int | None, method: str = METHOD) -> dict[str, str]:
        if person is None:
            return {}
        # A token is good for one writing call: the lifetime makes each of them another one.
        self.tokens = getattr(self, "tokens", 0) + 1
        token = self.sim.token(person, SERVICE, method, lifetime_s=60 + self.tokens)
        return {"authorization": f"Bearer {token}"}

    async def ask(self, person: int | None, feed: str = "for-you", languages: str = "", **query: Any) -> httpx.Response:
        params: dict[str, Any] = {"feed": f"at://{PUBLISHER}/app.bsky.feed.generator/{feed}", **query}
        headers = self.headers(person) | ({"accept-language": languages} if languages else {})
        return await self.client.get(f"/xrpc/{METHOD}", params=params, headers=headers)

    async def page(self, person: int | None, feed: str = "for-you", **query: Any) -> dict[str, Any]:
        answer = await self.ask(person, feed, **query)
        assert answer.status_code == 200, answer.text
        page: dict[str, Any] = answer.json()
        return page

    async def posts(self, person: int | None, **query: Any) -> list[str]:
        return [item["post"] for item in (await self.page(person, **query))["feed"]]

    async def tell(self, person: int, event: str, posts: list[str]) -> None:
        body = {"interactions": [{"item": post, "event": f"{EVENTS}{event}"} for post in posts]}
        headers = self.headers(person, SEND_INTERACTIONS)
        answer = await self.client.post(f"/xrpc/{SEND_INTERACTIONS}", json=body, headers=headers)
        assert answer.status_code == 200, answer.text

    async def private(self, path: str, **query: str) -> httpx.Response:
        """A page on the operator's address."""
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            return await client.get(f"http://{self.app.private_address}{path}", params=query)

    async def all_posts(self, person: int | None, **query: Any) -> list[str]:
        """Page after page to the end."""
        found: list[str] = []
        cursor: dict[str, Any] = {}
        for _ in range(100):
            page = await self.page(person, **query, **cursor)
            found += [item["post"] for item in page["feed"]]
            if "cursor" not in page:
                return found
            cursor = {"cursor": page["cursor"]}
        raise AssertionError("paging does not end")

    async def heard(self, event: Any) -> None:
        """Until this event of the network is in the arrays."""
        await until(lambda: self.runtime.pipeline.status.last_us >= event.time_us)


async def until(look: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not look():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(
    sim: Simnet,
    folder: Path,
    pds: bool = True,
    start: str = "oldest",
    public: bool = False,
    stream: Stream = Stream(),  # noqa: B008
) -> AsyncIterator[Inside]:
    """Caught up with what the network told so far. `public`: strangers may see the pages about lists."""
    settings = Settings(
        service=Service(
            hostname=SERVICE.removeprefix("did:web:"),
            publisher_did=PUBLISHER,
            bind="127.0.0.1:0",
            private_bind="127.0.0.1:0",
        ),
        store=Store(dir=str(folder / "data")),
        jetstream=Jetstream(urls=tuple(sim.urls.jetstream), start=start),
        labels=Labels(urls=(sim.urls.labeler,)),
        appview=Appview(url=sim.urls.appview),
        web=Web(public=public, pictures=(sim.urls.appview,)),
        stream=stream,
        identity=Identity(plc_url=sim.urls.plc, trusted_pds=(sim.urls.pds,) if pds else ()),
    )
    app = build(settings)
    address: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    app.on_ready = address.set_result
    serving: asyncio.Future[Any] = asyncio.ensure_future(app.serve())
    await asyncio.wait([serving, address], return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    try:
        async with httpx.AsyncClient(base_url=f"http://{await address}", timeout=10, trust_env=False) as client:
            inside = Inside(app, sim, client)
            if start == "oldest":
                await until(lambda: inside.runtime.pipeline.status.last_us >= sim.history.last_us)
            await inside.runtime.catalog.refresh()
            yield inside
    finally:
        app.stop()
        assert await serving == 0
