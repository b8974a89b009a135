"""Compiles the store's kernels, at installation."""

from __future__ import annotations

import tempfile

import numpy as np

from feedgen.store.folder import Folder
from feedgen.store.names import Names
from feedgen.store.pieces import posts_left, rating_columns
from feedgen.store.rows import LOG_RATING, LOG_WIDE, POST
from feedgen.store.uris import parse_post_uris, spell_posts

A_DID = "did:plc:" + "a" * 24
_LETTERS = str.maketrans("0189", "bcde")  # digits that a did:plc does not have
MANY = [f"did:plc:{i:024d}".translate(_LETTERS) for i in range(2000)]  # enough for the table to grow


def warm() -> None:
    """A names table that is written, saved, and read again, with somebody erased; and an open day's columns."""
    flags = np.zeros(1, np.uint8)
    rating_columns(np.zeros(1, LOG_RATING), np.zeros(1, LOG_WIDE), flags, 1)
    posts_left(np.zeros(1, POST), np.zeros(1, np.uint32), flags, 1)
    with tempfile.TemporaryDirectory() as path:
        for _ in range(2):
            with Folder(path) as folder:
                names = Names(folder)
                names.number([A_DID, "did:web:example.com", *MANY])
                names.flush()
                names.find(A_DID)
                names.save_index()
                names.erase(5)
                names.flush()
                names.close()
    parse_post_uris([f"at://{A_DID}/app.bsky.feed.post/3kaaaaaaaaa2a"])
    spell_posts(np.zeros(1, np.uint64), np.zeros(1, np.uint64), np.zeros(1, np.int64))
