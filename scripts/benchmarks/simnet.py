"""How fast simnet gives events out of one process, on both wires, to a client that only counts frames."""

from __future__ import annotations

import base64
import os
import socket
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from feedgen.core.jit import njit
from feedgen.simnet.process import SimnetProcess
from scripts.benchmarks import Figure, Params
from scripts.benchmarks.flood import FloodProcess

PARAMETERS = {"events": 3_000_000, "people": 1_000, "days": 2.0}
V2 = "/xrpc/network.bsky.jetstream.subscribeEvents"
BUFFER_BYTES = 4 << 20
CONTROL_FRAMES = 8  # opcodes from here on are pings and such


@njit
def count(data: NDArray[np.uint8], end: int) -> tuple[int, int]:
    """(whole event frames, bytes used) of a server's frames."""
    frames = at = 0
    while at + 10 <= end:
        length, head = int(data[at + 1]), 2
        if length >= 126:
            width = 2 if length == 126 else 8
            length = 0
            for i in range(width):
                length = length << 8 | int(data[at + 2 + i])
            head += width
        if at + head + length > end:
            break
        frames += (data[at] & 15) < CONTROL_FRAMES
        at += head + length
    return frames, at


def drain(url: str, events: int) -> tuple[float, float]:
    """(events/s, bytes an event), from the first byte on."""
    count(np.zeros(16, np.uint8), 16)  # compiled before the clock runs
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        connection.sendall(
            f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        return _measure(connection, events)


def _measure(connection: socket.socket, events: int) -> tuple[float, float]:
    buffer = np.zeros(BUFFER_BYTES, np.uint8)
    view: Any = buffer.data
    kept = connection.recv_into(view)
    head = bytes(view[:kept]).find(b"\r\n\r\n") + 4
    assert bytes(view[:12]) == b"HTTP/1.1 101", bytes(view[:200])
    buffer[: kept - head] = buffer[head:kept].copy()
    kept, seen, total, started = kept - head, 0, 0, time.perf_counter()
    while seen < events:
        got = connection.recv_into(view[kept:])
        if not got:
            break
        total += got
        frames, used = count(buffer, kept + got)
        kept += got - used
        buffer[:kept] = buffer[used : used + kept].copy()
        seen += frames
    return seen / (time.perf_counter() - started), total / max(seen, 1)


def run(params: Params) -> Iterable[Figure]:
    events = int(params["events"])
    with FloodProcess("--ratings", str(events * 2), "--hosts", "v2,legacy") as sim:
        v2, legacy = sim.urls.jetstream
        for name, url in (
            ("v1", f"{legacy}/subscribe"),
            ("v2", f"{v2}{V2}"),
            ("v2_zstd", f"{v2}{V2}?zstdDictionary={sim.control('')['dictionary']}"),
        ):
            rate, size = drain(url, events)
            yield Figure(f"simnet.flood_{name}_events_s", rate, "events/s", f"{size:.0f} B an event")
    words = ("--people", str(params["people"]), "--days", str(params["days"]), "--lookback-h", "-1")
    with SimnetProcess(*words, "--hosts", "v2,legacy", "--wait") as sim:
        v2, legacy = sim.urls.jetstream
        past = int(sim.control("")["kept"] * 0.99)  # v1 leaves sync events out
        for name, url in (("v1", f"{legacy}/subscribe?cursor=0"), ("v2", f"{v2}{V2}?cursor=0")):
            rate, size = drain(url, past)
            yield Figure(f"simnet.history_{name}_events_s", rate, "events/s", f"{size:.0f} B an event, {past} events")
    with SimnetProcess(*words, "--hosts", "v2", "--no-wait") as sim:
        rate, _ = drain(f"{sim.urls.jetstream[0]}{V2}?cursor=0", past)
        yield Figure("simnet.world_v2_events_s", rate, "events/s", "made while it is read")
