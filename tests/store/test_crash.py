"""The store after a sudden death: at each named point, and at random instants under load."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from feedgen.core.errors import StoreError
from feedgen.store import crash
from feedgen.store.folder import Folder, day_name
from tests.store.world import dump, expected, make_events

EVENTS = 700
RANDOM_KILLS = int(os.environ.get("FEEDGEN_RANDOM_KILLS", "8"))


def start(path: Path, seed: int, crash_at: str = "") -> subprocess.Popen[str]:
    env = dict(os.environ, FEEDGEN_CRASH_AT=crash_at)
    command = [sys.executable, "-m", "tests.store.world", str(path), str(seed), str(EVENTS)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(path: Path, seed: int) -> None:
    process = start(path, seed)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert output.rstrip().endswith("done")


@pytest.mark.parametrize("point", [p for p in crash.POINTS if p not in ("while_migrating", "while_unlinking")])
def test_nothing_is_lost_or_counted_twice_after_dying_at(point: str, tmp_path: Path) -> None:
    process = start(tmp_path / "data", 1, f"{point}:2" if point != "between_days" else point)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, f"{point} was not reached: {errors}"
    finish(tmp_path / "data", 1)
    assert dump(tmp_path / "data") == expected(make_events(1, EVENTS))


def test_random_deaths_under_load(tmp_path: Path) -> None:
    rng = random.Random(5)
    path, kills, seed = tmp_path / "data", 0, 2
    while kills < RANDOM_KILLS:
        process = start(path, seed)
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()  # it has begun
        time.sleep(rng.random() * 0.15)
        process.kill()
        process.stdout.close()
        process.stderr.close()
        if process.wait() == 0:  # it was quicker: what it wrote must be right, then a new folder
            assert dump(path) == expected(make_events(seed, EVENTS))
            path = tmp_path / f"data{kills}"
        kills += 1
    finish(path, seed)
    assert dump(path) == expected(make_events(seed, EVENTS))


def test_a_drop_that_was_cut_short_is_finished(tmp_path: Path) -> None:
    finish(tmp_path / "data", 3)
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
