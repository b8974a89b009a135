"""The operator's page of figures: drawn on the server, renewed by a script, of use without it."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Browser

from feedgen.core.telemetry import BUCKETS_S, quantile
from feedgen.store.disk import Usage
from feedgen.store.figures import MINUTES, Sample
from feedgen.web.charts import Line, Span, bars, ceiling, lines
from feedgen.web.status import OVERS, Tile, graphs, tiles
from tests.web.browser import PHONE, Demo, barriers, overflows, visiting

NOW_S = 1_790_000_000
HOUR = Span(NOW_S - 3600, NOW_S, 60)
GB = 10**9


def test_a_line_is_drawn_to_scale_and_said_in_words() -> None:
    drawn = lines("Likes", [Line("all", [(NOW_S - 3600, 0), (NOW_S - 3540, 50), (NOW_S - 3480, 100)])], HOUR, str)
    assert 'aria-label="Likes. all: 100 now, at most 100"' in drawn
    [way] = re.findall(r'class="line line-0" d="M([^"]+)"', drawn)
    points = [tuple(map(float, point.split())) for point in way.split("L")]
    assert [x for x, _ in points] == pytest.approx([4.0, 10.87, 17.73], abs=0.06)
    assert points[0][1] - points[1][1] == pytest.approx(points[1][1] - points[2][1], abs=0.11)
    assert ">100.0<" in drawn


def test_where_minutes_are_missing_so_is_the_line() -> None:
    minutes = [*range(0, 10), *range(30, 40), 59]
    drawn = lines("x", [Line("a", [(HOUR.from_s + 60 * m, 1.0) for m in minutes])], HOUR, str)
    assert drawn.count('class="line line-0"') == 2 and drawn.count("<circle") == 1


def test_nothing_and_hostile_words_can_be_drawn() -> None:
    assert "a: nothing yet" in lines("x", [Line("a", [])], HOUR, str)
    assert "<script>" not in bars("<script>", [("<script>alert(1)</script>", 1.0)], str)
    assert "0 of them" in bars("x", [], str)


@pytest.mark.parametrize(("value", "top"), [(0, 1), (0.03, 0.05), (1, 1), (1.2, 2), (7, 10), (499, 500), (501, 1000)])
def test_scales_end_at_round_figures(value: float, top: float) -> None:
    assert ceiling(value) == pytest.approx(top)


def test_percentiles_of_a_histogram() -> None:
    counts = [float(sum(bound <= edge for bound in (0.02, 0.02, 0.08, 4.0))) for edge in BUCKETS_S] + [5.0]
    assert quantile(counts, 0.4) == pytest.approx(0.025)  # both of the bucket from 10 to 25 ms
    assert quantile(counts, 0.2) == pytest.approx(0.0175)
    assert quantile(counts, 0.6) == pytest.approx(0.1)
    assert quantile(counts, 1) == BUCKETS_S[-1]  # what took longer than all buckets
    assert quantile([0.0] * (len(BUCKETS_S) + 1), 0.5) is None


def minute(**changes: float) -> Sample:
    peaks = {"behind": 2.0, "memory": 3.0 * GB} | {k: v for k, v in changes.items() if k == "behind"}
    sums = {"events": 6000.0, "pages": 120.0} | {k: v for k, v in changes.items() if k in ("gaps", "failed")}
    lasts = {k: v for k, v in changes.items() if k in ("tunnel", "backup")}
    times = {"page": [0.0] * 4 + [120.0] * 9}
    if "late" in changes:
        sums |= {"vps pages": 200.0, "vps late": changes["late"]}
        times["vps page"] = [0.0] * 7 + [200.0] * 6
    return Sample(NOW_S - 60, 60, sums, peaks, lasts, times)


def shown(*samples: Sample, disk: Usage | None = None) -> dict[str, Tile]:
    disk = disk or Usage({1: GB, 2: GB}, 0, 500 * GB)
    return {tile.name: tile for tile in tiles(samples, disk, 90, NOW_S, OVERS["hour"])}


def test_what_should_alarm_somebody_does() -> None:
    well = shown(minute(tunnel=1, backup=NOW_S - 7200))
    assert not any(tile.alarm for tile in well.values())
    assert (well["Behind the network"].value, well["Heard"].value, well["Pages"].value) == ("2 s", "100/s", "2.0/s")
    assert (well["Last backup"].value, well["Tunnel"].value) == ("2 h ago", "up")
    assert well["Page time"].value == "17.5 ms"
    ill = shown(minute(behind=300, gaps=1, failed=2, tunnel=0), disk=Usage({1: GB, 2: GB}, 0, 10 * GB))
    alarms = {name for name, tile in ill.items() if tile.alarm}
    assert alarms == {"Behind the network", "Gaps", "Failed", "Tunnel", "Disk"}
    assert ill["Disk"].value == "full in 10 days" and ill["Last backup"].value == "never"
    assert list(shown()) == ["Disk"]


def test_pages_are_timed_where_the_readers_are() -> None:
    """Only if the VPS tells; an alarm when more than one in a hundred is thrown away."""
    assert "At the VPS" not in shown(minute())
    well, ill = shown(minute(late=2))["At the VPS"], shown(minute(late=3))["At the VPS"]
    assert (well.value, well.alarm) == ("175 ms", False)
    assert "3 over 4 s" in ill.note and ill.alarm


def test_every_figure_is_drawn() -> None:
    drawn = graphs([minute(), minute()], HOUR)
    assert len(drawn) == 10 and all('role="img"' in graph.svg for graph in drawn)
    assert MINUTES.step_s == HOUR.step_s


@pytest.mark.needs("chromium", "npm")
@pytest.mark.parametrize("look", [{}, {"viewport": PHONE, "color_scheme": "dark"}], ids=["desktop", "phone, dark"])
def test_the_page(demo: Demo, browser: Browser, axe: str, look: dict[str, object]) -> None:
    with visiting(browser, demo.private_url + "/status", **look) as visit:
        page = visit.page
        page.get_by_text("Events per second").wait_for()  # the first figures come after ten seconds
        assert page.locator("svg.chart").count() == 11
        assert not overflows(page) and barriers(page, axe) == []
        page.get_by_role("link", name="A month").click()
        page.wait_for_url("**/status?over=month")
        assert page.locator("[aria-current=true]").inner_text() == "A month"
        page.go_back()
        page.wait_for_url("**/status")
        assert visit.troubles == []


@pytest.mark.needs("chromium", "npm")
def test_figures_change_without_a_reload(demo: Demo, browser: Browser) -> None:
    with visiting(browser, demo.private_url + "/status") as visit:
        page = visit.page
        page.evaluate("window.first = true; document.getElementById('now').replaceChildren()")
        page.get_by_text("Events per second").wait_for()
        assert page.evaluate("window.first")
        page.route("**/status/now*", lambda route: route.abort())
        page.locator("#now.stale").wait_for()  # what is shown stays
        assert page.get_by_text("Events per second").count() == 1


@pytest.mark.needs("chromium", "npm")
def test_without_javascript(demo: Demo, browser: Browser) -> None:
    with visiting(browser, demo.private_url + "/status?over=day", java_script_enabled=False) as visit:
        assert visit.page.locator("svg.chart").count() >= 1
        assert visit.page.get_by_text("Behind the network").count() >= 1


def test_it_is_the_operators(demo: Demo) -> None:
    assert httpx.get(demo.url + "/status").status_code == 404
    assert httpx.get(demo.private_url + "/status?over=<script>").status_code == 200
    assert len(httpx.get(demo.private_url + "/status").content) < 50_000

    fragment = httpx.get(demo.private_url + "/status/now?over=hour").text
    assert "<html" not in fragment and "Recent warnings" in fragment
