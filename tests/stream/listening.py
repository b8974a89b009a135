"""A consumer of the stream for tests, and posts of the made-up network that are said on command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any
from urllib.parse import urlencode

import msgspec
import websockets

from feedgen.core.ids import LIKE_NSID, POST_NSID
from feedgen.simnet.records import SimEvent
from feedgen.simnet.server import Simnet
from tests.inside import Inside

PATIENCE_S = 20.0


class Listener:
    def __init__(self, socket: Any) -> None:
        self.socket = socket

    async def next(self) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return msgspec.json.decode(await self.socket.recv())

    async def until(self, found: Any) -> Any:
        """The first message of which this holds."""
        async with asyncio.timeout(PATIENCE_S):
            while not found(message := msgspec.json.decode(await self.socket.recv())):
                pass
            return message

    async def of(self, event: SimEvent) -> Any:
        """The message about this event, in any format."""
        return await self.until(lambda message: key_of(message) == (event.did, event.rkey))


def key_of(message: Any) -> tuple[str, str]:
    message = message[0] if isinstance(message, list) else message
    event = message.get("event") or message.get("message") or message
    payload = event.get("payload") or event.get("commit") or {}
    return event.get("did") or payload.get("did", ""), payload.get("rkey", "")


def address(it: Inside, **query: Any) -> str:
    assert it.runtime.stream is not None
    return f"ws://{it.runtime.stream.address}/stream?{urlencode(query, doseq=True)}"


@asynccontextmanager
async def listening(it: Inside, headers: dict[str, str] | None = None, **query: Any) -> AsyncIterator[Listener]:
    async with websockets.connect(
        address(it, **query), additional_headers=headers, max_size=None, max_queue=None
    ) as socket:
        yield Listener(socket)


@cache
def anybody(sim: Simnet) -> list[int]:
    """People who may be shown to everybody."""
    profiles = (sim.world.profile(sim.people.did(n)) for n in range(sim.people.n_people))
    return [n for n, one in enumerate(profiles) if one is not None and one.active and not one.labels]


def say(sim: Simnet, person: int, text: str = "hello", **record: Any) -> SimEvent:
    """A post, told at once."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    made = {"$type": POST_NSID, "createdAt": now, "langs": ["en"], "text": text} | record
    event = SimEvent(0, 0, sim.people.did(person), operation="create", kind="commit", collection=POST_NSID)
    event.record = msgspec.json.encode(made)
    return sim.emit(event)


def like(sim: Simnet, person: int, post: SimEvent) -> SimEvent:
    """Of a post that was said on command."""
    event = SimEvent(0, 0, sim.people.did(person), operation="create", kind="commit", collection=LIKE_NSID)
    record = {"$type": LIKE_NSID, "createdAt": "2026-11-20T12:00:00.000Z", "subject": ref(post)}
    event.record = msgspec.json.encode(record)
    return sim.emit(event)


def uri_of(event: SimEvent) -> str:
    return f"at://{event.did}/{event.collection}/{event.rkey}"


def ref(event: SimEvent) -> dict[str, str]:
    return {"uri": uri_of(event), "cid": event.cid}


def mention(did: str, start: int = 0, end: int = 5) -> dict[str, Any]:
    feature = {"$type": "app.bsky.richtext.facet#mention", "did": did}
    return {"index": {"byteStart": start, "byteEnd": end}, "features": [feature]}
