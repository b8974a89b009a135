"""The service works under the restrictions of its unit, and the restrictions are there: each is tried to be broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from feedgen.simnet.process import SimnetProcess
from tests.process import SERVICE, Feedgen

HERE = Path(__file__).parent
UNIT = HERE.parents[1] / "systemd" / "feedgen.service"
USER = 65534
COMPILING_S = 400.0  # where nothing was compiled before

pytestmark = [
    pytest.mark.needs("systemd-analyze"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces for another user"),
]

PROBES = r"""
import ctypes, json, os, resource, socket
libc = ctypes.CDLL(None, use_errno=True)

def fails(number, *args):
    return libc.syscall(number, *args) == -1 and os.strerror(ctypes.get_errno())

def refused(what):
    try:
        what()
    except OSError as error:
        return error.strerror
    return False

me = os.getpid()
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
open("scratch", "w").close()
print(json.dumps({
    "NoNewPrivileges": status["NoNewPrivs"].strip() == "1",
    "CapabilityBoundingSet": int(status["CapBnd"], 16) == int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0,
    "SystemCallFilter": status["Seccomp"].strip() == "2" and fails(155, b"/", b"/"),  # pivot_root
    "RestrictAddressFamilies": refused(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "RestrictNamespaces": fails(272, 0x10000000) and fails(56, 0x10000000 | 17, 0, 0, 0, 0),  # unshare, clone
    "RestrictRealtime": refused(lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))),
    "RestrictSUIDSGID": refused(lambda: os.chmod("scratch", 0o4755)),
    "LockPersonality": fails(135, 0x0040000),  # ADDR_NO_RANDOMIZE
    "ProtectClock": fails(227, 0, 0),  # clock_settime
    "ProtectHostname": fails(170, b"x", 1),
    "ProtectKernelModules": fails(175, 0, 0, b""),  # init_module
    "ProtectKernelLogs": fails(103, 3, 0, 0) and not os.path.exists("/dev/kmsg"),  # syslog
    "ProtectKernelTunables": refused(lambda: open("/proc/sys/kernel/domainname", "w")),
    "ProtectSystem": all(
        refused(lambda: open(place, "w")) for place in ("/etc/x", "/usr/x", "/var/lib/x", "/opt/x", "/srv/x")
    ),
    "ProtectHome": all(not os.path.isdir(f"/root/{n}") for n in (".ssh", ".cache")) and os.listdir("/home") == [],
    "ProtectControlGroups": not os.access("/sys/fs/cgroup", os.W_OK),
    "PrivateTmp": not any(name.startswith("outside") for name in os.listdir("/tmp")),
    "PrivateDevices": set(os.listdir("/dev")) <= {"null", "zero", "full", "random", "urandom", "tty", "shm"},
    "ProtectProc": not os.path.exists("/proc/1/status"),
    "may write": os.path.exists("scratch"),
    "may listen": bool(socket.create_server(("127.0.0.1", 0))),
}))
"""


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, str(HERE / "confined.py"), str(UNIT), str(folder), *words]


def give_away(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, USER, USER, follow_symlinks=False)


def test_each_restriction_is_there(tmp_path: Path) -> None:
    give_away(tmp_path)
    with tempfile.NamedTemporaryFile(prefix="outside", dir="/tmp"):
        probe = command(tmp_path, sys.executable, "-c", PROBES)
        done = subprocess.run(probe, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 21 and [name for name, holds in found.items() if not holds] == []


class Confined(Feedgen):
    def _launch(self, command_: list[str], folder: Path) -> subprocess.Popen[str]:
        env = os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache"), "HOME": str(folder)}
        words = command(folder, *command_)
        return subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=folder, env=env)


def test_the_service_works_under_them(tmp_path: Path) -> None:
    """From an empty folder: it listens, answers somebody by name, seals the day that is over, and stops."""
    compiled = os.environ.get("NUMBA_CACHE_DIR", "")
    if compiled and Path(compiled).is_dir():
        shutil.copytree(compiled, tmp_path / "cache")
    give_away(tmp_path)
    with SimnetProcess("--people", "80", "--days", "1.5", "--wait", "--rate", "5") as network:
        given: dict[str, Any] = {
            "jetstream__urls": ",".join(network.urls.jetstream),
            "identity__plc_url": network.urls.plc,
        }
        days = tmp_path / "data" / "days"
        with Confined(tmp_path, **given) as service:
            service.said("answering", COMPILING_S)
            service.wait_for(lambda: service.health()["fresh"], "the network", COMPILING_S)
            token = network.token(1, SERVICE)
            service.wait_for(lambda: service.page(token, limit=10).json()["feed"], "a page")
            status = Path(f"/proc/{service.process.pid}/status").read_text()
            assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status and f"Uid:\t{USER}" in status
            service.wait_for(lambda: [*days.glob("????-??-??.db")], "the day that is over to be sealed")
            code, _ = service.stop()
            assert code == 0, service.log[-5:]
            assert [line for line in service.log if line.get("level") in ("error", "critical")] == []
