"""The archive's three calls: a plan of segments, a whole segment, a block. Used in threads.

The key goes into one header of these calls, over https or to loopback only, and no redirect is followed. 429 and
Retry-After hold up all calls together.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import BinaryIO, Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import msgspec

from feedgen.archive.key import KeyTrouble, may_send
from feedgen.archive.segment import MAX_FRAME_BYTES
from feedgen.core.errors import UpstreamError
from feedgen.core.telemetry import Counter

log = logging.getLogger(__name__)

METHODS: Final = "/xrpc/network.bsky.jetstream."
TIMEOUT_S: Final = 30.0
ATTEMPTS: Final = 6  # of a call that fails for other reasons than 429
BACKOFF_S: Final = 1.0
MAX_BACKOFF_S: Final = 60.0
MAX_RETRY_AFTER_S: Final = 3_600.0
MAX_PLAN_BYTES: Final = 64 << 20
MAX_SEGMENT_BYTES: Final = 320 << 20  # usual ones have 256 MB
MAX_SEGMENTS: Final = 200_000
CHUNK_BYTES: Final = 1 << 20

BYTES = Counter("feedgen_archive_bytes_total", "Bytes downloaded from Jetstream's archive.")
HELD_UP = Counter("feedgen_archive_held_up_total", "Times that the archive asked us to wait (429).")


class ArchiveRefused(UpstreamError):
    """The archive is not for us: no key, a wrong one, one that is used up, or no archive at all."""


class NotThere(UpstreamError):
    """No such segment or block."""


class Stopped(Exception):
    """We are asked to stop."""


class BlockRange(msgspec.Struct, frozen=True):
    first: int
    last: int


class SegmentRef(msgspec.Struct, frozen=True, rename="camel"):
    """One segment of a plan. `blocks`: only these of it are wanted."""

    name: str
    min_seq: int
    max_seq: int
    index: int = 0
    checksum: str | int = ""
    mode: str = "segment"
    blocks: list[BlockRange] = []


class Page(msgspec.Struct, frozen=True, rename="camel"):
    planned_through_seq: int
    sealed_tip_seq: int
    segments: list[SegmentRef] = []


_page = msgspec.json.Decoder(Page).decode


def http_base(url: str) -> str:
    """The host's https (or http) address, from that of its websocket."""
    parts = urlsplit(url)
    return urlunsplit(("https" if parts.scheme in ("wss", "https") else "http", parts.netloc, "", "", ""))


class Api:
    def __init__(self, base: str, key: str, stop: threading.Event | None = None) -> None:
        self.base = http_base(base)
        if key and not may_send(self.base):
            raise KeyTrouble(
                f"The archive key is not sent to {self.base}, because that is not encrypted.",
                "Use a wss:// address as the first of [jetstream] urls.",
            )
        self.host = urlsplit(self.base).netloc
        self.stop = stop or threading.Event()
        headers = {"user-agent": "feedgen", "accept-encoding": "identity"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        self._client = httpx.Client(headers=headers, follow_redirects=False, timeout=TIMEOUT_S)
        self._not_before_s = 0.0
        self.bytes = 0

    def close(self) -> None:
        self._client.close()

    def plan(self, after_seq: int, before_seq: int | None = None) -> tuple[list[SegmentRef], int]:
        """All segments with events behind `after_seq`, and the newest sealed sequence."""
        segments: list[SegmentRef] = []
        tip = before_seq
        while True:
            page = self._plan_page(after_seq, tip)
            tip = page.sealed_tip_seq if tip is None else tip
            segments += page.segments
            if page.planned_through_seq >= tip:
                return sorted(segments, key=lambda one: one.min_seq), tip
            if page.planned_through_seq <= after_seq or len(segments) > MAX_SEGMENTS:
                raise UpstreamError(f"{self.host} plans in circles", "Is it a Jetstream v2 host?")
            after_seq = page.planned_through_seq

    def _plan_page(self, after_seq: int, before_seq: int | None) -> Page:
        asked: dict[str, int] = {"afterSeq": after_seq}
        if before_seq is not None:
            asked["beforeSeq"] = before_seq
        body = self._small("POST", "planSnapshot", MAX_PLAN_BYTES, json=asked)
        try:
            return _page(body)
        except msgspec.DecodeError:
            raise UpstreamError(f"{self.host} answers with a plan that can't be read") from None

    def block(self, segment: str, index: int) -> bytes:
        """One zstd frame. NotThere behind the last one."""
        return self._small("GET", "getBlock", MAX_FRAME_BYTES, params={"segment": segment, "blockIndex": index})

    def segment(self, name: str, file: BinaryIO) -> None:
        """A whole segment into a file, from its beginning."""

        def save(response: httpx.Response) -> None:
            file.seek(0)
            file.truncate()
            size = 0
            for chunk in response.iter_raw(CHUNK_BYTES):
                size += len(chunk)
                if size > MAX_SEGMENT_BYTES:
                    raise UpstreamError(f"{self.host} sends a segment that is too large")
                self._count(len(chunk))
                file.write(chunk)
            file.flush()

        with self._asked("GET", "getSegment", params={"name": name}) as response:
            save(response)

    def _small(self, verb: str, method: str, max_bytes: int, **more: object) -> bytes:
        with self._asked(verb, method, **more) as response:
            body = bytearray()
            for chunk in response.iter_raw(CHUNK_BYTES):
                body += chunk
                self._count(len(chunk))
                if len(body) > max_bytes:
                    raise UpstreamError(f"{self.host} answers {method} with too much")
            return bytes(body)

    def _count(self, size: int) -> None:
        self.bytes += size
        BYTES.add(size)
        if self.stop.is_set():
            raise Stopped

    @contextmanager
    def _asked(self, verb: str, method: str, **more: object) -> Iterator[httpx.Response]:
        """An answer with status 200, however often it takes to get one. What fails while it is read is the caller's."""
        attempt = 0
        while True:
            self.pause(self._not_before_s - time.monotonic())
            response = None
            try:
                request = self._client.build_request(verb, self.base + METHODS + method, **more)  # type: ignore[arg-type]
                response = self._client.send(request, stream=True)
                wait_s = self._judge(method, response)
            except httpx.HTTPError as error:
                wait_s, reason = -1.0, type(error).__name__
            else:
                reason = f"status {response.status_code}"
            if response is not None and wait_s == 0:
                break
            if response is not None:
                response.close()
            if wait_s > 0:
                self._not_before_s = max(self._not_before_s, time.monotonic() + wait_s)
                continue
            attempt += 1
            if attempt == ATTEMPTS:
                raise UpstreamError(f"{self.host} does not answer {method}: {reason}", "It is tried again later.")
            self.pause(min(BACKOFF_S * 2 ** (attempt - 1), MAX_BACKOFF_S))
        try:
            yield response
        except httpx.HTTPError as error:
            raise UpstreamError(f"{self.host} ended an answer to {method}: {type(error).__name__}") from None
        finally:
            response.close()

    def _judge(self, method: str, response: httpx.Response) -> float:
        """0: here is the answer; more: wait so many seconds; less: try again. Raises for what won't get better."""
        status = response.status_code
        if status == 200:
            return 0.0
        if status == 429:
            HELD_UP.add(1)
            wait_s = _retry_after_s(response.headers.get("retry-after", ""))
            log.info("the archive asks us to wait", extra={"wait_s": round(wait_s, 1), "host": self.host})
            return wait_s
        if status in (401, 402, 403):
            raise ArchiveRefused(
                f"{self.host} refuses our key for its archive ({status}).",
                "Set [jetstream] archive_key to a valid key, or wait until its allowance is renewed. "
                "All else goes on without the archive.",
            )
        if status == 404 and method != "planSnapshot":
            raise NotThere(f"{self.host} has no such part of its archive")
        if status in (404, 405, 501) or 300 <= status < 400:
            raise ArchiveRefused(
                f"{self.host} has no archive ({status}).", "Put a Jetstream v2 host first in [jetstream] urls."
            )
        if status < 500:
            raise ArchiveRefused(f"{self.host} refuses {method} with status {status}.")
        return -1.0

    def pause(self, seconds: float) -> None:
        if self.stop.wait(max(0.0, seconds)) or self.stop.is_set():
            raise Stopped


def _retry_after_s(text: str) -> float:
    """Seconds, or a date; a minute if it says nothing."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError):
            seconds = 60.0
    return min(max(seconds, 0.1), MAX_RETRY_AFTER_S) if seconds == seconds else 60.0
