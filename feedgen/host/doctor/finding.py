"""What a check found: how bad it is, what it means, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

Level = Literal["ok", "warning", "failure"]
LEVELS: Final[tuple[Level, ...]] = ("ok", "warning", "failure")  # their places are the exit codes
_NAME_WIDTH: Final = 14


class Finding(NamedTuple):
    """`check` says what was looked at. `advice` is empty when nothing needs to be done."""

    check: str
    level: Level
    said: str
    advice: str = ""

    def line(self) -> str:
        text = f"{self.level:<8} {self.check:<{_NAME_WIDTH}} {self.said}"
        return f"{text}\n{'':<{_NAME_WIDTH + 9}} -> {self.advice}" if self.advice else text


def ok(check: str, said: str) -> Finding:
    return Finding(check, "ok", said)


def warning(check: str, said: str, advice: str) -> Finding:
    return Finding(check, "warning", said, advice)


def failure(check: str, said: str, advice: str) -> Finding:
    return Finding(check, "failure", said, advice)


def worst(findings: Iterable[Finding]) -> int:
    """The exit code: 0 all is well, 1 something to look at, 2 something to do."""
    return max((LEVELS.index(finding.level) for finding in findings), default=0)
