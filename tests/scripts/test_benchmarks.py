import json
from collections.abc import Iterable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from scripts.benchmarks import Figure, Parameter, Params, __main__


def good(params: Params) -> Iterable[Figure]:
    yield Figure("good.rate", float(params["n"]) * 2, "events/s")
    yield Figure("good.time", 0.00123, "ms", "a note")


def bad(params: Params) -> Iterable[Figure]:
    yield Figure("bad.first", 1, "ms")
    raise OSError("no disk")


def nameless(params: Params) -> Iterable[Figure]:
    yield Figure("nameless.x", 1, "")


BENCHMARKS = {
    "good": __main__.Benchmark("good", "Goes well.", {"n": 5, "fast": False, "mode": "a", "share": 0.5}, good),
    "bad": __main__.Benchmark("bad", "Goes wrong.", {}, bad),
    "nameless": __main__.Benchmark("nameless", "Lacks a unit.", {}, nameless),
}


@pytest.fixture(autouse=True)
def _ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(__main__, "names", lambda: sorted(BENCHMARKS))
    monkeypatch.setattr(__main__, "find", BENCHMARKS.__getitem__)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(__main__.main, arguments)


def test_figures_are_printed_with_units_and_written(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    result = call("good", "--json", str(path), "--set", "n=7", "--set", "fast=true", "--set", "share=1")
    assert result.exit_code == 0, result.output
    assert "14 events/s" in result.output and "0.00123 ms" in result.output and "a note" in result.output
    report = json.loads(path.read_text())
    assert report["figures"] == {
        "good.rate": {"value": 14.0, "unit": "events/s"},
        "good.time": {"value": 0.00123, "unit": "ms"},
    }
    assert set(report) == {"figures", "machine", "versions", "parameters"}
    assert report["parameters"]["good"] == {"n": 7, "fast": True, "mode": "a", "share": 1.0}
    assert report["machine"]["cores"] >= 1 and report["versions"]["python"]


def test_one_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    result = call("bad", "good", "--json", str(path))
    assert result.exit_code == 1
    assert "no disk" in result.stderr
    assert set(json.loads(path.read_text())["figures"]) == {"bad.first", "good.rate", "good.time"}


def test_a_figure_needs_a_unit_and_a_name_of_its_own() -> None:
    assert call("nameless").exit_code == 1
    assert call("good", "good").exit_code == 1


def test_without_a_name_all_are_listed_and_run() -> None:
    result = call()
    assert "Goes well." in result.output and "--set n=5" in result.output and "good.rate" in result.output
    listed = call("--list")
    assert listed.exit_code == 0 and "good.rate" not in listed.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("goood",), "Did you mean good?"),
        (("good", "--set", "m=1"), "Known: fast, mode, n, share"),
        (("good", "--set", "n=x"), "5"),
    ],
)
def test_mistakes_are_explained(arguments: tuple[str, ...], said: str) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert said in result.output


@pytest.mark.parametrize(
    ("text", "default", "value"), [("1_000", 5, 1000), ("false", True, False), ("2", 0.5, 2.0), ("x", "a", "x")]
)
def test_parameters_keep_their_type(text: str, default: Parameter, value: Parameter) -> None:
    parsed = __main__.parsed(text, default)
    assert parsed == value and type(parsed) is type(default)


def test_real_benchmarks_can_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert "startup" in __main__.names()
    found = __main__.find("startup")
    assert found.summary and isinstance(found, __main__.Benchmark)
    with pytest.raises(click.BadParameter):
        __main__.choose(("strtup",))
