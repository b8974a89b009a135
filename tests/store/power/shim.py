"""Programs run under shim.c, which is compiled when it is first needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
REPOSITORY: Final = HERE.parents[2]
MEMORY: Final = Path("/dev/shm")


def memory() -> str | None:
    """A folder in memory where possible: what is tried here needs no real disk, and syncs of one take long."""
    return str(MEMORY) if MEMORY.is_dir() else None


def run(module: str, room: Path, *words: str) -> str:
    """A module of these tests as a process of its own, with `room` for the library; what it printed."""
    library = room / "shim.so"
    compiler = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([*compiler, "-o", str(library), str(HERE / "shim.c"), "-ldl"], check=True)
    command = [sys.executable, "-m", f"tests.store.power.{module}", *words]
    environment = os.environ | {"LD_PRELOAD": str(library)}
    done = subprocess.run(command, env=environment, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout
