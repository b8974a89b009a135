"""A file system for SQLite that refuses on command: a full disk, a broken one, a failing fsync."""

from __future__ import annotations

import os
from typing import Any

import apsw


class FaultyVfs(apsw.VFS):
    """Use its `name` as `vfs`. Set `fail` to "full", "write" or "sync"; `after` operations still go through."""

    def __init__(self, name: str) -> None:
        self.name, self.fail, self.after, self.failed = name, "", 0, 0
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        return _FaultyFile(self, name, flags)

    def strike(self, *kinds: str) -> bool:
        if self.fail not in kinds:
            return False
        self.after -= 1
        if self.after >= 0:
            return False
        self.failed += 1
        return True


class _FaultyFile(apsw.VFSFile):
    def __init__(self, vfs: FaultyVfs, name: Any, flags: list[int]) -> None:
        self.vfs = vfs
        super().__init__("", name, flags)

    def xWrite(self, data: Any, offset: int) -> None:
        if self.vfs.strike("full"):
            raise apsw.FullError("no room")
        if self.vfs.strike("write"):
            # Half of it got through, as on a real broken disk.
            super().xWrite(bytes(data)[: len(data) // 2], offset)
            raise apsw.IOError("the disk is broken")
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:
        if self.vfs.strike("full", "write"):
            raise apsw.IOError("the disk is broken")
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:
        if self.vfs.strike("sync"):
            raise apsw.IOError("fsync failed")
        super().xSync(flags)


def unique_name(prefix: str = "faulty") -> str:
    return f"{prefix}-{os.urandom(4).hex()}"
