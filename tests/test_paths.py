"""What the documents for newcomers name is there: files and folders of this checkout, and modules by their names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Made while the service runs, or on the VPS: not in a checkout.
ELSEWHERE = ("/", "data/", "xrpc/", ".venv/")
NAMED = re.compile(r"`([\w.-]+/[\w./-]*|[\w-]+\.py)`")


def exists(name: str) -> bool:
    """A path from the root, or from the package; a module may come without its `.py`, a file without its folder."""
    found = [base / (name + end) for base in (ROOT, ROOT / "feedgen") for end in ("", ".py")]
    return any(path.exists() for path in found) or ("/" not in name and any((ROOT / "feedgen").rglob(name)))


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_path_that_is_named_exists(document: str) -> None:
    names = {name for name in NAMED.findall((ROOT / document).read_text()) if not name.startswith(ELSEWHERE)}
    assert len(names) > 5
    assert sorted(name for name in names if not exists(name)) == []


def test_the_folders_hold_what_the_table_says() -> None:
    rows = re.findall(r"^\| `(\w+)/` \| (.*) \| .* \|$", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    assert len(rows) >= 10
    named = [f"feedgen/{folder}/{name}" for folder, text in rows for name in re.findall(r"`([a-z_]+)`", text)]
    assert len(named) > 20
    assert [name for name in named if not exists(name)] == []
