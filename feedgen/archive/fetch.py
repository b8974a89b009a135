"""Segments from the archive into `data/incoming`, a few ahead of what is being read; and blocks one by one.

A whole segment's checksum is verified before anything of it is read. One that is damaged is fetched once more, then its
blocks one by one; a block that is damaged twice is left out, counted and named.
"""

from __future__ import annotations

import logging
import mmap
import os
import shutil
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

from feedgen.archive.api import MAX_SEGMENT_BYTES, Api, NotThere, SegmentRef, Stopped
from feedgen.archive.segment import BadSegment, Segment
from feedgen.core.errors import UpstreamError
from feedgen.core.telemetry import Counter

log = logging.getLogger(__name__)

INCOMING: Final = "incoming"
DOWNLOADS: Final = 3  # at once: polite, and what MAX_INCOMING_BYTES has room for
MAX_INCOMING_BYTES: Final = 1 << 30
MIN_FREE_BYTES: Final = 2 << 30  # of the disk, with the segment that is about to come
ROOM_EVERY_S: Final = 30.0
MAX_BLOCKS: Final = 1 << 20

DAMAGED = Counter("feedgen_archive_damaged_total", "Segments and blocks whose checksum was wrong, by kind.", "kind")
LEFT_OUT = Counter("feedgen_archive_left_out_total", "Blocks that stayed damaged and were left out.")


@dataclass(frozen=True, slots=True)
class Fetched:
    """One block as it came; b"" if its segment's index lies about it."""

    segment: str
    block: int
    frame: bytes


class Fetcher:
    """Blocks, in order. One thread iterates; downloads run ahead in threads of their own."""

    def __init__(self, api: Api, folder: Path, min_free_bytes: int = MIN_FREE_BYTES) -> None:
        self._api, self._folder = api, folder / INCOMING
        self._min_free_bytes = min_free_bytes
        self._pool = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="archive")
        self._reserved = 0
        self._room = threading.Condition()

    def close(self) -> None:
        """Soon only if the api is stopped. Files of whole segments stay for the next start; `tidy` removes them."""
        with self._room:
            self._room.notify_all()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def tidy(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def blocks(self, refs: list[SegmentRef]) -> Iterator[Fetched]:
        """All wanted blocks. A segment's file goes once the first block of the next one is asked for."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._forget_all_but(refs)
        ahead: deque[tuple[SegmentRef, Future[Path | None]]] = deque()
        waiting = deque(refs)
        while waiting or ahead:
            while waiting and len(ahead) < DOWNLOADS:
                ahead.append((waiting[0], self._pool.submit(self._download, waiting.popleft())))
            ref, future = ahead.popleft()
            path = future.result()
            if path is None:
                yield from self._one_by_one(ref)
                continue
            yield from self._whole(ref, path)
            path.unlink(missing_ok=True)
            self._give_room()

    def again(self, one: Fetched) -> bytes | None:
        """A damaged block, fetched once more. None if it is not there."""
        DAMAGED.add(1, "block")
        try:
            return self._api.block(one.segment, one.block)
        except NotThere:
            return None

    def left_out(self, one: Fetched) -> None:
        LEFT_OUT.add(1)
        log.error("a damaged block of the archive is left out", extra={"segment": one.segment, "block": one.block})

    def _whole(self, ref: SegmentRef, path: Path) -> Iterator[Fetched]:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            view = memoryview(data)
            try:
                segment = Segment(view, verified=True)
                for block in range(segment.header.blocks):
                    try:
                        frame = segment.frame(block)
                    except BadSegment:
                        frame = b""
                    yield Fetched(ref.name, block, frame)
            finally:
                view.release()

    def _one_by_one(self, ref: SegmentRef) -> Iterator[Fetched]:
        wanted = [(one.first, one.last) for one in ref.blocks] or [(0, MAX_BLOCKS)]
        for first, last in wanted:
            for block in range(first, last + 1):
                try:
                    yield Fetched(ref.name, block, self._api.block(ref.name, block))
                except NotThere:
                    break

    # --- whole segments, in threads

    def _download(self, ref: SegmentRef) -> Path | None:
        """The verified file; None if its blocks must be fetched one by one."""
        if ref.mode != "segment":
            return None
        self._take_room()
        path = self._folder / _file_name(ref)
        try:
            if path.exists() and _verified(path):
                return path
            for _ in range(2):
                part = path.with_suffix(".part")
                try:
                    with part.open("wb") as file:
                        self._api.segment(ref.name, file)
                except NotThere:
                    break
                except UpstreamError as error:
                    log.warning("a segment of the archive did not come whole: %s", error.message)
                    continue
                if _verified(part):
                    os.replace(part, path)
                    return path
                DAMAGED.add(1, "segment")
            path.with_suffix(".part").unlink(missing_ok=True)
        except BaseException:
            self._give_room()
            raise
        self._give_room()
        return None

    def _take_room(self) -> None:
        """Waits for a place in the folder, and for room on the disk."""
        with self._room:
            while self._reserved + MAX_SEGMENT_BYTES > MAX_INCOMING_BYTES and not self._api.stop.is_set():
                self._room.wait()
            self._reserved += MAX_SEGMENT_BYTES
        said = False
        while (free := shutil.disk_usage(self._folder).free) < self._min_free_bytes + MAX_SEGMENT_BYTES:
            if not said:
                log.error("the archive waits for room on the disk", extra={"free_mb": free >> 20})
            said = True
            try:
                self._api.pause(ROOM_EVERY_S)
            except Stopped:
                self._give_room()
                raise

    def _give_room(self) -> None:
        with self._room:
            self._reserved -= MAX_SEGMENT_BYTES
            self._room.notify_all()

    def _forget_all_but(self, refs: list[SegmentRef]) -> None:
        wanted = {_file_name(ref) for ref in refs}
        for path in self._folder.iterdir():
            if path.name not in wanted:
                path.unlink(missing_ok=True)


def _file_name(ref: SegmentRef) -> str:
    """Nothing that the host says is part of a path: a digest of it is."""
    return blake2b(f"{ref.name}\0{ref.checksum}".encode(), digest_size=12).hexdigest() + ".jss"


def _verified(path: Path) -> bool:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            view = memoryview(data)
            try:
                Segment(view)
            finally:
                view.release()
    except (BadSegment, ValueError, OSError):
        return False
    return True
