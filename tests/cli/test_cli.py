import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from feedgen import __version__, cli
from feedgen.core.errors import FeedgenError
from feedgen.core.settings import Settings

ROOT = Path(__file__).parents[2]


def call(*arguments: str, **env: str) -> Result:
    return CliRunner().invoke(cli.cli, arguments, env=env, prog_name="feedgen")


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No feedgen.toml in sight, and logging as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for processes that a test starts
    monkeypatch.setattr("feedgen.core.logs.setup", lambda *arguments: None)


class App:
    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def run(self) -> int:
        return self.settings.store.retention_days


def pretend(monkeypatch: pytest.MonkeyPatch, name: str, **attributes: Any) -> None:
    module = ModuleType(name)
    vars(module).update(attributes)
    monkeypatch.setitem(sys.modules, name, module)


def every_command(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(command, click.Group):
        return [path]
    return [path, *(p for name, sub in command.commands.items() for p in every_command(sub, (*path, name)))]


@pytest.mark.parametrize("path", every_command(cli.cli), ids=" ".join)
def test_help_is_worth_reading(path: tuple[str, ...]) -> None:
    result = call(*path, "--help")
    assert result.exit_code == 0
    assert len(result.output) > 200
    assert call(*path, "-h").output == result.output
    command: click.Command = cli.cli
    for name in path:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, f"{path} {parameter.name}"


def test_help_names_commands_that_live_elsewhere_without_importing_them() -> None:
    code = "import sys, feedgen.cli as c; c.cli(['-h'], standalone_mode=False); print('feedgen.simnet' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "simnet" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


def test_importing_the_commands_imports_nothing_heavy() -> None:
    code = "import sys, feedgen.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "numpy",
        "numba",
        "apsw",
        "aiosqlite",
        "atproto",
        "starlette",
        "hypercorn",
        "httpx",
        "cryptography",
        "msgspec",
        "asyncio",
    }
    assert heavy & set(done.stdout.split()) == set()


def test_python_m_is_the_same() -> None:
    done = subprocess.run([sys.executable, "-m", "feedgen", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"feedgen, version {__version__}\n"


def test_run_gives_settings_to_build_and_its_exit_code_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "feedgen.app", build=App)
    pretend(monkeypatch, "feedgen.starting", compile_first=lambda settings: True)
    assert call("run", "--set", "store.retention_days=7").exit_code == 7
    assert call("run", FEEDGEN_STORE_RETENTION_DAYS="8").exit_code == 8


def test_demo_gets_what_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def run(settings: Settings, **options: Any) -> int:
        asked.append((type(settings), options))
        return 3

    pretend(monkeypatch, "feedgen.demo", run=run)
    assert call("demo", "--people", "50", "--seed", "4").exit_code == 3
    assert asked == [(Settings, {"people": 50, "days": 7.0, "seed": 4})]


def test_an_error_is_two_lines_and_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(settings: Settings) -> App:
        raise FeedgenError("The disk is full.", "Make room.")

    pretend(monkeypatch, "feedgen.app", build=build)
    result = call("run")
    assert result.exit_code == 1
    assert result.stderr == "feedgen: The disk is full.\n  Make room.\n"


@pytest.mark.parametrize("arguments", [("--debug", "run"), ("run", "--debug")])
def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    def build(settings: Settings) -> App:
        raise FeedgenError("no")

    pretend(monkeypatch, "feedgen.app", build=build)
    assert isinstance(call(*arguments).exception, FeedgenError)


def test_bad_settings_are_exit_code_2_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "feedgen.app", build=lambda settings: pytest.fail("started"))
    result = call("run", FEEDGEN_STORE_RETENTION_DAYS="900")
    assert result.exit_code == 2
    assert "900" in result.stderr and "from 1 to 120 days" in result.stderr
    assert len(result.stderr.splitlines()) == 2


def test_our_own_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(settings: Settings) -> App:
        raise ZeroDivisionError

    pretend(monkeypatch, "feedgen.app", build=build)
    assert isinstance(call("run").exception, ZeroDivisionError)


def test_a_missing_part_is_named_but_a_broken_one_is_a_bug(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(cli.ELSEWHERE, "simnet", ("feedgen.nothing.cli:main", "x"))
    result = call("simnet")
    assert result.exit_code == 1 and "feedgen.nothing" in result.stderr
    (tmp_path / "broken_part.py").write_text("import no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(cli.ELSEWHERE, "simnet", ("broken_part:main", "x"))
    assert isinstance(call("simnet").exception, ModuleNotFoundError)


def test_a_command_from_elsewhere_has_its_own_options(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    @click.option("--rate", type=int)
    def main(rate: int) -> None:
        click.echo(f"rate {rate}")

    pretend(monkeypatch, "far.away", main=main)
    monkeypatch.setitem(cli.ELSEWHERE, "simnet", ("far.away:main", "x"))
    assert call("simnet", "--rate", "5").output == "rate 5\n"
    assert "--rate INTEGER" in call("simnet", "--help").output


def test_config_show_is_a_settings_file(tmp_path: Path) -> None:
    shown = call("config", "show", FEEDGEN_STORE_DIR="/elsewhere").stdout
    assert 'dir = "/elsewhere"  # FEEDGEN_STORE_DIR' in shown
    (tmp_path / "feedgen.toml").write_text(shown)
    assert 'dir = "/elsewhere"  # feedgen.toml' in call("config", "show").stdout


def test_config_check_lists_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[store]\nretention_days = 0\ndri = 1\n")
    result = call("config", "check", "--config", str(path))
    assert result.exit_code == 2
    assert "retention_days" in result.stderr and "Did you mean dir?" in result.stderr
    path.write_text('[service]\nhostname = "feed.example.com"\n')
    result = call("config", "check", "--config", str(path))
    assert result.exit_code == 0 and result.stderr == "" and "all is well" in result.stdout


def test_config_docs_prints_the_table() -> None:
    assert "| `retention_days` |" in call("config", "docs").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    result = call("completion", shell)
    assert result.exit_code == 0
    assert "_FEEDGEN_COMPLETE" in result.output


def test_completion_completes() -> None:
    env = {
        "_FEEDGEN_COMPLETE": "bash_complete",
        "COMP_WORDS": "feedgen config s",
        "COMP_CWORD": "2",
        "PYTHONPATH": str(ROOT),
    }
    code = "from feedgen.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout == "plain,show\n"


def test_version_names_what_we_stand_on() -> None:
    output = call("version").stdout
    assert output.startswith(f"feedgen {__version__}\n")
    assert "numpy" in output and "missing" not in output


def test_warm_reports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("feedgen.core.jit._folder_of", lambda file: tmp_path / Path(file).stem)  # an empty cache
    monkeypatch.setattr("feedgen.core.warm.WARMERS", ["feedgen.core.ids:is_tid"])
    assert isinstance(call("warm").exception, TypeError)  # called, with nothing
    monkeypatch.setattr("feedgen.core.warm.WARMERS", ["time:perf_counter"])
    result = call("warm")
    assert result.exit_code == 0 and "compiling in" in result.stderr and "compiled" in result.stderr
    assert call("warm").stderr == ""  # nothing is left to do
