"""`feedgen export`: served pages and what came of them as Parquet, for DuckDB and its like (docs/analysis.md).

DuckDB writes the files and is what they are asked with, so one package does both. It is wanted by nothing else here,
and comes with `feedgen[export]`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from feedgen.core.errors import FeedgenError
from feedgen.core.ids import US_PER_DAY
from feedgen.feeds.contract import NO_CODE
from feedgen.feeds.learning import path_of
from feedgen.store.outcomes import I64, NO_LIST, Kind, Pages, Served, Told
from feedgen.store.pages import EVENTS
from feedgen.store.post_names import uris_of

Columns = dict[str, NDArray[Any]]

SERVED: Final = (
    "served",
    "moment TIMESTAMP, reader UBIGINT, feed VARCHAR, preset VARCHAR, arm VARCHAR, list TIMESTAMP, position INTEGER,"
    " post UINTEGER, code UTINYINT, path VARCHAR",
)
OUTCOMES: Final = (
    "outcomes",
    "moment TIMESTAMP, reader UBIGINT, list TIMESTAMP, post UINTEGER, event VARCHAR, code UTINYINT",
)
POSTS: Final = ("posts", "post UINTEGER, uri VARCHAR")


def main(data: Path, folder: Path, days: int) -> int:
    for name, rows in export(data, folder, time.time_ns() // 1000 - days * US_PER_DAY).items():
        click.echo(f"{folder / name}: {rows:,} rows, {(folder / name).stat().st_size / 1e6:,.1f} MB")
    click.echo("They tell who read what: keep them as you keep viewers.db, and no longer than you need.")
    return 0


def export(data: Path, folder: Path, since_us: int) -> dict[str, int]:
    """Rows by file. A file that is there already is replaced, whole, once the new one is written."""
    pages, posts = Pages(data, since_us), set[int]()
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o700)
    made = dict([_write(folder, *SERVED, _served(pages, posts)), _write(folder, *OUTCOMES, _outcomes(pages, posts))])
    return made | dict([_write(folder, *POSTS, _named(data, posts))])


def _duckdb() -> Any:
    try:
        import duckdb
    except ModuleNotFoundError as error:
        raise FeedgenError(
            "Exporting needs DuckDB, which is not installed.", "Type: pip install 'feedgen[export]'"
        ) from error
    return duckdb


def _write(folder: Path, name: str, columns: str, parts: Iterable[Columns]) -> tuple[str, int]:
    """(file, rows). Parts go through a file of DuckDB's, so that all of them need not fit in memory."""
    duckdb = _duckdb()
    target, draft, scratch = (
        folder / f"{prefix}{name}{end}" for prefix, end in (("", ".parquet"), (".", ".new"), (".", ".db"))
    )
    scratch.unlink(missing_ok=True)
    rows = 0
    try:
        with duckdb.connect(str(scratch)) as db:
            db.execute(f"CREATE TABLE rows ({columns})")
            for part in parts:
                db.execute("INSERT INTO rows SELECT * FROM part")  # the variable: DuckDB finds it by its name
                rows += len(next(iter(part.values())))
            db.execute(f"COPY rows TO '{_quoted(draft)}' (FORMAT parquet, COMPRESSION zstd)")
        os.chmod(draft, 0o600)
        os.replace(draft, target)
    except (OSError, duckdb.Error) as error:
        raise FeedgenError(f"Can't write {target}: {error}", "Is there room, and may you write there?") from error
    finally:
        for rest in (scratch, draft, Path(f"{scratch}.wal")):
            rest.unlink(missing_ok=True)
    return target.name, rows


def _quoted(path: Path) -> str:
    return str(path).replace("'", "''")


def _served(pages: Pages, posts: set[int]) -> Iterator[Columns]:
    for part in pages.served_in_order():
        posts.update(np.unique(part.post).tolist())
        yield _served_columns(part, pages.kinds)


def _served_columns(part: Served, kinds: dict[int, Kind]) -> Columns:
    # A name that is used more than once is looked up once.
    pairs, which = np.unique(np.stack([part.kind, part.code]), axis=1, return_inverse=True)
    names = [(kinds[kind], path_of(kinds[kind].feed, code)) for kind, code in pairs.T.tolist()]
    return {
        "moment": _moments(part.at_us),
        "reader": part.reader.astype(np.uint64),
        **{field: _words([getattr(kind, field) for kind, _ in names])[which] for field in Kind._fields},
        "list": _moments(part.list_us),
        "position": part.position,
        "post": part.post,
        "code": part.code,
        "path": _words([path for _, path in names])[which],
    }


def _outcomes(pages: Pages, posts: set[int]) -> Iterator[Columns]:
    names = _words(EVENTS)
    for part in pages.told_in_order():
        posts.update(np.unique(part.post).tolist())
        yield _outcome_columns(part, names)


def _outcome_columns(part: Told, names: NDArray[Any]) -> Columns:
    events = names[np.minimum(part.event, len(names) - 1)]
    events[part.event >= len(names)] = None  # a later version's
    lists = _moments(part.list_us)
    lists[part.list_us == NO_LIST] = "NaT"
    return {
        "moment": _moments(part.at_us),
        "reader": part.reader.astype(np.uint64),
        "list": lists,
        "post": part.post,
        "event": events,
        "code": np.ma.masked_equal(part.code, NO_CODE),
    }


def _named(data: Path, posts: set[int]) -> Iterator[Columns]:
    uris = uris_of(data, sorted(posts))
    yield {"post": np.array(list(uris), np.int64), "uri": _words(uris.values())}


def _moments(us: I64) -> NDArray[Any]:
    return us.astype("datetime64[us]")


def _words(words: Iterable[str]) -> NDArray[Any]:
    made = np.empty(len(words := list(words)), object)
    made[:] = words
    return made
