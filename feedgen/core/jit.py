"""The one place that imports numba: compiled loops that release the GIL, with machine code cached on disk.

numba compares only the file of the function itself with its cache. Our kernels call each other across files and bake
in constants, so a stale cache would read yesterday's layout without an error. `SourceCache` therefore keeps the code of
each module in a folder that bears a hash of every file it is made of: a change compiles what depends on it only.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

PACKAGE: Final = Path(__file__).parent.parent
MARKS: Final = (b"feedgen.core.jit", b"import numba", b"from numba")
IMPORT: Final = re.compile(
    rb"^ *(?:from ((?:feedgen|scripts|tests)\b[\w.]*) import (\([^)]*\)|[^\n#]*)|import (feedgen[\w.]*))", re.MULTILINE
)
KERNEL: Final = re.compile(rb"^@(?:jit\.)?(?:njit|brief|inline)\b", re.MULTILINE)  # `melted` has no code of its own
COMPLETE: Final = "complete"  # an empty file beside a module's code: all of it is there
KEPT_VERSIONS: Final = 3  # of each module's code: somebody may switch between branches


@cache
def _text(path: Path) -> bytes:
    return path.read_bytes()


def _imported(path: Path, package: Path) -> Iterator[Path]:
    """The files that one file imports, of the package and of what stands beside it."""
    for origin, names, plain in IMPORT.findall(_text(path)):
        top, *module = (origin or plain).decode().split(".")
        folder = package if top == PACKAGE.name else package.parent / top
        for name in ("", *re.findall(r"\w+", names.decode())):
            file = folder.joinpath(*module, name).with_suffix(".py") if name or module else folder
            if file.is_file():
                yield file


def sources_of(path: Path, package: Path = PACKAGE) -> set[Path]:
    """The files that the kernels of one file are made of: itself, the kernels it imports, and all that these import."""
    found = {path}
    pending = [path]
    while pending:
        for file in set(_imported(pending.pop(), package)) - found:
            found.add(file)
            # Code reaches a kernel by name: a file without kernels gives constants, and leads no further.
            if any(mark in _text(file) for mark in MARKS):
                pending.append(file)
    return found


def sources_hash(path: Path, package: Path = PACKAGE) -> str:
    digest = blake2b(numba.__version__.encode(), digest_size=8)
    for name, text in sorted((os.path.relpath(file, package), _text(file)) for file in sources_of(path, package)):
        digest.update(f"{name}\0{len(text)}\0".encode() + text)
    return digest.hexdigest()


@cache
def cache_folder() -> Path:
    """A folder that can be written: NUMBA_CACHE_DIR, the user's cache, or a temporary one."""
    given = os.environ.get("NUMBA_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    for folder in (Path(given) if given else Path(home) / "feedgen", Path(tempfile.gettempdir()) / "feedgen-cache"):
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            if os.access(folder, os.W_OK):
                return folder
    return Path(tempfile.mkdtemp(prefix="feedgen-cache-"))


@cache
def _folder_of(file: str) -> Path:
    name = os.path.relpath(file, PACKAGE.parent).removesuffix(".py")
    return cache_folder() / f"{re.sub(r'[^A-Za-z0-9_]+', '.', name).strip('.')}-{sources_hash(Path(file))}"


def kernel_files(without: str = "") -> list[Path]:
    """The package's files that have compiled functions, but for one subpackage."""
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] != without and KERNEL.search(_text(path))
    ]


def compiled(files: list[Path]) -> tuple[int, int]:
    """How many functions of these files have machine code in the cache, of how many."""
    counts = [len(KERNEL.findall(_text(path))) for path in files]
    there = [sum(1 for _ in _folder_of(str(path)).glob("*.nbi")) for path in files]
    return sum(map(min, there, counts)), sum(counts)


def is_complete(files: list[Path]) -> bool:
    """True if all of them were compiled to the end once, in this version."""
    return all((_folder_of(str(path)) / COMPLETE).exists() for path in files)


def mark_complete(files: list[Path]) -> None:
    for path in files:
        folder = _folder_of(str(path))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / COMPLETE).touch()


def tidy(folder: Path | None = None) -> None:
    """Remove old versions; the newest few of each module stay."""
    versions: dict[str, list[Path]] = {}
    for path in (folder or cache_folder()).glob("*-" + "[0-9a-f]" * 16):
        versions.setdefault(path.name[:-17], []).append(path)
    for paths in versions.values():
        paths.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for old in paths[KEPT_VERSIONS:]:
            shutil.rmtree(old, ignore_errors=True)


class SourceCache:
    """Tells numba where a function's machine code lies (the methods of numba's cache locators)."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._path = str(_folder_of(file))
        self._line = function.__code__.co_firstlineno

    def ensure_cache_path(self) -> None:
        os.makedirs(self._path, exist_ok=True)

    def get_cache_path(self) -> str:
        return self._path

    def get_source_stamp(self) -> str:
        return ""  # the folder's name says it

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> SourceCache | None:
        if not os.path.exists(file):
            return None
        locator = cls(function, file)
        locator.ensure_cache_path()
        return locator


numba.config.CACHE_LOCATOR_CLASSES = f"{__name__}.{SourceCache.__name__}"


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


def melted(function: F) -> F:
    """As `inline`, but its body is copied to where it is called. For what runs for each row and takes arrays: a call
    visits the owner's count of references for every array in its tuples."""
    compiled: F = numba.njit(cache=True, nogil=True, inline="always")(function)
    return compiled


@inline
def _i64(x: Any) -> Any:
    return np.int64(x)


# Any integer as int64: before arithmetic, so that it stays an integer.
i64: Final = cast(Callable[[Any], int], _i64)
