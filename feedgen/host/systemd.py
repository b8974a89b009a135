"""The systemd protocol: readiness, status and watchdog messages to systemd, open sockets from it.

Spoken directly: one datagram a message (sd_notify), and numbers of open files (LISTEN_FDS). Outside of systemd it
does nothing. Written for systemd 252, where a service has to report a reload itself.
"""

from __future__ import annotations

import fcntl
import logging
import socket
import time
from collections.abc import Mapping, MutableMapping
from typing import Final

from feedgen.host.life import Life

FIRST_FD: Final = 3
MAX_FDS: Final = 64
EXTEND_US: Final = 30_000_000  # asked for again with every beat while loading
LOADING_S: Final = 3600.0  # a start that takes longer than this hangs
MAX_STATUS_CHARS: Final = 200
WATCHDOG_SHARE: Final = 3  # beats in one of systemd's periods

log = logging.getLogger(__name__)


class Notifier:
    """Sends to the socket that systemd named; without one, nothing happens. Never raises, never waits."""

    def __init__(self, address: str = "", watchdog_us: int = 0) -> None:
        self._address, self.watchdog_us = address, watchdog_us
        self._failed = False
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @classmethod
    def from_environment(cls, env: MutableMapping[str, str], pid: int) -> Notifier:
        """Takes what is meant for this process out of the environment, so that no child takes it for its own."""
        address = env.pop("NOTIFY_SOCKET", "")
        watchdog_us, watched = env.pop("WATCHDOG_USEC", ""), env.pop("WATCHDOG_PID", "")
        if address[:1] not in ("/", "@", ""):
            log.warning("NOTIFY_SOCKET is not a socket path; systemd gets no messages")
            address = ""
        ours = not watched or watched == str(pid)
        return cls(address, int(watchdog_us) if ours and watchdog_us.isdecimal() and watchdog_us.isascii() else 0)

    @property
    def is_heard(self) -> bool:
        return self._socket is not None

    def send(self, **fields: str | int) -> None:
        """One message. systemd reads a line a field, so a value must not have two."""
        if self._socket is None:
            return
        text = "\n".join(f"{name}={' '.join(str(value).split())[:MAX_STATUS_CHARS]}" for name, value in fields.items())
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        try:
            self._socket.sendto(text.encode(), address)
            self._failed = False
        except OSError as error:
            if not self._failed:
                log.warning("systemd can't be told anything: %s", error)
            self._failed = True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Unit:
    """Messages to systemd over the life of the process. `monotonic_s` is the kernel's clock."""

    def __init__(self, notifier: Notifier, life: Life) -> None:
        self._notifier, self._life = notifier, life
        self._from_s = time.monotonic()

    @property
    def beat_s(self) -> float | None:
        """How often systemd wants a sign of life, with room to spare."""
        return self._notifier.watchdog_us / 1e6 / WATCHDOG_SHARE if self._notifier.watchdog_us else None

    def ready(self, status: str) -> None:
        self._notifier.send(READY=1, STATUS=status)

    def beat(self, status: str) -> None:
        """Loading: more time. Running: a sign of life, unless a part gave none."""
        life = self._life
        if life.stopping:
            return
        if not life.ready:
            if time.monotonic() - self._from_s < LOADING_S:
                self._notifier.send(EXTEND_TIMEOUT_USEC=EXTEND_US, WATCHDOG=1, STATUS="opening the data folder")
        elif late := life.late():
            self._notifier.send(STATUS=f"no sign of life: {', '.join(late)}")
        else:
            self._notifier.send(WATCHDOG=1, STATUS=status)

    def reloading(self) -> None:
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._notifier.send(RELOADING=1, MONOTONIC_USEC=now_us, STATUS="reading the settings again")

    def stopping(self) -> None:
        self._notifier.send(STOPPING=1, STATUS="stopping")


def sockets_given(env: MutableMapping[str, str], pid: int) -> dict[str, list[str]]:
    """By name, the sockets that systemd listens on for us, as `fd://3`. Taken out of the environment."""
    listen_pid, count, names = (env.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    if listen_pid != str(pid) or not count.isdecimal() or not 0 < int(count) <= MAX_FDS:
        return {}
    all_names = names.split(":") if names else []
    found: dict[str, list[str]] = {}
    for i in range(int(count)):
        fd = FIRST_FD + i
        fcntl.fcntl(fd, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        found.setdefault(all_names[i] if i < len(all_names) else "", []).append(f"fd://{fd}")
    return found


def public_and_private(given: Mapping[str, list[str]]) -> tuple[list[str], list[str]]:
    """Sockets named `private` are; all others are public."""
    public = [bind for name, binds in given.items() if name != "private" for bind in binds]
    return public, list(given.get("private", ()))
