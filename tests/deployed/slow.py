"""`feedgen`, on a machine where each list takes three seconds: python -m tests.deployed.slow run ..."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from feedgen.cli import main
from feedgen.rank.pool import RankPool
from tests.host.as_systemd import Activated

LIST_S: Final = 3.0


class SlowHome(Activated):
    """Starts this module in place of `feedgen`."""

    def _launch(self, command: list[str], folder: Path) -> subprocess.Popen[str]:
        root = Path(__file__).parents[2]
        place = command.index("feedgen")
        words = ["env", f"PYTHONPATH={root}", *command[:place], __name__, *command[place + 1 :]]
        return super()._launch(words, folder)


def make_slow() -> None:
    run = RankPool.run

    async def slowly(self: RankPool, work: Callable[[bool], Any], *args: Any, **named: Any) -> Any:
        def slow_work(cheap: bool) -> Any:
            time.sleep(LIST_S)
            return work(cheap)

        return await run(self, slow_work, *args, **named)

    RankPool.run = slowly  # type: ignore[method-assign]


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH")
    make_slow()
    main()
