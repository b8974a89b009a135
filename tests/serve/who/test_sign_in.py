"""The AppView is asked for a reader's newest posts, and believed only within bounds."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from feedgen.core.clock import SystemClock
from feedgen.core.errors import UpstreamError
from feedgen.serve.http.server import Server
from feedgen.serve.who.sign_in import MAX_BYTES, Lookout

DID, TEXT = "did:plc:a", "Signing in at x: ABCDE-FGHIJ"
PIECE = b" " * 100_000


async def test_an_answer_that_is_too_long_is_not_downloaded_to_its_end() -> None:
    sent = 0

    async def appview(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (100 * MAX_BYTES))
        with suppress(ConnectionError):
            while sent < 100 * MAX_BYTES:
                writer.write(PIECE)
                await writer.drain()
                sent += len(PIECE)
        writer.close()

    server = await asyncio.start_server(appview, "127.0.0.1", 0)
    lookout = Lookout(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", SystemClock())
    with pytest.raises(UpstreamError, match="too long"):
        await lookout.posted(DID, TEXT, int(time.time()))
    await lookout.close()
    server.close()
    assert sent < 50 * MAX_BYTES


async def test_a_post_is_found() -> None:
    post = {"author": {"did": DID}, "record": {"text": TEXT, "createdAt": datetime.now(UTC).isoformat()}}

    async def appview(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(json.dumps({"feed": [{"post": post}]}))(scope, receive, send)

    server = Server(appview, ["127.0.0.1:0"])
    await server.start()
    lookout = Lookout(f"http://127.0.0.1:{server.port}", SystemClock())
    assert await lookout.posted(DID, TEXT, int(time.time()))
    assert not await lookout.posted(DID, TEXT + ".", int(time.time()))
    await lookout.close()
    await server.stop(1.0)
