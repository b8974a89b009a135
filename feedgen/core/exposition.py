"""All metrics as Prometheus reads them, and as a page for people; and what a metric's name must be like.

The names follow Prometheus' conventions: base units, the unit at the end, `_total` for what only grows. Everything is
ours (`feedgen_`), or the usual of any process (`process_`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from feedgen.core.telemetry import BUCKETS_S, Counter, Gauge, Histogram, Metric

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
KINDS: Final = (Counter, Gauge, Histogram)

_NAME: Final = re.compile(r"(feedgen|process)(_[a-z][a-z0-9]*)+")
_LABEL: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_NOT_BASE: Final = frozenset(
    [
        "s",
        "ms",
        "us",
        "ns",
        "milliseconds",
        "minutes",
        "hours",
        "days",
        "kb",
        "mb",
        "gb",
        "kib",
        "mib",
        "gib",
        "percent",
    ]
)
_NAMES_PEOPLE: Final = frozenset(["did", "reader", "actor", "author", "person", "handle", "uri", "ip", "address"])
_DID: Final = re.compile(r"did:[a-z]+:")


def name_problem(metric: Metric) -> str:
    """What is wrong with a metric's name or labels; empty when nothing is."""
    words = metric.name.split("_")
    if not _NAME.fullmatch(metric.name):
        return "must be lower case words after feedgen_ or process_"
    if isinstance(metric, Counter) != (words[-1] == "total"):
        return "ends with _total if, and only if, it is a counter"
    if isinstance(metric, Histogram) and words[-1] != "seconds":
        return "is a timing and must end with _seconds"
    # `feedgen_days_kept` counts days; a unit stands at the end.
    unit = words[-2] if words[-1] == "total" else words[-1]
    if unit in _NOT_BASE:
        return f"must be in base units (seconds, bytes, ratios), not in {unit}"
    for label in metric.labels:
        if not _LABEL.fullmatch(label) or label == "le" or label in _NAMES_PEOPLE:
            return f"has the label {label}: a label is a lower case word with few values, and never names a person"
    return "" if metric.help.strip() else "needs a help text"


def render(metrics: Iterable[Metric]) -> str:
    """The text format, version 0.0.4."""
    lines: list[str] = []
    for metric in metrics:
        lines.append(f"# HELP {metric.name} {_escaped(metric.help, quotes=False)}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        lines += _histogram(metric) if isinstance(metric, Histogram) else _plain(metric)
    return "\n".join(lines) + "\n"


def document(metrics: Iterable[Metric]) -> str:
    """docs/metrics.md."""
    lines = [
        "# Metrics",
        "",
        "Made by `feedgen metrics`. `GET /metrics` on `[service] private_bind` gives them in Prometheus' text format;",
        "`/livez` and `/readyz` beside it answer 200 or 503. Nothing here names a person. Timings are histograms with",
        f"the bounds {', '.join(f'{bound:g}' for bound in BUCKETS_S)} s.",
        "",
        "| name | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        cells = (f"`{metric.name}`", metric.kind, labels, metric.help)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _plain(metric: Metric) -> Iterator[str]:
    samples = metric.samples()
    if not samples and not metric.labels:
        samples = [((), 0.0)]  # what never happened is zero, not unknown
    for values, value in samples:
        yield f"{metric.name}{_labels(metric.labels, values)} {_number(value)}"


def _histogram(metric: Histogram) -> Iterator[str]:
    series = metric.rows()
    if not series and not metric.labels:
        series = [((), [0.0] * (len(BUCKETS_S) + 2))]
    for values, row in series:
        for bound, count in zip((*BUCKETS_S, float("inf")), (*row[:-2], row[-1]), strict=True):
            labels = _labels((*metric.labels, "le"), (*values, _number(bound)))
            yield f"{metric.name}_bucket{labels} {_number(count)}"
        yield f"{metric.name}_sum{_labels(metric.labels, values)} {_number(row[-2])}"
        yield f"{metric.name}_count{_labels(metric.labels, values)} {_number(row[-1])}"


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escaped(text: str, quotes: bool = True) -> str:
    # A label's value with a DID in it is a bug elsewhere; it still must not leave.
    text = _DID.sub("did_", text).replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)
