"""Machine code that was made of other sources is never used, and a change compiles only what depends on it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from feedgen.core import jit
from feedgen.graph import access

FILES = {
    "core/ids.py": "NO_POST = 0xFFFFFFFF\n",
    "core/jit.py": "import numba\n",
    "core/logs.py": "import logging\n",
    "graph/access.py": "from feedgen.core.jit import njit\nfrom feedgen.core.ids import NO_POST\n",
    "graph/words.py": "from feedgen.core.jit import njit\n",
    "graph/view.py": "from feedgen.core import logs\n",
    "rank/kernel.py": "from feedgen.core.jit import njit\nfrom feedgen.graph import (\n    access,\n    view,\n)\n",
}
KERNEL = "rank/kernel.py"


def hash_of(folder: Path, name: str) -> str:
    jit._text.cache_clear()
    return jit.sources_hash(folder / name, folder)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        (KERNEL, True),
        ("graph/access.py", True),
        ("core/ids.py", True),  # its constants are in what the kernel calls
        ("core/jit.py", True),
        ("graph/view.py", True),
        ("graph/words.py", False),
        ("core/logs.py", False),  # imported by a file without kernels
    ],
)
def test_a_change_compiles_what_depends_on_it(package: Path, name: str, counts: bool) -> None:
    before = hash_of(package, KERNEL)
    (package / name).write_text(FILES[name] + "TWO = 2\n")
    assert (hash_of(package, KERNEL) != before) is counts


def test_what_moved_is_something_else(package: Path) -> None:
    before = hash_of(package, KERNEL)
    (package / "graph" / "access.py").rename(package / "graph" / "places.py")
    text = FILES[KERNEL].replace("access", "places")
    (package / KERNEL).write_text(text)
    assert hash_of(package, KERNEL) != before


def test_a_checkout_elsewhere_shares_the_code(package: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    for name, text in FILES.items():
        (other / name).parent.mkdir(exist_ok=True)
        (other / name).write_text(text)
    assert hash_of(package, KERNEL) == hash_of(other, KERNEL)


def test_numba_keeps_code_there() -> None:
    file = Path(access.__file__)
    kernels = [
        value for value in vars(access).values() if hasattr(value, "py_func") and value.__module__ == access.__name__
    ]
    assert kernels
    for kernel in kernels:
        folder, stamp = os.path.split(kernel.stats.cache_path)
        assert Path(folder) == jit.cache_folder()
        assert stamp == f"feedgen.graph.access-{jit.sources_hash(file)}"


def test_old_versions_go(tmp_path: Path) -> None:
    for module in ("feedgen.graph.access", "feedgen.rank.kernel"):
        for i in range(6):
            folder = tmp_path / f"{module}-{i:016x}"
            folder.mkdir()
            os.utime(folder, (i, i))
    (tmp_path / "something else").mkdir()
    jit.tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [f"{module}-{i:016x}" for module in ("feedgen.graph.access", "feedgen.rank.kernel") for i in (3, 4, 5)]
        + ["something else"]
    )
