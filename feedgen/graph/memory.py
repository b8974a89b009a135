"""Address space that costs nothing until it is touched, so that what grows never has to move under a reader."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import sys
from typing import Any, Final

import numpy as np
import numpy.typing as npt

# Python 3.11 has no name for it. Without this flag, a cautious kernel would count what we merely reserve.
_NO_RESERVE: Final = 0x4000 if sys.platform == "linux" else 0


def reserve(dtype: npt.DTypeLike, length: int) -> npt.NDArray[Any]:
    """Zeroes of that length. A page takes memory when it is first written."""
    size = np.dtype(dtype).itemsize * length
    area = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE)
    return np.frombuffer(area, dtype)


def want_large_pages(array: npt.NDArray[Any]) -> None:
    """From here on, what is touched of a reserved array comes in large pages: fewer misses, at most 2 MB too much."""
    base: Any = array.base
    while isinstance(base, memoryview):
        base = base.obj
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            base.madvise(mmap.MADV_HUGEPAGE)


def give_back() -> None:
    """Free memory that the C library keeps goes back to the kernel: after work that needed much of it for a while."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def address(array: npt.NDArray[Any]) -> int:
    at: int = array.__array_interface__["data"][0]  # `ctypes.data` makes three objects on its way
    return at


def own_array(array: npt.ArrayLike, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array of the one form that kernels are compiled for: contiguous, aligned, writable. Copied only if it is not
    so already.
    """
    return np.require(array, dtype, ["C", "A", "W"])
