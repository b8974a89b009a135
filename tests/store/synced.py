"""A disk that loses power: what of a folder is left when only some files kept what was written after their last sync.

Sees SQLite's syncs through a VFS that is the default while it lasts, and those of Python through `os.fsync`. A cut
falls between two calls of the store.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.store.faulty import unique_name


class SyncedDisk(apsw.VFS):
    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.synced: dict[int, bytes] = {}  # by inode
        self.fsync = os.fsync
        patch.setattr(os, "fsync", self._fsync)
        super().__init__(unique_name("synced"), "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        return _SyncedFile(self, name, flags)

    def keep(self, path: Path) -> None:
        with contextlib.suppress(OSError), path.open("rb") as file:  # unlinked meanwhile; or a folder
            self.synced[os.fstat(file.fileno()).st_ino] = file.read()

    def _fsync(self, handle: int) -> None:
        self.fsync(handle)
        self.keep(Path(os.readlink(f"/proc/self/fd/{handle}")))

    def cut(self, folder: Path, target: Path, rng: random.Random, lost: float = 0.5) -> Path:
        """The folder as it may be after a power cut: each file with or without what was not synced."""
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or path.name.endswith("-shm"):
                continue
            copy = target / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if rng.random() < lost:
                copy.write_bytes(self.synced.get(path.stat().st_ino, b""))
            else:
                shutil.copyfile(path, copy)
        return target


class _SyncedFile(apsw.VFSFile):
    def __init__(self, disk: SyncedDisk, name: Any, flags: list[int]) -> None:
        self._disk, self._path = disk, Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "")
        super().__init__("unix", name, flags)
        if self._path.is_file() and not self._path.stat().st_size:
            disk.synced.pop(self._path.stat().st_ino, None)  # a new file, which may have the number of an old one

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self._disk.keep(self._path)

    def xLock(self, level: int) -> None:
        try:
            super().xLock(level)
        except apsw.IOError:
            raise apsw.BusyError("opened to read only") from None  # SQLite itself makes nothing of it when it closes
