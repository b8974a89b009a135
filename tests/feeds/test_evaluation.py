"""Lists judged on a folder of a made-up network, which is only read."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from feedgen.core.errors import FeedgenError
from feedgen.core.ids import US_PER_DAY
from feedgen.core.settings import Settings
from feedgen.feeds import evaluation
from feedgen.feeds.evaluation import Evaluation, History
from feedgen.feeds.moderated import Said, said_of
from feedgen.graph.archive import Archive
from feedgen.graph.graph import Graph
from feedgen.ingest.events import OPTED_OUT
from feedgen.ingest.labels import Label
from feedgen.learn.files import FOLDER, Examples
from feedgen.rank.listing import ListRules
from feedgen.rank.params import DEFAULT, PRESETS
from feedgen.store.moderation import Moderation
from feedgen.store.post_names import uris_of
from scripts.benchmarks.loading import load, plan_for
from tests.learn.made import blocks

END_US = 20_400 * US_PER_DAY + US_PER_DAY // 2
SEALED_TICK_US = 338_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evaluate") / "data"
    plan, days = plan_for(60_000, END_US)
    load(path, plan, days, 60_000)
    return path


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.name: (path.stat().st_size, path.stat().st_mtime_ns) for path in files if path.suffix != ".db-shm"}


def test_every_preset_is_judged_and_nothing_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(folder)
    with Archive(folder):  # a service that runs beside us
        evaluation.main(folder, PRESETS, ListRules(), readers=15)
    assert {name: each for name, each in contents(folder).items() if name in before}.keys() == before.keys()
    head, *lines, of_scorer = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["preset", "lists", "hit@30", "NDCG@20"]
    assert [line.split()[0] for line in lines] == [*PRESETS, "popular"]
    assert all(int(line.split()[1]) > 20 for line in lines)
    assert "no line for the scorer: 0 of 10,000 rows" in of_scorer


def test_a_scorer_is_judged_that_knows_nothing_of_the_held_out_day(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples = Examples(folder / FOLDER)
    try:
        for n, block in enumerate(blocks(14, age=1.0)):
            late = n == 13  # within the held-out day, so of no use
            at_us = block.time_us - (0 if late else 3 * US_PER_DAY)
            examples.add(replace(block, time_us=at_us, until_us=at_us + 1))
        evaluation.main(folder, PRESETS, ListRules(), readers=5)
        _, *lines, words = capsys.readouterr().out.splitlines()
        (scored,) = [line for line in lines if line.startswith("default + scorer")]
        (plain,) = [line for line in lines if line.startswith("default  ")]
        assert int(scored.split()[3]) == int(plain.split()[1]) > 5 and scored.split()[5] != plain.split()[3]
        kept = sum(block.thin().rows for block in examples.read()[:-1])
        assert words == f"The scorer was trained on {kept:,} rows from before the held-out day."
    finally:
        shutil.rmtree(folder / FOLDER)


def test_people_with_unusual_dids_are_read(folder: Path) -> None:
    """names.db notes with a flag above 255 that a DID is no did:plc; the made-up flood has none of them."""
    db = apsw.Connection(str(folder / "names.db"))
    with db:
        db.execute("UPDATE people SET flags = flags | 256 | ? WHERE n = 5", (OPTED_OUT,))
    try:
        (row, *_) = Evaluation(folder, {"default": DEFAULT}, ListRules(), 5).run()
        assert row.lists > 0
    finally:
        with db:
            db.execute("UPDATE people SET flags = 0 WHERE n = 5")
        db.close()


def test_the_same_data_give_the_same_judgement(folder: Path) -> None:
    rows = [Evaluation(folder, {"default": DEFAULT}, ListRules(), 10).run() for _ in range(2)]
    assert [row._replace(ms=0.0) for row in rows[0]] == [row._replace(ms=0.0) for row in rows[1]]
    for row in rows[0]:
        assert 0 <= row.ndcg <= 1 and 0 < row.hit <= 1 and 0 < row.coverage <= 1
        assert 1 < row.authors <= 30 and 0 < row.age_h < 48


async def test_what_labels_and_blocks_hide_is_not_listed(folder: Path, tmp_path: Path) -> None:
    """Half of what was liked is hidden by a label or a block: it is neither listed nor asked for."""
    first = Evaluation(folder, {"default": DEFAULT}, ListRules(), 20)
    first.run()
    shown = sorted(first.scores["default"].shown)
    uris = uris_of(folder, shown)
    hidden = [post for post in shown[::2] if post in uris]
    assert len(hidden) > 20
    half = len(hidden) // 2
    async with await Moderation.open(tmp_path) as store:
        for post in hidden[:half]:
            await store.block(uris[post], 1)
        labels = [Label("did:plc:labeler", uris[post], "!hide", False, 0) for post in hidden[half:]]
        await store.put("labeler !hide", labels, 1, 1)
    said = said_of(tmp_path, Settings())
    assert said.hidden == {uris[post] for post in hidden} and not said.adult
    assert said_of(tmp_path / "none", Settings()).hidden == frozenset()
    again = Evaluation(folder, {"default": DEFAULT}, ListRules(), 20, said)
    again.run()
    score = again.scores["default"]
    assert score.lists and score.shown and score.shown.isdisjoint(hidden)
    author = uris[shown[1]].split("/")[2]
    blocked = Evaluation(folder, {"default": DEFAULT}, ListRules(), 20, Said(frozenset({author})))
    blocked.run()
    score = blocked.scores["default"]
    assert score.shown and author not in {uri.split("/")[2] for uri in uris_of(folder, score.shown).values()}


def test_the_future_is_not_known(folder: Path, tmp_path: Path) -> None:
    graph = Graph(tmp_path)
    history = History(folder, graph)
    history.load()
    middle_us = history.last_us - US_PER_DAY // 3
    history.tell(history.first_us)
    people, posts = history.liked(middle_us)
    coming = list(zip(people[:300].tolist(), posts[:300].tolist(), strict=True))
    for person, _ in coming:
        assert (graph.view().likes_of(person, 1000)[1] <= history.first_us + SEALED_TICK_US).all()
    history.tell(middle_us)
    assert all(post in graph.view().likes_of(person, 1000)[0] for person, post in coming)
    graph.close()


def test_an_empty_folder_is_a_plain_error(tmp_path: Path) -> None:
    Archive(tmp_path / "data").close()
    with pytest.raises(FeedgenError, match="nothing in"):
        Evaluation(tmp_path / "data", PRESETS, ListRules(), 5).run()
