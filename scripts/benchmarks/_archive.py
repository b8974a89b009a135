"""An archive of a flood, in files, and a process that serves it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from feedgen.simnet import segments
from feedgen.simnet.archive import METHODS
from feedgen.simnet.faults import Faults
from feedgen.simnet.httpd import HttpServer, Request, Response, answer, failure
from feedgen.simnet.records import SimEvent
from scripts.benchmarks.flood.plan import V2, Encoder, FloodPlan, flood

SEGMENT_EVENTS: Final = 262_144


class _Payload(msgspec.Struct):
    did: str
    seq: int
    time: datetime
    type: str = msgspec.field(name="$type")
    operation: str = ""
    collection: str = ""
    rkey: str = ""
    rev: str = ""
    cid: str = ""
    record: msgspec.Raw = msgspec.Raw()
    account: msgspec.Raw = msgspec.Raw()
    identity: msgspec.Raw = msgspec.Raw()


class _Frame(msgspec.Struct):
    payload: _Payload


def events(plan: FloodPlan) -> Iterator[SimEvent]:
    decode = msgspec.json.Decoder(_Frame).decode
    for chunk in flood(plan, Encoder(wire=V2)):
        for seq, frame in enumerate(chunk.frames(), chunk.first_seq):
            p = decode(frame).payload
            kind = p.type.rpartition("#")[2]
            yield SimEvent(
                seq, plan.time_us(seq - 1), p.did, kind, p.operation, p.collection, p.rkey, p.rev, p.cid,
                bytes(p.record) or None, bytes(p.account) or bytes(p.identity),
            )  # fmt: skip


def _compacted(plan: FloodPlan) -> Iterator[SimEvent]:
    """As hosts leave it: what is deleted later is not in it any more, its deletion is."""
    names = {
        (event.did, event.collection, event.rkey): event.seq for event in events(plan) if event.operation == "delete"
    }
    for event in events(plan):
        if event.operation == "delete" or names.get((event.did, event.collection, event.rkey), 0) < event.seq:
            yield event


def write(plan: FloodPlan, folder: Path) -> None:
    """Segments of all the plan's events, and an index of them."""
    index: list[dict[str, Any]] = []
    told = _compacted(plan)
    while some := list(islice(told, SEGMENT_EVENTS)):
        data, blocks = segments.encode(some)
        name = f"seg_{len(index):08d}"
        (folder / name).write_bytes(data)
        row = {"name": name, "index": len(index), "checksum": data[4:12].hex(), "mode": "segment"}
        index.append(row | {"minSeq": some[0].seq, "maxSeq": some[-1].seq, "blocks_": len(blocks)})
    (folder / "index.json").write_text(json.dumps(index))


class Files:
    """The three calls over such a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._index: list[dict[str, Any]] = json.loads((folder / "index.json").read_text())

    async def handle(self, request: Request) -> Response:
        method = request.path.removeprefix(METHODS)
        if method == "planSnapshot":
            after = int(json.loads(request.body or b"{}").get("afterSeq", 0))
            tip = self._index[-1]["maxSeq"]
            rows = [row for row in self._index if row["maxSeq"] > after]
            return answer({"plannedThroughSeq": tip, "sealedTipSeq": tip, "segments": rows})
        name = request.first("name") or request.first("segment")
        if name not in {row["name"] for row in self._index}:
            return failure(404, "NotFound", "no such segment")
        data = (self._folder / name).read_bytes()
        if method == "getBlock":
            data = _block(data, int(request.first("blockIndex", "0")))
        return Response(data, content_type="application/octet-stream")


def _block(data: bytes, block: int) -> bytes:
    at = segments.HEADER_BYTES
    for _ in range(block):
        at += 8 + int.from_bytes(data[at : at + 8], "little")
    return data[at + 8 : at + 8 + int.from_bytes(data[at : at + 8], "little")]


async def serve(folder: Path) -> None:
    server = HttpServer("archive", Files(folder).handle, Faults())
    await server.start()
    print(server.url, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
