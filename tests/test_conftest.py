"""A test that was left out is named, and makes the run fail unless it was allowed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

def test_plain():
    pass

@pytest.mark.needs("no-such-program")
def test_left_out():
    raise AssertionError

@pytest.mark.needs("sh")
def test_kept():
    pass

@pytest.mark.appview
def test_appview():
    pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    (tmp_path / "test_x.py").write_text(TESTS)
    return tmp_path


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", ".", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)


def test_left_out_tests_fail_the_run_and_are_named(folder: Path) -> None:
    result = call(folder)
    assert result.returncode == 1
    assert "left out: no-such-program is missing" in result.stdout
    assert "test_x.py::test_left_out" in result.stdout
    assert "2 passed, 1 skipped, 1 deselected" in result.stdout.splitlines()[-1]


def test_unless_it_is_allowed(folder: Path) -> None:
    result = call(folder, "--allow-missing")
    assert result.returncode == 0
    assert "left out: no-such-program is missing" in result.stdout


def test_the_appview_is_asked_for(folder: Path) -> None:
    result = call(folder, "--allow-missing", "--appview")
    assert "3 passed, 1 skipped in" in result.stdout.splitlines()[-1]
