"""A v2 host's archive: `planSnapshot`, `getSegment` and `getBlock` over what the network has said so far.

Each `segment_events` events make a segment; the newest ones are not sealed yet, so the tip moves on as the network
does. Faults are addressed to the host's name and `/archive`, so that they leave its streams alone.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from feedgen.simnet.faults import Faults
from feedgen.simnet.history import History
from feedgen.simnet.httpd import Request, Response, answer, failure
from feedgen.simnet.records import SimEvent
from feedgen.simnet.segments import BLOCK_EVENTS, BlockOf, block, segment

METHODS: Final = "/xrpc/network.bsky.jetstream."
KEPT_SEGMENTS: Final = 4
RETRY_AFTER_S: Final = 1
JSON: Final = Response().content_type


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    keys: tuple[str, ...] = ()  # who may ask; nobody's key is needed if there are none
    quota_bytes: int = 0  # of all downloads with one key; 0: any amount
    segment_events: int = 262_144
    block_events: int = BLOCK_EVENTS
    page_segments: int = 100  # of a plan


@dataclass(slots=True)
class ArchiveStats:
    """What was asked, for tests to look at."""

    plans: int = 0
    segments: int = 0
    blocks: int = 0
    refused: int = 0
    at_once: int = 0
    most_at_once: int = 0
    bytes: dict[str, int] = field(default_factory=dict)  # by key


class SimArchive:
    def __init__(
        self,
        name: str,
        history: History,
        faults: Faults,
        seq: Callable[[int], int],
        options: ArchiveOptions,
    ) -> None:
        self.name, self.options, self.stats = f"{name}/archive", options, ArchiveStats()
        self._history, self._faults, self._seq = history, faults, seq
        self._made: OrderedDict[tuple[int, int], tuple[bytes, list[BlockOf]]] = OrderedDict()
        self._making = asyncio.Lock()
        self._compacted_to = 0  # ordinals below were gone over
        self._generation = 0

    def serves(self, request: Request) -> bool:
        return request.path.startswith(METHODS) and request.path[len(METHODS) :] in (
            "planSnapshot", "getSegment", "getBlock",
        )  # fmt: skip

    @property
    def sealed(self) -> int:
        """How many segments there are."""
        return self._history.tip // self.options.segment_events

    async def handle(self, request: Request) -> Response:
        stats = self.stats
        stats.at_once += 1
        stats.most_at_once = max(stats.most_at_once, stats.at_once)
        try:
            refused = await self._refused(request)
            if refused is not None:
                stats.refused += 1
                return refused
            response = await self._answer(request, request.path[len(METHODS) :])
            return self._spoil(response)
        finally:
            stats.at_once -= 1

    async def _refused(self, request: Request) -> Response | None:
        if self._faults.take("compact", self.name):
            self._compacted_to, self._generation = self._history.tip, self._generation + 1
        if slow := self._faults.take("slow", self.name):
            await asyncio.sleep(slow.option("delay_s", 1.0))
        await self._faults.hold(self.name)
        if fault := self._faults.take("error", self.name):
            status = int(fault.option("status", 429))
            headers = {"retry_after": str(int(fault.option("retry_after_s", RETRY_AFTER_S)))} if status == 429 else {}
            return answer({"error": "RateLimitExceeded" if status == 429 else "InternalServerError"}, status, **headers)
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.options.keys and key not in self.options.keys:
            return failure(401, "AuthenticationRequired", "this needs an API key")
        if self.options.quota_bytes and self.stats.bytes.get(key, 0) >= self.options.quota_bytes:
            return answer({"error": "QuotaExceeded", "message": "the key is used up"}, 403)
        return None

    async def _answer(self, request: Request, method: str) -> Response:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        if method == "planSnapshot":
            self.stats.plans += 1
            return answer(await self._plan(msgspec.json.decode(request.body or b"{}")))
        name = request.first("name") if method == "getSegment" else request.first("segment")
        number = int(name[4:]) if name.startswith("seg_") and name[4:].isdigit() else -1
        if not 0 <= number < self.sealed:
            return failure(404, "SegmentNotFound", f"no segment {name[:40]!r}")
        data, blocks = await self._segment(number)
        if method == "getSegment":
            self.stats.segments += 1
        else:
            at = int(request.first("blockIndex", "0"))
            if not 0 <= at < len(blocks):
                return failure(404, "BlockNotFound", f"no block {at}")
            self.stats.blocks += 1
            data = blocks[at].frame
        self.stats.bytes[key] = self.stats.bytes.get(key, 0) + len(data)
        return Response(data, content_type="application/octet-stream", headers=(("etag", f'"{data[4:12].hex()}"'),))

    def _spoil(self, response: Response) -> Response:
        fault = self._faults.take("corrupt", self.name) if response.content_type != JSON else None
        if fault is None:
            return response
        body = bytearray(response.body)
        if fault.text("how", "bytes") == "cut":
            body = body[: len(body) // 2]
        else:
            body[len(body) // 2] ^= 0x40
        return Response(bytes(body), content_type=response.content_type, headers=response.headers)

    async def _plan(self, asked: dict[str, Any]) -> dict[str, Any]:
        size, after = self.options.segment_events, int(asked.get("afterSeq") or 0)
        tip = self._seq(self._history.event(self.sealed * size - 1).seq) if self.sealed else 0
        before = min(int(asked.get("beforeSeq") or tip), tip)
        segments: list[dict[str, Any]] = []
        through = before
        for number in range(self._history.floor // size, self.sealed):
            first, last = (self._seq(self._history.event(at).seq) for at in (number * size, (number + 1) * size - 1))
            if last <= after or first > before:
                continue
            if len(segments) == self.options.page_segments:
                through = first - 1
                break
            data, blocks = await self._segment(number)
            row = {"name": f"seg_{number:08d}", "index": number, "checksum": data[4:12].hex()}
            row |= {"minSeq": first, "maxSeq": last, "mode": "segment"}
            wanted = [i for i, one in enumerate(blocks) if one.events and one.max_seq > after and one.min_seq <= before]
            if 2 * len(wanted) < len(blocks) and wanted:
                row |= {"mode": "blocks", "blocks": [{"first": wanted[0], "last": wanted[-1]}]}
            segments.append(row)
        return {"plannedThroughSeq": through, "sealedTipSeq": tip, "segments": segments, "stats": {"bytes": 0}}

    async def _segment(self, number: int) -> tuple[bytes, list[BlockOf]]:
        async with self._making:
            made = self._made.get((number, self._generation))
            if made is None:
                events = self._events(number)
                made = await asyncio.to_thread(self._encode, events)
                self._made[number, self._generation] = made
                while len(self._made) > KEPT_SEGMENTS:
                    self._made.popitem(last=False)
            return made

    def _events(self, number: int) -> list[list[SimEvent]]:
        """By block. Compaction takes rows out of blocks and leaves the blocks where they are."""
        size, step = self.options.segment_events, self.options.block_events
        first = number * size
        gone = self._gone(first, first + size)
        out = []
        for start in range(first, first + size, step):
            rows = (self._history.event(at) for at in range(start, min(start + step, first + size)))
            kept = [event for event in rows if event.seq not in gone]
            out.append([msgspec.structs.replace(event, seq=self._seq(event.seq)) for event in kept])
        return out

    def _gone(self, first: int, end: int) -> set[int]:
        """Creates and updates whose record was deleted or written again before the compaction."""
        if first >= self._compacted_to:
            return set()
        last: dict[tuple[str, str, str], int] = {}
        gone: set[int] = set()
        for at in range(first, self._compacted_to):
            event = self._history.event(at)
            if event.kind == "commit":
                name = event.did, event.collection, event.rkey
                if event.operation != "create" and name in last:
                    gone.add(last.pop(name))
                if event.operation != "delete" and at < end:
                    last[name] = event.seq
        return gone

    def _encode(self, blocks: list[list[SimEvent]]) -> tuple[bytes, list[BlockOf]]:
        made = [block(events) for events in blocks]
        return segment(made, len({event.did for events in blocks for event in events})), made
