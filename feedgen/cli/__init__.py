"""The `feedgen` command, in modules by who types what. Heavy imports wait for the command that needs them."""

from __future__ import annotations

import os
import sys

from feedgen.cli import data, feed, home, readers, run, stream
from feedgen.cli.group import ELSEWHERE, cli

__all__ = ["ELSEWHERE", "cli", "data", "feed", "home", "main", "readers", "run", "stream"]


def keep_machine_code() -> None:
    """Lets every command of one environment share the kernels that `warm` compiled."""
    if sys.prefix != sys.base_prefix and os.access(sys.prefix, os.W_OK):
        os.environ.setdefault("NUMBA_CACHE_DIR", os.path.join(sys.prefix, "numba-cache"))


def main() -> None:
    """The `feedgen` command."""
    keep_machine_code()
    sys.exit(cli.main(prog_name="feedgen"))
