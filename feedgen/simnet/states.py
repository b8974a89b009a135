"""Posts and people as the AppView would show them."""

from __future__ import annotations

import msgspec


class PostState(msgspec.Struct, frozen=True):
    """A post as the AppView would show it now."""

    uri: str
    cid: str
    did: str
    rkey: str
    record: bytes
    time_us: int
    deleted: bool
    likes: int
    reposts: int
    replies: int
    quotes: int
    topic: str
    language: str


class ProfileState(msgspec.Struct, frozen=True):
    """A person as the AppView would show them now."""

    did: str
    handle: str
    display_name: str
    description: str
    avatar_cid: str
    labels: tuple[str, ...]
    active: bool
    status: str  # "" while active
    follows: int
    followers: int
    posts: int
    record: bytes
    cid: str
