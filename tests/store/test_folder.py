from __future__ import annotations

from pathlib import Path

import pytest

from feedgen.core.errors import StoreError
from feedgen.store.folder import Folder, day_name, day_number
from feedgen.store.names import Names


def test_days_have_names() -> None:
    assert day_name(20_777) == "2026-11-20" and day_number("2026-11-20") == 20_777


def test_lists_days_and_prefers_the_sealed_form(tmp_path: Path) -> None:
    with Folder(tmp_path) as folder:
        for name in (
            "2026-11-21.open.db",
            "2026-11-20.db",
            "2026-11-22.db",
            "2026-13-40.db",
            "notes.db",
            "2026-11-22.idx",
        ):
            (folder.days_path / name).touch()
        assert [(day_name(f.day), f.sealed) for f in folder.days()] == [
            ("2026-11-20", True),
            ("2026-11-21", False),
            ("2026-11-22", True),
        ]
        assert folder.day_path(20_778) == folder.open_path(20_778)
        assert folder.day_path(20_700) is None


def test_a_start_tidies_what_a_crash_left(tmp_path: Path) -> None:
    Folder(tmp_path).close()
    days = tmp_path / "days"
    kept = ["2026-11-20.db", "2026-11-21.open.db", "2026-11-21.open.db-wal"]
    left = [
        "2026-11-20.open.db",
        "2026-11-20.open.db-wal",
        "2026-11-19.draft",
        "2026-11-19.draft-wal",
        "2026-11-18.db-shm",
    ]
    for name in kept + left:
        (days / name).touch()
    Folder(tmp_path).close()
    assert sorted(p.name for p in days.iterdir()) == sorted([*kept, "open.sql"])


def test_formats(tmp_path: Path) -> None:
    with Folder(tmp_path) as folder:
        Names(folder).close()
    assert (tmp_path / "format").read_text() == "1\n"
    steps: list[Path] = []
    with Folder(tmp_path, migrations=(steps.append,)) as folder:
        assert steps == [tmp_path]
        names = Names(folder)
        assert names._db.pragma("user_version") == 2
        names.close()
    with pytest.raises(StoreError, match="newer feedgen") as caught:
        Folder(tmp_path)
    assert "update feedgen" in caught.value.hint
    (tmp_path / "format").unlink()  # names.db knows it too
    with pytest.raises(StoreError, match="newer feedgen"):
        Folder(tmp_path)
    (tmp_path / "format").write_text("two\n")
    with pytest.raises(StoreError, match="instead of a number"):
        Folder(tmp_path)


def test_reading_only_needs_a_folder_that_is_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no data folder"):
        Folder(tmp_path / "nowhere", lock=False)
    assert not (tmp_path / "nowhere").exists()
    with Folder(tmp_path / "data"):
        Folder(tmp_path / "data", lock=False)  # beside the one that runs


def test_a_place_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="can't use the data folder"):
        Folder(tmp_path / "file")
