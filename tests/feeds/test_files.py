"""Files of feeds: each that is broken is named with file, line and reason, and the others are used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from feedgen.core.errors import SettingsError
from feedgen.feeds import files
from feedgen.feeds.files import MAX_FILE_BYTES, Found, find_feeds
from feedgen.feeds.registry import OURS, definitions

GOOD = """from feedgen import feed, tag
cats = tag("cats", words=["cat"])
@feed("{name}", title="T", about="A")
def make(ask):
    return ask.newest(cats)
"""


def found(folder: Path) -> Found:
    return find_feeds(folder, OURS, packages=False)


def test_files_of_both_kinds_define_feeds(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text(GOOD.format(name="cats"))
    (tmp_path / "a.toml").write_text(
        "[feed.one]\ntitle = 'One'\nany = { words = ['dog'] }\n[feed.two]\ntitle = 'Two'\n"
    )
    (tmp_path / "_draft.py").write_text("syntax error")
    (tmp_path / "notes.txt").write_text("not a feed")
    all_of_it = found(tmp_path)
    assert sorted(all_of_it.feeds) == ["cats", "one", "two"] and not all_of_it.broken
    assert all_of_it.patterns == {"wcat", "wdog"}
    assert (all_of_it.feeds["cats"].line, all_of_it.feeds["two"].line) == (3, 4)
    assert all_of_it.feeds["cats"].patterns == {"wcat"}
    known = definitions(all_of_it.feeds.values())
    assert {"for-you", "videos-for-you", "popular", "gallery", "trending", "cats", "one", "two"} == set(known)
    assert known["videos-for-you"].content_mode and found(tmp_path / "missing").feeds == {}


@pytest.mark.parametrize(
    ("name", "text", "line", "why"),
    [
        ("x.py", "def f(:\n", 1, "SyntaxError"),
        ("x.py", "\n\nraise ValueError('no')\n", 3, "ValueError: no"),
        ("x.py", "import x_that_is_not_there\n", 1, "ModuleNotFoundError"),
        ("x.py", "from feedgen import feed, tag\n\ntag('t', words=['(a+)+$'])\n", 3, "regular expression"),
        ("x.py", "a = 1\n", 0, "no feed"),
        ("x.py", "raise SystemExit\n", 1, "SystemExit"),
        ("x.py", "import x\nfrom x import y\n", 1, "ModuleNotFoundError"),  # itself: files don't import each other
        ("x.py", GOOD.format(name="Not A Name"), 3, "name"),
        ("x.py", GOOD.format(name="for-you"), 0, "two feeds have the name"),
        ("x.py", GOOD.format(name="cats"), 0, "two feeds have the name"),
        ("x.py", GOOD.format(name="y").replace('"cat"', '"dog"'), 0, "defined twice"),
        ("x.py", "#" * (MAX_FILE_BYTES + 1), 0, "larger"),
        ("x.toml", "[feed.x]\ntitle = \n", 2, "TOMLDecodeError"),
        ("x.toml", "[feed.y]\ntitle='Y'\n\n[feed.x]\ncolour = 1\n", 4, "colour"),
        ("x.toml", "[feeds.x]\ntitle='X'\n", 1, "unknown"),
        ("x.toml", "", 1, "no feed"),
    ],
)  # fmt: skip
def test_what_is_broken_is_named_and_the_rest_is_used(
    name: str, text: str, line: int, why: str, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_text(GOOD.format(name="cats"))
    (tmp_path / name).write_text(text)
    all_of_it = found(tmp_path)
    assert list(all_of_it.feeds) == ["cats"]
    (one,) = all_of_it.broken
    assert one.file == str(tmp_path / name) and one.line == line and why in one.reason, one
    assert "\n" not in str(one)


def test_a_file_without_rights_and_bytes_that_are_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_bytes(b"\xff\xfe\x00")
    path = tmp_path / "b.py"
    path.write_text(GOOD.format(name="cats"))
    path.chmod(0)
    if os.geteuid() == 0:  # root reads everything

        def refused(self: Path, encoding: str) -> str:
            if self.name == "b.py":
                raise PermissionError(13, "Permission denied")
            return self.read_bytes().decode(encoding)

        monkeypatch.setattr(files.Path, "read_text", refused)
    reasons = [one.reason for one in found(tmp_path).broken]
    assert "UnicodeDecodeError" in reasons[0] and "Permission denied" in reasons[1]


def test_feeds_come_with_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cat_feeds.py").write_text(GOOD.format(name="of-a-package"))
    info = tmp_path / "cat_feeds-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: cat-feeds\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[feedgen.feeds]\ncats = cat_feeds\nbroken = not_there_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    all_of_it = find_feeds(None, OURS)
    assert all_of_it.feeds["of-a-package"].file == "cat_feeds"
    (one,) = all_of_it.broken
    assert one.file == "not_there_at_all" and "ModuleNotFoundError" in one.reason


def test_the_public_names_are_all() -> None:
    import feedgen

    assert all(getattr(feedgen, name) for name in feedgen.__all__)
    with pytest.raises(AttributeError):
        feedgen.nothing  # noqa: B018
    with pytest.raises(SettingsError):
        feedgen.tag("empty")
