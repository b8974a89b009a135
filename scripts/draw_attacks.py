"""Draws docs/attacks.svg out of what `scripts/bench attacks --json` wrote:

scripts/bench attacks --json attacks.json
.venv/bin/python -m scripts.draw_attacks attacks.json > docs/attacks.svg
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from scripts.draw_rank import Line, document, panel


def main(path: str) -> None:
    figures = {name: f["value"] for name, f in json.loads(Path(path).read_text())["figures"].items()}
    reach: list[Line] = [
        ("without the bound", _points(figures, r"attacks\.patiently_(\d+)_unbounded")),
        ("as served", _points(figures, r"attacks\.patiently_(\d+)")),
    ]
    strays: list[Line] = [
        ("of a post with few likes", _points(figures, r"attacks\.stray_rare_(\d+)_or_more")),
        ("of one with many", _points(figures, r"attacks\.stray_known_(\d+)_or_more")),
    ]
    parts = [
        panel(0, "accounts that work together", "readers who meet a pushed post, %", reach),
        panel(1, "posts of the first 30 that one stray like changes, or more", "lists, %", strays),
    ]
    print(document(parts))


def _points(figures: dict[str, float], pattern: str) -> list[tuple[float, float]]:
    found = ((re.fullmatch(pattern, name), value) for name, value in figures.items())
    return sorted((float(match[1]), 100 * value) for match, value in found if match)


if __name__ == "__main__":
    main(sys.argv[1])
