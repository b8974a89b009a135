"""The archive's kernel called once: compiled while installing, not when the first block comes."""

from __future__ import annotations

from feedgen.archive.block import read


def warm() -> None:
    read(bytes(4), 0)
