"""Exported pages, read back by DuckDB, and the queries of docs/analysis.md run on them."""

from __future__ import annotations

import builtins
import re
import stat
from pathlib import Path
from typing import Any

import duckdb
import pytest

from feedgen.core.errors import FeedgenError
from feedgen.feeds import export as module
from feedgen.feeds.export import export
from feedgen.feeds.learning import LIKED, SEEN, learn
from feedgen.store import outcomes as store
from feedgen.store.folder import Folder
from feedgen.store.names import Names
from feedgen.store.outcomes import Pages
from feedgen.store.pages import Outcome, ShownPage
from feedgen.store.viewers import Viewers

NOW_US = 1_790_000_000_000_000
S = 1_000_000
ANALYSIS = Path(__file__).parents[2] / "docs" / "analysis.md"
READER = (1 << 64) - 5
PAGES = [
    ShownPage(NOW_US, READER, "for-you", "default", NOW_US - S, 0, [7, 8], [3, 0], "age/control"),
    ShownPage(NOW_US + S, READER, "for-you", "default", NOW_US - S, 2, [9], [5], "age/control"),
    ShownPage(NOW_US + 2 * S, 6, "for-you", "own", NOW_US + S, 0, [7, 10], [22, 2], "age/fresher"),
    ShownPage(NOW_US + 3 * S, 0, "popular", "default", NOW_US, 0, [7], [0]),
]
OUTCOMES = [
    Outcome(NOW_US + 4 * S, READER, NOW_US - S, [7, 8, 7], [0, 0, 1], [3, 0, 3]),
    Outcome(NOW_US + 5 * S, 6, NOW_US + S, [7], [1], [255]),
    Outcome(NOW_US + 6 * S, 6, None, [10], [5], [2]),
]


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    folder = Folder(data)
    Names(folder).close()
    folder.close()
    async with await Viewers.open(data) as viewers:
        await viewers.pages.put(PAGES, OUTCOMES)
    return data


def ask(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """As if in that folder."""
    for name in ("served", "outcomes", "posts"):
        path = str(folder / name).replace("'", "''")
        sql = sql.replace(f"'{name}.parquet'", f"'{path}.parquet'")
    return duckdb.sql(sql).fetchall()


def test_what_was_kept_is_written_whole(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PAGES_A_SLICE", 2)  # several parts
    out = tmp_path / "it's out"
    assert export(data, out, 0) == {"served.parquet": 6, "outcomes.parquet": 5, "posts.parquet": 0}
    served = ask(
        out, "SELECT epoch_us(moment), * EXCLUDE moment REPLACE (epoch_us(list) AS list) FROM 'served.parquet'"
    )
    assert served == [
        (NOW_US, READER, "for-you", "default", "age/control", NOW_US - S, 0, 7, 3, "1 person"),
        (NOW_US, READER, "for-you", "default", "age/control", NOW_US - S, 1, 8, 0, "popular"),
        (NOW_US + S, READER, "for-you", "default", "age/control", NOW_US - S, 2, 9, 5, "3-4 people"),
        (NOW_US + 2 * S, 6, "for-you", "own", "age/fresher", NOW_US + S, 0, 7, 22, "20 people or more"),
        (NOW_US + 2 * S, 6, "for-you", "own", "age/fresher", NOW_US + S, 1, 10, 2, "follows"),
        (NOW_US + 3 * S, 0, "popular", "default", "", NOW_US, 0, 7, 0, "popular"),
    ]
    outcomes = ask(
        out, "SELECT reader, epoch_us(list), post, event, code FROM 'outcomes.parquet' ORDER BY moment, post, event"
    )
    assert outcomes == [
        (READER, NOW_US - S, 7, "interactionLike", 3),
        (READER, NOW_US - S, 7, "interactionSeen", 3),
        (READER, NOW_US - S, 8, "interactionSeen", 0),
        (6, NOW_US + S, 7, "interactionLike", None),
        (6, None, 10, "requestLess", 2),
    ]
    assert export(data, out, NOW_US + 2 * S)["served.parquet"] == 3  # replaced, and only what is newer
    assert sorted(path.name for path in out.iterdir()) == ["outcomes.parquet", "posts.parquet", "served.parquet"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}


def test_the_queries_of_the_documentation(data: Path, tmp_path: Path) -> None:
    queries = re.findall(r"```sql\n(.*?)```", ANALYSIS.read_text(), re.DOTALL)
    export(data, tmp_path / "out", 0)
    by_arm, come_back, pages, places, liked = (ask(tmp_path / "out", sql) for sql in queries)
    assert by_arm == [("age/control", 1, 2, 500.0), ("age/fresher", 1, 1, 1000.0)]
    assert come_back == [("age/control", 1, 1.0), ("age/fresher", 1, 1.0)]
    assert pages == [(1, 2)]
    assert places == [(0, 2, 1000.0), (1, 2, 0.0), (2, 1, 0.0)]
    assert liked == [(None, 2)]  # the archive of this test knows no posts
    control = learn(Pages(data, 0), ["age/control"]).arms[0].cell
    assert (control.counts[SEEN], control.counts[LIKED]) == (2, 1)  # as the page says


def test_without_duckdb_it_says_what_to_type(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "duckdb":
            raise ModuleNotFoundError("No module named 'duckdb'", name="duckdb")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(FeedgenError, match=r"(?s)needs DuckDB.*pip install 'feedgen\[export\]'"):
        module.export(data, tmp_path / "out", 0)


def test_a_folder_that_cant_be_written(data: Path, tmp_path: Path) -> None:
    (tmp_path / "served.parquet").mkdir()
    with pytest.raises(FeedgenError, match=r"Can't write .*served.parquet"):
        export(data, tmp_path, 0)
