"""Counts of the VPS become metrics at home, each page once."""

from __future__ import annotations

import pytest

from feedgen.core.errors import FeedgenError
from feedgen.core.page_times import PageTimes
from feedgen.host.vps_pages import PAGES, SECONDS, VpsPages, ask


def results() -> dict[str, float]:
    return {labels[0]: value for labels, value in PAGES.samples()}


def observed() -> tuple[float, float]:
    """(pages, seconds in all)"""
    return next(((row[-1], row[-2]) for _, row in SECONDS.rows()), (0.0, 0.0))


def test_each_page_counts_once_whatever_restarts() -> None:
    watch, before, seen = VpsPages("http://127.0.0.1:1"), results(), observed()
    counts = [0, 0, 3, *[0] * 8, 1, 0]
    watch.count(PageTimes(1.0, counts, 5.0, late=1))
    watch.count(PageTimes(1.0, counts, 5.0, late=1))
    watch.count(PageTimes(2.0, [0, 2, *[0] * 11], 0.01, failed=1))
    new = {name: value - before.get(name, 0.0) for name, value in results().items()}
    assert new == {"in_time": 4, "late": 1, "failed": 1}
    assert observed() == (seen[0] + 6, pytest.approx(seen[1] + 5.01))


def test_an_older_egress_is_said_in_words() -> None:
    with pytest.raises(FeedgenError, match="doesn't tell how long pages take") as caught:
        ask("http://127.0.0.1:1")
    assert "feedgen vps" in caught.value.hint
