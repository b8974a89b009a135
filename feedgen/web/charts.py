"""Charts as SVG, drawn here: lines over a time, and bars. They need no script, and say in words what they show."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from markupsafe import Markup, escape

WIDTH: Final = 420
HEIGHT: Final = 150
LEFT: Final = 4.0
TOP: Final = 18.0
BOTTOM: Final = 20.0
DAY_S: Final = 86_400

Words = Callable[[float], str]


class Line(NamedTuple):
    """`points` are (when, how much), oldest first; where one is missing for long, so is the line."""

    name: str
    points: Sequence[tuple[float, float]]


class Span(NamedTuple):
    """What a chart is of: from, to, and how far apart points are."""

    from_s: float
    to_s: float
    step_s: float

    def x(self, at_s: float) -> float:
        share = (at_s - self.from_s) / (self.to_s - self.from_s)
        return LEFT + share * (WIDTH - 2 * LEFT)

    def ticks(self) -> list[tuple[float, str]]:
        """Three moments and how they are called."""
        form = "%d %b" if self.to_s - self.from_s > 2 * DAY_S else "%H:%M"
        moments = [self.from_s, (self.from_s + self.to_s) / 2, self.to_s]
        return [(at_s, datetime.fromtimestamp(at_s, UTC).strftime(form).lstrip("0")) for at_s in moments]


def lines(title: str, shown: Sequence[Line], span: Span, words: Words) -> Markup:
    """All lines on one scale, which begins at 0."""
    top = ceiling(max((value for line in shown for _, value in line.points), default=0.0))
    parts = [_scale(top, span, words)]
    for i, line in enumerate(shown):
        parts += [_path(piece, span, top, f"line line-{i}", fill=len(shown) == 1) for piece in pieces(line, span)]
    return _svg(f"{title}. {'; '.join(_said(line, words) for line in shown)}", parts)


def bars(title: str, values: Sequence[tuple[str, float]], words: Words) -> Markup:
    """A bar for each name, in this order."""
    top = ceiling(max((value for _, value in values), default=0.0))
    width = (WIDTH - 2 * LEFT) / max(1, len(values))
    parts = []
    for i, (name, value) in enumerate(values):
        height = _height(value, top)
        place = f'x="{LEFT + i * width:.1f}" y="{HEIGHT - BOTTOM - height:.1f}"'
        size = f'width="{max(1.0, width - 1.5):.1f}" height="{height:.1f}"'
        parts.append(f'<rect class="bar" {place} {size}><title>{escape(name)}: {escape(words(value))}</title></rect>')
    ends = [(values[0][0], "start"), (values[-1][0], "end")] if values else []
    for name, anchor in ends[: len(values)]:
        parts.append(_text(LEFT if anchor == "start" else WIDTH - LEFT, HEIGHT - 5, name, anchor))
    total = words(sum(value for _, value in values))
    return _svg(f"{title}, {len(values)} of them, {total} together", [_rule(top, words), *parts])


def whisker(interval: tuple[float, float, float], top: float) -> Markup:
    """A value and how sure it is, on a scale from 0 to `top`. What it says stands beside it as text."""
    value, low, high = (100 * min(1.0, part / top) for part in interval)
    drawn = f'<path class="rule" d="M0 8H100"/><path class="reach" d="M{low:.1f} 8H{high:.1f}"/>'
    dot = f'<circle class="dot" cx="{value:.1f}" cy="8" r="3.5"/>'
    return Markup(f'<svg class="whisker" viewBox="-4 0 108 16" aria-hidden="true">{drawn}{dot}</svg>')


def ceiling(value: float) -> float:
    """The next of 1, 2 and 5 with zeros: where a scale ends. 1 for nothing."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if value <= step * power * (1 + 1e-9))


def pieces(line: Line, span: Span) -> list[list[tuple[float, float]]]:
    """The line where nothing is missing."""
    made: list[list[tuple[float, float]]] = []
    for point in line.points:
        if made and point[0] - made[-1][-1][0] <= 2.5 * span.step_s:
            made[-1].append(point)
        else:
            made.append([point])
    return made


def _said(line: Line, words: Words) -> str:
    if not line.points:
        return f"{line.name}: nothing yet"
    values = [value for _, value in line.points]
    return f"{line.name}: {words(values[-1])} now, at most {words(max(values))}"


def _path(points: Sequence[tuple[float, float]], span: Span, top: float, kind: str, fill: bool) -> str:
    places = [(span.x(at_s), HEIGHT - BOTTOM - _height(value, top)) for at_s, value in points]
    if len(places) == 1:
        return f'<circle class="{kind} dot" cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="2"/>'
    way = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    floor = HEIGHT - BOTTOM
    area = f'<path class="area" d="M{places[0][0]:.1f} {floor}L{way}L{places[-1][0]:.1f} {floor}Z"/>' if fill else ""
    return f'{area}<path class="{kind}" d="M{way}"/>'


def _height(value: float, top: float) -> float:
    return min(1.0, max(0.0, value / top)) * (HEIGHT - TOP - BOTTOM)


def _scale(top: float, span: Span, words: Words) -> str:
    anchors = ("start", "middle", "end")
    ticks = [
        _text(span.x(at_s), HEIGHT - 5, name, anchor)
        for (at_s, name), anchor in zip(span.ticks(), anchors, strict=True)
    ]
    return _rule(top, words) + "".join(ticks)


def _rule(top: float, words: Words) -> str:
    """The line at the top of the scale, what it means, and the one at 0."""
    right, floor = WIDTH - LEFT, HEIGHT - BOTTOM
    drawn = f'<path class="rule" d="M{LEFT} {TOP}H{right}M{LEFT} {floor}H{right}"/>'
    return drawn + _text(LEFT, TOP - 5, words(top), "start")


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def _svg(said: str, parts: Sequence[str]) -> Markup:
    head = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">'
    return Markup(f"{head}{''.join(parts)}</svg>")
