"""Backups at a real size: the first one, the next one, and bringing it back; seconds, CPU and bytes.

The next one is made without anything new: what it copies (today, names, readers) is copied every night, and beside it
one past day, when there is a new one. A `folder` that is given is filled once, kept, and used again.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from feedgen.store.backup import backup, restore
from feedgen.store.folder import Folder
from scripts.benchmarks import Figure, Params
from scripts.benchmarks.loading import filled

PARAMETERS = {"ratings": 10_000_000, "folder": ""}


def run(params: Params) -> Iterable[Figure]:
    given = str(params["folder"])
    folder = Path(given or tempfile.mkdtemp(prefix="feedgen-backup-"))
    try:
        kept, _ = filled(folder, int(params["ratings"]))
        yield from _measure(folder / "data", Path(tempfile.mkdtemp(prefix="kept-", dir=folder)), kept)
    finally:
        if not given:
            shutil.rmtree(folder)


def _measure(data: Path, made: Path, kept: int) -> Iterator[Figure]:
    files = Folder(data, lock=False).days()
    sealed = sum(file.sealed for file in files)
    yield Figure("backup.ratings", kept, "ratings", f"{len(files)} days, {sealed} of them sealed")
    try:
        for name in ("first", "next"):
            result, took_s, cpu_s = _timed(lambda: backup(data, made / "backup"))
            note = f"{result.copied} files copied, {result.kept} days were there already; {cpu_s:.1f} s of CPU"
            yield Figure(f"backup.{name}_s", took_s, "s", note)
            share = result.bytes_copied / kept
            yield Figure(f"backup.{name}_bytes", result.bytes_copied, "B", f"{share:.2f} B a rating")
        _, took_s, cpu_s = _timed(lambda: restore(made / "backup", made / "restored"))
        yield Figure("backup.restore_s", took_s, "s", f"every file's checksum compared; {cpu_s:.1f} s of CPU")
    finally:
        shutil.rmtree(made)


def _timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    began_s, cpu_s = time.perf_counter(), time.process_time()
    done = work()
    return done, time.perf_counter() - began_s, time.process_time() - cpu_s
