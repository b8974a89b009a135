"""The page of three readers: made small, and as it stands in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

from scripts import three_readers

PAGE = Path(__file__).parents[2] / "docs" / "ranking.md"


def test_three_readers_and_their_reasons() -> None:
    said = three_readers.page(people=200, days=1.0)
    heads = [line for line in said.splitlines() if line.startswith("## A reader of ")]
    assert len(heads) == len({head.split()[4] for head in heads}) == 3  # each is fond of something else
    assert said.count("sharing") > 15 and "= the score" not in said and "the score" in said


def test_a_page_is_about_what_the_reader_likes_in_about_these_shares() -> None:
    apart = {"without": 0, "with": 0}
    tables = three_readers.page().split("| topic | of the likes |")[1:]
    for table in tables:
        rows = re.findall(r"\| (\d+)% \| (\d+)% \| (\d+)% \|", table)
        liked, without, spread = zip(*(map(int, row) for row in rows), strict=True)
        apart["without"] += sum(abs(a - b) for a, b in zip(liked, without, strict=True))
        apart["with"] += sum(abs(a - b) for a, b in zip(liked, spread, strict=True))
        assert abs(spread[0] - liked[0]) <= 10  # the strongest interest, which took more than its share
    assert len(tables) == 3 and apart["with"] < 0.85 * apart["without"]


def test_the_page_in_the_documentation_has_this_formula() -> None:
    assert three_readers._formula() in PAGE.read_text()
