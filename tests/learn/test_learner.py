"""Learning beside the service: what is collected when, what serves, and what happens when something fails."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

from feedgen.core.clock import ManualClock
from feedgen.core.ids import US_PER_S
from feedgen.ingest.events import DELETED, HIDDEN, LATE
from feedgen.learn import files, learner
from feedgen.learn.files import MODEL, REPORT, Examples
from feedgen.learn.learner import FEW_US, FIRST_US, LOOK_US, TRAIN_US, Learner
from feedgen.learn.model import save
from feedgen.learn.training import MIN_ROWS, Report
from feedgen.rank.scorer import Scorer
from feedgen.web.status import Tile, scorer_tiles
from tests.learn.test_examples import NOON_US, PEOPLE, F, a_world
from tests.learn.test_files import a_model
from tests.rank.world import World

GIVES_NOTHING = (sys.executable, "-c", "import sys; sys.exit('no luck')")


class Desk:
    """A learner, and what it told the service."""

    def __init__(self, folder: Path, world: World, command: tuple[str, ...] = GIVES_NOTHING) -> None:
        self.clock, self.world = ManualClock(NOON_US), world
        self.used = list[Scorer | None]()
        self.learner = Learner(
            folder,
            lambda: world.view,
            lambda: PEOPLE,
            lambda: F,
            DELETED | HIDDEN | LATE,
            self.clock,
            self.used.append,
            command,
        )

    async def after(self, us: int) -> None:
        self.clock.jump(us / US_PER_S)
        await self.learner.turn()


def likes(world: World, posts: Iterable[int], at_us: int) -> None:
    """Everybody likes some posts that many had not liked."""
    some = list(posts)
    world.rate((person, post, at_us) for person in range(PEOPLE) for post in some)


async def test_examples_are_collected_and_labelled_when_the_horizon_is_over(tmp_path: Path) -> None:
    world, posts = a_world()
    desk = Desk(tmp_path / "learn", world)
    await desk.after(FIRST_US - 1)
    assert not desk.learner._pending, "a start has enough to do"
    await desk.after(1)
    assert sum(moment.people.size for moment in desk.learner._pending) == PEOPLE
    likes(world, posts[:10], desk.clock.now_us() + 60 * US_PER_S)
    await desk.after(LOOK_US)
    assert not list(tmp_path.rglob("*.examples"))
    await desk.after(LOOK_US)
    (block,) = Examples(tmp_path / "learn").read()
    assert block.requests > PEOPLE // 2 and block.labels.any()


async def test_what_waits_for_labels_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner, "MAX_PENDING", learner.PEOPLE + PEOPLE - 1)
    desk = Desk(tmp_path, a_world()[0])
    await desk.after(FIRST_US)
    (first,) = desk.learner._pending
    await desk.after(LOOK_US)
    assert desk.learner._pending == [first], "there is no room for more"
    await desk.after(LOOK_US)
    (second,) = desk.learner._pending
    assert second.time_us == first.until_us, "until the first have their labels"


async def test_a_model_serves_from_the_start_and_after_it_changed(tmp_path: Path) -> None:
    save(a_model(gain=0.01), tmp_path / MODEL)
    desk = Desk(tmp_path, a_world()[0])
    await desk.after(0)
    assert desk.used[-1] is not None and desk.learner.serving == "linear"
    save(a_model(gain=0.02), tmp_path / MODEL)
    await desk.after(60 * US_PER_S)
    assert len(desk.used) == 2 and desk.learner.model is not None and desk.learner.model.gain == 0.02
    await desk.after(60 * US_PER_S)
    assert len(desk.used) == 2
    (tmp_path / MODEL).unlink()
    await desk.after(60 * US_PER_S)
    assert desk.used[-1] is None and desk.learner.serving == "formula"


@pytest.mark.parametrize("content", [b"", b"{}\n", b"\x00" * 4096])
async def test_a_model_that_can_not_be_read_leaves_the_formula_and_says_so(tmp_path: Path, content: bytes) -> None:
    """As a power cut leaves a file that was never synced."""
    (tmp_path / MODEL).write_bytes(content)
    (tmp_path / REPORT).write_bytes(content)
    desk = Desk(tmp_path, a_world()[0])
    await desk.after(0)
    assert desk.used == [None]
    assert "does not serve: the file is damaged" in desk.learner.trouble


async def test_a_full_disk_costs_examples_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, posts = a_world()
    desk = Desk(tmp_path, world)
    await desk.after(FIRST_US)
    likes(world, posts[:10], desk.clock.now_us() + 60 * US_PER_S)

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "replace_file", full)
    await desk.after(2 * LOOK_US)
    assert "No space left on device; pages are not affected" in desk.learner.trouble
    assert not list(tmp_path.iterdir())


async def test_a_training_that_fails_leaves_what_served_and_is_tried_the_next_day(tmp_path: Path) -> None:
    save(a_model(), tmp_path / MODEL)
    (tmp_path / REPORT).write_bytes(msgspec.json.encode(Report(rows=MIN_ROWS, at_us=NOON_US - TRAIN_US + US_PER_S)))
    desk = Desk(tmp_path, a_world()[0])
    await desk.after(0)
    assert not desk.learner.trouble, "not due yet"
    await desk.after(US_PER_S)
    assert "training failed: no luck" in desk.learner.trouble
    assert desk.learner.model == a_model() and len(desk.used) == 1
    desk.learner.trouble = ""
    await desk.after(TRAIN_US - 1)
    assert not desk.learner.trouble
    await desk.after(1)
    assert desk.learner.trouble


async def test_while_there_are_few_rows_it_is_tried_more_often(tmp_path: Path) -> None:
    desk = Desk(tmp_path, a_world()[0])
    await desk.after(FEW_US - 1)
    assert not desk.learner.trouble
    await desk.after(1)
    assert "no luck" in desk.learner.trouble


async def test_the_status_page_says_which_model_serves_since_when_and_what_it_gains(tmp_path: Path) -> None:
    assert scorer_tiles(None, 0) == [], "switched off, there is nothing to say"
    desk, now_s = Desk(tmp_path, a_world()[0]), NOON_US / US_PER_S
    await desk.after(0)
    assert scorer_tiles(desk.learner, now_s) == [Tile("Scorer", "the formula alone", "no training yet")]
    save(a_model(gain=0.0123, error=0.002, until_us=NOON_US - 2 * LOOK_US), tmp_path / MODEL)
    await desk.after(0)
    (tile,) = scorer_tiles(desk.learner, now_s)
    assert tile.value == "linear" and not tile.alarm
    assert tile.note.startswith("+0.0123 ± 0.0020 NDCG@20") and "until 2 h ago" in tile.note
    desk.learner.trouble = "training failed"
    (tile,) = scorer_tiles(desk.learner, now_s)
    assert tile.alarm and "training failed" in tile.note
