"""The page of three readers: made small, and as it stands in the documentation."""

from __future__ import annotations

from pathlib import Path

from scripts import three_readers

PAGE = Path(__file__).parents[2] / "docs" / "ranking.md"


def test_three_readers_and_their_reasons() -> None:
    said = three_readers.page(people=200, days=1.0)
    heads = [line for line in said.splitlines() if line.startswith("## A reader of ")]
    assert len(heads) == len({head.split()[4] for head in heads}) == 3  # each is fond of something else
    assert said.count("sharing") > 15 and "= the score" not in said and "the score" in said


def test_the_page_in_the_documentation_has_this_formula() -> None:
    assert three_readers._formula() in PAGE.read_text()
