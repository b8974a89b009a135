"""`data/learn/`: blocks of examples, a file each, and the model. All of it may be deleted at any time.

A file is written beside its place, synced, and renamed, so that a power cut leaves the old one or the new one. What
can't be read is left out and deleted: examples come again by themselves.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from feedgen.learn.examples import Block
from feedgen.rank.features import FEATURES, NAMES

VERSION: Final = 1
MAX_REQUESTS: Final = 4000  # rankings that are kept, the newest; thinned they are some 165,000 rows
TESTED: Final = 5  # the newest one in so many is for testing, and stays whole
SUFFIX: Final = ".examples"
MODEL: Final = "model.json"
REPORT: Final = "report.json"
FOLDER: Final = "learn"  # in the data folder
DIGEST: Final = 16


class _Stored(msgspec.Struct):
    version: int
    features: tuple[str, ...]
    key: tuple[float, ...]
    time_us: int
    until_us: int
    thinned: bool
    starts: bytes
    x: bytes
    weights: bytes
    labels: bytes


def replace_file(path: Path, content: bytes) -> None:
    """Whole or not at all, also when the power goes."""
    draft = path.with_name(f".{path.name}.new")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def pack(block: Block) -> bytes:
    text = msgspec.msgpack.encode(
        _Stored(
            VERSION,
            NAMES,
            block.key,
            block.time_us,
            block.until_us,
            block.thinned,
            block.starts.tobytes(),
            block.x.tobytes(),
            block.weights.tobytes(),
            block.labels.tobytes(),
        )
    )
    return blake2b(text, digest_size=DIGEST).digest() + text


def unpack(content: bytes) -> Block:
    """ValueError for anything else than what `pack` gives."""
    if blake2b(content[DIGEST:], digest_size=DIGEST).digest() != content[:DIGEST]:
        raise ValueError("damaged")
    try:
        stored = msgspec.msgpack.decode(content[DIGEST:], type=_Stored)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
    if stored.version != VERSION or stored.features != NAMES:
        raise ValueError("of another version")
    starts = np.frombuffer(stored.starts, np.int64)
    x = np.frombuffer(stored.x, np.float16).reshape(-1, FEATURES)
    weights, labels = np.frombuffer(stored.weights, np.float32), np.frombuffer(stored.labels, np.uint8)
    if not starts.size or not starts[-1] == len(x) == weights.size == labels.size or (np.diff(starts) <= 0).any():
        raise ValueError("parts do not fit together")
    return Block(stored.key, stored.time_us, stored.until_us, starts, x, weights, labels, stored.thinned)


class Examples:
    """The blocks of one folder. Used by one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> list[Block]:
        """Oldest first, those of the formula that the newest block has. Changes nothing."""
        found = [block for _, block in self._all() if block is not None]
        return [block for block in found if block.key == found[-1].key]

    def _all(self) -> list[tuple[Path, Block | None]]:
        """None: it can't be read."""
        found = list[tuple[Path, Block | None]]()
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            try:
                found.append((path, unpack(path.read_bytes())))
            except (OSError, ValueError):
                found.append((path, None))
        return found

    def add(self, block: Block) -> None:
        """Keeps a block, thins those that are not for testing any more, and lets the oldest go, with those of other
        formulas and what can't be read."""
        if not block.requests:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self._path(block), pack(block))
        blocks = list[Block]()
        for path, one in self._all():
            if one is None or one.key != block.key:
                path.unlink(missing_ok=True)
            else:
                blocks.append(one)
        kept = newest(blocks, MAX_REQUESTS)
        for old in blocks[: len(blocks) - len(kept)]:
            self._path(old).unlink(missing_ok=True)
        for training in kept[: len(kept) - len(held_out(kept))]:
            if not training.thinned:
                replace_file(self._path(training), pack(training.thin()))

    def _path(self, block: Block) -> Path:
        return self.folder / f"{block.time_us:017}{SUFFIX}"


def newest(blocks: Sequence[Block], requests: int) -> list[Block]:
    """So many of the newest that they hold as many rankings, or a few more."""
    total = 0
    for i in range(len(blocks) - 1, -1, -1):
        total += blocks[i].requests
        if total >= requests:
            return list(blocks[i:])
    return list(blocks)


def held_out(blocks: Sequence[Block]) -> list[Block]:
    """The newest fifth."""
    total = sum(block.requests for block in blocks)
    return newest(blocks, max(total // TESTED, 1)) if total else []
