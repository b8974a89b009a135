"""Views that spell the packed columns out in plain SQL, for whoever opens a day's file with `sqlite3`.

A byte at some place of a blob is found by its place in a constant of all 256 bytes; a list of records is unrolled by
joining it with a list of integers. Nothing here is used by the program itself. docs/data.md shows what can be asked.
"""

# ruff: noqa: E501 (what is long here is SQL)

from __future__ import annotations

from pathlib import Path
from typing import Final

from feedgen.core.ids import US_PER_DAY
from feedgen.store.rows import FOLLOW, LOG_FOLLOW, LOG_RATING, LOG_WIDE, NEAR_US, OWN_POST, POST, RATING, WIDE

_TID_LETTERS: Final = "234567abcdefghijklmnopqrstuvwxyz"


def _int(blob: str, size: int, at: int, width: int) -> str:
    """A little-endian integer in record `i` of a blob, as SQL. Eight bytes are signed by themselves."""
    start = f"i * {size} + {at + 1}"
    one = "(instr((SELECT all_bytes FROM bytes), substr({blob}, {start} + {n}, 1)) - 1)"
    return "(" + " | ".join(f"({one.format(blob=blob, start=start, n=n)} << {8 * n})" for n in range(width)) + ")"


def tid(key: str) -> str:
    """A key's text, as SQL: a TID spelled out, or what odd_keys has for it."""
    letters = " || ".join(f"substr('{_TID_LETTERS}', ({key} >> {shift} & 31) + 1, 1)" for shift in range(60, -1, -5))
    return f"CASE WHEN {key} >= 0 THEN {letters} ELSE (SELECT text FROM odd_keys WHERE hash = {key} LIMIT 1) END"


def _time(tick: str) -> str:
    return f"strftime('%Y-%m-%d %H:%M:%S', (SELECT value FROM meta WHERE name = 'day') * 86400 + {tick} * 86400 / 65536, 'unixepoch')"


def _near_key(tick: str, packed: str) -> str:
    start = f"((SELECT value FROM meta WHERE name = 'day') * {US_PER_DAY} + ({tick} * {US_PER_DAY} + 65535) / 65536)"
    return f"((({packed} >> 11) - {NEAR_US} + {start}) << 10 | ({packed} >> 1 & 1023))"


def _unrolled(table: str, blob: str, size: int, columns: str) -> str:
    most = f"(SELECT coalesce(max(length({blob})), 0) / {size} FROM {table})"
    return f"""SELECT {columns} FROM {table} JOIN
  (WITH RECURSIVE list(i) AS (SELECT 0 WHERE {most} > 0 UNION ALL SELECT i + 1 FROM list WHERE i + 1 < {most}) SELECT i FROM list)
  ON i < length({blob}) / {size}"""


_RATING_COLUMNS: Final = f"SELECT person, post, CASE kind WHEN 0 THEN 'like' ELSE 'repost' END AS kind, {_time('tick')} AS witnessed, {tid('key')} AS rkey, key, tick"


def _ratings(
    table: str, near_size: int, wide_size: int, shift: int, person_near: str, person_wide: str, extra: str
) -> str:
    near = _unrolled(
        table,
        "ratings",
        near_size,
        f"{person_near} AS person, {_int('ratings', near_size, shift, 4)} AS post, {_int('ratings', near_size, shift + 4, 2)} AS tick, "
        f"{_int('ratings', near_size, shift + 6, 5)} AS packed{extra}",
    )
    wide = _unrolled(
        table,
        "wide",
        wide_size,
        f"{person_wide} AS person, {_int('wide', wide_size, shift + 9, 4)} AS post, {_int('wide', wide_size, shift + 8, 1)} AS kind, "
        f"{_int('wide', wide_size, shift + 13, 2)} AS tick, {_int('wide', wide_size, shift, 8)} AS key{extra.replace('i AS at', 'i | 2147483648 AS at')}",
    )
    keep = "WHERE person <> 4294967295"
    if extra:
        keep += " AND NOT EXISTS (SELECT 1 FROM removed_ratings r WHERE r.n = log_n AND r.at = x.at)"
    return f"""CREATE VIEW IF NOT EXISTS ratings_view AS
{_RATING_COLUMNS} FROM (SELECT person, post, tick, packed & 1 AS kind, {_near_key("tick", "packed")} AS key{", log_n, at" if extra else ""} FROM (
{near}) UNION ALL SELECT person, post, tick, kind, key{", log_n, at" if extra else ""} FROM ({wide})) x {keep};
"""


_POST_COLUMNS: Final = f"""SELECT post, author, {tid("key")} AS rkey, {_time("tick")} AS witnessed, flags, flags & 1 AS known, flags >> 1 & 1 AS reply,
  flags >> 2 & 1 AS quote, flags >> 3 & 1 AS image, flags >> 4 & 1 AS video, flags >> 5 & 1 AS link, flags >> 6 & 1 AS adult, language, nullif(about, 4294967295) AS about,
  key, tick"""


def _log_follows(blob: str) -> str:
    columns = f"{_int(blob, 16, 0, 4)} AS person, {_int(blob, 16, 4, 8)} AS key, {_int(blob, 16, 12, 4)} AS subject"
    return _unrolled("log", blob, LOG_FOLLOW.itemsize, columns + ", n AS log_n")


_BYTES: Final = f"CREATE VIEW IF NOT EXISTS bytes AS SELECT x'{bytes(range(256)).hex()}' AS all_bytes;\n"

OPEN: Final = (
    _BYTES
    + f"""CREATE VIEW IF NOT EXISTS removed_ratings AS
{_unrolled("log", "removed", 16, f"{_int('removed', 16, 0, 4)} AS n, {_int('removed', 16, 4, 4)} AS at")};
"""
    + _ratings(
        "log",
        LOG_RATING.itemsize,
        LOG_WIDE.itemsize,
        4,
        _int("ratings", 15, 0, 4),
        _int("wide", 19, 0, 4),
        ", n AS log_n, i AS at",
    )
    + f"""CREATE VIEW IF NOT EXISTS posts_view AS
WITH every AS MATERIALIZED ({
        _unrolled(
            "log",
            "posts",
            POST.itemsize,
            f"{_int('posts', 25, 0, 4)} AS post, {_int('posts', 25, 4, 4)} AS author, {_int('posts', 25, 8, 8)} AS key, {_int('posts', 25, 16, 2)} AS tick, "
            f"{_int('posts', 25, 18, 2)} AS flags, {_int('posts', 25, 20, 1)} AS language, {_int('posts', 25, 21, 4)} AS about, n * 16777216 + i AS place",
        )
    }),
newest AS MATERIALIZED (SELECT post, max(place) AS place FROM every GROUP BY post),
gone AS MATERIALIZED ({_unrolled("log", "removed_posts", 8, f"{_int('removed_posts', 8, 0, 4)} AS post")})
{_POST_COLUMNS} FROM every JOIN newest USING (post, place)
WHERE post <> 4294967295 AND post NOT IN (SELECT post FROM gone);
CREATE VIEW IF NOT EXISTS follows_view AS
WITH gone AS MATERIALIZED ({
        _unrolled(
            "log",
            "removed_follows",
            12,
            f"{_int('removed_follows', 12, 0, 4)} AS person, {_int('removed_follows', 12, 4, 8)} AS key, n AS at",
        )
    })
SELECT f.person, f.subject, {tid("f.key")} AS rkey, f.key FROM ({_log_follows("follows")}
UNION ALL {_log_follows("far_follows")}) f
WHERE f.person <> 4294967295
  AND NOT EXISTS (SELECT 1 FROM gone g WHERE g.person = f.person AND g.key = f.key AND g.at >= f.log_n);
"""
)

_SLOT: Final = "((SELECT value FROM meta WHERE name = 'day') % 256 * 16777216)"

SEALED: Final = (
    _BYTES
    + _ratings("people", RATING.itemsize, WIDE.itemsize, 0, "person", "person", "")
    + f"""CREATE VIEW IF NOT EXISTS posts_view AS
{_POST_COLUMNS} FROM ({
        _unrolled(
            "people",
            "posts",
            OWN_POST.itemsize,
            f"{_SLOT} | {_int('posts', 20, 0, 3)} AS post, person AS author, {_int('posts', 20, 3, 8)} AS key, {_int('posts', 20, 11, 2)} AS tick, "
            f"{_int('posts', 20, 13, 2)} AS flags, {_int('posts', 20, 15, 1)} AS language, {_int('posts', 20, 16, 4)} AS about",
        )
    });
CREATE VIEW IF NOT EXISTS follows_view AS
SELECT person, subject, {tid("key")} AS rkey, key FROM ({
        _unrolled(
            "people",
            "follows",
            FOLLOW.itemsize,
            f"person, {_int('follows', 12, 0, 8)} AS key, {_int('follows', 12, 8, 4)} AS subject",
        )
    });
"""
)

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
