"""What the README links to is there. Its feeds are run by tests/feeds/test_docs.py."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_links_lead_somewhere() -> None:
    for path in ROOT.glob("*.md"):
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text()):
            assert (path.parent / link).exists(), f"{path.name} links to {link}"
