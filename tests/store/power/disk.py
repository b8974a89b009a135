"""The disk as it could be after a power cut, made from a recording of what a process did (shim.c).

Until a file is synced, each of its sectors may hold what the page cache held at any instant since the last sync: the
kernel writes pages back when it likes, and the drive writes sectors in any order. The file's length and its cut-off
tail may be those of any such instant too. Names (created, renamed, unlinked) are durable once their folder is synced;
until then any of them may be missing.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

CREATE, OPEN, WRITE, SIZE, SYNC, DIRSYNC, RENAME, UNLINK, MKDIR, MARK, GROW = range(1, 12)
SECTOR: Final = 512
PAGE: Final = 4096
_HEADER: Final = struct.Struct("<IIQII")
_FOLDER: Final = -1  # instead of a file's number


class Record(NamedTuple):
    kind: int
    file: int
    at: int
    data: bytes
    other: bytes

    @property
    def text(self) -> str:
        return self.data.decode()


def read_recording(path: Path) -> list[Record]:
    content = path.read_bytes()
    records, at = [], 0
    while at < len(content):
        kind, file, place, a, b = _HEADER.unpack_from(content, at)
        at += _HEADER.size
        records.append(Record(kind, file, place, content[at : at + a], content[at + a : at + a + b]))
        at += a + b
    return records


@dataclass
class _File:
    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, int, bytes]] = field(default_factory=list)

    def sync(self) -> None:
        self.durable = self.content(len(self.pending))
        self.pending.clear()

    def content(self, count: int) -> bytearray:
        """The first operations that are pending are done, the others are not."""
        content = bytearray(self.durable)
        for kind, at, data in self.pending[:count]:
            if kind == SIZE:
                del content[at:]
            if len(content) < at:
                content.extend(bytes(at - len(content)))
            if kind == WRITE:
                content[at : at + len(data)] = data
        return content

    def torn(self, rng: random.Random) -> bytearray:
        """Each sector as it was at another instant; so are the length and what was cut off."""
        count = len(self.pending)
        known = rng.choice([0, count, rng.randrange(count + 1)])  # length and cuts are those after so many operations
        unit = rng.choice([SECTOR, PAGE])
        most = max([len(self.durable), *(at + len(data) for _, at, data in self.pending)])
        draw = np.random.default_rng(rng.randrange(1 << 62))
        blocks = most // unit + 1
        when = draw.integers(0, count + 1, blocks)
        extreme = draw.random(blocks)
        when[extreme < 0.35], when[extreme > 0.65] = 0, count
        content = np.zeros(most, np.uint8)
        content[: len(self.durable)] = np.frombuffer(bytes(self.durable), np.uint8)
        length, limit = len(self.durable), most
        for i, (kind, at, data) in enumerate(self.pending):
            if kind == WRITE:
                end = min(at + len(data), limit)
                if end > at:
                    kept = np.repeat(when[at // unit : (end - 1) // unit + 1] > i, unit)[at % unit :][: end - at]
                    content[at:end][kept] = np.frombuffer(data, np.uint8)[: end - at][kept]
                size = max(length, at + len(data))
            else:
                size = at if kind == SIZE else max(length, at)
            if i >= known:
                limit = min(limit, at) if kind == SIZE else limit
                continue
            if kind == SIZE and at < length:
                content[at:] = 0
            length = size
        return bytearray(content[:length].tobytes())

    def after_cut(self, rng: random.Random) -> bytearray:
        if not self.pending:
            return self.durable
        dice = rng.random()
        if dice < 0.15:
            return self.durable
        if dice < 0.3:
            return self.content(len(self.pending))
        if dice < 0.45:
            return self.content(rng.randrange(len(self.pending) + 1))
        return self.torn(rng)


@dataclass
class _Folder:
    durable: dict[str, int] = field(default_factory=dict)
    pending: list[tuple[str, str, int]] = field(default_factory=list)  # (what, name, file), ("rename", name, file) ...

    def sync(self) -> None:
        self.durable = self.names(self.pending)
        self.pending.clear()

    def names(self, done: list[tuple[str, str, int]]) -> dict[str, int]:
        names = dict(self.durable)
        for from_name, to_name, file in done:
            names.pop(from_name, None)
            if to_name:
                names[to_name] = file
        return names

    def after_cut(self, rng: random.Random) -> dict[str, int]:
        dice, pending = rng.random(), self.pending
        if dice < 0.2:
            return dict(self.durable)
        if dice < 0.5:
            return self.names(pending)
        if dice < 0.75:
            return self.names(pending[: rng.randrange(len(pending) + 1)])
        return self.names([one for one in pending if rng.random() < 0.5])


class Disk:
    """`base` is what was there, and durable, before the recording."""

    def __init__(self, base: Path) -> None:
        self._files: dict[int, _File] = {}
        self._folders: dict[str, _Folder] = {"": _Folder()}
        self._live: dict[str, int] = {}  # names as the process saw them
        number = 0
        for path in sorted(base.rglob("*")):
            name = str(path.relative_to(base))
            if path.is_dir():
                self._make_folder(name)
                self._folders[_parent(name)].durable[name] = _FOLDER
            else:
                number -= 2
                self._live[name] = number
                self._files[number] = _File(bytearray(path.read_bytes()))
                self._folders[_parent(name)].durable[name] = number

    def happen(self, record: Record) -> None:
        kind = record.kind
        if kind == CREATE:
            self._files[record.file] = _File()
            self._name("", record.text, record.file)
        elif kind == OPEN:
            # From now on it is known under the shim's number; the folder's entries have the older one.
            self._files[record.file] = self._files[self._live[record.text]]
        elif kind in (WRITE, SIZE, GROW):
            self._files[record.file].pending.append((kind, record.at, record.data))
        elif kind == SYNC:
            self._files[record.file].sync()
        elif kind == DIRSYNC:
            self._folders[record.text].sync()
        elif kind == RENAME:
            self._name(record.text, record.other.decode(), self._live.pop(record.text))
        elif kind == UNLINK:
            self._live.pop(record.text, None)
            self._folders[_parent(record.text)].pending.append((record.text, "", 0))
        elif kind == MKDIR:
            self._make_folder(record.text)
            self._folders[_parent(record.text)].pending.append(("", record.text, _FOLDER))

    def _make_folder(self, name: str) -> None:
        self._folders[name] = _Folder()

    def _name(self, before: str, name: str, file: int) -> None:
        if before and _parent(before) != _parent(name):
            raise AssertionError(f"{before} was renamed into another folder")
        self._live[name] = file
        self._folders[_parent(name)].pending.append((before, name, file))

    def sync_all(self) -> None:
        """As before a machine is turned off in good order."""
        for file in self._files.values():
            file.sync()
        for folder in self._folders.values():
            folder.sync()

    def cut(self, rng: random.Random | None, target: Path) -> None:
        """One of the disks that could be left, as files below `target`. Without `rng`: the process was killed, which
        loses nothing that it wrote.
        """
        names = {
            name: folder.after_cut(rng) if rng else folder.names(folder.pending)
            for name, folder in self._folders.items()
        }
        self._write("", names, rng, target)

    def _write(self, folder: str, names: dict[str, dict[str, int]], rng: random.Random | None, target: Path) -> None:
        (target / folder).mkdir(parents=True, exist_ok=True)
        for name, file in sorted(names[folder].items()):
            if file == _FOLDER:
                self._write(name, names, rng, target)
            else:
                held = self._files[file]
                (target / name).write_bytes(held.after_cut(rng) if rng else held.content(len(held.pending)))


def _parent(name: str) -> str:
    return name.rpartition("/")[0]


def cuts(records: list[Record], base: Path, count: int, rng: random.Random) -> Iterator[tuple[int, Disk]]:
    """The disk at so many instants: half of them about a sync or a change of names, half at random. At each it is what
    it is between two operations, so `cut` may be called as often as wanted."""
    points = [i for i, one in enumerate(records) if one.kind in (SYNC, DIRSYNC, RENAME, UNLINK)]
    chosen = [rng.randrange(len(records) + 1) for _ in range(count - count // 2)]
    if points:
        chosen += [points[(i * len(points)) // max(1, count // 2)] + rng.randrange(2) for i in range(count // 2)]
    else:
        chosen += [rng.randrange(len(records) + 1) for _ in range(count // 2)]
    disk, done = Disk(base), 0
    for at in sorted(chosen):
        while done < at:
            disk.happen(records[done])
            done += 1
        yield at, disk
