"""Compiles the store's kernels, at installation."""

from __future__ import annotations

import tempfile

import numpy as np

from feedgen.store import record_lookup
from feedgen.store.folder import Folder
from feedgen.store.names import Names
from feedgen.store.pieces import posts_left, rating_columns
from feedgen.store.rows import LOG_RATING, LOG_WIDE, POST
from feedgen.store.uris import FEW, pack_dids, parse_post_uris, spell_posts

A_DID = "did:plc:" + "a" * 24
_LETTERS = str.maketrans("0189", "bcde")  # digits that a did:plc does not have
MANY = [f"did:plc:{i:024d}".translate(_LETTERS) for i in range(2000)]  # enough for the table to grow


def warm() -> None:
    """A names table that is written, saved, and read again, with somebody erased; and an open day's columns."""
    flags = np.zeros(1, np.uint8)
    rating_columns(np.zeros(1, LOG_RATING), np.zeros(1, LOG_WIDE), flags, 1)
    posts_left(np.zeros(1, POST), np.zeros(1, np.uint32), flags, 1)
    _look()
    with tempfile.TemporaryDirectory() as path:
        for _ in range(2):
            with Folder(path) as folder:
                names = Names(folder)
                names.number([A_DID, "did:web:example.com", *MANY])
                names.flush()
                names.find(A_DID)
                names.find_all(pack_dids([A_DID]))
                names.words(np.zeros(1, np.uint32))
                names.save_index()
                names.erase(5)
                names.flush()
                names.close()
    for n in (1, FEW + 1):
        parse_post_uris([f"at://{A_DID}/app.bsky.feed.post/3kaaaaaaaaa2a"] * n)
    spell_posts(np.zeros(1, np.uint64), np.zeros(1, np.uint64), np.zeros(1, np.int64))


def _look() -> None:
    """For records of an open day's log."""
    near, follows = np.zeros(15, np.uint8), np.zeros(16, np.uint8)
    near.flags.writeable = follows.flags.writeable = False  # as blobs are
    actor, kind, key = np.zeros(1, np.uint32), np.zeros(1, np.uint8), np.zeros(1, np.int64)
    words = np.zeros(record_lookup.FILTER_WORDS, np.int64)
    record_lookup.note_ratings(near, 0, words)
    record_lookup.note_follows(follows, words)
    record_lookup.may_have(words, actor, kind, key, np.zeros(1, np.uint8))
    record_lookup.may_have_one(words, 0, 0, 0)
    record_lookup.next_rating(near, 0, 0, 0, 0, 0)
    record_lookup.next_rating(near.copy(), 0, 0, 0, 0, 0)  # of what is not committed yet
    record_lookup.next_follow(follows, 0, 0, 0)
    record_lookup.find_many(near.copy(), 0, actor, kind, key, np.zeros((1, 2), np.int64))
