"""`feedgen profile 30s`: what the running service does with the processor, as a flame graph.

The service is asked on its private address, some seconds at a time, so that no answer takes longer than an answer may.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from feedgen.cli.flame import draw
from feedgen.cli.private_api import ask_private
from feedgen.core.errors import FeedgenError
from feedgen.core.sampling import Stacks
from feedgen.core.settings import Settings
from feedgen.serve.http.profile import PROFILE_PATH, TURN_S

MAX_S: Final = 3600.0
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(s|m|)")


def main(settings: Settings, duration: str, out: Path, say: Callable[[str], None]) -> int:
    """Writes the flame graph, or plain stacks when the file is not called .svg."""
    seconds = parse_duration(duration)
    stacks, left_s = Stacks(), seconds
    while left_s > 0:
        turn_s = min(TURN_S, left_s)
        query = {"seconds": f"{turn_s:.3f}"}
        stacks.update(json.loads(ask_private(settings.service.private_bind, PROFILE_PATH, query, turn_s + 30)))
        left_s -= turn_s
    title = f"feedgen: {stacks.total() / 1e6:.1f} s of processor time in {seconds:g} s"
    if out.suffix == ".svg":
        out.write_text(draw(stacks, title))
    else:
        out.write_text("".join(f"{stack} {us}\n" for stack, us in sorted(stacks.items())))
    say(f"{out}: {title.removeprefix('feedgen: ')}")
    for name, us in shares(stacks):
        say(f"  {us / max(1, stacks.total()):6.1%}  {name}")
    return 0


def shares(stacks: Stacks) -> list[tuple[str, int]]:
    """Time by kind of thread, the busiest first."""
    threads = Stacks()
    for stack, us in stacks.items():
        threads[stack.partition(";")[0]] += us
    return threads.most_common()


def parse_duration(text: str) -> float:
    found = _DURATION.fullmatch(text)
    seconds = float(found[1]) * (60 if found[2] == "m" else 1) if found else 0.0
    if not 0 < seconds <= MAX_S:
        raise FeedgenError(f"{text!r} is no duration.", "It is like 30s or 2m, an hour at most.")
    return seconds
