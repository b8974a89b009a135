"""Each call that the store makes fails once, with ENOSPC and with EIO: the process goes on, or stops with words; and
the next start has lost and falsified nothing.

    python -m tests.store.power.failing FOLDER COUNT [PART]

Run under the shim. Tries about COUNT places, evenly spread over all calls, and prints what went wrong, a line each.
PART is "2/5" for the second fifth of them.
"""

from __future__ import annotations

import ctypes
import errno
import gc
import logging
import shutil
import sys
import traceback
from pathlib import Path
from typing import Final

from feedgen.core.errors import FeedgenError, StoreFull
from feedgen.ingest.batch import BatchBuilder
from feedgen.ingest.events import Event
from tests.graph.network import DAY_US, Feeder
from tests.store.power.after import go_on, model_of
from tests.store.power.scenes import LATE_US, lower_limits
from tests.store.power.story import story

TRIES: Final = 3  # the pipeline tries for ever, but a call fails once here
BEFORE: Final = 60
BATCH: Final = 15
EVENTS: Final = story(7, 150, LATE_US, 45_000_000, farewells=0.03)


class Stubborn(Feeder):
    """As the pipeline does: while the store is full, the same batch again."""

    def _apply(self, builder: BatchBuilder, replayed: bool) -> None:
        batch = builder.take()
        batch.replayed = replayed
        for left in reversed(range(TRIES)):
            try:
                self.archive.recorder.apply(batch)
                return
            except StoreFull:
                if not left:
                    raise


def play(folder: Path, events: list[Event]) -> None:
    """Start, ingest over midnight, seal, erase, stop."""
    feeder = Stubborn(folder, erase_after_us=1_000_000_000)
    try:
        for at in range(BEFORE, len(events), BATCH):
            feeder.tell(*events[at : at + BATCH])
            feeder.archive.graph.flush()
            feeder.archive.days.tend(feeder.day, (feeder.day + 1) * DAY_US)
        feeder.archive.graph.wait()
        feeder.archive.days.tend(feeder.day, (feeder.day + 1) * DAY_US)
    finally:
        feeder.close()


def attempt(shim: ctypes.CDLL, base: Path, folder: Path, n: int, error: int) -> tuple[str, int]:
    """(what is wrong, or nothing; how many calls were made)."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)
    shim.power_begin(bytes(folder), None)
    shim.power_fail_at(ctypes.c_long(n), error, ctypes.c_long(1))
    trouble = ""
    try:
        play(folder, EVENTS)
    except FeedgenError as told:
        trouble = "" if told.message else "stopped without words"
    except BaseException as died:
        places = [f"{Path(one.filename).name}:{one.lineno}" for one in traceback.extract_tb(died.__traceback__)[-6:]]
        trouble = f"died of {died!r} at {places}"
    calls = int(shim.power_calls())
    shim.power_end()
    gc.collect()  # what a process leaves behind that stops
    try:
        go_on(folder, EVENTS, model_of(EVENTS), settle=n % 2 == 0)
    except BaseException as found:
        trouble += f" afterwards {type(found).__name__} {str(found)[:200]!r}"
        trouble += f" at {traceback.extract_tb(found.__traceback__)[-1]}"
    return trouble, calls


def main() -> None:
    room, count = Path(sys.argv[1]), int(sys.argv[2])
    logging.disable(logging.CRITICAL)
    lower_limits()
    feeder = Feeder(room / "base")
    feeder.tell(*EVENTS[:BEFORE])
    feeder.settle()
    feeder.close()
    shim = ctypes.CDLL(None)
    shim.power_calls.restype = ctypes.c_long
    trouble, calls = attempt(shim, room / "base", room / "tried", 1 << 40, errno.EIO)
    assert not trouble, trouble
    step, tried = max(1.0, 2 * calls / count), 0
    part, parts = map(int, (sys.argv[3] if len(sys.argv) > 3 else "1/1").split("/"))
    for place in range(part - 1, int(calls / step), parts):
        for number, error in enumerate((errno.ENOSPC, errno.EIO)):
            n = int(step * (place + number / 2)) + 1
            trouble, _ = attempt(shim, room / "base", room / "tried", n, error)
            tried += 1
            if trouble:
                print(f"call {n} of {calls} failed with {errno.errorcode[error]}: {trouble}", flush=True)
    print(f"tried {tried} of {2 * calls}", flush=True)


if __name__ == "__main__":
    main()
