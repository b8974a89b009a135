"""What a process does while the power is cut: one function a scene, run under the shim by `python -m`.

    python -m tests.store.power.scenes FOLDER NAME...

Each scene leaves in FOLDER what was there before (NAME/base), what is there after (NAME/data), and the recording
(NAME/log). Limits are lowered, so that in some hundred events happens what takes a real folder a day: checkpoints,
saved indexes, layers made compact, sweeps.
"""

from __future__ import annotations

import ctypes
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from feedgen.graph import graph
from feedgen.ingest.events import Event
from feedgen.store import names, sqlite
from tests.graph.network import DAY_US, MIDNIGHT_US, Feeder
from tests.store.power.story import story

BATCH: Final = 12
LATE_US: Final = MIDNIGHT_US + DAY_US - 3_000_000_000

# What was told before the recording begins, and all that is told; by scene.
STORIES: Final[dict[str, tuple[int, list[Event]]]] = {
    "first start": (0, story(1, 150)),
    "steady": (300, story(2, 420, step_us=300_000_000)),
    "midnight": (150, story(3, 450, LATE_US)),
    "sealing": (250, story(4, 420, LATE_US)),
    "erasing": (300, story(5, 480, step_us=400_000_000, farewells=0.08)),
    "compaction": (50, story(6, 350)),
}


def prepare(name: str, folder: Path) -> None:
    """The folder as it is before the scene: closed in good order, all of it on the disk."""
    before, events = STORIES[name]
    if not before:
        folder.mkdir()
        return
    feeder = Feeder(folder)
    feeder.tell(*events[:before])
    feeder.settle()
    feeder.close()


def lower_limits() -> None:
    for module, name, value in ((sqlite, "CHECKPOINT_PAGES", 30), (names, "SAVE_AFTER", 20), (graph, "MAX_ON_TOP", 40)):
        assert hasattr(module, name)
        setattr(module, name, value)


def record(name: str, room: Path) -> None:
    """Prepared as usual, then played under the shim."""
    shim = ctypes.CDLL(None)
    prepare(name, room / "base")
    shutil.copytree(room / "base", room / "data")
    shim.power_begin(bytes(room / "data"), bytes(room / "log"))
    SCENES[name](name, room / "data")
    shim.power_end()


def play(name: str, folder: Path) -> None:
    """The rest of the story, a batch at a time. Past days are sealed by the way."""
    before, events = STORIES[name]
    feeder = Feeder(folder, erase_after_us=1_000_000_000)
    for at in range(before, len(events), BATCH):
        feeder.tell(*events[at : at + BATCH])
        if name in ("midnight", "sealing") and at // BATCH % 8 == 7:
            feeder.archive.days.tend(feeder.day, (feeder.day + 1) * DAY_US)
        if name == "sealing":
            feeder.archive.graph.wait()
        if at // BATCH % 5 == 4:
            feeder.archive.graph.flush()
    feeder.settle()
    feeder.close()


SCENES: Final[dict[str, Callable[[str, Path], None]]] = {name: play for name in STORIES}

if __name__ == "__main__":
    lower_limits()
    for scene in sys.argv[2:]:
        (Path(sys.argv[1]) / scene).mkdir()
        record(scene, Path(sys.argv[1]) / scene)
