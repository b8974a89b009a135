"""Views that spell the packed columns out in plain SQL, for whoever opens a day's file with `sqlite3`.

A byte at some place of a blob is found by its place in a constant of all 256 bytes; a list of records is unrolled by
joining it with a table of integers. Nothing here is used by the program itself. docs/data.md shows what can be asked.
"""

# ruff: noqa: E501 (what is long here is SQL)

from __future__ import annotations

from pathlib import Path
from typing import Final

from feedgen.core.ids import NO_PERSON, NO_POST, US_PER_DAY
from feedgen.store.rows import (
    FOLLOW,
    LOG_FOLLOW,
    LOG_RATING,
    LOG_WIDE,
    NEAR_US,
    OWN_POST,
    POST,
    RATING,
    REMOVED,
    REMOVED_FOLLOW,
    REMOVED_POST,
    WIDE,
    WIDE_AT,
)

_TID_LETTERS: Final = "234567abcdefghijklmnopqrstuvwxyz"


CHUNK: Final = 64  # records of a log's blob that are cut out at a time: every look at a blob copies all of it
MOST: Final = 4_096


def _int(at: int, width: int) -> str:
    """A little-endian integer in the record `rec`, as SQL. Eight bytes are signed by themselves."""
    one = "(instr((SELECT all_bytes FROM bytes), substr(rec, {place}, 1)) - 1)"
    return "(" + " | ".join(f"({one.format(place=at + n + 1)} << {8 * n})" for n in range(width)) + ")"


def tid(key: str) -> str:
    """A key's text, as SQL: a TID spelled out, or what odd_keys has for it."""
    letters = " || ".join(f"substr('{_TID_LETTERS}', ({key} >> {shift} & 31) + 1, 1)" for shift in range(60, -1, -5))
    return f"CASE WHEN {key} >= 0 THEN {letters} ELSE (SELECT text FROM odd_keys WHERE hash = {key} LIMIT 1) END"


_DAY: Final = "(SELECT value FROM meta WHERE name = 'day')"


def _time(tick: str) -> str:
    return f"strftime('%Y-%m-%d %H:%M:%S', {_DAY} * 86400 + {tick} * 86400 / 65536, 'unixepoch')"


def _near_key(tick: str, packed: str) -> str:
    start = f"({_DAY} * {US_PER_DAY} + ({tick} * {US_PER_DAY} + 65535) / 65536)"
    return f"((({packed} >> 11) - {NEAR_US} + {start}) << 10 | ({packed} >> 1 & 1023))"


def _log_records(blob: str, size: int) -> str:
    """(n, i, rec): the records of all commits. LIMIT keeps SQLite from merging the two steps into one."""
    chunk = CHUNK * size
    return f"""(SELECT q.n, q.c * {CHUNK} + b.i AS i, substr(q.chunk, b.i * {size} + 1, {size}) AS rec FROM
  (SELECT n, a.i AS c, substr({blob}, a.i * {chunk} + 1, {chunk}) AS chunk
   FROM log CROSS JOIN numbers a ON a.i < (length({blob}) + {chunk - 1}) / {chunk} LIMIT -1 OFFSET 0) q
  CROSS JOIN numbers b ON b.i < length(q.chunk) / {size} LIMIT -1 OFFSET 0)"""


def _person_records(blob: str, size: int) -> str:
    """(person, rec): the records of all people. Without a barrier, so that a question for one person reads one row."""
    return f"""(SELECT person, substr({blob}, (a.i * {MOST} + b.i) * {size} + 1, {size}) AS rec
  FROM people CROSS JOIN numbers a ON a.i <= length({blob}) / {MOST * size}
  CROSS JOIN numbers b ON b.i < length({blob}) / {size} - a.i * {MOST})"""


_NUMBERS: Final = f"""
CREATE VIEW IF NOT EXISTS bytes AS SELECT x'{bytes(range(256)).hex()}' AS all_bytes;
CREATE TABLE IF NOT EXISTS numbers(i INTEGER PRIMARY KEY);
INSERT INTO numbers WITH RECURSIVE list(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM list WHERE i < {MOST - 1})
SELECT i FROM list WHERE NOT EXISTS (SELECT 1 FROM numbers);
"""
_RATING: Final = f"person, post, CASE kind WHEN 0 THEN 'like' ELSE 'repost' END AS kind, {_time('tick')} AS witnessed, {tid('key')} AS rkey, key, tick"
_POST: Final = f"""post, author, {tid("key")} AS rkey, {_time("tick")} AS witnessed, flags, flags & 1 AS known, flags >> 1 & 1 AS reply,
  flags >> 2 & 1 AS quote, flags >> 3 & 1 AS image, flags >> 4 & 1 AS video, flags >> 5 & 1 AS link, flags >> 6 & 1 AS adult,
  language, nullif(about, {NO_POST}) AS about, key, tick"""
_SLOT: Final = f"({_DAY} % 256 << 24)"


def _near(at: int) -> str:
    """What follows the person in a near rating."""
    return f"{_int(at, 4)} AS post, {_int(at + 4, 2)} AS tick, {_int(at + 6, 5)} AS packed"


def _wide(at: int) -> str:
    return f"{_int(at, 8)} AS key, {_int(at + 8, 1)} AS kind, {_int(at + 9, 4)} AS post, {_int(at + 13, 2)} AS tick"


_KEY: Final = f"packed & 1 AS kind, {_near_key('tick', 'packed')} AS key"

OPEN: Final = f"""{_NUMBERS}
CREATE VIEW IF NOT EXISTS ratings_view AS
WITH gone AS MATERIALIZED (SELECT {_int(0, 4)} AS n, {_int(4, 4)} AS at FROM {_log_records("removed", REMOVED.itemsize)})
SELECT {_RATING} FROM (
  SELECT n, i AS at, person, post, tick, {_KEY}
  FROM (SELECT n, i, {_int(0, 4)} AS person, {_near(4)} FROM {_log_records("ratings", LOG_RATING.itemsize)})
  UNION ALL SELECT n, i | {WIDE_AT}, person, post, tick, kind, key
  FROM (SELECT n, i, {_int(0, 4)} AS person, {_wide(4)} FROM {_log_records("wide", LOG_WIDE.itemsize)}))
WHERE person <> {NO_PERSON} AND (n, at) NOT IN (SELECT n, at FROM gone);

CREATE VIEW IF NOT EXISTS posts_view AS
WITH every AS MATERIALIZED (SELECT {_int(0, 4)} AS post, {_int(4, 4)} AS author, {_int(8, 8)} AS key, {_int(16, 2)} AS tick,
  {_int(18, 2)} AS flags, {_int(20, 1)} AS language, {_int(21, 4)} AS about, n << 24 | i AS place FROM {_log_records("posts", POST.itemsize)}),
newest AS MATERIALIZED (SELECT max(place) AS place FROM every GROUP BY post),
gone AS MATERIALIZED (SELECT {_int(0, 4)} AS post FROM {_log_records("removed_posts", REMOVED_POST.itemsize)})
SELECT {_POST} FROM every WHERE place IN (SELECT place FROM newest) AND post <> {NO_POST} AND post NOT IN (SELECT post FROM gone);

CREATE VIEW IF NOT EXISTS follows_view AS
WITH gone AS MATERIALIZED (SELECT {_int(0, 4)} AS person, {_int(4, 8)} AS key, max(n) AS n
  FROM {_log_records("removed_follows", REMOVED_FOLLOW.itemsize)} GROUP BY 1, 2)
SELECT f.person, f.subject, {tid("f.key")} AS rkey, f.key FROM (
  SELECT n, {_int(0, 4)} AS person, {_int(4, 8)} AS key, {_int(12, 4)} AS subject FROM {_log_records("follows", LOG_FOLLOW.itemsize)}
  UNION ALL SELECT n, {_int(0, 4)}, {_int(4, 8)}, {_int(12, 4)} FROM {_log_records("far_follows", LOG_FOLLOW.itemsize)}) f
LEFT JOIN gone g ON g.person = f.person AND g.key = f.key AND g.n >= f.n WHERE g.n IS NULL AND f.person <> {NO_PERSON};
"""

SEALED: Final = f"""{_NUMBERS}
CREATE VIEW IF NOT EXISTS ratings_view AS
SELECT {_RATING} FROM (
  SELECT person, post, tick, {_KEY} FROM (SELECT person, {_near(0)} FROM {_person_records("ratings", RATING.itemsize)})
  UNION ALL SELECT person, post, tick, kind, key FROM (SELECT person, {_wide(0)} FROM {_person_records("wide", WIDE.itemsize)}));

CREATE VIEW IF NOT EXISTS posts_view AS
SELECT {_POST} FROM (SELECT {_SLOT} | {_int(0, 3)} AS post, person AS author, {_int(3, 8)} AS key, {_int(11, 2)} AS tick,
  {_int(13, 2)} AS flags, {_int(15, 1)} AS language, {_int(16, 4)} AS about FROM {_person_records("posts", OWN_POST.itemsize)});

CREATE VIEW IF NOT EXISTS follows_view AS
SELECT person, subject, {tid("key")} AS rkey, key FROM (
  SELECT person, {_int(0, 8)} AS key, {_int(8, 4)} AS subject FROM {_person_records("follows", FOLLOW.itemsize)});
"""

# For people: `sqlite3 -readonly -init open.sql 2026-11-20.db` in data/days. A post numbered on another day is named
# by that day's file.
OPEN_SQL: Final = """-- Made by feedgen. Use: cd data/days && sqlite3 -readonly -init open.sql 2026-11-20.db
ATTACH 'file:../names.db?mode=ro' AS names;
CREATE TEMP TABLE known_posts AS SELECT post, author, rkey FROM posts_view;
CREATE UNIQUE INDEX temp.known_posts_post ON known_posts(post);
CREATE TEMP VIEW posts AS
SELECT p.*, a.did AS who, 'at://' || a.did || '/app.bsky.feed.post/' || p.rkey AS uri
FROM posts_view p JOIN names.people a ON a.n = p.author;
CREATE TEMP VIEW likes AS
SELECT r.witnessed, a.did AS who, r.kind, 'at://' || a.did || '/app.bsky.feed.' || r.kind || '/' || r.rkey AS uri,
  'at://' || b.did || '/app.bsky.feed.post/' || p.rkey AS subject, r.person, r.post
FROM ratings_view r JOIN names.people a ON a.n = r.person
LEFT JOIN known_posts p ON p.post = r.post LEFT JOIN names.people b ON b.n = p.author;
CREATE TEMP VIEW follows AS
SELECT a.did AS who, b.did AS subject, 'at://' || a.did || '/app.bsky.graph.follow/' || f.rkey AS uri, f.person
FROM follows_view f JOIN names.people a ON a.n = f.person LEFT JOIN names.people b ON b.n = f.subject;
"""


def write_open_sql(days_path: Path) -> None:
    path = days_path / "open.sql"
    if not path.exists() or path.read_text() != OPEN_SQL:
        path.write_text(OPEN_SQL)
