"""The one place where numba is met: compiled loops that release the GIL, with machine code cached on disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])


def njit(function: F) -> F:
    """Compile on first use, keep the machine code in NUMBA_CACHE_DIR, run without the GIL."""
    compiled: F = numba.njit(cache=True, nogil=True)(function)
    return compiled


def inline(function: F) -> F:
    """A small helper for compiled code only."""
    compiled: F = numba.njit(cache=True, nogil=True, inline="never")(function)
    return compiled
