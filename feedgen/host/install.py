"""`feedgen install` and `uninstall`: systemd's units for the Python environment that this program runs in.

The units are those of systemd/ with three things filled in: where the command is, where systemd listens, and where
backups go. An environment below /home is shown to the service read-only, and nothing else of /home is.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

import feedgen
from feedgen.core.config import read_settings
from feedgen.core.errors import FeedgenError
from feedgen.core.settings import Settings
from feedgen.host.settings_file import with_value
from feedgen.host.tailscale import Tailscale
from feedgen.host.tunnel import resolved

UNITS: Final = Path("etc/systemd/system")
USER_FILE: Final = Path("etc/sysusers.d/feedgen.conf")
SETTINGS: Final = Path("etc/feedgen/feedgen.toml")
DATA: Final = Path("var/lib/feedgen")
CACHE: Final = Path("var/cache/feedgen")
USER: Final = "feedgen"
COMMAND: Final = "/usr/local/bin/feedgen"  # as the units of systemd/ have it
BACKUPS: Final = "/var/backups/feedgen"
LISTEN: Final = "ListenStream=127.0.0.1:8090"
# What ProtectHome= hides from a service.
HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
SERVICES: Final = ("feedgen.service", "feedgen.socket", "feedgen-verify.service", "feedgen-verify.timer")
BACKUP_SERVICES: Final = ("feedgen-backup.service", "feedgen-backup.timer")
SYSTEMCTL_S: Final = 180.0


def install(config: Path | None, backup: Path | None, listen: str, dry_run: bool, root: Path) -> int:
    """The command. `root` is where another system's files are, for images and tests."""
    work = Work(root, dry_run)
    if backup is not None and not backup.is_absolute():
        raise FeedgenError(f"{backup}: a service needs the whole path.", f"Give --backup {backup.absolute()}")
    texts = units(environment(), listen or bind_of(config, work.path(SETTINGS)), backup)
    work.write(USER_FILE, (units_folder() / "feedgen.sysusers.conf").read_text())
    work.run("systemd-sysusers", *([f"--root={root}"] if work.is_elsewhere else []), str(work.path(USER_FILE)))
    if config is not None or not work.path(SETTINGS).exists():
        text = service_settings(config)
        work.keep(SETTINGS, text)
        work.write(SETTINGS, text)
    if backup is not None:
        work.folder_of_user(backup)
    work.machine_code(os.environ.get("NUMBA_CACHE_DIR", ""))
    changed = {name for name, text in texts.items() if work.write(UNITS / name, text)}
    listening = [name for name in texts if name.endswith((".socket", ".timer"))]
    work.systemctl("daemon-reload")
    work.systemctl("enable", *listening, "feedgen.service")
    if "feedgen.socket" in changed:
        # Another address, which only a stopped service lets go of. Otherwise the socket stays open over the restart.
        work.systemctl("stop", "feedgen.service", "feedgen.socket", quietly=True)
    work.systemctl("start", *listening)
    work.systemctl("restart", "feedgen.service")
    if not dry_run:
        click.echo("Installed. See how it is: systemctl status feedgen, feedgen doctor. Undo: feedgen uninstall")
    return 0


def uninstall(dry_run: bool, root: Path) -> int:
    """The command. Nothing that somebody may miss is removed."""
    work = Work(root, dry_run)
    ours = [name for name in (*SERVICES, *BACKUP_SERVICES) if work.path(UNITS / name).exists()]
    if not ours:
        click.echo("feedgen is no service here.")
        return 0
    # Timers and the socket first, so that nothing starts the services again.
    work.systemctl("disable", "--now", *sorted(ours, key=lambda name: name.endswith(".service")), quietly=True)
    for name in ours:
        work.remove(UNITS / name)
    work.remove(USER_FILE)
    work.systemctl("daemon-reload")
    kept = [str(work.path(place)) for place in (DATA, SETTINGS.parent) if work.path(place).exists()]
    click.echo(f"{'Would stay' if dry_run else 'Stays'}: the user {USER}{''.join(f', {place}' for place in kept)}.")
    if kept:
        click.echo(f"To remove these for good: sudo rm -r {' '.join(kept)}; sudo userdel {USER}")
    return 0


# --- what the units say


def units_folder() -> Path:
    """Beside this file in a wheel, or the checkout's own."""
    package = Path(feedgen.__file__).parent
    for folder in (package / "host" / "units", package.parent / "systemd"):
        if (folder / "feedgen.service").is_file():
            return folder
    raise FeedgenError("This installation has no units for systemd.", "Install feedgen again.")


def environment() -> list[Path]:
    """Where this program and its Python live: the command is in the first one's bin."""
    found = [Path(sys.prefix), Path(sys.base_prefix), Path(feedgen.__file__).parent.parent]
    if not (found[0] / "bin" / "feedgen").is_file():
        raise FeedgenError(
            f"There is no {found[0]}/bin/feedgen.", "Install feedgen with `uv tool install`, pipx, or in a venv."
        )
    return [place.resolve() if place != found[0] else place for place in found]


def units(places: list[Path], listen: str, backup: Path | None) -> dict[str, str]:
    """Each unit by name, as it should stand in /etc/systemd/system."""
    folder, texts = units_folder(), {}
    for name in SERVICES + (BACKUP_SERVICES if backup is not None else ()):
        text = (folder / name).read_text().replace(COMMAND, f"{quoted(places[0] / 'bin' / 'feedgen')}")
        if name == "feedgen.socket" and listen:
            text = text.replace(LISTEN, f"ListenStream={listen}")
        if name == "feedgen-backup.service":
            text = text.replace(BACKUPS, quoted(backup or Path(BACKUPS)))
        texts[name] = text.replace("ProtectHome=yes", protect_home(places, backup if "backup" in name else None))
    return texts


def protect_home(places: list[Path], backup: Path | None) -> str:
    """Nothing of /home, or nothing but these."""
    hidden = [place for place in places if any(place.is_relative_to(home) for home in HOMES)]
    # The outermost are enough.
    hidden = [place for place in hidden if not any(place != other and place.is_relative_to(other) for other in hidden)]
    lines = [f"BindReadOnlyPaths={quoted(place)}" for place in dict.fromkeys(hidden)]
    if backup is not None and any(backup.is_relative_to(home) for home in HOMES):
        lines.append(f"BindPaths={quoted(backup)}")
    return "\n".join(["ProtectHome=tmpfs", *lines]) if lines else "ProtectHome=yes"


def quoted(path: Path) -> str:
    """As systemd reads a path in a list; its % begins a specifier."""
    text = str(path)
    if any(not char.isprintable() or char in "\"'\\ " for char in text):
        raise FeedgenError(f"systemd's units can't have {text!r} in them.", "Use a path without spaces and quotes.")
    return text.replace("%", "%%")


def service_settings(config: Path | None) -> str:
    """What stands in /etc/feedgen: the same, but for the data folder, which is the only one that the service may write;
    so other commands that are given this file find it, too."""
    text = config.read_text() if config is not None else "# docs/settings.md lists what can stand here.\n"
    read_settings(Settings, config, env={}).get()
    try:
        return with_value(text, "store", "dir", f"/{DATA}/data")
    except ValueError as error:
        raise FeedgenError(
            f"can't set [store] dir in a copy of {config}: {error}", f'Write it there yourself: dir = "/{DATA}/data"'
        ) from None


def bind_of(config: Path | None, installed: Path) -> str:
    """[service] bind of the settings that will count; nothing when it is a port that systemd can't know."""
    file = config if config is not None else installed if installed.exists() else None
    settings = read_settings(Settings, file, env={}).get() if file is not None else Settings()
    bind = resolved(settings.service.bind, Tailscale()).removeprefix("unix:")
    return "" if bind.endswith(":0") else bind


# --- what is done


class Work:
    """Changes a system, here or below another root, or only says how it would."""

    def __init__(self, root: Path, dry_run: bool) -> None:
        self.root, self.dry_run = root, dry_run
        self.is_elsewhere = root != Path("/")
        if not dry_run and not self.is_elsewhere and os.geteuid() != 0:
            raise FeedgenError(
                "Only root may change the system's services.", f"Type: sudo {Path(sys.prefix, 'bin', 'feedgen')} ..."
            )

    def path(self, place: Path) -> Path:
        return self.root / place

    def keep(self, place: Path, text: str) -> None:
        """Keep a copy of the file that is there, if it differs."""
        path = self.path(place)
        if path.exists() and path.read_text() != text:
            self.write(place.with_name(f"{place.name}.before"), path.read_text())

    def write(self, place: Path, text: str) -> bool:
        """Whether it says something else than before."""
        path = self.path(place)
        if path.exists() and path.read_text() == text:
            return False
        click.echo(f"{'would write' if self.dry_run else 'writing'} {path}")
        if self.dry_run:
            return True
        with _spoken(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(f".{path.name}.new")
            draft.write_text(text)
            draft.chmod(0o644)
            os.replace(draft, path)
        return True

    def machine_code(self, cache: str) -> None:
        """What was compiled for this environment is what the service would compile: it need not do so again."""
        if self.is_elsewhere or self.dry_run or not cache or not Path(cache).is_dir():
            return
        target, user = self.path(CACHE), pwd.getpwnam(USER)
        with _spoken(target):
            shutil.copytree(cache, target, dirs_exist_ok=True)
            for folder, _, files in os.walk(target):
                for path in (Path(folder), *(Path(folder, name) for name in files)):
                    os.chown(path, user.pw_uid, user.pw_gid, follow_symlinks=False)

    def remove(self, place: Path) -> None:
        path = self.path(place)
        click.echo(f"{'would remove' if self.dry_run else 'removing'} {path}")
        if not self.dry_run:
            with _spoken(path):
                path.unlink(missing_ok=True)

    def folder_of_user(self, folder: Path) -> None:
        """Made for the service's user alone; one that exists is left as it is."""
        path = self.path(folder.relative_to("/"))
        if path.exists():
            return
        click.echo(f"{'would make' if self.dry_run else 'making'} {path}")
        if self.dry_run:
            return
        with _spoken(path):
            path.mkdir(parents=True, mode=0o700)
            if not self.is_elsewhere:
                user = pwd.getpwnam(USER)
                os.chown(path, user.pw_uid, user.pw_gid)

    def systemctl(self, verb: str, *words: str, quietly: bool = False) -> None:
        """Where systemd doesn't run, what only makes sense for one that runs is left out."""
        running = Path("/run/systemd/system").is_dir() and not self.is_elsewhere
        if running:
            self.run("systemctl", verb, *words, quietly=quietly)
        elif verb in ("enable", "disable"):
            self.run("systemctl", f"--root={self.root}", verb, *(w for w in words if w != "--now"), quietly=quietly)
        elif verb == "restart" and not self.dry_run:
            click.echo("systemd does not run here: the service starts with the computer.")

    def run(self, *command: str, quietly: bool = False) -> None:
        if self.dry_run:
            click.echo(f"would run {' '.join(command)}")
            return
        if shutil.which(command[0]) is None:
            raise FeedgenError(f"{command[0]} is missing.", "feedgen install needs systemd 252 or newer.")
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=SYSTEMCTL_S)
        if done.returncode != 0 and not quietly:
            said = (done.stderr.strip() or done.stdout.strip() or "it says nothing").splitlines()[-1][:300]
            raise FeedgenError(f"`{' '.join(command)}` failed: {said}", "Look at: journalctl -xe -n 50")


@contextlib.contextmanager
def _spoken(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FeedgenError(f"can't change {path}: {error.strerror}", "Look at its rights and at the disk.") from None
