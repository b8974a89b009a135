"""The store and the arrays after a sudden death at each named point; tests/graph/test_recorder.py has random ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from feedgen.core.errors import StoreError
from feedgen.store import crash
from feedgen.store.folder import Folder, day_name
from tests.graph.test_recorder import child, survived
from tests.store.world import Recorder, make_events

POINTS = (
    "after_names:9", "after_past_day:3", "before_day_commit:30", "after_day_commit:31", "after_day_commit:45",
    "between_days:2", "while_sealing", "before_seal_rename", "after_seal_rename", "while_unlinking", "while_erasing:2",
)  # fmt: skip


@pytest.mark.parametrize("point", POINTS)
def test_nothing_is_lost_or_counted_twice_after_dying_at(point: str, tmp_path: Path) -> None:
    process = child(tmp_path, point)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, f"{point} was not reached: {errors}"
    survived(tmp_path)


def test_every_point_is_tried() -> None:
    assert {point.partition(":")[0] for point in POINTS} | {"while_migrating"} == set(crash.POINTS)


def test_a_drop_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "data")
    recorder.run(make_events(3, 300))
    recorder.writer.seal(recorder.writer.days()[0])
    recorder.close()
    code = (
        "import sys; from feedgen.store.folder import Folder; from feedgen.store.names import Names\n"
        "from feedgen.store.writer import Writer; f = Folder(sys.argv[1]); w = Writer(f, Names(f)); w.drop(w.days()[0])"
    )
    env = dict(os.environ, FEEDGEN_CRASH_AT="while_unlinking")
    first = min(file.day for file in days(tmp_path / "data"))
    died = subprocess.run([sys.executable, "-c", code, str(tmp_path / "data")], env=env, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL
    assert first not in [file.day for file in days(tmp_path / "data")]
    assert not [p.name for p in (tmp_path / "data/days").iterdir() if p.name.startswith(day_name(first))]


def test_a_migration_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    Folder(tmp_path / "data").close()
    code = (
        "import sys; from pathlib import Path; from feedgen.store.folder import Folder\n"
        "def step(path): (path / 'steps').write_text('x')\n"
        "Folder(sys.argv[1], migrations=(step,))"
    )
    env = dict(os.environ, FEEDGEN_CRASH_AT="while_migrating")
    died = subprocess.run([sys.executable, "-c", code, str(tmp_path / "data")], env=env, timeout=60, check=False)
    assert died.returncode == -signal.SIGKILL

    steps = [(tmp_path / "data/steps").read_text()]

    def step(path: Path) -> None:
        steps.append("y")

    Folder(tmp_path / "data", migrations=(step,)).close()
    assert steps == ["x", "y"]
    assert (tmp_path / "data/format").read_text() == "2\n"
    Folder(tmp_path / "data", migrations=(step,)).close()
    assert steps == ["x", "y"]
    with pytest.raises(StoreError, match="newer feedgen"):
        Folder(tmp_path / "data")


def days(path: Path) -> list:  # type: ignore[type-arg]
    with Folder(path) as folder:
        return folder.days()
