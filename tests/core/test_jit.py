"""Machine code that was made of other sources is never used."""

from __future__ import annotations

import shutil
from pathlib import Path

import numba
import pytest

from feedgen.core import jit

KERNEL = "from feedgen.core.jit import njit\n\nONE = 1\n"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "feedgen"
    (folder / "graph").mkdir(parents=True)
    (folder / "core").mkdir()
    (folder / "graph" / "kernel.py").write_text(KERNEL)
    (folder / "core" / "ids.py").write_text("NO_POST = 0xFFFFFFFF\n")
    (folder / "core" / "logs.py").write_text("import logging\n")
    return folder


@pytest.mark.parametrize("name", ["graph/kernel.py", "core/ids.py"])
def test_a_changed_source_is_another_cache(sources: Path, name: str) -> None:
    before = jit.sources_hash(sources)
    (sources / name).write_text((sources / name).read_text() + "TWO = 2\n")
    assert jit.sources_hash(sources) != before


def test_what_is_not_compiled_does_not_count(sources: Path) -> None:
    before = jit.sources_hash(sources)
    (sources / "core" / "logs.py").write_text("import sys\n")
    assert jit.sources_hash(sources) == before


def test_a_moved_source_is_another_cache(sources: Path) -> None:
    before = jit.sources_hash(sources)
    shutil.move(sources / "graph" / "kernel.py", sources / "graph" / "access.py")
    assert jit.sources_hash(sources) != before


def test_numba_was_told() -> None:
    assert Path(numba.config.CACHE_DIR).name == f"feedgen-{jit.sources_hash()}"


def test_old_caches_go(tmp_path: Path) -> None:
    for i in range(6):
        (tmp_path / f"feedgen-{i}").mkdir()
    (tmp_path / "something else").mkdir()
    jit._tidy(tmp_path)
    assert len(list(tmp_path.glob("feedgen-*"))) == jit.KEPT_CACHES + 1
    assert (tmp_path / "something else").exists()
