"""Drawings of what was measured: images that say what they draw."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from scripts import draw_attacks, draw_load, draw_rank

DOCS = Path(__file__).parents[2] / "docs"
TEXT = "{http://www.w3.org/2000/svg}text"


def texts(image: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(image).iter(TEXT)]


def written(path: Path, figures: dict[str, float]) -> str:
    report = {"figures": {name: {"value": value} for name, value in figures.items()}}
    path.write_text(json.dumps(report | {"parameters": {"rank": {"seeds": 500}}}))
    return str(path)


def test_cpu_against_ratings_and_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kinds = ("list_cpu_ms_p50", "list_cpu_ms_p99", "cheap_cpu_ms_p50", "foryou_cpu_ms_p50", "list_50_seeds_cpu_ms_p50")
    paths = [
        written(tmp_path / f"{m}.json", {"rank.ratings": m * 1e6} | {f"rank.{kind}": 2.0 + m for kind in kinds})
        for m in (50, 10)
    ]
    draw_rank.main(paths)
    said = texts(capsys.readouterr().out)
    assert {"ratings, millions", "seeds", "default p50", "10M ratings, p50", "50M ratings, p50"} <= set(said)


def test_what_attacks_reach(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = {f"attacks.patiently_{n}{end}": 0.5 for n in (5, 500) for end in ("", "_unbounded", "_caught")}
    figures |= {f"attacks.stray_{kind}_{n}_or_more": 1 / n for kind in ("rare", "known") for n in (1, 2)}
    draw_attacks.main(written(tmp_path / "attacks.json", figures))
    said = texts(capsys.readouterr().out)
    assert {"as served", "without the bound", "of a post with few likes"} <= set(said)


@pytest.mark.parametrize("name", ["rank.svg", "attacks.svg"])
def test_the_drawings_in_the_documentation_are_images(name: str) -> None:
    assert texts((DOCS / name).read_text())


def test_latency_against_load(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = {
        f"load.{preset}_{rate}_{p}_ms": 9.0
        for preset in ("default", "cheap")
        for rate in (100, 420)
        for p in ("p50", "p99")
    }
    draw_load.main([written(tmp_path / "load.json", figures)])
    said = texts(capsys.readouterr().out)
    assert said.count("requests a second") == 2
    assert said.count("default") == said.count("cheap") == 2
