"""What a process does while the power is cut: run under the shim by `python -m`.

    python -m tests.store.power.scenes FOLDER NAME...

Each scene leaves in FOLDER what was there before (NAME/base), what is there after (NAME/data), and the recording
(NAME/log). Limits are lowered, so that in some hundred events happens what takes a real folder a day: checkpoints,
saved indexes, layers made compact, sweeps.
"""

from __future__ import annotations

import ctypes
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from feedgen.graph import graph
from feedgen.ingest.events import Event
from feedgen.store import names, sqlite
from tests.graph.network import DAY_US, MIDNIGHT_US, Feeder, Model
from tests.store.power.after import go_on, model_of
from tests.store.power.others import BATCH, OTHERS, Check, Mark, Play, Prepare, prepare
from tests.store.power.story import story

LATE_US: Final = MIDNIGHT_US + DAY_US - 3_000_000_000

# How many events are told before the recording begins, and all of them.
STORIES: Final[dict[str, tuple[int, list[Event]]]] = {
    "first start": (0, story(1, 150)),
    "steady": (300, story(2, 420, step_us=300_000_000)),
    "midnight": (150, story(3, 450, LATE_US)),
    "sealing": (250, story(4, 420, LATE_US)),
    "erasing": (300, story(5, 480, step_us=400_000_000, farewells=0.08)),
    "compaction": (50, story(6, 350)),
}


def lower_limits() -> None:
    for module, name, value in ((sqlite, "CHECKPOINT_PAGES", 30), (names, "SAVE_AFTER", 20), (graph, "MAX_ON_TOP", 40)):
        assert hasattr(module, name)
        setattr(module, name, value)


def record(name: str, room: Path) -> None:
    """Prepared as usual, then played under the shim."""
    shim = ctypes.CDLL(None)
    scene = SCENES[name]
    scene.prepare(room / "base")
    shutil.copytree(room / "base", room / "data")
    shim.power_begin(bytes(room / "data"), bytes(room / "log"))
    scene.play(room / "data", lambda text: shim.power_mark(text.encode()))
    shim.power_end()


class Story(NamedTuple):
    """Events in batches. Past days are sealed by the way."""

    name: str
    before: int  # so many were told when the recording begins
    events: list[Event]

    def prepare(self, folder: Path) -> None:
        """Closed in good order, all of it on the disk."""
        if self.before:
            prepare(folder, self.events[: self.before])
        else:
            folder.mkdir()

    def play(self, folder: Path, mark: Mark) -> None:
        feeder = Feeder(folder, erase_after_us=1_000_000_000)
        for at in range(self.before, len(self.events), BATCH):
            feeder.tell(*self.events[at : at + BATCH])
            if self.name in ("midnight", "sealing") and at // BATCH % 8 == 7:
                feeder.archive.days.tend(feeder.day, (feeder.day + 1) * DAY_US)
            if self.name == "sealing":
                feeder.archive.graph.wait()
            if at // BATCH % 5 == 4:
                feeder.archive.graph.flush()
        feeder.settle()
        feeder.close()

    def check(self, disk: Path, marks: list[str], settle: bool) -> None:
        go_on(disk, self.events, _model(self.name), settle)


@cache
def _model(name: str) -> Model:
    scene = SCENES[name]
    assert isinstance(scene, Story)
    return model_of(scene.events)


class Other(NamedTuple):
    prepare: Prepare
    play: Play
    check: Check


SCENES: Final[dict[str, Story | Other]] = {
    **{name: Story(name, before, events) for name, (before, events) in STORIES.items()},
    **{name: Other(*parts) for name, parts in OTHERS.items()},
}

if __name__ == "__main__":
    lower_limits()
    for scene in sys.argv[2:]:
        (Path(sys.argv[1]) / scene).mkdir()
        record(scene, Path(sys.argv[1]) / scene)
