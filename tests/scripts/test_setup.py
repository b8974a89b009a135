"""The scripts set themselves up once: a checkout with a pretended Python, so that nothing is fetched or installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = (
    "bash",
    "cat",
    "cut",
    "dirname",
    "flock",
    "grep",
    "mkdir",
    "realpath",
    "rm",
    "sed",
    "sha256sum",
    "sort",
    "stat",
)

# Answers like a Python 3.11 and writes down what it was asked; `-m venv` makes a copy of itself.
PYTHON = """#!/bin/bash
echo "$*" >>"$CALLS"
case "$*" in
*"print("*) echo 3.11 ;;
*"import ensurepip"*) exit "${NO_VENV:-0}" ;;
*"version_info < "*) exit "${TOO_OLD:-0}" ;;
"-m venv"*) mkdir -p "$3/bin" && cat "$0" >"$3/bin/python" && chmod +x "$3/bin/python" ;;
*"-m pip"*) exit "${NO_PIP:-0}" ;;
*"-m feedgen run"* | *"-m feedgen demo"* | *"-m pytest"*) echo "started $*" ;;
esac
"""


class Checkout:
    def __init__(self, folder: Path) -> None:
        self.folder, self.bin, self.calls = folder / "checkout", folder / "bin", folder / "calls"
        for name in ("scripts", "requirements"):
            shutil.copytree(ROOT / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        (self.folder / "feedgen").mkdir()
        (self.folder / "feedgen" / "__init__.py").write_text("")
        shutil.copy(ROOT / "pyproject.toml", self.folder)
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or pytest.fail(f"{tool} is missing"))
        self.program("python3", PYTHON)
        self.program("id", "#!/bin/bash\necho 1000\n")
        self.program("chmod", f'#!/bin/bash\nexec {shutil.which("chmod")} "$@"\n')
        self.program("sqlite3", "#!/bin/bash\n")

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def call(self, *command: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        self.calls.write_text("")
        script = str(self.folder / "scripts" / command[0])
        return subprocess.run(
            [script, *command[1:]],
            cwd=cwd or self.folder.parent,
            env={"PATH": str(self.bin), "CALLS": str(self.calls), "HOME": os.devnull, **env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def asked(self) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith("-m ")]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_first_start_installs_and_the_second_does_not(checkout: Checkout) -> None:
    first = checkout.call("run", "--set", "a=b c")
    assert first.returncode == 0, first.stderr
    assert "started -m feedgen run --set a=b c" in first.stdout
    venv, lock, project, run = checkout.asked
    assert venv.startswith("-m venv")
    assert "--require-hashes" in lock and "requirements/run.txt" in lock
    assert "--no-build-isolation" in project and "--no-deps" in project
    assert run == "-m feedgen run --set a=b c"
    second = checkout.call("run")
    assert second.returncode == 0 and second.stderr == ""
    assert checkout.asked == ["-m feedgen run"]


@pytest.mark.parametrize(
    ("changed", "step"),
    [
        ("requirements/run.txt", "-m pip install --quiet --require-hashes"),
        ("pyproject.toml", "-m pip install --quiet --no-deps --no-build-isolation"),
    ],
)
def test_what_changed_is_done_again_and_nothing_else(checkout: Checkout, changed: str, step: str) -> None:
    assert checkout.call("run").returncode == 0
    with (checkout.folder / changed).open("a") as file:
        file.write("\n# changed\n")
    assert checkout.call("run").returncode == 0
    again, _ = checkout.asked
    assert again.startswith(step)


def test_tests_wait_for_the_compiler_and_the_service_does_not(checkout: Checkout) -> None:
    """`feedgen run` and `demo` compile by themselves, and answer meanwhile (feedgen/starting.py)."""
    assert checkout.call("run", "--demo").returncode == 0
    assert not any("warm" in line for line in checkout.asked)
    assert checkout.call("test").returncode == 0
    assert checkout.asked[-2:] == ["-m feedgen warm --demo", "-m pytest"]


def test_whoever_has_the_development_lock_has_the_other(checkout: Checkout) -> None:
    assert checkout.call("test", "-x").returncode == 0
    assert any("requirements/dev.txt" in line for line in checkout.asked)
    assert checkout.asked[-1] == "-m pytest -x"
    assert checkout.call("run").returncode == 0
    assert checkout.asked == ["-m feedgen run"]


def test_a_failed_installation_is_tried_again(checkout: Checkout) -> None:
    failed = checkout.call("run", NO_PIP="1")
    assert failed.returncode == 1
    assert "could not install its packages (see above).\n  If the network" in failed.stderr
    assert checkout.call("run").returncode == 0
    assert any("--require-hashes" in line for line in checkout.asked)


def test_a_broken_environment_is_made_anew(checkout: Checkout) -> None:
    assert checkout.call("run").returncode == 0
    (checkout.folder / ".venv" / "bin" / "python").unlink()
    assert checkout.call("run").returncode == 0
    assert checkout.asked[0].startswith("-m venv") and len(checkout.asked) == 4


def test_without_a_new_enough_python_it_says_what_to_type(checkout: Checkout) -> None:
    result = checkout.call("run", TOO_OLD="1")
    assert result.returncode == 1
    assert "Python 3.11 or newer" in result.stderr and "sudo apt-get install python3" in result.stderr


def test_without_venv_it_says_what_to_type(checkout: Checkout) -> None:
    result = checkout.call("run", NO_VENV="1")
    assert result.returncode == 1
    assert "sudo apt-get install python3.11-venv" in result.stderr


def test_root_gets_venv_through_apt(checkout: Checkout) -> None:
    checkout.program("id", "#!/bin/bash\necho 0\n")
    checkout.program("apt-get", '#!/bin/bash\necho "apt $*" >>"$CALLS"\n')
    assert checkout.call("run", NO_VENV="1").returncode == 0
    assert "python3.11-venv" in checkout.calls.read_text()


def test_another_python_can_be_named(checkout: Checkout) -> None:
    (checkout.bin / "python3").rename(checkout.bin / "mine")
    assert checkout.call("run").returncode == 1
    assert checkout.call("run", FEEDGEN_PYTHON="mine").returncode == 0


def test_demo_and_paths_from_where_they_were_typed(checkout: Checkout, tmp_path: Path) -> None:
    result = checkout.call("run", "--config", "my own.toml", "--demo", "--seed", "2", cwd=tmp_path)
    assert f"started -m feedgen demo --config {tmp_path}/my own.toml --seed 2" in result.stdout
    result = checkout.call("run", "--config=x.toml", cwd=tmp_path)
    assert f"--config={tmp_path}/x.toml" in result.stdout
    assert "feedgen run --config" in checkout.call("run", "--config").stdout


def test_a_missing_program_is_named(checkout: Checkout) -> None:
    (checkout.bin / "sqlite3").unlink()
    result = checkout.call("test")
    assert "sudo apt-get install sqlite3" in result.stderr
    assert "started -m pytest" in result.stdout


@pytest.mark.parametrize("script", ["run", "test", "check", "lock"])
def test_help_installs_nothing(checkout: Checkout, script: str) -> None:
    result = checkout.call(script, "--help")
    assert result.returncode == 0, result.stderr
    assert f"scripts/{script}" in result.stdout
    assert not (checkout.folder / ".venv").exists()
