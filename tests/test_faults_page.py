"""docs/design/faults.md promises what tests show: each test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_promise_has_its_test() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "design" / "faults.md").read_text())
    assert len(named) > 20
    assert [(path, name) for path, name in named if f"def {name}(" not in (ROOT / path).read_text()] == []
