from typing import Any
from xml.etree import ElementTree

from scripts import draw_growth


def report(ratings: float, seconds: float) -> dict[str, object]:
    figures = {"boot.ratings": ratings, "boot.first_personal_page_cpu_s": seconds, "memory.bytes_per_rating": 9.5}
    return {"figures": {name: {"value": value} for name, value in figures.items()}}


def test_points_stand_in_order_of_ratings() -> None:
    assert draw_growth.points([report(5e7, 4.0), report(1e7, 2.0)], "boot.first_personal_page_cpu_s") == [
        (10, 2),
        (50, 4),
    ]


def test_each_benchmark_has_its_own_ratings() -> None:
    going_on = {"figures": {"going_on.ratings": {"value": 6e7}, "going_on.cpu_us_per_event": {"value": 12.5}}}
    reports: list[dict[str, Any]] = [report(5e7, 4.0), going_on]
    assert draw_growth.points(reports, "going_on.cpu_us_per_event") == [(60, 12.5)]
    assert draw_growth.points(reports, "memory.bytes_per_rating") == [(50, 9.5)]


def test_a_drawing_is_an_image_that_says_its_values() -> None:
    image = draw_growth.drawing([report(5e7, 4.25), report(1e7, 2.0)])
    texts = [node.text for node in ElementTree.fromstring(image).iter("{http://www.w3.org/2000/svg}text")]
    assert "4.25" in texts and "50M" in texts and "on disk, bytes a rating" not in texts


def test_the_drawing_in_the_documentation_is_one() -> None:
    ElementTree.fromstring(draw_growth.PATH.read_text())
