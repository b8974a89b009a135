"""Draws docs/rank.svg out of what `scripts/bench rank --json` wrote, one file a size of the graph:

scripts/bench rank --set ratings=10000000 --json 10.json
.venv/bin/python -m scripts.draw_rank 10.json 50.json > docs/rank.svg
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")
WIDTH, HEIGHT, LEFT, BOTTOM = 360, 240, 46, 40

Line = tuple[str, list[tuple[float, float]]]


def main(paths: list[str]) -> None:
    runs = []
    for path in paths:
        report = json.loads(Path(path).read_text())
        figures = {name: f["value"] for name, f in report["figures"].items()}
        runs.append((figures["rank.ratings"] / 1e6, figures, report["parameters"]["rank"]["seeds"]))
    runs.sort(key=lambda run: run[0])
    by_size: list[Line] = [
        (name, [(size, f[f"rank.{key}"]) for size, f, _ in runs])
        for name, key in (
            ("default p50", "list_cpu_ms_p50"),
            ("default p99", "list_cpu_ms_p99"),
            ("cheap p50", "cheap_cpu_ms_p50"),
            ("foryou p50", "foryou_cpu_ms_p50"),
        )
    ]
    by_seeds: list[Line] = [(f"{size:.0f}M ratings, p50", _seeds(f, most)) for size, f, most in runs]
    what = "CPU of a list, ms"
    print(document([panel(0, "ratings, millions", what, by_size), panel(1, "seeds", what, by_seeds)]))


def document(parts: list[str]) -> str:
    """Two panels side by side."""
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH + 20} {HEIGHT + 10}"'
    style = 'font-family="sans-serif" font-size="11"'
    return f'{head} {style}><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>'


def _seeds(figures: dict[str, float], most: int) -> list[tuple[float, float]]:
    steps = {
        int(m[1]): v for name, v in figures.items() if (m := re.fullmatch(r"rank\.list_(\d+)_seeds_cpu_ms_p50", name))
    }
    return sorted({**steps, most: figures["rank.list_cpu_ms_p50"]}.items())


def panel(number: int, label: str, what: str, lines: list[Line]) -> str:
    """Lines over one axis, each named at its last point; `what` says what is drawn."""
    x = number * (WIDTH + 20)
    right = max(px for _, points in lines for px, _ in points) * 1.05
    top = max(py for _, points in lines for _, py in points) * 1.1

    def place(px: float, py: float) -> tuple[float, float]:
        return x + LEFT + px / right * (WIDTH - LEFT - 10), 10 + (1 - py / top) * (HEIGHT - BOTTOM)

    x0, y0 = place(0, 0)
    x1, y1 = place(right, top)
    out = [f'<path d="M{x0:.0f} {y1:.0f}V{y0:.0f}H{x1:.0f}" fill="none" stroke="black"/>']
    for i in range(5):
        tx, ty = place(right * i / 4, top * i / 4)
        out.append(f'<text x="{tx:.0f}" y="{y0 + 14:.0f}" text-anchor="middle">{right * i / 4:.0f}</text>')
        out.append(f'<text x="{x0 - 4:.0f}" y="{ty + 4:.0f}" text-anchor="end">{top * i / 4:.1f}</text>')
    out.append(f'<text x="{(x0 + x1) / 2:.0f}" y="{y0 + 30:.0f}" text-anchor="middle">{label}</text>')
    out.append(f'<text x="{x0 + 6:.0f}" y="{y1 + 8:.0f}">{what}</text>')
    for i, (name, points) in enumerate(lines):
        colour = COLOURS[i % len(COLOURS)]
        at = [place(px, py) for px, py in points]
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in at)
        dots = "".join(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.5" fill="{colour}"/>' for px, py in at)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}"/>{dots}')
        out.append(
            f'<text x="{at[-1][0] - 4:.0f}" y="{at[-1][1] - 6:.0f}" fill="{colour}" text-anchor="end">{name}</text>'
        )
    return "".join(out)


if __name__ == "__main__":
    main(sys.argv[1:])
