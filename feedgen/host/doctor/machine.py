"""The computer that we run on: Python, packages, disk, memory, open files, and what systemd says of our unit."""

from __future__ import annotations

import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from feedgen.host.doctor.finding import Finding, failure, ok, warning

GIB: Final = 1 << 30
MIB: Final = 1 << 20
OLDEST_PYTHON: Final = (3, 11)
# What a day of the whole network takes: 26M ratings, 31.9 bytes each (docs/measurements.md).
DAY_BYTES: Final = 26_000_000 * 32
LITTLE_DISK_BYTES: Final = 2 * GIB  # today's file, its log and its seal need about this much
LITTLE_MEMORY_BYTES: Final = GIB
ENOUGH_MEMORY_BYTES: Final = 6 * GIB  # below it, past days are read from the disk again and again
ENOUGH_FILES: Final = 4096  # sockets of readers, and two files a day
NETWORK_FILE_SYSTEMS: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "afs", "ceph", "fuse.sshfs", "fuse.rclone"}
)
SYNC_BYTES: Final = 4096
SYNCS: Final = 20
WRITE_BYTES: Final = 16 * MIB
ROOM_BYTES: Final = 16 * WRITE_BYTES  # a disk with less free is not written to for a measurement
SLOW_SYNC_S: Final = 0.1
TOO_SLOW_SYNC_S: Final = 1.0  # events wait for each commit
SLOW_BYTES_S: Final = 20 * MIB
UNIT: Final = "feedgen.service"
TIMERS: Final = ("feedgen-backup.timer", "feedgen-verify.timer")
SYSTEMCTL_S: Final = 10.0
MANY_RESTARTS: Final = 3


def check_python(version: tuple[int, ...] = sys.version_info[:3], bits: int = sys.maxsize.bit_length() + 1) -> Finding:
    named = f"{'.'.join(map(str, version))}, {bits} bits"
    if version < OLDEST_PYTHON or bits < 64:
        return failure("python", f"{named}: too old or too small", "Install Python 3.11 or newer for 64 bits.")
    return ok("python", named)


def check_packages(requirements: Sequence[str] | None = None) -> Finding:
    """Those that this installation says it needs."""
    if requirements is None:
        requirements = metadata.requires("feedgen") or ()
    requirements = [one for one in requirements if "extra ==" not in one]  # wanted by some, missed by nobody
    missing = []
    for requirement in requirements:
        name = re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0]
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return failure("packages", f"missing: {', '.join(missing)}", "Install feedgen again (scripts/run does).")
    return ok("packages", f"all {len(requirements)} are there")


def check_space(folder: Path, days: int) -> Finding:
    at = existing(folder)
    try:
        free = shutil.disk_usage(at).free
    except OSError as error:
        return failure("disk space", f"{at}: {error.strerror}", "Look at the disk: is it mounted?")
    return judge_space(free, bytes_in(folder), days)


def judge_space(free: int, used: int, days: int) -> Finding:
    needed = days * DAY_BYTES
    said = f"{free / GIB:.0f} GiB free, {used / GIB:.1f} GiB in use; {days} days take about {needed / GIB:.0f} GiB"
    if free < LITTLE_DISK_BYTES:
        return failure(
            "disk space",
            f"{said}. Soon nothing more is kept",
            "Free some room, move the data folder, or lower [store] retention_days.",
        )
    if free + used < needed:
        return warning(
            "disk space", f"{said}: not enough for all", "Use a larger disk, or lower [store] retention_days in time."
        )
    return ok("disk space", said)


def check_file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> Finding:
    """SQLite's write-ahead log and mapped sidecars need memory shared with the file system."""
    try:
        rows = [line.split() for line in mounts.read_text().splitlines()]
        kinds = {Path(row[4].replace("\\040", " ")): row[row.index("-") + 1] for row in rows}
    except (OSError, ValueError, IndexError):
        return warning("file system", "the system does not say what is mounted", "Look with: findmnt")
    at = existing(folder).resolve()
    kind = next((kinds[place] for place in (at, *at.parents) if place in kinds), "unknown")
    if kind in NETWORK_FILE_SYSTEMS:
        return failure(
            "file system",
            f"{at} is on {kind}, a network file system",
            "Move the data folder to a disk of this computer.",
        )
    return ok("file system", kind)


def check_speed(folder: Path, room_bytes: int = ROOM_BYTES) -> Finding:
    """Commits of one page each, then one large file."""
    path = existing(folder) / f".feedgen-doctor-{os.getpid()}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        return failure("disk speed", f"can't write in {path.parent}: {error.strerror}", "Look at its owner and rights.")
    try:
        path.unlink()  # whatever happens, nothing is left behind
        free = shutil.disk_usage(path.parent).free
        if free < room_bytes:
            return warning("disk speed", f"not tried: only {free // MIB} MiB are free", "Make room first.")
        syncs_s = []
        for _ in range(SYNCS):
            began_s = time.perf_counter()
            os.write(fd, b"\1" * SYNC_BYTES)
            os.fdatasync(fd)
            syncs_s.append(time.perf_counter() - began_s)
        began_s = time.perf_counter()
        for _ in range(WRITE_BYTES // MIB):
            os.write(fd, b"\1" * MIB)
        os.fdatasync(fd)
        return judge_speed(statistics.median(syncs_s), WRITE_BYTES / (time.perf_counter() - began_s))
    except OSError as error:
        return failure("disk speed", f"can't write in {path.parent}: {error.strerror}", "Look at the disk's health.")
    finally:
        os.close(fd)


def judge_speed(sync_s: float, bytes_s: float) -> Finding:
    said = f"a commit takes {sync_s * 1000:.1f} ms, {bytes_s / MIB:.0f} MiB/s are written"
    if sync_s > TOO_SLOW_SYNC_S:
        return failure("disk speed", f"{said}: events have to wait", "Use an SSD, or look at the disk's health.")
    if sync_s > SLOW_SYNC_S or bytes_s < SLOW_BYTES_S:
        return warning("disk speed", f"{said}: slow", "An SSD is better; is something else writing?")
    return ok("disk speed", said)


def check_memory(proc: Path = Path("/proc")) -> Finding:
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if rest}
        total, available = kib["MemTotal"] * 1024, kib["MemAvailable"] * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return warning("memory", "the system does not say how much there is", "Look with: free -h")
    said = f"{available / GIB:.1f} of {total / GIB:.1f} GiB are available"
    if available < LITTLE_MEMORY_BYTES:
        return failure("memory", f"{said}: the service may be ended for want of it", "End something else, or add some.")
    if total < ENOUGH_MEMORY_BYTES:
        return warning("memory", f"{said}: enough for some weeks, not for 90 days", "Lower [store] retention_days.")
    return ok("memory", said)


def check_files(pid: int | None = None, proc: Path = Path("/proc")) -> Finding:
    """How many files the service (or else a process like this one) may have open."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    whose = "a process started here"
    if pid is not None:
        try:
            line = next(x for x in (proc / str(pid) / "limits").read_text().splitlines() if x.startswith("Max open"))
            word = line.split()[3]
            soft, whose = (1 << 62 if word == "unlimited" else int(word)), "the service"
        except (OSError, StopIteration, ValueError, IndexError):
            pass  # another user's process: what we may ourselves is the best guess
    said = f"{whose} may have {'any number of' if soft >= 1 << 30 or soft < 0 else soft} files open"
    if 0 <= soft < 1024:
        return failure(
            "open files", f"{said}: too few for its readers", "LimitNOFILE=65536 in the unit; ulimit -n 65536."
        )
    if 0 <= soft < ENOUGH_FILES:
        return warning("open files", f"{said}", "65536 is better: LimitNOFILE= in the unit; ulimit -n 65536.")
    return ok("open files", said)


def check_systemd(systemctl: str = "systemctl") -> Iterator[Finding]:
    """The service and its timers. Not being a service is allowed, and said."""
    shown = show_unit(systemctl, UNIT)
    if shown is None or shown.get("LoadState") == "not-found":
        why = "is not running here" if shown is None else "does not know feedgen.service"
        yield ok("systemd", f"systemd {why}: feedgen ends when you log out, and nobody starts it again")
        return
    yield _judge_unit(shown)
    for timer in TIMERS:
        about = show_unit(systemctl, timer) or {}
        if about.get("LoadState") == "not-found" or not about:
            more = " --backup DIR" if "backup" in timer else ""
            yield warning("systemd", f"{timer} is not installed", f"Type: sudo feedgen install{more}")
        elif about.get("ActiveState") != "active":
            yield warning("systemd", f"{timer} is not active", f"Type: sudo systemctl enable --now {timer}")
        else:
            last = show_unit(systemctl, timer.replace(".timer", ".service")) or {}
            if last.get("Result", "success") not in ("success", ""):
                job = timer.removesuffix(".timer")
                yield failure("systemd", f"{job} failed the last time", f"Look at: journalctl -u {job} -n 50")
            else:
                yield ok("systemd", f"{timer} is active")


def _judge_unit(shown: Mapping[str, str]) -> Finding:
    state, restarts = shown.get("ActiveState", ""), shown.get("NRestarts", "0")
    said = f"feedgen.service is {state} ({shown.get('SubState', '')}); {shown.get('StatusText') or 'it says nothing'}"
    if state == "failed" or shown.get("Result", "success") not in ("success", ""):
        return failure(
            "systemd",
            f"feedgen.service is {state}, its last result: {shown.get('Result')}",
            "Look at: journalctl -u feedgen -n 50",
        )
    if state not in ("active", "activating", "reloading"):
        return failure("systemd", said, "Type: sudo systemctl start feedgen")
    if shown.get("UnitFileState") not in ("enabled", "static", "linked", "enabled-runtime"):
        return warning(
            "systemd",
            f"{said}; it is not started when the computer is",
            "Type: sudo systemctl enable feedgen.socket feedgen.service",
        )
    if restarts.isdecimal() and int(restarts) > MANY_RESTARTS:
        return warning("systemd", f"{said}; restarted {restarts} times", "Look at: journalctl -u feedgen -p warning")
    return ok("systemd", said)


def show_unit(systemctl: str, unit: str) -> dict[str, str] | None:
    """What `systemctl show` says of it; None where systemd does not run."""
    try:
        done = subprocess.run(
            [systemctl, "show", "--no-pager", unit],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SYSTEMCTL_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (line.partition("=") for line in done.stdout.splitlines())
    found = {name: value for name, equals, value in lines if equals}
    return found if done.returncode == 0 and found else None


def is_closed(folder: Path) -> bool:
    """Whether it is another user's, so that nothing can be said of it."""
    try:
        at = existing(folder)
        return at == folder.absolute() and not os.access(at, os.R_OK | os.W_OK | os.X_OK)
    except PermissionError:
        return True


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    at = folder.absolute()
    while not at.exists() and at != at.parent:
        at = at.parent
    return at


def bytes_in(folder: Path) -> int:
    """What the folder takes on the disk; files that went meanwhile count nothing."""
    total = 0
    for path in folder.rglob("*") if folder.is_dir() else ():
        try:
            total += path.lstat().st_blocks * 512
        except OSError:
            continue
    return total
