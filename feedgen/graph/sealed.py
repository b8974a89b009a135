"""A past day: its sidecar, mapped. Removals write into the map; a stamp tells whether that can have been lost.

Changes reach the disk when the kernel likes. A killed process loses nothing by that, since the page cache outlives it;
a power cut may lose some of them, and a removal must not come undone. So the first change after a flush stamps the
file with the machine's boot id, on disk, before it happens: a file that bears another boot's stamp is rebuilt from the
truth.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from feedgen.core.errors import StoreError
from feedgen.graph.access import (
    ABOUT,
    AUTHOR,
    AUTHOR_WIDTH,
    BUCKETS,
    CLOCKS,
    COUNT,
    DAY,
    FAR_KEYS,
    FAR_KEYS_SIZE,
    FIELDS,
    FIND,
    FIND_BUCKETS,
    FIND_SHIFT,
    FIND_SIZE,
    FLAGS,
    FOLLOWS,
    HEADS,
    HOLES_WIDTH,
    I64,
    KEY,
    KEYS,
    KIND,
    LANGUAGE,
    LENGTH,
    LIKES,
    OFFSET_WIDTH,
    OLD,
    OLD_HOLES,
    OWN,
    OWN_HOLES,
    PACKED,
    PEOPLE_HOLES,
    POSTS,
    SHIFT,
    SIZE,
    SLOT,
    SUMS,
    TICK,
    TICKS,
    U16,
    U32,
    VALUES,
    WHOLE,
    WIDTH,
)
from feedgen.graph.build import section_words, sum_words, unpack
from feedgen.graph.faults import Area
from feedgen.graph.layout import (
    FORMAT,
    HEADER_BYTES,
    MAX_CLOCKS,
    PACKED_SECTIONS,
    PAGE,
    SECTIONS,
    STAMP_AT,
    STAMP_BYTES,
    VERSION_AT,
    WHOLE_FORMAT,
    packed_words,
    section_type,
)
from feedgen.graph.memory import address

VERIFY_WORDS: Final = 1 << 19  # 4 MB between two looks at whether the file changed meanwhile
VERIFY_TRIES: Final = 5


class Damaged(StoreError):
    """A sidecar that can't be used. It is derived, so it is rebuilt from the day's file."""


def boot_id() -> bytes:
    """Which boot of this machine this is; the page cache lives as long as that."""
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()[:STAMP_BYTES].ljust(STAMP_BYTES)
    return b"unknown".ljust(STAMP_BYTES)


class SealedDay:
    """Opening checks the header only; `verify` reads the rest."""

    def __init__(self, path: Path, day: int, identity: int, counts: U16 | None = None) -> None:
        self.path, self.day, self.slot = path, day, day % 256
        self.counted = self.broken_when_counted = False
        self.edits = 0
        self._sections: dict[str, npt.NDArray[Any]] = {}
        self._map, self._fd = _open(path)
        self._whole = np.frombuffer(self._map, np.uint8)
        self._at = self._whole.ctypes.data
        self.on_fault: Callable[[], object] = lambda: None
        self._area = Area(self._at, self._whole.size, self._fd, self._break)
        try:
            self._open(identity, counts)
            if self.broken:
                raise Damaged(f"{path.name} can't be read from the disk")
        except BaseException:
            self.close()
            raise

    def _open(self, identity: int, counts: U16 | None) -> None:
        path, day = self.path, self.day
        header = _header(self._whole, path, day, identity)
        self._places: dict[str, tuple[int, int]] = header["sections"]
        self._shifts: dict[str, int] = header["shifts"]
        self.format: int = header["format"]
        self._packed: dict[str, tuple[int, int]] = header.get("packed", {})  # (how many numbers, bits of each)
        self._types = {name: np.dtype(section_type(name, self.format)) for name in self._places}
        for name, dtype in self._types.items():
            start, length = self._places[name]
            self._sections[name] = self._whole[start : start + length * dtype.itemsize].view(dtype)
        _check_shape(self._sections, self._packed, self._shifts, path)
        self._sums: I64 = self._whole[PAGE : PAGE + 8 * len(SECTIONS)].view(np.int64)
        self._version: I64 = self._whole[VERSION_AT : VERSION_AT + 8].view(np.int64)
        self._posts = np.array([self.size("authors")], np.int64)
        # A live day that becomes this one hands its counts on; they are longer than needed.
        self.counts: U16 = np.zeros(max(self.posts, 1), np.uint16)
        if counts is not None and counts.size >= self.posts:
            self.counts = counts
        elif counts is not None:
            self.counts[: counts.size] = counts
        self._stamped = False
        self._row = self._make_row()

    @property
    def broken(self) -> bool:
        """Whether pages of the file could not be read or written. What is answered from then on may lack some lists."""
        return self._area.broken

    def _break(self) -> None:
        self.on_fault()

    def distrust(self) -> None:
        """The next start builds the day's file again, whatever happens until then."""
        with contextlib.suppress(OSError):
            if os.stat(self.path).st_ino == os.fstat(self._fd).st_ino:  # no newer one has its name
                self.path.unlink()

    @property
    def posts(self) -> int:
        return int(self._posts[0])

    @property
    def edges(self) -> int:
        return self.size("likers")

    @property
    def file_bytes(self) -> int:
        return int(self._whole.size)

    @property
    def ahead(self) -> U32:
        """Numbers (within the day) of posts whose key claims a later day."""
        section: U32 = self._sections["ahead"]
        return section

    def row(self) -> I64:
        return self._row

    @property
    def outdated(self) -> bool:
        """Written by an earlier version: it answers, and is built again when there is time."""
        return self.format != FORMAT

    def size(self, name: str) -> int:
        """How many numbers a section has."""
        return int(self._packed[name][0] if name in self._packed else self._sections[name].size)

    def numbers(self, name: str) -> I64:
        """A section's numbers, taken out of their bits. All ones stay what they are."""
        if name not in self._packed:
            return self._sections[name].astype(np.int64)
        count, width = self._packed[name]
        out = np.empty(count, np.int64)
        unpack(self._sections[name], width, out)
        return out

    def _make_row(self) -> I64:
        row = np.zeros(FIELDS, np.int64)
        place = {name: address(section) for name, section in self._sections.items()}
        row[KIND], row[DAY] = WHOLE if self.outdated else PACKED, self.day
        row[SLOT], row[POSTS] = self.slot, address(self._posts)
        row[AUTHOR], row[KEY], row[TICK], row[FLAGS] = (place[x] for x in ("authors", "keys", "ticks", "flags"))
        row[LANGUAGE], row[ABOUT], row[COUNT] = place["languages"], place["abouts"], address(self.counts)
        row[FIND], row[FIND_BUCKETS], row[FIND_SHIFT] = place["find"], place["find_buckets"], self._shifts["find"]
        row[FIND_SIZE] = self._sections["find"].size
        row[OWN], row[SUMS] = place["own_offsets"], address(self._sums)
        row[OWN_HOLES], row[OLD_HOLES], row[PEOPLE_HOLES] = (
            place[x] for x in ("own_holes", "old_holes", "people_holes")
        )
        groups = (
            (OLD, "old", "likers", place["liker_ticks"]),
            (LIKES, "people", "likes", place["like_ticks"]),
            (FOLLOWS, "follow", "follows", 0),
        )
        for group, name, values, ticks in groups:
            row[group + KEYS], row[group + SIZE] = place[f"{name}_keys"], self._sections[f"{name}_keys"].size
            row[group + HEADS], row[group + BUCKETS] = place[f"{name}_offsets"], place[f"{name}_buckets"]
            row[group + SHIFT], row[group + VALUES], row[group + TICKS] = self._shifts[name], place[values], ticks
            row[group + LENGTH] = self.size(values)
            if self._packed:
                row[group + WIDTH], row[group + OFFSET_WIDTH] = (
                    self._packed[values][1],
                    self._packed[f"{name}_offsets"][1],
                )
        row[HOLES_WIDTH] = 8
        if self._packed:
            row[HOLES_WIDTH], row[AUTHOR_WIDTH] = self._packed["own_holes"][1], self._packed["authors"][1]
            row[FAR_KEYS], row[FAR_KEYS_SIZE] = place["far_keys"], self._sections["far_keys"].size
            row[CLOCKS] = place["clocks"]
        return row

    @property
    def version(self) -> int:
        """Of the truth: every change up to it is in here."""
        return int(self._version[0])

    @version.setter
    def version(self, version: int) -> None:
        if not self.broken:  # a change may be missing in the file
            self._version[0] = version

    def keep(self) -> tuple[object, ...]:
        return (self,)

    def stamped_before(self) -> bool:
        """Whether changes of an earlier boot may have been lost."""
        return self._stamp() not in (b"", boot_id())

    def _stamp(self) -> bytes:
        return bytes(self._whole[STAMP_AT : STAMP_AT + STAMP_BYTES]).strip(b"\0")

    def before_change(self) -> None:
        """Call before the map is written to, and `after_change` when it was: `edits` is odd in between."""
        self.edits += 1
        if not self._stamped:
            self._whole[STAMP_AT : STAMP_AT + STAMP_BYTES] = np.frombuffer(boot_id(), np.uint8)
            os.fsync(self._fd)
            self._stamped = True

    def after_change(self) -> None:
        self.edits += 1

    @property
    def stamped(self) -> bool:
        return self._stamped or bool(self._stamp())

    def sync(self) -> None:
        """Changes so far go to the disk; more may come meanwhile."""
        os.fsync(self._fd)

    def flush(self) -> None:
        """Changes go to the disk, and then the stamp goes too. Nothing may change the day meanwhile. If the disk
        refuses, the stamp stays.
        """
        if not self.stamped or self.broken:
            return
        with contextlib.suppress(OSError):
            os.fsync(self._fd)
            self._stamped = False  # the next change stamps again, even if the stamp's end can't be synced
            self._whole[STAMP_AT : STAMP_AT + STAMP_BYTES] = 0
            os.fsync(self._fd)

    def verify(self, pause: float = 0.0) -> list[str]:
        """Read all sections; the names of those whose checksum is wrong. `pause` is idle time per busy time, to leave
        the disk to others. The day may be dropped and closed meanwhile.
        """
        whole, sums = self._whole, self._sums  # while these are held, the file stays mapped
        if not whole.size:
            return []
        return [
            name
            for i, (name, dtype) in enumerate(self._types.items())
            if not self._section_is_right(
                section_words(whole, *self._places[name], np.dtype(dtype).itemsize), sums[i : i + 1], pause
            )
        ]

    def _section_is_right(self, words: I64, told: I64, pause: float) -> bool:
        for _ in range(VERIFY_TRIES):
            edits, total = self.edits, 0
            for at in range(0, words.size, VERIFY_WORDS):
                began = time.monotonic()
                part = words[at : at + VERIFY_WORDS]
                total += int(sum_words(part, at))
                self._let_go_of(part)
                if pause:
                    time.sleep(pause * (time.monotonic() - began))
            if (total - int(told[0])) % (1 << 64) == 0:
                return True
            if edits == self.edits and edits % 2 == 0:
                return False
        return True  # it changes all the time, so it is looked at another time

    def let_go(self) -> None:
        """After a look at much of the file: what was touched is not counted as ours any longer. It stays in the page
        cache as long as there is room, so whoever needs it again waits for no disk.
        """
        self._map.madvise(mmap.MADV_DONTNEED)

    def _let_go_of(self, part: I64) -> None:
        """The same for the pages that were just read, and not for those that somebody else needs meanwhile."""
        first = part.ctypes.data - self._at
        start = first // mmap.PAGESIZE * mmap.PAGESIZE  # the machine's, which may be 16 kB; PAGE is the file's
        self._map.madvise(mmap.MADV_DONTNEED, start, first + part.nbytes - start)

    def close(self) -> None:
        """Let go of the file. Only when no row of it is in use."""
        self._sections.clear()
        self._sums = self._version = self._posts = np.zeros(1, np.int64)
        self._whole = np.zeros(0, np.uint8)
        with contextlib.suppress(BufferError):
            self._map.close()
            self._area.close()
        fd, self._fd = self._fd, -1  # two threads may close at once
        if fd >= 0:
            self._area.fd = -1
            os.close(fd)

    def __del__(self) -> None:
        fd = getattr(self, "_fd", -1)
        if fd >= 0:
            os.close(fd)
            self._fd = -1


def _open(path: Path) -> tuple[mmap.mmap, int]:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Damaged(f"{path.name} is missing") from None
    except OSError as e:
        raise Damaged(f"{path.name} can't be opened: {e.strerror}") from e
    try:
        if os.fstat(fd).st_size < HEADER_BYTES:
            raise Damaged(f"{path.name} is truncated")
        return _small_pages(mmap.mmap(fd, 0)), fd
    except BaseException:
        os.close(fd)
        raise


def _small_pages(area: mmap.mmap) -> mmap.mmap:
    """Lists are short and lie anywhere: of a large page little is wanted, and the kernel could not tell which part."""
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without large pages
            area.madvise(mmap.MADV_NOHUGEPAGE)
    return area


def _header(whole: npt.NDArray[np.uint8], path: Path, day: int, identity: int) -> dict[str, Any]:
    text, _, rest = bytes(whole[:PAGE]).partition(b"\n")
    if hashlib.blake2b(text, digest_size=16).hexdigest().encode() != rest[:32]:
        raise Damaged(f"{path.name} has a damaged header")
    header: dict[str, Any] = json.loads(text)
    if header["format"] not in (FORMAT, WHOLE_FORMAT):
        raise Damaged(f"{path.name} has format {header['format']}, not {FORMAT}")
    if header["day"] != day or header["identity"] != identity:
        raise Damaged(f"{path.name} belongs to another day or another data folder")
    if header["bytes"] != whole.size:
        raise Damaged(f"{path.name} has {whole.size:,} bytes, not {header['bytes']:,}")
    return header


def _check_shape(
    sections: dict[str, npt.NDArray[Any]], packed: dict[str, tuple[int, int]], shifts: dict[str, int], path: Path
) -> None:
    """Sizes that compiled code relies on. The header's own hash makes a wrong one nearly impossible; a crash would be
    worse than a look.
    """
    size = {name: section.size for name, section in sections.items()}
    fine = not packed or (
        set(packed) == set(PACKED_SECTIONS)
        and all(size[name] == packed_words(count, width) and 0 < width <= 57 for name, (count, width) in packed.items())
        and size["clocks"] == MAX_CLOCKS
        and packed["old_offsets"][1] == packed["own_offsets"][1]
    )
    size |= {name: count for name, (count, _) in packed.items()}
    fine = fine and (
        size["own_offsets"] == size["authors"] + 1
        and size["likers"] == size["likes"]
        and all(size[f"{g}_offsets"] == size[f"{g}_keys"] + 1 for g in ("old", "people", "follow"))
        and all(size[f"{g}_buckets"] == (1 << 32 - shifts[g]) + 1 for g in ("old", "people", "follow", "find"))
        and all(size[x] == size["authors"] for x in ("keys", "ticks", "flags", "languages", "abouts", "own_holes"))
        and all(size[f"{g}_holes"] == size[f"{g}_keys"] for g in ("old", "people"))
    )
    if not fine:
        raise Damaged(f"{path.name} has sections that do not fit together")
