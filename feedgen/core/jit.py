"""The one place where numba is met: compiled loops that release the GIL, with machine code cached on disk.

numba looks only at the file of the function itself to see whether cached code is stale. Ours call each other across
files and bake in constants, so old code would go on reading a layout that is no more: wrong answers, without a word.
The cache's folder therefore bears a hash of every file that compiled code is made of.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

SOURCES: Final = Path(__file__).parent.parent
CONSTANTS: Final = ("core/ids.py", "ingest/events.py", "store/rows.py")  # compiled code bakes these in
MARKS: Final = (b"feedgen.core.jit", b"import numba", b"from numba")
KEPT_CACHES: Final = 3  # of other versions of the sources: somebody may switch to and fro


def sources_hash(folder: Path = SOURCES) -> str:
    """Of all that compiled code is made of."""
    digest = blake2b(numba.__version__.encode(), digest_size=8)
    for path in sorted(folder.rglob("*.py")):
        text = path.read_bytes()
        name = path.relative_to(folder).as_posix()
        if name in CONSTANTS or any(mark in text for mark in MARKS):
            digest.update(name.encode() + b"\0" + text)
    return digest.hexdigest()


def _cache_folder() -> Path:
    """Made, and writable; below NUMBA_CACHE_DIR if that is set."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    name = f"feedgen-{sources_hash()}"
    for base in (Path(given) if given else Path(home) / "feedgen", Path(tempfile.gettempdir()) / "feedgen-cache"):
        folder = base / name
        with contextlib.suppress(OSError):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                _tidy(base)
            if os.access(folder, os.W_OK):
                return folder
    return Path(tempfile.mkdtemp(prefix="feedgen-cache-"))


def _tidy(base: Path) -> None:
    """Leave only the newest few."""
    folders = sorted(base.glob("feedgen-*"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in folders[KEPT_CACHES + 1 :]:
        shutil.rmtree(old, ignore_errors=True)


numba.config.CACHE_DIR = str(_cache_folder())


def njit(function: F) -> F:
    """Compile on first use, keep the machine code on disk, run without the GIL."""
    compiled: F = numba.njit(cache=True, nogil=True)(function)
    return compiled


def brief(function: F) -> F:
    """As `njit`, but keeps the GIL: for calls of a few microseconds in the event loop. Other threads want it all the
    time, and whoever gave it back waits a whole turn (`app.SWITCH_S`) to have it again.
    """
    compiled: F = numba.njit(cache=True)(function)
    return compiled


def inline(function: F) -> F:
    """A small helper for compiled code only."""
    compiled: F = numba.njit(cache=True, nogil=True, inline="never")(function)
    return compiled


@inline
def _i64(x: Any) -> Any:
    return np.int64(x)


# Any integer as int64: before arithmetic, so that it stays an integer.
i64: Final = cast(Callable[[Any], int], _i64)
