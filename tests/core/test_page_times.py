"""Lines of Caddy's log become counts; what is not about a page, or is hostile, counts nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from feedgen.core.fallback import SKELETON_PATH
from feedgen.core.page_times import BOUNDS_S, PageTimes, page_times
from feedgen.core.telemetry import BUCKETS_S


def line(seconds: Any = 0.2, status: Any = 200, uri: Any = f"{SKELETON_PATH}?feed=x", method: str = "GET") -> bytes:
    return json.dumps({"request": {"method": method, "uri": uri}, "duration": seconds, "status": status}).encode()


def test_buckets_are_those_of_the_metrics() -> None:
    assert BOUNDS_S == BUCKETS_S


def test_what_counts() -> None:
    times = PageTimes(1.0)
    assert all(times.note(one) for one in (line(0.2), line(4.1), line(9.0), line(0.1, 502)))
    assert (times.pages, times.late, times.failed) == (4, 2, 1)
    assert times.counts[-1] == 1 and times.total_s == pytest.approx(13.4)


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b"{}",
        b"[]",
        line("soon"),
        line(float("nan")),
        line(-1),
        line(status="fine"),
        line(uri=7),
        line(uri="/metrics"),
        line(uri=f"{SKELETON_PATH}x"),
        line(method="POST"),
    ],
)
def test_what_does_not(bad: bytes) -> None:
    times = PageTimes(1.0)
    assert not times.note(bad)
    assert times == PageTimes(1.0)


def test_what_is_new_since_the_last_time() -> None:
    times = PageTimes(1.0)
    times.note(line())
    before = page_times(times.told())
    assert before == times
    times.note(line(4.5))
    new = times.added_since(before)
    assert (new.pages, new.late, new.total_s) == (1, 1, pytest.approx(4.5))
    assert times.added_since(None) is times
    assert times.added_since(PageTimes(0.5)) is times, "the egress was restarted"


@pytest.mark.parametrize(
    "bad", [b"", b"[]", b"{}", b"not json", PageTimes(1.0, counts=[1]).told(), PageTimes(1.0, counts=[-1] * 13).told()]
)
def test_other_answers_are_refused(bad: bytes) -> None:
    with pytest.raises(ValueError):
        page_times(bad)
