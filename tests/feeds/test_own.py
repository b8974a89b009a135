"""The operator's feeds in the running parts: loaded, loaded again, tried out before they are served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from feedgen.core.errors import SettingsError
from feedgen.feeds import own as own_module
from feedgen.feeds.catalog import Catalog
from feedgen.feeds.own import OwnFeeds
from feedgen.ingest.matcher import Matcher
from feedgen.serve.http.feeds import FeedRoutes
from feedgen.serve.http.private import PrivateParts, make_private_app
from tests.feeds.town import NOW_US, READER, Town, ask, did, make_services

TEXT = """from feedgen import feed, tag
cats = tag("cats", words=["{word}"])
@feed("cats", title="Cats", about="Cats.")
def make(ask):
    return ask.colikers().only(cats)
"""


class Still:
    """A clock that stands."""

    def now_us(self) -> int:
        return NOW_US

    def monotonic_s(self) -> float:
        return 0.0


class Parts:
    def __init__(self, folder: Path) -> None:
        self.town = Town()
        make_services(self.town).pool.close()  # compiled
        self.ingest = SimpleNamespace(matcher=None)
        self.catalog = Catalog(self.town, Still(), b"k" * 32)  # type: ignore[arg-type]
        self.catalog.services.refresh(NOW_US)
        self.own = OwnFeeds(folder, self.catalog, self.ingest)
        routes = FeedRoutes(lambda: self.own, None, Still())  # type: ignore[arg-type]
        parts = PrivateParts(lambda: [], lambda: "", lambda: None, Still(), feeds=routes.rows())  # type: ignore[arg-type]
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(make_private_app(parts)),
            base_url="http://localhost",  # type: ignore[arg-type]
        )

    async def post(self, path: str, **query: str) -> Any:
        answer = await self.http.post(path, params=query)
        return answer.json() if answer.status_code == 200 else (answer.status_code, answer.text)


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    made = Parts(tmp_path)
    yield made
    await made.http.aclose()
    made.catalog.close()


async def test_files_are_taken_over_and_a_broken_one_stays_off(parts: Parts, tmp_path: Path) -> None:
    served = parts.catalog.feeds  # as the routes hold it
    await parts.own.load()
    assert parts.ingest.matcher is None and "cats" not in served  # nothing to look for costs nothing
    (tmp_path / "cats.py").write_text(TEXT.format(word="cat"))
    (tmp_path / "bad.toml").write_text("[feed.bad]\ncolour = 1\n")
    told = await parts.post("/feeds/reload.json")
    assert "cats" in served and isinstance(parts.ingest.matcher, Matcher)
    assert [one["line"] for one in told["feeds"] if one["name"] == "cats"] == [3]
    assert len(told["broken"]) == 1 and "bad.toml:1" in told["broken"][0] and "colour" in told["broken"][0]
    assert parts.catalog.troubles() == told["broken"]
    parts.town.tags.add([("wcat", post) for post in parts.town.posts[::2]])
    assert (await served["cats"].page(ask(limit=10))).items
    (tmp_path / "cats.py").write_text("raise ValueError('half written')")
    await parts.own.load()
    assert "cats" not in served and "for-you" in served and len(parts.own.broken) == 2
    assert (await served["for-you"].page(ask(limit=10))).items
    (await parts.http.get("/feeds.json")).raise_for_status()


async def test_a_feed_is_tried_before_it_is_served(parts: Parts, tmp_path: Path) -> None:
    (tmp_path / "cats.py").write_text(TEXT.format(word="cat"))
    parts.town.tags.add([("wcat", post) for post in parts.town.posts[::2]])
    told = await parts.post("/feeds/try.json", file="cats.py", reader=did(READER))
    assert len(told["posts"]) == 20 and told["patterns"] == {"wcat": 300} and "cats" not in parts.catalog.feeds
    assert {one["rule"] for one in told["dropped"]}
    (tmp_path / "cats.py").write_text(TEXT.format(word="dog"))  # saved again
    told = await parts.post("/feeds/try.json", file="cats.py", reader=did(READER))
    assert told["posts"] == [] and told["patterns"] == {"wdog": 0}
    (tmp_path / "cats.py").write_text(TEXT.format(word="cat").replace("ask.colikers()", "ask.nothing()"))
    status, text = await parts.post("/feeds/try.json", file="cats.py", reader=did(READER))
    assert status == 422 and "cats.py: 5: AttributeError" in text
    state = parts.catalog.services.readers.get(0)
    assert state is None and not parts.catalog.services.snapshots.latest(1, 1)  # no trace


@pytest.mark.parametrize("file", ["../outside.py", "/etc/passwd", "missing.py", "", ".."])
async def test_only_files_of_the_folder_are_run(parts: Parts, file: str, tmp_path: Path) -> None:
    (tmp_path.parent / "outside.py").write_text("raise SystemExit('ran')")
    status, text = await parts.post("/feeds/try.json", file=file, reader=did(READER))
    assert status == 422 and "ran" not in text
    answer = await parts.http.get("/feeds/try.json", params={"file": "cats.py", "reader": did(READER)})
    assert answer.status_code == 405  # a page of somebody's can't have a browser run it


async def test_files_that_never_end_loading_change_nothing(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_module, "LOAD_S", 0.2)
    (tmp_path / "cats.py").write_text("import time\ntime.sleep(1)\n" + TEXT.format(word="cat"))
    status, text = await parts.post("/feeds/reload.json")
    assert status == 422 and "stay as they were" in text
    with pytest.raises(SettingsError, match=r"cats\.py"):
        await parts.own.trial("cats.py")
    assert "cats" not in parts.catalog.feeds
