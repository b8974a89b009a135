"""A labeler: labels that a test or a demo puts, and the stream that tells them (com.atproto.label.subscribeLabels)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

from feedgen.core.cbor import Value, encode
from feedgen.simnet import websocket
from feedgen.simnet.httpd import Connection, Request, Response, Upgrade, failure

PATH: Final = "/xrpc/com.atproto.label.subscribeLabels"
LABELER: Final = "did:plc:labelerlabelerlabelerlab"
MAX_FRAMES: Final = 100_000


def frame_of(header: Value, body: Value) -> bytes:
    return encode(header) + encode(body)


class LabelStream:
    """Every label from the first; a cursor says from where. Without one only what comes from now on."""

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._changed = asyncio.Condition()
        self._readers: set[Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.cursors: list[str] = []  # that were asked with

    @property
    def seq(self) -> int:
        return len(self._frames)

    def put(self, uri: str, val: str, neg: bool = False, exp: str = "", src: str = LABELER) -> int:
        """A label on a post or an account, told at once; its sequence."""
        label: dict[str, Value] = {"ver": 1, "src": src, "uri": uri, "val": val, "cts": "2026-01-01T00:00:00Z"}
        label |= ({"neg": True} if neg else {}) | ({"exp": exp} if exp else {}) | {"sig": b"not signed"}
        return self.tell({"op": 1, "t": "#labels"}, {"seq": self.seq + 1, "labels": [label]})

    def tell(self, header: Value, body: Value) -> int:
        """Any frame at all."""
        if len(self._frames) >= MAX_FRAMES:
            raise RuntimeError("too many labels for a made-up labeler")
        self._frames.append(frame_of(header, body))
        task = asyncio.ensure_future(self._tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return self.seq

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    def cut(self) -> None:
        """Every reader's socket closes without a word."""
        for reader in list(self._readers):
            reader.abort()

    stop = cut

    async def handle(self, request: Request) -> Response | Upgrade:
        key = request.headers.get("sec-websocket-key", "")
        if request.path != PATH or not key:
            return failure(404, "NotFound", "only the stream of labels is here")
        cursor = request.first("cursor")
        self.cursors.append(cursor)
        start = int(cursor) if cursor.isdigit() else self.seq
        headers = (
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", websocket.accept_key(key)),
        )

        async def run(connection: Connection) -> None:
            await self._run(connection, start)

        return Upgrade(headers, run)

    async def _run(self, connection: Connection, start: int) -> None:
        self._readers.add(connection)
        listening = asyncio.ensure_future(self._listen(connection))
        try:
            if start > self.seq:
                error = frame_of({"op": -1}, {"error": "FutureCursor", "message": "Cursor in the future."})
                await connection.send(websocket.frame(error, websocket.BINARY))
                return
            pouring = asyncio.ensure_future(self._pour(connection, start))
            await asyncio.wait([pouring, listening], return_when=asyncio.FIRST_COMPLETED)
            pouring.cancel()
            await asyncio.gather(pouring, return_exceptions=True)
        finally:
            listening.cancel()
            self._readers.discard(connection)
            connection.writer.close()

    async def _pour(self, connection: Connection, at: int) -> None:
        while True:
            while at < self.seq:
                await connection.send(websocket.frame(self._frames[at], websocket.BINARY))
                at += 1
            async with self._changed:
                if at >= self.seq:
                    await self._changed.wait()

    async def _listen(self, connection: Connection) -> None:
        frames = websocket.FrameReader()
        with contextlib.suppress(ConnectionError, websocket.ProtocolError):
            while data := await connection.reader.read(4096):
                for frame in frames.feed(data):
                    if frame.opcode == websocket.PING:
                        await connection.send(websocket.frame(frame.payload, websocket.PONG))
                    if frame.opcode == websocket.CLOSE:
                        return
