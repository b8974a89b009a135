"""Three hosts in network namespaces of this test: a client, the VPS and the home, as docs/home.md builds them.

    client 203.0.113.10, .66 ──public link── 203.0.113.1 VPS 100.64.0.2 ══tunnel══ 100.64.0.7 home

The client has no way to the home. The tunnel is a pair of TUN devices with a process between them (`tunnel.py`), as
Tailscale's is, which delays, loses or cuts packets when told to.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

CLONE_NEWNET: Final = 0x40000000
LIBC: Final = ctypes.CDLL(None, use_errno=True)

APPVIEW, STRANGER, VPS_PUBLIC = "203.0.113.10", "203.0.113.66", "203.0.113.1"
VPS, HOME = "100.64.0.2", "100.64.0.7"
_counter = itertools.count()


def enter(namespace: Path | str) -> None:
    """Moves the calling thread, and what it starts from now on, into a network namespace."""
    fd = os.open(namespace, os.O_RDONLY)
    try:
        if LIBC.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")
    finally:
        os.close(fd)


def ip(*words: str, host: str = "") -> None:
    command = ["ip", *(["-n", host] if host else []), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")


class Host:
    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/netns") / name
        ip("netns", "add", name)
        ip("link", "set", "lo", "up", host=name)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """For this thread: sockets and processes made meanwhile are on that host."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        enter(self.path)
        try:
            yield
        finally:
            LIBC.setns(here, CLONE_NEWNET)
            os.close(here)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            ip("netns", "del", self.name)


class Tunnel:
    """What lies between the VPS and the home. `say(latency_s=0.1, loss=0.02, is_up=True)` changes it."""

    def __init__(self, vps: Host, home: Host) -> None:
        command = [sys.executable, str(Path(__file__).with_name("tunnel.py"))]
        self._process = subprocess.Popen(
            [*command, str(vps.path), str(home.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.say()
        for host, own, other in ((vps, VPS, HOME), (home, HOME, VPS)):
            ip("addr", "add", own, "peer", other, "dev", "tunnel0", host=host.name)
            ip("link", "set", "tunnel0", "mtu", "1280", "up", host=host.name)

    def say(self, *, latency_s: float = 0.0, loss: float = 0.0, is_up: bool = True) -> None:
        """Latency is one way. Returns once it holds."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"latency_s": latency_s, "loss": loss, "is_up": is_up}) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"

    def stop(self) -> None:
        self._process.kill()
        self._process.communicate()


class Hosts:
    def __init__(self) -> None:
        prefix = f"feedgen-{os.getpid()}-{next(_counter)}"
        self._hosts: list[Host] = []
        self.tunnel: Tunnel | None = None
        try:
            self.client, self.vps, self.home = (self._add(f"{prefix}-{name}") for name in ("client", "vps", "home"))
            ip(
                "link",
                "add",
                "public0",
                "netns",
                self.vps.name,
                "type",
                "veth",
                "peer",
                "public0",
                "netns",
                self.client.name,
            )
            for host, addresses in ((self.vps, [VPS_PUBLIC]), (self.client, [APPVIEW, STRANGER])):
                for address in addresses:
                    ip("addr", "add", f"{address}/24", "dev", "public0", host=host.name)
                ip("link", "set", "public0", "up", host=host.name)
            self.tunnel = Tunnel(self.vps, self.home)
        except BaseException:
            self.remove()
            raise

    def _add(self, name: str) -> Host:
        self._hosts.append(Host(name))
        return self._hosts[-1]

    def remove(self) -> None:
        if self.tunnel is not None:
            self.tunnel.stop()
        for host in self._hosts:
            host.remove()


def why_not() -> str:
    """Empty if this machine lets us make hosts, else what is missing."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not os.path.exists("/dev/net/tun"):
        return "there is no /dev/net/tun"
    try:
        Hosts().remove()
    except OSError as error:
        return str(error)
    return ""
