from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from feedgen.core import telemetry
from feedgen.core.exposition import document, name_problem, render
from feedgen.core.telemetry import Counter, Gauge, Histogram, Metric

ROOT = Path(__file__).parents[2]
LINE = re.compile(r'[a-z_]+(\{[a-z_]+="([^"\\\n]|\\.)*"(,[a-z_]+="([^"\\\n]|\\.)*")*\})? (\+Inf|-?[0-9.e+-]+)')


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics of these tests stay here."""
    monkeypatch.setattr(telemetry, "_registry", {})


def test_the_three_kinds_in_text() -> None:
    counter = Counter("feedgen_things_total", "Things.", "kind")
    gauge = Gauge("feedgen_level", "A level\nwith \\.")
    timing = Histogram("feedgen_wait_seconds", "A wait.")
    counter.add(2, "a")
    counter.add(1.5, 'b"\n\\')
    timing.observe(0.002)
    timing.observe(99)
    text = render([counter, gauge, timing])
    assert text.splitlines()[:5] == [
        "# HELP feedgen_things_total Things.",
        "# TYPE feedgen_things_total counter",
        'feedgen_things_total{kind="a"} 2',
        'feedgen_things_total{kind="b\\"\\n\\\\"} 1.5',
        "# HELP feedgen_level A level\\nwith \\\\.",
    ]
    assert "\nfeedgen_level 0\n" in text
    assert 'feedgen_wait_seconds_bucket{le="0.001"} 0\nfeedgen_wait_seconds_bucket{le="0.0025"} 1\n' in text
    assert 'feedgen_wait_seconds_bucket{le="5"} 1\nfeedgen_wait_seconds_bucket{le="+Inf"} 2\n' in text
    assert "feedgen_wait_seconds_sum 99.002\nfeedgen_wait_seconds_count 2\n" in text
    assert all(line.startswith("# ") or LINE.fullmatch(line) for line in text.splitlines())


def test_a_did_that_slipped_into_a_label_does_not_leave() -> None:
    counter = Counter("feedgen_things_total", "Things.", "kind")
    counter.add(1, "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
    assert "did:" not in render([counter])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Counter("feedgen_things", "x"),
        lambda: Gauge("feedgen_things_total", "x"),
        lambda: Histogram("feedgen_wait", "x"),
        lambda: Gauge("feedgen_wait_ms", "x"),
        lambda: Counter("feedgen_memory_mb_total", "x"),
        lambda: Gauge("things", "x"),
        lambda: Gauge("feedgen_Things", "x"),
        lambda: Gauge("feedgen_things", "x", "did"),
        lambda: Gauge("feedgen_things", "x", "le"),
        lambda: Gauge("feedgen_things", " "),
    ],
)
def test_names_that_are_refused(make: type[Metric]) -> None:
    assert name_problem(make())  # type: ignore[call-arg]


def test_document_has_every_metric() -> None:
    assert "| `feedgen_x_total` | counter | `a`, `b` | One \\| two. |" in document(
        [Counter("feedgen_x_total", "One | two.", "a", "b")]
    )


def test_all_names_of_the_service_are_good_and_documented() -> None:
    """In a process of its own: other tests name metrics, too."""
    code = (
        "import feedgen.app\n"
        "from feedgen.core.exposition import name_problem\n"
        "from feedgen.core.telemetry import all_metrics\n"
        "bad = [f'{m.name} {name_problem(m)}' for m in all_metrics() if name_problem(m)]\n"
        "assert not bad, bad\n"
        "print(feedgen.app.document_metrics(), end='')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (ROOT / "docs" / "metrics.md").read_text(), "feedgen metrics > docs/metrics.md"
