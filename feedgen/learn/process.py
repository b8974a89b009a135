"""Starts the training process, waits for it, and says in words what went wrong."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec

from feedgen.core.errors import FeedgenError
from feedgen.learn.child import MAX_BYTES, MAX_CPU_S
from feedgen.learn.training import Report

MAX_WALL_S: Final = 1800.0  # with the lowest priority, two minutes of CPU may take long
COMMAND: Final = (sys.executable, "-m", "feedgen.learn.child")
ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}


class TrainingFailed(FeedgenError):
    """Nothing has changed: whatever served goes on."""


async def train_apart(folder: Path, command: tuple[str, ...] = COMMAND, wall_s: float = MAX_WALL_S) -> Report:
    """What came of it. The process ends with this call, however that ends."""
    try:
        child = await asyncio.create_subprocess_exec(
            *command,
            str(folder),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **ONE_THREAD},
        )
    except OSError as error:
        raise TrainingFailed(f"can't start the training: {error.strerror}", "free some memory") from error
    try:
        out, told = await asyncio.wait_for(child.communicate(), wall_s)
    except TimeoutError:
        raise TrainingFailed(f"training took longer than {wall_s:,.0f} s", "it is tried again tomorrow") from None
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    if child.returncode:
        raise TrainingFailed(f"training failed: {_reason(child.returncode, told)}", "it is tried again tomorrow")
    try:
        return msgspec.json.decode(out, type=Report)
    except msgspec.MsgspecError as error:
        raise TrainingFailed(f"training gave no report: {error}", "it is tried again tomorrow") from error


def _reason(code: int, told: bytes) -> str:
    lines = told.decode(errors="replace").strip().splitlines()
    if code in (-signal.SIGXCPU, -signal.SIGKILL) and not lines:
        return f"it took more than {MAX_CPU_S} s of CPU, or the system ended it"
    if lines and "MemoryError" in lines[-1]:
        return f"it needed more than {MAX_BYTES >> 20} MB"
    return lines[-1][:300] if lines else f"exit code {code}"
