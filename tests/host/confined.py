"""Starts a program under the kernel's restrictions that a unit asks for, where no systemd runs to do it. Needs root.

    python tests/host/confined.py UNIT WRITABLE_FOLDER COMMAND...

What it does not do, because systemd's own machinery is needed: PrivateUsers=, cgroups (DevicePolicy=), KeyringMode=.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

USER: Final = 65534
LIBC: Final = ctypes.CDLL(None, use_errno=True)
HOMES: Final = ("/home", "/root", "/run/user")
DEVICES: Final = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}

MS_RDONLY, MS_NOSUID, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 32, 4096, 16384, 1 << 18
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x4000000, 0x8000000
NAMESPACES: Final = 0x7E020080  # every CLONE_NEW flag
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 24, 38, 47, 4
ALLOW: Final = 0x7FFF0000
EQUAL, MASKED_EQUAL = 4, 7


def settings_of(unit: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def is_on(settings: dict[str, list[str]], name: str) -> bool:
    return settings.get(name, ["no"])[-1] not in ("no", "false", "")


# --- what is seen of the files


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    if LIBC.mount(source.encode(), target.encode(), kind.encode() or None, flags, data.encode() or None) != 0:
        raise OSError(ctypes.get_errno(), f"mount {source} {target}")


def hide_files(settings: dict[str, list[str]], writable: Path, needed: list[str]) -> None:
    """New namespaces; `needed` is read-only where it would be hidden, `writable` is where it was."""
    if LIBC.unshare(CLONE_NEWNS | CLONE_NEWUTS | (CLONE_NEWIPC if is_on(settings, "PrivateIPC") else 0)) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    mount("tmpfs", "/mnt", "tmpfs")
    hidden = [home for home in HOMES if is_on(settings, "ProtectHome") and os.path.isdir(home)]
    covered = hidden + (["/tmp", "/var/tmp"] if is_on(settings, "PrivateTmp") else [])
    kept = {f"/mnt/{i}": place for i, place in enumerate([str(writable), *needed]) if place.startswith(tuple(covered))}
    for staged, place in kept.items():
        os.mkdir(staged)
        mount(place, staged, flags=MS_BIND | MS_REC)
    for place in covered:
        mount("tmpfs", place, "tmpfs", MS_NOSUID, "mode=1777" if "tmp" in place else "mode=0755")
    if is_on(settings, "PrivateDevices"):
        few_devices()
    for staged, place in kept.items():
        os.makedirs(place, exist_ok=True)
        mount(staged, place, flags=MS_BIND | MS_REC)
    mount(str(writable), str(writable), flags=MS_BIND)
    LIBC.umount2(b"/mnt", 2)
    if settings.get("ProtectProc") == ["invisible"]:
        mount("proc", "/proc", "proc", 0, "hidepid=invisible")
    if is_on(settings, "ProtectKernelTunables"):
        mount("/proc/sys", "/proc/sys", flags=MS_BIND)
        mount("none", "/proc/sys", flags=MS_BIND | MS_REMOUNT | MS_RDONLY)
    if settings.get("ProtectSystem") == ["strict"]:
        free = {str(writable), "/tmp", "/var/tmp", "/dev", "/proc"}
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            place = line.split()[4]
            if place not in free and not place.startswith(("/dev/", "/proc/")):
                mount("none", place, flags=MS_BIND | MS_REMOUNT | MS_RDONLY)


def few_devices() -> None:
    mount("tmpfs", "/dev", "tmpfs", MS_NOSUID, "mode=0755")
    for name, number in DEVICES.items():
        os.mknod(f"/dev/{name}", 0o666 | stat.S_IFCHR, os.makedev(*number))
        os.chmod(f"/dev/{name}", 0o666)
    os.mkdir("/dev/shm")
    mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID, "mode=1777")


# --- what it may do


def drop_privileges(settings: dict[str, list[str]]) -> None:
    assert settings["CapabilityBoundingSet"] == settings["AmbientCapabilities"] == [""]
    for capability in range(64):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    if is_on(settings, "NoNewPrivileges") and LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")


def system_calls(name: str) -> Iterator[str]:
    """All that systemd means by a group."""
    if not name.startswith("@"):
        yield name
        return
    done = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines()[1:]:
        word = line.strip()
        if word and not word.startswith("#"):
            yield from system_calls(word)


def allowed_calls(settings: dict[str, list[str]]) -> set[str]:
    allowed: set[str] = set()
    for line in settings["SystemCallFilter"]:
        names = {call for word in line.removeprefix("~").split() for call in system_calls(word)}
        allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


class Filter:
    """libseccomp, which every Debian with systemd has."""

    def __init__(self) -> None:
        self.lib = ctypes.CDLL("libseccomp.so.2")
        self.lib.seccomp_init.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.lib.seccomp_init(ctypes.c_uint32(0x00050000 | errno.EPERM)))

    def rule(self, action: int, call: str, *compare: Compare) -> None:
        number = self.lib.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            return  # of another architecture
        array = (Compare * len(compare))(*compare)
        failed = self.lib.seccomp_rule_add_array(self.context, ctypes.c_uint32(action), number, len(compare), array)
        if failed:
            raise OSError(-failed, f"seccomp rule for {call}")

    def load(self) -> None:
        if failed := self.lib.seccomp_load(self.context):
            raise OSError(-failed, "seccomp")


def make_filter(settings: dict[str, list[str]]) -> Filter:
    """Whatever is not allowed fails with EPERM; some calls are allowed with harmless arguments only."""
    made = Filter()
    special: dict[str, list[Compare]] = {}
    families = settings["RestrictAddressFamilies"][-1].split()
    special["socket"] = [Compare(0, EQUAL, getattr(socket, family), 0) for family in families]
    if is_on(settings, "LockPersonality"):
        special["personality"] = [Compare(0, EQUAL, 0, 0), Compare(0, EQUAL, 0xFFFFFFFF, 0)]
    if is_on(settings, "RestrictNamespaces"):
        special["clone"] = [Compare(0, MASKED_EQUAL, NAMESPACES, 0)]
        special["unshare"] = special["setns"] = []
    if is_on(settings, "RestrictSUIDSGID"):
        for call, place in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1), ("mkdirat", 2), ("creat", 1)):
            special[call] = [Compare(place, MASKED_EQUAL, 0o6000, 0)]
    for call in sorted(allowed_calls(settings) - special.keys() - {"clone3"}):
        made.rule(ALLOW, call)
    for call, compares in special.items():
        for compare in compares:
            made.rule(ALLOW, call, compare)
    # Its flags can't be looked at: the C library then falls back to clone.
    made.rule(0x00050000 | errno.ENOSYS, "clone3")
    return made


def main() -> None:
    unit, writable, *command = sys.argv[1:]
    settings = settings_of(Path(unit))
    filter_ = make_filter(settings)
    here = [str(Path(__file__).parents[2]), sys.prefix, sys.base_prefix]
    hide_files(settings, Path(writable), [place for i, place in enumerate(here) if place not in here[:i]])
    os.chdir(writable)
    drop_privileges(settings)
    filter_.load()
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
