"""A flame graph as an SVG: each box is a function, as wide as the time that was spent in it and in what it called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Final
from zlib import crc32

WIDTH: Final = 1200
ROW: Final = 17
LEAST: Final = 0.5  # narrower boxes are left out
CHAR: Final = 6.6  # width of a letter, about
HEAD: Final = 40


@dataclass
class Box:
    name: str
    us: int = 0
    inner: dict[str, Box] = field(default_factory=dict)


def draw(stacks: Mapping[str, int], title: str) -> str:
    """`stacks` as `core.sampling` counts them. Hovering over a box tells its time and share."""
    root = Box("all")
    for stack, us in stacks.items():
        box = root
        box.us += us
        for name in stack.split(";"):
            box = box.inner.setdefault(name, Box(name))
            box.us += us
    boxes = list(_laid_out(root, 0.0, 0, WIDTH / root.us)) if root.us else []
    height = HEAD + ROW * (1 + max((depth for _, _, _, depth in boxes), default=0)) + 10
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="monospace" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fdf6ec"/>',
        f'<text x="8" y="20" font-size="14">{escape(title)}</text>',
        *(_box(*laid, root.us) for laid in boxes),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _laid_out(box: Box, x: float, depth: int, scale: float) -> Iterator[tuple[Box, float, float, int]]:
    """(box, left edge, width, row), callers above what they call."""
    yield box, x, box.us * scale, depth
    for inner in sorted(box.inner.values(), key=lambda inner: inner.name):
        if inner.us * scale >= LEAST:
            yield from _laid_out(inner, x, depth + 1, scale)
        x += inner.us * scale


def _box(box: Box, x: float, width: float, depth: int, all_us: int) -> str:
    y, fits = HEAD + depth * ROW, int((width - 6) / CHAR)
    module, _, function = box.name.rpartition(":")
    text = box.name if len(box.name) <= fits else function[:fits]
    ours = module.startswith("feedgen")
    shade = crc32(box.name.encode()) % 24
    color = f"hsl({(24 if ours else 205) + shade / 2:.0f} {75 if ours else 35}% {60 + shade / 2:.0f}%)"
    told = f"{box.name}: {box.us / 1e6:.2f} s, {100 * box.us / all_us:.1f}%"
    label = f'<text x="{x + 3:.1f}" y="{y + 12}">{escape(text)}</text>' if fits >= 3 else ""
    rect = f'<rect x="{x:.1f}" y="{y}" width="{max(0.3, width - 0.4):.1f}" height="{ROW - 1}" fill="{color}"/>'
    return f"<g><title>{escape(told)}</title>{rect}{label}</g>"
