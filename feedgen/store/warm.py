"""Compiles the store's kernels, at installation."""

from __future__ import annotations

import tempfile

from feedgen.store.folder import Folder
from feedgen.store.names import Names
from feedgen.store.uris import parse_post_uris

A_DID = "did:plc:" + "a" * 24
_LETTERS = str.maketrans("0189", "bcde")  # digits that a did:plc does not have
MANY = [f"did:plc:{i:024d}".translate(_LETTERS) for i in range(2000)]  # enough for the table to grow


def warm() -> None:
    """A names table that is written, saved, and read again, with somebody erased."""
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
