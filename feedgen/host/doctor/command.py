"""Which checks there are, in which order, and how they are told."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click

from feedgen import __version__
from feedgen.core.config import Loaded
from feedgen.core.errors import FeedgenError
from feedgen.core.settings import Settings
from feedgen.host.account import Account, find_handle, password_given
from feedgen.host.doctor import inside, machine, network, outside, records
from feedgen.host.doctor.finding import Finding, failure, ok, warning, worst
from feedgen.host.doctor.machine import UNIT, show_unit

COLORS: Final = {"ok": "green", "warning": "yellow", "failure": "red"}


def main(loaded: Loaded[Settings], as_json: bool, connect_to: str, password_file: Path | None) -> int:
    """The command: each finding as soon as it is there. The exit code is the worst of them."""
    findings = []
    for finding in examine(loaded, connect_to, password_file):
        findings.append(finding)
        if not as_json:
            word, _, rest = finding.line().partition(" ")
            click.echo(f"{click.style(word, fg=COLORS[finding.level])} {rest}")
    code = worst(findings)
    if as_json:
        told = {"version": __version__, "exit_code": code, "findings": [f._asdict() for f in findings]}
        click.echo(json.dumps(told, indent=2))
    else:
        counts = [sum(f.level == level for f in findings) for level in ("failure", "warning")]
        click.echo(f"{counts[0]} failures, {counts[1]} warnings" if code else "All is well.")
    return code


def examine(loaded: Loaded[Settings], connect_to: str, password_file: Path | None) -> Iterator[Finding]:
    """All checks, from near to far: what comes later depends on what comes before."""
    yield from _settings(loaded)
    yield machine.check_python()
    yield machine.check_packages()
    settings = loaded.settings if not loaded.problems else None
    folder = Path(settings.store.dir) if settings is not None else Path()
    yield from _guarded("memory", lambda: [machine.check_memory()])
    yield from _guarded("open files", lambda: [machine.check_files(_main_pid())])
    yield from _guarded("systemd", machine.check_systemd)
    if settings is None:
        return  # all that follows would look at the wrong places
    if machine.is_closed(folder):
        again = "Type the command again as its owner: sudo -u feedgen ..."
        yield warning("data", f"{folder.absolute()} is closed to this user: not looked at", again)
    else:
        days = settings.store.retention_days
        yield from _guarded("disk space", lambda: [machine.check_space(folder, days)])
        yield from _guarded("file system", lambda: [machine.check_file_system(folder)])
        yield from _guarded("disk speed", lambda: [machine.check_speed(folder)])
        yield from _guarded("data", lambda: inside.check_data(folder))
    yield from _guarded("service", lambda: inside.check_service(settings.service.bind))
    yield from _guarded("hosts", lambda: network.check_hosts(settings))
    now = datetime.datetime.now(datetime.UTC)
    yield from _guarded("tunnel", lambda: outside.check_tunnel(settings, now))
    yield from _guarded("outside", lambda: _outside(settings, connect_to, password_file, now))


def _outside(
    settings: Settings, connect_to: str, password_file: Path | None, now: datetime.datetime
) -> Iterator[Finding]:
    if "." not in settings.service.hostname:
        yield ok("outside", f'[service] hostname is "{settings.service.hostname}": the world is not meant to see it')
        return
    front = outside.Front(settings.service.hostname, connect_to)
    yield outside.check_name(front)
    yield outside.check_certificate(front, now)
    yield from outside.check_documents(settings, front)
    with ExitStack() as stack:
        account = None
        try:
            password = password_given(password_file)
            if password:
                handle = find_handle(settings.publish.handle)
                account = stack.enter_context(Account(settings.publish.pds, handle, password, None))
        except FeedgenError as error:
            yield failure("account", error.message, error.hint)
        found = list(outside.check_request(settings, front, account))
        yield from found
        if worst(found) == 0:
            yield from outside.check_callers(settings, front)
    yield from outside.check_page_times(settings)
    yield from records.check_records(settings)


def _settings(loaded: Loaded[Settings]) -> Iterator[Finding]:
    for problem in loaded.problems:
        error = problem.error()
        yield failure("settings", error.message, error.hint)
    if loaded.settings is None or loaded.problems:
        return
    said = loaded.settings.warnings()
    for text in said:
        yield warning("settings", text, "See docs/settings.md.")
    if not said:
        yield ok("settings", str(loaded.path or "no file: defaults, and the environment"))


def _guarded(check: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """A bug in one check must not hide what the others see."""
    try:
        yield from look()
    except Exception as error:
        yield failure(check, f"this check failed itself: {type(error).__name__}: {error}", "Report this, please.")


def _main_pid() -> int | None:
    pid = (show_unit("systemctl", UNIT) or {}).get("MainPID", "0")
    return int(pid) if pid.isdecimal() and int(pid) else None
