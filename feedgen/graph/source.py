"""Where the arrays come from: one day of the truth, in columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from feedgen.graph.access import I64, U8, U16, U32


class RatingRows(NamedTuple):
    """In witnessed order. The same person and post may come several times: two records, one rating."""

    actor: U32
    post: U32
    tick: U16


class PostRows(NamedTuple):
    post: U32
    author: U32
    key: I64
    tick: U16
    flags: U16
    language: U8
    about: U32


class FollowRows(NamedTuple):
    """In witnessed order."""

    actor: U32
    subject: U32


class DaySource(Protocol):
    """A day that can be read again and again, at any time after it began; deletions are already taken out of it."""

    @property
    def day(self) -> int: ...

    @property
    def sealed(self) -> bool: ...

    def version(self) -> int:
        """Another number after every change to the day's truth."""
        ...

    def ratings(self) -> tuple[U32, U32, U16]: ...

    def posts(self) -> tuple[U32, U32, I64, U16, U16, U8, U32]: ...

    def follows(self) -> tuple[U32, U32]: ...


@runtime_checkable
class HasReposts(Protocol):
    """A source that has the records of reposts, beside the edges that they are."""

    def repost_pieces(self) -> Iterator[tuple[U32, U32, U16, I64]]:
        """(actors, posts, ticks, keys), a piece at a time; in order of witnessing while the day is a log."""
        ...
