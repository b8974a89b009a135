"""Draws how the figures of `scripts/bench boot going_on` grow with the ratings on disk.

`scripts/bench boot going_on --set ratings=N --set folder=PATH --json N.json` for some N, then
`python -m scripts.draw_growth *.json` writes docs/growth.svg. The two may also be run apart.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

PATH: Final = Path(__file__).parent.parent / "docs" / "growth.svg"
DRAWN: Final = (
    ("boot.first_personal_page_cpu_s", "CPU until the first personal page, s"),
    ("boot.today_read_cpu_s", "CPU until today's log is read, s"),
    ("memory.bytes_per_rating", "resident memory, bytes a rating"),
    ("boot.disk_bytes_per_rating", "on disk, bytes a rating"),
    ("going_on.cpu_us_per_event", "CPU of an event, catching up, us"),
    ("going_on.steady_cpu_us_per_event", "CPU of an event, at 500 a second, us"),
)
WIDTH, HEIGHT, LEFT, TOP, GAP = 260, 150, 44, 34, 70
IN_A_ROW: Final = 2


def points(reports: list[dict[str, Any]], name: str) -> list[tuple[float, float]]:
    ratings = "going_on.ratings" if name.startswith("going_on.") else "boot.ratings"
    figures = [report["figures"] for report in reports]
    return sorted((f[ratings]["value"] / 1e6, f[name]["value"]) for f in figures if name in f)


def panel(found: list[tuple[float, float]], title: str, left: int, top: int) -> list[str]:
    """One figure over millions of ratings, both axes from zero, so that a straight line looks like one."""
    most_x, most_y = max(x for x, _ in found), max(y for _, y in found)
    at = [(left + x / most_x * WIDTH, top + HEIGHT - y / most_y * HEIGHT) for x, y in found]
    lines = [
        f'<text x="{left}" y="{top - 16}">{title}</text>',
        f'<path d="M{left} {top}V{top + HEIGHT}H{left + WIDTH}" class="axis"/>',
        f'<path d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in at)}" class="line"/>',
    ]
    for (x, y), (ratings, value) in zip(at, found, strict=True):
        lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>')
        lines.append(f'<text x="{x:.1f}" y="{y - 7:.1f}" class="value">{value:.3g}</text>')
        lines.append(f'<text x="{x:.1f}" y="{top + HEIGHT + 16}" class="value">{ratings:.3g}M</text>')
    return lines


def drawing(reports: list[dict[str, Any]]) -> str:
    lines = []
    row_height = HEIGHT + GAP
    for i, (name, title) in enumerate(DRAWN):
        found = points(reports, name)
        if found:
            row, place = divmod(i, IN_A_ROW)
            lines += panel(found, title, LEFT + place * (WIDTH + GAP), TOP + row * row_height)
    wide, high = LEFT + IN_A_ROW * (WIDTH + GAP), TOP + -(-len(DRAWN) // IN_A_ROW) * row_height - GAP + 30
    style = (
        "text{font:12px sans-serif;fill:#444}.value{text-anchor:middle}"
        ".axis{fill:none;stroke:#999}.line{fill:none;stroke:#2060c0;stroke-width:2}circle{fill:#2060c0}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}">\n'
        f'<style>{style}</style>\n<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(lines) + "\n</svg>\n"
    )


if __name__ == "__main__":
    PATH.write_text(drawing([json.loads(Path(name).read_text()) for name in sys.argv[1:]]))
