"""Training in a process of its own: low priority, a limit of CPU and of memory, the model as a file when it is done.

`python -m feedgen.learn.child FOLDER` trains on the examples in FOLDER, writes the model that is to serve from now on
(or removes the old one), then the report, which it also prints.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from feedgen.core.ids import US_PER_S
from feedgen.learn.files import MODEL, REPORT, Examples, replace_file
from feedgen.learn.model import read, save
from feedgen.learn.training import Report, train

MAX_CPU_S: Final = 120
MAX_BYTES: Final = 500 << 20
LOWEST: Final = 19  # priority


def limit() -> None:
    """Readers come first. Where the system forbids to be nice, the limits must do."""
    with contextlib.suppress(OSError):
        os.nice(LOWEST)
    for which, most in ((resource.RLIMIT_CPU, MAX_CPU_S), (resource.RLIMIT_DATA, MAX_BYTES)):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(which, (most, most))


def run(folder: Path) -> Report:
    """Train on what is there."""
    old, _ = read(folder / MODEL)
    model, report = train(Examples(folder).read(), old)
    used = resource.getrusage(resource.RUSAGE_SELF)
    report.cpu_s = round(used.ru_utime + used.ru_stime, 2)
    report.peak_mb = round(used.ru_maxrss / 1024, 1)
    report.at_us = time.time_ns() // (10**9 // US_PER_S)
    if model is None:
        (folder / MODEL).unlink(missing_ok=True)
    elif model != old:
        save(model, folder / MODEL)
    replace_file(folder / REPORT, msgspec.json.encode(report))
    return report


if __name__ == "__main__":
    limit()
    sys.stdout.buffer.write(msgspec.json.encode(run(Path(sys.argv[1]))))
