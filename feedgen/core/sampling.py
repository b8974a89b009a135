"""Where the process spends its processor time: what each thread was doing, a hundred times a second.

A sample is worth the time that its thread has computed since the last one, as the kernel counts it. So threads that
wait weigh nothing, and compiled code that runs without the interpreter's lock weighs what it should, under the function
that called it. It needs no rights and no other program, so it also works inside the service's sandbox.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import Counter
from types import FrameType
from typing import Final

from feedgen.core.errors import FeedgenError

EVERY_S: Final = 0.01
MAX_DEPTH: Final = 100
TASKS: Final = "/proc/self/task"

Stacks = Counter[str]  # `thread;caller;callee`: microseconds


def sample(seconds: float, every_s: float = EVERY_S) -> Stacks:
    """Blocks its own thread that long, and no other."""
    stacks, used_ns = Stacks(), _used()
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        time.sleep(every_s)
        now_ns = _used()
        frames = sys._current_frames()
        for thread in threading.enumerate():
            frame, ident = frames.get(thread.ident or 0), thread.native_id
            if frame is None or ident is None or thread is threading.current_thread():
                continue
            took_ns = now_ns.get(ident, 0) - used_ns.get(ident, now_ns.get(ident, 0))
            if took_ns > 0:
                stacks[f"{_kind(thread.name)};{_stack(frame)}"] += took_ns // 1000
        used_ns = now_ns
    return stacks


def _used() -> dict[int, int]:
    """By the kernel's number of a thread: nanoseconds that it computed."""
    found = {}
    for thread in threading.enumerate():
        try:
            with open(f"{TASKS}/{thread.native_id}/schedstat", "rb", buffering=0) as file:
                found[thread.native_id or 0] = int(file.read(64).split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
    if not found:
        raise FeedgenError("This kernel does not tell what threads compute (/proc/self/task/*/schedstat).")
    return found


def _stack(frame: FrameType | None) -> str:
    """Outermost first."""
    names: list[str] = []
    while frame is not None and len(names) < MAX_DEPTH:
        names.append(f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_qualname}".replace(";", ","))
        frame = frame.f_back
    return ";".join(reversed(names))


def _kind(name: str) -> str:
    """Threads of one kind together: `rank_0` and `rank_1` are `rank`."""
    return re.sub(r"[-_ ]?\d+.*", "", name).replace(";", ",") or "thread"
