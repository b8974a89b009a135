"""A `feedgen run` of its own process, as systemd or a person would start it, for tests that look at it from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from feedgen.simnet.process import SimnetProcess

SERVICE = "did:web:feed.example.com"
PUBLISHER = "did:plc:publisheraaaaaaaaaaaaaaa"
METHOD = "app.bsky.feed.getFeedSkeleton"
PATIENCE_S = 90.0


def of_network(network: SimnetProcess) -> dict[str, Any]:
    """Settings that listen to this made-up network from its beginning."""
    return {
        "jetstream__urls": ",".join(network.urls.jetstream),
        "jetstream__start": "oldest",
        "identity__plc_url": network.urls.plc,
    }


class Feedgen:
    """Starts at once; `log` has every line of stderr, decoded."""

    def __init__(self, folder: Path, *, words: Sequence[str] = ("run",), **settings: object) -> None:
        """`words` is the command and its options."""
        given = {
            "store.dir": folder / "data",
            "service.hostname": "feed.example.com",
            "service.publisher_did": PUBLISHER,
            "service.bind": "127.0.0.1:0",
            "log.format": "json",
            "labels.enabled": "false",
        } | {name.replace("__", "."): value for name, value in settings.items()}
        command = [sys.executable, "-m", "feedgen", *words]
        for name, value in given.items():
            command += ["--set", f"{name}={value}"]
        self.log: list[dict[str, Any]] = []
        self.started_s = time.monotonic()
        self.process = self._launch(command, folder)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _launch(self, command: list[str], folder: Path) -> subprocess.Popen[str]:
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            try:
                self.log.append(json.loads(line))
            except ValueError:
                self.log.append({"event": line.rstrip()})

    def __enter__(self) -> Feedgen:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(5)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def said(self, event: str, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Waits for a line with this event."""

        def find() -> dict[str, Any] | None:
            return next((line for line in list(self.log) if event in str(line.get("event"))), None)

        found = self.wait_for(find, f"the log line {event!r}", patience_s)
        assert isinstance(found, dict)
        return found

    def wait_for(self, look: Any, what: str, patience_s: float = PATIENCE_S) -> Any:
        deadline_s = time.monotonic() + patience_s
        while time.monotonic() < deadline_s:
            if found := look():
                return found
            if self.process.poll() is not None and not (found := look()):
                raise AssertionError(f"ended with {self.process.returncode} before {what}: {self.log[-5:]}")
            time.sleep(0.05)
        raise AssertionError(f"waited {patience_s:.0f} s for {what}: {self.log[-5:]}")

    @property
    def url(self) -> str:
        return f"http://{self.said('answering')['bind']}"

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"{self.url}/xrpc/_health").json()
        return found

    def caught_up(self, at_us: int) -> None:
        """Waits until everything that was witnessed until then is in the arrays."""

        def look() -> bool:
            behind_s = self.health()["jetstream"]["behind_s"]
            return behind_s is not None and time.time() - behind_s >= at_us / 1e6 - 0.1  # it is told to a tenth

        self.wait_for(look, "the past to be in")

    def page(self, token: str | None = None, feed: str = "for-you", **query: object) -> httpx.Response:
        uri = f"at://{PUBLISHER}/app.bsky.feed.generator/{feed}"
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        params: dict[str, Any] = {"feed": uri, **query}
        return httpx.get(f"{self.url}/xrpc/{METHOD}", params=params, headers=headers, timeout=10)

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """(exit code, seconds until it was gone)."""
        began_s = time.monotonic()
        os.kill(self.process.pid, number)
        code = self.process.wait(30)
        return code, time.monotonic() - began_s
