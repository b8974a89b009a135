"""The tables of a day's file, in its two forms."""

from __future__ import annotations

from typing import Final

from feedgen.store import views

# Small columns come first: SQLite reads a row from its front, and what a start needs must not cost the whole blob.
OPEN: Final = (
    """ CREATE TABLE IF NOT EXISTS log( n INTEGER PRIMARY KEY, host TEXT, seq INTEGER, time_us INTEGER, high_us
    INTEGER, first_us INTEGER, last_us INTEGER, near INTEGER, crc INTEGER, removed BLOB, removed_posts BLOB,
    removed_follows BLOB, tombstones BLOB, wide BLOB, far_follows BLOB, follows BLOB, posts BLOB, ratings BLOB);
    CREATE TABLE IF NOT EXISTS odd_keys(hash INTEGER, person INTEGER, text TEXT NOT NULL, PRIMARY KEY(hash, person))
    WITHOUT ROWID; CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
    """
    + views.OPEN
)

# Made with the first hit: a file of an earlier version is not changed by being opened.
OPEN_TAGS: Final = (
    "CREATE TABLE IF NOT EXISTS tags(pattern TEXT NOT NULL, post INTEGER, PRIMARY KEY(pattern, post)) WITHOUT ROWID;"
)
SEALED_TAGS: Final = "CREATE TABLE IF NOT EXISTS tags(pattern TEXT PRIMARY KEY, posts BLOB NOT NULL) WITHOUT ROWID;"

SEALED: Final = (
    f"""{SEALED_TAGS}
CREATE TABLE people(person INTEGER PRIMARY KEY, crc INTEGER, ratings BLOB, wide BLOB, posts BLOB, follows BLOB);
CREATE TABLE odd_keys(hash INTEGER, person INTEGER, text TEXT NOT NULL, PRIMARY KEY(hash, person)) WITHOUT ROWID;
CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""
    + views.SEALED
)
