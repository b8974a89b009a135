"""Does what systemd does for a unit: a socket that listens, another that hears, and a process that is given both."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.process import Feedgen


class NotifySocket:
    """Every message that came, as fields."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.messages: list[dict[str, str]] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self._socket.settimeout(0.2)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def _hear(self) -> None:
        while not self._ended.is_set():
            try:
                data = self._socket.recv(4096)
            except TimeoutError:
                continue
            self.messages.append(dict(line.split("=", 1) for line in data.decode().splitlines()))

    def close(self) -> None:
        self._ended.set()
        self._thread.join(5)
        self._socket.close()

    def __enter__(self) -> NotifySocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def heard(self, field: str) -> list[str]:
        return [message[field] for message in list(self.messages) if field in message]


def public_socket() -> socket.socket:
    """What the socket unit holds, on any free port."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(1024)
    return sock


class Activated(Feedgen):
    """A process that is given `public` as its file 3 and told where to notify."""

    def __init__(self, folder: Path, public: socket.socket, notify: str = "", watchdog_us: int = 0, **settings: Any):
        self._public, self._notify, self._watchdog_us = public, notify, watchdog_us
        super().__init__(folder, **settings)

    def _launch(self, command: list[str], folder: Path) -> subprocess.Popen[str]:
        env = os.environ | {"LISTEN_FDS": "1", "LISTEN_FDNAMES": "public", "NOTIFY_SOCKET": self._notify}
        if self._watchdog_us:
            env["WATCHDOG_USEC"] = str(self._watchdog_us)
        fd = self._public.fileno()
        # The number of the process is only known once it is there.
        script = f'export LISTEN_PID=$$ WATCHDOG_PID=$$; exec "$@" 3<&{fd}'
        return subprocess.Popen(
            ["bash", "-c", script, "bash", *command],
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=env,
            pass_fds=[fd],
        )

    @property
    def url(self) -> str:
        host, port = self._public.getsockname()
        return f"http://{host}:{port}"
