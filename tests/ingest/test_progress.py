"""What is told while we are behind."""

from __future__ import annotations

import io
import logging

import pytest

from feedgen.core.bar import duration
from feedgen.core.clock import ManualClock
from feedgen.ingest.frames import Inlet
from feedgen.ingest.jetstream import State, Status
from feedgen.ingest.pipeline import Pipeline
from feedgen.ingest.progress import Catching, Meter, Reporter, fields, line
from tests.ingest.test_pipeline import MemorySink

HOUR_US = 3_600_000_000


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_meter_knows_rates_and_the_time_to_go() -> None:
    clock = ManualClock()
    start_us = clock.now_us() - 10 * HOUR_US
    meter = Meter(clock)
    assert meter.read(0, 0) is None
    meter.read(1_000, start_us)
    for i in range(1, 60):  # an hour of the network's time each second
        clock.advance(1)
        now = meter.read(1_000 + i * 50_000, start_us + i * HOUR_US // 10)
    assert now is not None
    assert now.events_s == pytest.approx(50_000)
    assert now.behind_s == pytest.approx((10 - 5.9) * 3600 + 59)
    assert now.to_go_s == pytest.approx(now.behind_s / 359, rel=0.01)
    assert now.share == pytest.approx(0.59, abs=0.01)


def test_falling_behind_has_no_time_to_go() -> None:
    clock = ManualClock()
    meter = Meter(clock)
    start_us = clock.now_us() - HOUR_US
    meter.read(1, start_us)
    clock.advance(10)
    now = meter.read(2, start_us + 5_000_000)
    assert now is not None
    assert now.to_go_s is None
    assert "falling behind" in line(now)
    assert fields(now)["to_go"] == "unknown"


def test_the_bar() -> None:
    told = line(Catching(1_234_000, 61_000, 12 * 3600, 240, 0.5))
    assert told == ("catching up [############------------] 1,234,000 events, 61,000/s, 12 h behind, 4 min to go")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "2 h"), (200_000, "2 d")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Scene:
    def __init__(self, stream: io.StringIO) -> None:
        self.clock, self.status = ManualClock(), Status(state=State.CATCHING_UP)
        self.pipeline = Pipeline(MemorySink(), Inlet(), self.clock)
        self.reporter = Reporter(self.status, self.pipeline, self.clock, stream)

    def tick(self, behind_s: float, events: int = 10) -> None:
        self.clock.advance(1)
        self.pipeline.status.events = events
        self.pipeline.status.last_us = self.clock.now_us() - round(behind_s * 1e6)
        self.reporter.tick()


def test_a_terminal_gets_a_bar_that_goes_away(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "feedgen")
    terminal = Terminal()
    scene = Scene(terminal)
    scene.tick(7_200)
    scene.tick(3_600)
    assert terminal.getvalue().count("catching up [") == 2
    scene.tick(5)
    assert terminal.getvalue().endswith("\r\x1b[K")
    assert [r.message for r in caplog.records] == ["caught up"]
    scene.tick(5)
    assert len(caplog.records) == 1


def test_a_log_gets_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "feedgen")
    stream = io.StringIO()
    scene = Scene(stream)
    scene.tick(7_200)
    scene.tick(3_600)
    assert stream.getvalue() == ""
    assert [r.message for r in caplog.records] == ["catching up", "catching up"]
    assert vars(caplog.records[1])["behind"] == "60 min"


def test_nothing_is_said_while_live_or_without_a_stream(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "feedgen")
    scene = Scene(io.StringIO())
    scene.tick(30)
    scene.status.state = State.WAITING
    scene.tick(7_200)
    assert caplog.records == []
