"""A progress bar of one line: `compiling [######------] 120 of 317 functions, 40 s to go`."""

from __future__ import annotations

from typing import Final

CHARS: Final = 24
CLEAR: Final = "\r\x1b[K"  # to the start of the terminal's line, and empty it


def bar(label: str, share: float, words: str) -> str:
    filled = round(max(0.0, min(1.0, share)) * CHARS)
    return f"{label} [{'#' * filled}{'-' * (CHARS - filled)}] {words}"


def duration(seconds: float) -> str:
    """In the unit that a person would use."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
