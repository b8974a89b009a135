"""CPU per event from a received message to a batch's columns: inflating, decoding, building, and the whole way.

The frames have the network's mix of kinds and sizes. The whole way is client and pipeline on one core, from a socket
of a sender in a process of its own, into a sink that does nothing.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import zstandard

from feedgen.core.clock import SystemClock
from feedgen.core.ids import int_to_tid
from feedgen.ingest.batch import Batch, BatchBuilder, Cursor
from feedgen.ingest.events import Event, decode
from feedgen.ingest.frames import Inflater, Inlet
from feedgen.ingest.jetstream import Client
from feedgen.ingest.pipeline import Pipeline

from . import Figure, Params
from .websocket import serve_frames

PARAMETERS = {"events": 40_000, "repeats": 5, "socket_events": 200_000, "steady_rate": 500, "steady_s": 6}
_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_CID = "bafyreib2rxk3rybk3aobmv5cjuql3bm2twh4jo5uxgf5kpqcsgz7soitae"
_START_US = 1_790_000_000_000_000


def run(params: Params) -> Iterator[Figure]:
    events, repeats = int(params["events"]), int(params["repeats"])
    for wire in ("v1", "v2"):
        frames = list(make_frames(events, wire))
        note = f"{sum(map(len, frames)) // events} B each"
        decode_us = _best_us(lambda: _decode(frames), events, repeats)  # noqa: B023
        build_us = _best_us(lambda: _build(frames), events, repeats)  # noqa: B023
        yield Figure(f"decode.{wire}_us", decode_us, "us/event", note)
        yield Figure(f"decode.{wire}_and_build_us", build_us, "us/event", "the same, into batches")
    dictionary = zstandard.train_dictionary(65_536, [*frames[:4_000]], dict_id=1).as_bytes()
    compress = zstandard.ZstdCompressor(dict_data=zstandard.ZstdCompressionDict(dictionary), write_content_size=True)
    packed = [compress.compress(frame) for frame in frames]
    inflate = Inflater(dictionary)
    inflate_us = _best_us(lambda: [inflate(frame) for frame in packed], events, repeats)
    yield Figure("decode.inflate_us", inflate_us, "us/event", f"{sum(map(len, packed)) // events} B each")
    n = int(params["socket_events"])
    wall_s, cpu_s = _whole_way(list(make_frames(events, "v1")), n)
    yield Figure("decode.socket_to_batch_us", cpu_s / n * 1e6, "us/event", "client and pipeline, all threads")
    yield Figure("decode.socket_to_batch_events_s", n / wall_s, "events/s")
    rate = int(params["steady_rate"])
    n = rate * int(params["steady_s"])
    _, cpu_s = _whole_way(list(make_frames(n, "v1", start_us=time.time_ns() // 1000)), n, rate)
    yield Figure("decode.steady_cpu_us", cpu_s / n * 1e6, "us/event", f"the whole way at {rate}/s, without a store")


def _best_us(work: Callable[[], object], events: int, repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        start_s = time.process_time()
        work()
        best = min(best, time.process_time() - start_s)
    return best / events * 1e6


def _decode(frames: list[bytes]) -> None:
    for frame in frames:
        decode(frame)


def _build(frames: list[bytes]) -> None:
    builder = BatchBuilder("host")
    for frame in frames:
        event = decode(frame)
        if isinstance(event, Event) and not builder.add(event, 1):
            builder.take()
            builder.add(event, 1)
    builder.take()


class _Nothing:
    """A sink for which everything is new, and nothing is kept."""

    def __init__(self) -> None:
        self.events = 0

    def apply(self, batch: Batch) -> None:
        self.events += batch.events

    def cursor(self) -> Cursor | None:
        return None

    def high_water_us(self) -> int:
        return 0


def _whole_way(frames: list[bytes], events: int, rate: int = 0) -> tuple[float, float]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    sender = context.Process(target=serve_frames, args=(theirs, frames, events, rate), daemon=True)
    sender.start()
    try:
        return asyncio.run(_listen(f"ws://127.0.0.1:{ours.recv()}", events))
    finally:
        sender.join(10)
        sender.kill()


async def _listen(url: str, events: int) -> tuple[float, float]:
    gc.collect()
    gc.freeze()  # what the benchmark itself holds must not be looked through again and again
    with tempfile.TemporaryDirectory() as folder:
        inlet, sink, clock = Inlet(), _Nothing(), SystemClock()
        client = Client(urls=[url], wire="v1", start="now", dictionaries=Path(folder), inlet=inlet, clock=clock)
        pipeline = Pipeline(sink, inlet, clock)
        tasks = [asyncio.create_task(client.run()), asyncio.create_task(pipeline.run())]
        while not sink.events:
            await asyncio.sleep(0.005)
        before = sink.events
        start_s = time.perf_counter(), time.process_time()
        while sink.events < events:
            await asyncio.sleep(0.05)
            for task in tasks:
                if task.done():
                    task.result()
        share = events / (sink.events - before)  # what came before the clocks were read is not theirs
        spent = (time.perf_counter() - start_s[0]) * share, (time.process_time() - start_s[1]) * share
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return spent


def make_frames(n: int, wire: str, seed: int = 1, start_us: int = _START_US) -> Iterator[bytes]:
    """The network's mix: 69% likes, 12% posts, 10% reposts, 6% follows, 3% deletes."""
    rng = random.Random(seed)
    us = start_us
    for i in range(n):
        us += rng.randrange(4_000)
        collection, record = _record(rng, us)
        commit: dict[str, Any] = {"rev": _tid(rng, us), "operation": "create" if record else "delete"}
        commit |= {"collection": collection, "rkey": _tid(rng, us)}
        if record:
            commit |= {"record": record, "cid": _CID}
        if wire == "v1":
            frame: dict[str, Any] = {"did": _did(rng), "time_us": us, "kind": "commit", "commit": commit}
        else:
            payload: dict[str, Any] = {"seq": 10**9 + i, "did": _did(rng), "time": _iso(us), **commit}
            payload["$type"] = "network.bsky.jetstream.subscribeEvents#commit"
            frame = {"$type": "message", "payload": dict(sorted(payload.items()))}
        yield json.dumps(frame, separators=(",", ":")).encode()


def _record(rng: random.Random, us: int) -> tuple[str, dict[str, Any]]:
    x = rng.random()
    uri = f"at://{_did(rng)}/app.bsky.feed.post/{_tid(rng, us - rng.randrange(10**11))}"
    subject = {"cid": _CID, "uri": uri}
    record: dict[str, Any] = {"createdAt": _iso(us)[:-4] + "Z"}
    if x < 0.79:
        collection = "app.bsky.feed.like" if x < 0.69 else "app.bsky.feed.repost"
        record |= {"subject": subject}
        if rng.random() < 0.17:
            record["via"] = subject
    elif x < 0.91:
        collection = "app.bsky.feed.post"
        record |= {"langs": ["en"], "text": "lorem ipsum dolor sit amet " * rng.randrange(1, 8)}
        if rng.random() < 0.5:
            record["reply"] = {"parent": subject, "root": subject}
        if rng.random() < 0.3:
            image = {"$type": "blob", "ref": {"$link": _CID}, "mimeType": "image/jpeg", "size": 88_888}
            record["embed"] = {"$type": "app.bsky.embed.images", "images": [{"alt": "words", "image": image}]}
    elif x < 0.97:
        collection = "app.bsky.graph.follow"
        record["subject"] = _did(rng)
    else:
        return "app.bsky.feed.like", {}
    return collection, {"$type": collection, **record}


def _did(rng: random.Random) -> str:
    return "did:plc:" + "".join(rng.choices(_BASE32, k=24))


def _tid(rng: random.Random, us: int) -> str:
    return int_to_tid(us << 10 | rng.randrange(32))


def _iso(us: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(us // 1_000_000)) + f".{us % 1_000_000:06d}Z"
