"""Which websocket library hears the network with the least CPU: picows or websockets, flat out and at a steady pace.

The sender is a process of its own that writes ready-made frames (no masking, no compression): never the bottleneck.
`coalesced` is what the client does: the socket is read every half second, so that a wake-up brings a hundred
messages instead of one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import multiprocessing
import socket
import struct
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from . import Figure, Params

PARAMETERS = {"messages": 200_000, "bytes": 500, "steady_rate": 500, "steady_s": 4}
READ_EVERY_S = 0.5
Receive = Callable[[str, int], Coroutine[Any, Any, tuple[float, float]]]
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def run(params: Params) -> Iterator[Figure]:
    messages, size = int(params["messages"]), int(params["bytes"])
    rate, seconds = int(params["steady_rate"]), int(params["steady_s"])
    for name, receive in (("picows", _picows), ("websockets", _websockets)):
        wall_s, cpu_s = _measure(receive, messages, size, 0)
        yield Figure(f"websocket.{name}_messages_s", messages / wall_s, "messages/s", f"{size} B each, flat out")
        yield Figure(f"websocket.{name}_cpu_us", cpu_s / messages * 1e6, "us/message", "flat out")
    steady = {"picows": _picows, "websockets": _websockets, "coalesced": _coalesced}
    for name, receive in steady.items():
        _, cpu_s = _measure(receive, rate * seconds, size, rate)
        yield Figure(f"websocket.{name}_steady_cpu_us", cpu_s / (rate * seconds) * 1e6, "us/message", f"at {rate}/s")


def _measure(receive: Receive, messages: int, size: int, rate: int) -> tuple[float, float]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    sender = context.Process(target=_send, args=(theirs, messages, size, rate), daemon=True)
    sender.start()
    port = ours.recv()
    try:
        return asyncio.run(receive(f"ws://127.0.0.1:{port}/", messages))
    finally:
        sender.join(10)
        sender.kill()


async def _picows(url: str, messages: int, read_every_s: float = 0.0) -> tuple[float, float]:
    import picows

    done = asyncio.get_running_loop().create_future()
    frames: list[bytes] = []

    class Listener(picows.WSListener):
        def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
            frames.append(frame.get_payload_as_bytes())
            if len(frames) >= messages and not done.done():
                done.set_result(None)

    start = time.perf_counter(), time.process_time()
    transport, _ = await picows.ws_connect(Listener, url)
    if read_every_s:
        await _read_now_and_then(transport.underlying_transport, read_every_s, done)
    await done
    spent = time.perf_counter() - start[0], time.process_time() - start[1]
    transport.disconnect(False)
    return spent


async def _coalesced(url: str, messages: int) -> tuple[float, float]:
    return await _picows(url, messages, READ_EVERY_S)


async def _read_now_and_then(transport: asyncio.Transport, every_s: float, done: asyncio.Future[None]) -> None:
    while not done.done():
        transport.pause_reading()
        await asyncio.sleep(every_s)
        transport.resume_reading()
        await asyncio.sleep(0.001)


async def _websockets(url: str, messages: int) -> tuple[float, float]:
    from websockets.asyncio.client import connect

    start = time.perf_counter(), time.process_time()
    frames: list[bytes | str] = []
    async with connect(url, compression=None, max_size=2 << 20) as connection:
        while len(frames) < messages:
            frames.append(await connection.recv(decode=False))
        return time.perf_counter() - start[0], time.process_time() - start[1]


def _send(pipe: Any, messages: int, size: int, rate: int) -> None:
    """`messages` frames of a size, flat out or `rate` a second."""
    serve_frames(pipe, [b"x" * size] * 200, messages, rate)


def serve_frames(pipe: Any, payloads: list[bytes], messages: int, rate: int = 0) -> None:
    """A websocket server for one guest: tells its port through the pipe, shakes hands, sends, waits for the end."""
    frames = [_frame(payload) for payload in payloads]
    server = socket.create_server(("127.0.0.1", 0))
    pipe.send(server.getsockname()[1])
    connection, _ = server.accept()
    _shake_hands(connection)
    start_s = time.perf_counter()
    if rate:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(messages):
            time.sleep(max(0.0, start_s + i / rate - time.perf_counter()))
            connection.sendall(frames[i % len(frames)])
    else:
        pieces = [b"".join(frames[i : i + 200]) for i in range(0, len(frames), 200)]
        for i in range(messages // 200):
            connection.sendall(pieces[i % len(pieces)])
    connection.settimeout(5)
    with contextlib.suppress(OSError):
        while connection.recv(65_536):
            pass


def _shake_hands(connection: socket.socket) -> None:
    request = connection.recv(65_536)
    key = next(line.split(b":", 1)[1].strip() for line in request.split(b"\r\n") if b"websocket-key" in line.lower())
    accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    connection.sendall(head + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")


def _frame(payload: bytes) -> bytes:
    size = len(payload)
    return b"\x81" + (bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size)) + payload
