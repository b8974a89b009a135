import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedgen.core.checks import check_http_url, or_nothing
from feedgen.core.config import Loaded, Section, fields_of, read_settings
from feedgen.core.config_text import document, show
from feedgen.core.config_values import Key, judge
from feedgen.core.errors import SettingsError


class Fruit(Section, frozen=True, kw_only=True):
    """What grows."""

    name: Annotated[str, Key("Which.", choices=("apple", "pear"))] = "apple"
    count: Annotated[int, Key("How many.", unit="pieces", low=0, high=10)] = 3
    weight: Annotated[float, Key("How heavy.", unit="kg", low=0)] = 0.5
    ripe: Annotated[bool, Key("Ready.")] = False
    colours: Annotated[tuple[str, ...], Key("Seen.", min_items=1, max_items=3)] = ("red",)
    shops: Annotated[tuple[str, ...], Key("Where.", check=check_http_url)] = ()


class Safe(Section, frozen=True, kw_only=True):
    """What is locked away."""

    code: Annotated[str, Key("Open sesame.", secret=True, check=or_nothing(check_http_url))] = ""
    weight: Annotated[float, Key("Heavy.")] = 1000.0


class Store(msgspec.Struct, frozen=True, kw_only=True):
    fruit: Fruit = Fruit()
    safe: Safe = Safe()


def load(
    tmp_path: Path, toml: str = "", env: Mapping[str, str] | None = None, given: tuple[str, ...] = ()
) -> Loaded[Store]:
    (tmp_path / "feedgen.toml").write_text(toml)
    return read_settings(Store, env=env or {}, folder=tmp_path, given=given)


def complaint(loaded: Loaded[Store]) -> str:
    with pytest.raises(SettingsError) as caught:
        loaded.get()
    return str(caught.value)


def test_defaults_without_a_file(tmp_path: Path) -> None:
    loaded = read_settings(Store, env={}, folder=tmp_path)
    assert loaded.get() == Store()
    assert loaded.path is None
    assert set(loaded.origins.values()) == {"default"}


def test_the_installed_services_file_is_found_where_there_is_none_here(tmp_path: Path) -> None:
    service = tmp_path / "etc.toml"
    service.write_text("[fruit]\ncount = 7\n")
    missing = tmp_path / "missing.toml"
    found = read_settings(Store, env={}, folder=tmp_path, elsewhere=(missing, service))
    assert found.path == service and found.get().fruit.count == 7
    here = tmp_path / "feedgen.toml"
    here.write_text("")
    assert read_settings(Store, env={}, folder=tmp_path, elsewhere=(service,)).path == here
    assert read_settings(Store, service, env={}, folder=tmp_path).path == service


def test_command_line_wins_over_environment_wins_over_file(tmp_path: Path) -> None:
    toml = '[fruit]\nname = "pear"\ncount = 1\nweight = 2\nripe = true\ncolours = ["a", "b"]\n'
    loaded = load(tmp_path, toml, {"FEEDGEN_FRUIT_COUNT": "2", "FEEDGEN_FRUIT_WEIGHT": "1.5"}, ("fruit.weight=4",))
    fruit = loaded.get().fruit
    assert (fruit.name, fruit.count, fruit.weight, fruit.ripe, fruit.colours) == ("pear", 2, 4.0, True, ("a", "b"))
    assert loaded.origins["fruit.name"] == str(tmp_path / "feedgen.toml")
    assert loaded.origins["fruit.count"] == "FEEDGEN_FRUIT_COUNT"
    assert loaded.origins["fruit.weight"] == "--set"
    assert loaded.origins["fruit.shops"] == "default"


def test_lists_in_the_environment_are_comma_separated(tmp_path: Path) -> None:
    env = {"FEEDGEN_FRUIT_COLOURS": " red, green,", "FEEDGEN_FRUIT_SHOPS": ""}
    fruit = load(tmp_path, env=env).get().fruit
    assert fruit.colours == ("red", "green")
    assert fruit.shops == ()


@pytest.mark.parametrize(("text", "value"), [("true", True), ("YES", True), ("1", True), ("off", False), ("0", False)])
def test_booleans_in_the_environment(tmp_path: Path, text: str, value: bool) -> None:
    assert load(tmp_path, env={"FEEDGEN_FRUIT_RIPE": text}).get().fruit.ripe is value


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[fruit]\ncuont = 1", ["feedgen.toml", "[fruit] cuont", "Did you mean count?"]),
        ("[friut]\ncount = 1", ["feedgen.toml", "[friut]", "Did you mean [fruit]?"]),
        ("[zzz]\n", ["[zzz] is not a known section", "Known: [fruit], [safe]."]),
        ("[fruit]\ncode = 1", ["[fruit] code", "belongs under [safe]"]),
        ("count = 1", ["count stands outside of a section", "belongs under [fruit]"]),
        ("fruit = 1", ["[fruit] is 1, not a section"]),
        ("other = 1", ["other stands outside", "Sections: fruit, safe."]),
        ("[fruit]\ncount = 11", ["[fruit] count = 11", "a whole number from 0 to 10 pieces"]),
        ("[fruit]\ncount = true", ["count = true", "a whole number"]),
        ("[fruit]\ncount = 1.0", ["count = 1.0", "a whole number"]),
        ('[fruit]\ncount = "1"', ['count = "1"', "a whole number"]),
        ("[fruit]\nweight = -0.1", ["weight = -0.1", "a number of 0 or more kg"]),
        ("[fruit]\nweight = nan", ["weight = nan"]),
        ("[fruit]\nweight = inf", ["weight = inf"]),
        ("[safe]\nweight = inf", ["weight = inf"]),
        ("[fruit]\nripe = 1", ["ripe = 1", "true or false"]),
        ('[fruit]\nname = "aple"', ['name = "aple"', '"apple", "pear"', 'Did you mean "apple"?']),
        ('[fruit]\ncolours = "red"', ['colours = "red"', "a list"]),
        ("[fruit]\ncolours = [1]", ["colours = [1]", "a list"]),
        ("[fruit]\ncolours = []", ["colours with 0 items"]),
        ('[fruit]\nshops = ["http://a", "x"]', ['shops = "x"', "an http:// or https:// URL"]),
        ("[fruit]\ncount = \n", ["feedgen.toml: is not TOML", "line 2"]),
        ("[fruit]\ncount = 1\ncount = 2", ["is not TOML"]),
        ('[fruit]\n"a\\nb\\u001b" = 1', ["[fruit] a?b? is not a known key"]),
        (f"[fruit]\n{'x' * 5000} = 1", ["[fruit] xxx"]),
        (f"[fruit]\ncount = {'9' * 5000}", ["feedgen.toml"]),
        (f"[fruit]\ncount = 0x{'f' * 9000}", ["count = a huge number is not allowed"]),
        (f"[fruit]\ncolours = {'[' * 5000}", ["is not TOML"]),
        ("[fruit]\ncount = 2026-01-01", ["count = 2026-01-01"]),
        ("[fruit.name]\nx = 1", ["name = {...}"]),
    ],
)
def test_mistakes_in_the_file(tmp_path: Path, toml: str, said: list[str]) -> None:
    text = complaint(load(tmp_path, toml))
    assert all(part in text for part in said), text
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"FEEDGEN_FRUIT_CUONT": "1"}, ["FEEDGEN_FRUIT_CUONT is not a known setting", "FEEDGEN_FRUIT_COUNT"]),
        ({"FEEDGEN_FRUIT_COUNT": "many"}, ["FEEDGEN_FRUIT_COUNT: [fruit] count", '"many"']),
        ({"FEEDGEN_FRUIT_RIPE": "maybe"}, ['ripe = "maybe"', "true or false"]),
        ({"FEEDGEN_FRUIT_COLOURS": ","}, ["colours with 0 items"]),
        ({"FEEDGEN_FRUIT_COLOURS": "a,b,c,d"}, ["colours with 4 items"]),
        ({"FEEDGEN_FRUIT_NAME": "a\x00\n\udcff"}, ["name = "]),
        ({"FEEDGEN_FRUIT_COUNT": "9" * 5000}, ["count = "]),
        ({"FEEDGEN_": "1"}, ["FEEDGEN_ is not a known setting"]),
    ],
)
def test_mistakes_in_the_environment(tmp_path: Path, env: dict[str, str], said: list[str]) -> None:
    text = complaint(load(tmp_path, env=env))
    assert all(part in text for part in said), text
    assert len(text.splitlines()) == 2
    text.encode()


@pytest.mark.parametrize("given", ["fruit.count", "count=1", "fruit.cuont=1", "=", ""])
def test_mistakes_on_the_command_line(tmp_path: Path, given: str) -> None:
    assert "--set" in complaint(load(tmp_path, given=(given,)))


def test_other_variables_are_nobodys_business(tmp_path: Path) -> None:
    assert load(tmp_path, env={"FEEDGEN_PYTHON": "x", "PATH": "y", "feedgen_fruit_count": "z"}).get() == Store()


def test_all_mistakes_are_found_and_counted(tmp_path: Path) -> None:
    loaded = load(tmp_path, "[fruit]\ncount = 11\ncuont = 1\n[saef]\n", {"FEEDGEN_FRUIT_RIPE": "?"})
    assert len(loaded.problems) == 4
    assert "3 more" in complaint(loaded)


def test_a_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    loaded = read_settings(Store, tmp_path / "nothing.toml", env={})
    assert "nothing.toml is not a file" in complaint(loaded)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[fruit]\n#" + b"x" * 1_000_001])
def test_a_file_that_is_no_settings_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    assert "x.toml" in complaint(read_settings(Store, path, env={}))


def test_secrets_are_shown_nowhere(tmp_path: Path) -> None:
    fine = load(tmp_path, '[safe]\ncode = "http://hush.example"')
    assert "hush" not in show(fine)
    assert 'code = "***"' in show(fine)
    assert "hush" not in complaint(load(tmp_path, '[safe]\ncode = "hush"'))
    assert 'code = ""' in show(load(tmp_path))


def test_what_is_shown_is_a_settings_file(tmp_path: Path) -> None:
    env = {"FEEDGEN_FRUIT_COLOURS": 'a"b,c\\d\x7fé', "FEEDGEN_FRUIT_WEIGHT": "1e-9", "FEEDGEN_FRUIT_RIPE": "on"}
    first = load(tmp_path, env=env)
    assert load(tmp_path, show(first)).get() == first.get()
    assert "# FEEDGEN_FRUIT_COLOURS" in show(first)


def test_the_table_has_every_key() -> None:
    text = document(Store)
    for field in fields_of(Store):
        assert f"| `{field.name}` |" in text
        assert field.key.doc in text
    assert "Secret: never shown." in text
    assert "What is locked away." in text


toml_values = st.recursive(
    st.none().map(lambda _: "x")
    | st.booleans()
    | st.integers()
    | st.integers(0, 2**20000)
    | st.floats()
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(fields_of(Store)), toml_values)
def test_any_value_is_taken_or_refused_in_two_lines(field: Any, value: Any) -> None:
    problem = judge(field, value, "here")
    if problem is not None:
        assert len(str(problem.error()).split("\n")) == 2
        assert len(str(problem.error())) < 1000
    else:
        assert isinstance(value, field.type if isinstance(field.type, type) else list) or field.type is float


@given(st.text())
def test_any_file_is_taken_or_refused(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.toml"
        path.write_text(text, encoding="utf-8", errors="replace")
        loaded = read_settings(Store, path, env={})
    assert loaded.problems or loaded.settings is not None
