"""What a reader's repository told, packed for `viewers.db`."""

from __future__ import annotations

from typing import Final

import numpy as np

from feedgen.core.ids import (
    US_PER_S,
)
from feedgen.feeds.contract import Fetched

FORMAT: Final = 1


def pack(told: Fetched) -> bytes:
    """8 bytes a like (to the second), 4 a follow."""
    seconds = (told.times_us // US_PER_S).astype(np.uint32)
    head = np.array([FORMAT, told.posts.size, told.follows.size], np.uint32)
    return np.concatenate([head, told.posts, seconds, told.follows]).astype("<u4").tobytes()


def unpack(data: bytes, fetched_us: int) -> Fetched | None:
    """None for what `pack` did not give."""
    if len(data) < 12 or len(data) % 4:
        return None
    words = np.frombuffer(data, "<u4")
    n_posts, n_follows = int(words[1]), int(words[2])
    if words[0] != FORMAT or words.size != 3 + 2 * n_posts + n_follows:
        return None
    posts, seconds, follows = np.split(words[3:], [n_posts, 2 * n_posts])
    return Fetched(posts.copy(), seconds.astype(np.int64) * US_PER_S, follows.copy(), fetched_us)
