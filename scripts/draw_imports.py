"""Draws the import graph, package by package, from the same graph (grimp) that import-linter judges.

`python -m scripts.draw_imports` writes docs/imports.md; `--check` only says whether it is current.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import grimp

PATH = Path(__file__).parent.parent / "docs" / "imports.md"
PACKAGE = Path(__file__).parent.parent / "feedgen"
HEAD = """\
# Import graph

Drawn by `scripts/imports` from the import graph that `scripts/check` judges; the rule itself is in `pyproject.toml`,
and as a table in ARCHITECTURE.md. An arrow points from who imports to what is imported; a dotted one is a
name that is imported when it is called.

```mermaid
flowchart TD
"""


def edges() -> set[tuple[str, str]]:
    """Imports between the parts directly under the package."""
    graph = grimp.build_graph("feedgen")
    found = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = (part(module), part(imported))
            if "" not in pair and pair[0] != pair[1]:
                found.add(pair)
    return found


def called_by_name() -> set[tuple[str, str]]:
    """Commands and warmers name what they call as "feedgen.part.module:function", to import it only then."""
    found = set()
    for path in (*sorted((PACKAGE / "cli").glob("*.py")), PACKAGE / "core" / "warm.py"):
        caller = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        found |= {(caller, name) for name in re.findall(r'"feedgen\.(\w+)[\w.]*:\w+"', path.read_text())}
    return found


def part(module: str) -> str:
    """`feedgen.store.day` belongs to `store`; the bare package (its version) to nothing."""
    return module.split(".")[1].strip("_") if "." in module else ""


def drawing() -> str:
    arrows = edges()
    nodes = sorted({name for pair in arrows | called_by_name() for name in pair})
    lines = [f"    {name}[{name}]" for name in nodes]
    lines += [f"    {above} --> {below}" for above, below in sorted(arrows)]
    lines += [f"    {above} -.-> {below}" for above, below in sorted(called_by_name() - arrows)]
    return HEAD + "\n".join(lines) + "\n```\n"


def main() -> int:
    text = drawing()
    if "--check" in sys.argv:
        return 0 if PATH.exists() and PATH.read_text() == text else 1
    PATH.write_text(text)
    print(f"{PATH.relative_to(PATH.parent.parent)}: {len(edges())} arrows")
    return 0


if __name__ == "__main__":
    sys.exit(main())
