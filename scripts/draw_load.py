"""Draws docs/load.svg, how long a page takes at each load, out of what `scripts/bench load --json` wrote, all presets
in one file or each in its own:

scripts/bench load --json load.json
.venv/bin/python -m scripts.draw_load load.json > docs/load.svg
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from scripts.draw_rank import Line, document, panel


def main(paths: list[str]) -> None:
    reports = [json.loads(Path(path).read_text()) for path in paths]
    figures = {name: f["value"] for report in reports for name, f in report["figures"].items()}
    label = "requests a second"
    print(
        document(
            [
                panel(0, label, "a page, p50, ms", lines(figures, "p50")),
                panel(1, label, "a page, p99, ms", lines(figures, "p99")),
            ]
        )
    )


def lines(figures: dict[str, float], percentile: str) -> list[Line]:
    """One line a preset, in the order measured."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name, value in figures.items():
        if m := re.fullmatch(rf"load\.(\w+)_(\d+)_{percentile}_ms", name):
            found.setdefault(m[1], []).append((float(m[2]), value))
    return [(preset, sorted(points)) for preset, points in found.items()]


if __name__ == "__main__":
    main(sys.argv[1:])
