"""What all tests share: programs that may be missing, and the AppView's tests, which are asked for.

A test that needs a program says `@pytest.mark.needs("sqlite3")`. Where the program is missing, the test is left out and
named, and the run fails, unless it was told --allow-missing: a green run has run everything.
"""

from __future__ import annotations

import os
import shutil

import pytest

# How much of what is drawn at random is tried; more takes longer.
HOW_MUCH = {
    "FEEDGEN_STORMS", "FEEDGEN_RANDOM_KILLS", "FEEDGEN_MUTATIONS", "FEEDGEN_GRAPHS", "FEEDGEN_POWER_CUTS",
    "FEEDGEN_POWER_SEED", "FEEDGEN_FAILING_CALLS", "FEEDGEN_TUNNEL_CUTS", "FEEDGEN_RESTART_REQUESTS",
    "FEEDGEN_FAILING_PART", "FEEDGEN_LISTS", "FEEDGEN_SYNC_CUTS", "FEEDGEN_ARCHIVE_MUTATIONS",
    "FEEDGEN_STREAM_EVENTS",
}  # fmt: skip

# Settings of the person who runs the tests are not the tests' settings.
for _name in [name for name in os.environ if name.startswith("FEEDGEN_")]:
    if _name != "FEEDGEN_PYTHON" and _name not in HOW_MUCH:
        del os.environ[_name]

LEFT_OUT = pytest.StashKey[dict[str, list[str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("feedgen")
    group.addoption("--allow-missing", action="store_true", help="don't fail when a program was missing for some tests")
    group.addoption("--appview", action="store_true", help="also run Bluesky's own PDS, PLC and AppView")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEFT_OUT] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--appview"):
        chosen = [item for item in items if item.get_closest_marker("appview") is None]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen
    for item in items:
        programs = [program for mark in item.iter_markers("needs") for program in mark.args]
        missing = sorted(program for program in programs if shutil.which(program) is None)
        if missing:
            item.add_marker(pytest.mark.skip(reason=f"needs {', '.join(missing)}"))
            for program in missing:
                config.stash[LEFT_OUT].setdefault(program, []).append(item.nodeid)


def pytest_collection_finish() -> None:
    """Test modules have read these; the processes that tests start would refuse them as unknown settings."""
    for name in HOW_MUCH:
        os.environ.pop(name, None)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if session.config.stash[LEFT_OUT] and not session.config.getoption("--allow-missing") and exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for program, tests in sorted(config.stash[LEFT_OUT].items()):
        terminalreporter.section(f"left out: {program} is missing (requirements/system.txt)", red=True)
        for test in tests:
            terminalreporter.line(test)
