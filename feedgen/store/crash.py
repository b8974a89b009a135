"""Named points at which a test may kill us: `FEEDGEN_CRASH_AT=after_names:3` dies the third time it gets there.

A kill is SIGKILL: no handler, no flush, as when the power fails for the process.
"""

from __future__ import annotations

import os
import signal
from typing import Final

POINTS: Final = (
    "after_names",  # names are committed, nothing of the batch is
    "after_past_day",  # deletions in past days are committed, today's are not
    "before_day_commit",
    "after_day_commit",
    "between_days",  # the new day's file exists, nothing was committed to it
    "while_sealing",  # the packed rows are half written
    "before_seal_rename",
    "after_seal_rename",  # both forms of the day exist
    "while_erasing",  # a deleted person is out of some days
    "while_unlinking",  # some files of a dropped day are gone
    "while_migrating",  # a step was made, the version is the old one
)

_wanted, _, _count = os.environ.get("FEEDGEN_CRASH_AT", "").partition(":")
_left = int(_count or 1)


def point(name: str) -> None:
    """Die here if the environment says so."""
    global _left
    if name != _wanted:
        return
    _left -= 1
    if _left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
