"""`feedgen feed new` and `check`: a file that works, and one line for each that doesn't."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from feedgen.cli import cli
from feedgen.feeds.files import find_feeds


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "feedgen.toml").write_text("")

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(cli, ["feed", *arguments])

    return invoke


def test_a_new_file_works_and_lies_beside_the_settings(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    for arguments, file in ((("my-cats",), "my-cats.py"), (("dogs", "--toml"), "dogs.toml")):
        made = run("new", *arguments)
        assert made.exit_code == 0 and str(tmp_path / "feeds" / file) in made.output
    found = find_feeds(tmp_path / "feeds", packages=False)
    assert sorted(found.feeds) == ["dogs", "my-cats"] and not found.broken
    checked = run("check")
    assert checked.exit_code == 0 and "2 feeds, 0 broken" in checked.output
    assert run("new", "dogs", "--toml").exit_code == 1  # it is there already
    assert run("new", "../outside").exit_code == run("new", "Not A Name").exit_code == 2
    assert len(list((tmp_path / "feeds").iterdir())) == 2


def test_check_names_what_is_broken(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "feeds").mkdir()
    (tmp_path / "feeds" / "x.toml").write_text("[feed.x]\ntitle = 'X'\nhours = 'many'\n")
    checked = run("check")
    assert checked.exit_code == 2 and "x.toml:1: " in checked.output and "hours" in checked.output


def test_only_files_of_the_folder_are_tried(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "x.py").write_text("")
    tried = run("try", "x.py", "--as", "a.test")
    assert tried.exit_code == 1 and "not in" in tried.output
