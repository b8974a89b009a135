"""The minutes before the first start: both addresses, the log and the terminal tell how far the compiler is."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest

from feedgen import starting
from feedgen.core.settings import Settings

HALF_DONE = "1 of 2 functions"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Stage:
    """A cache in which one of two functions is compiled, and a child process of the test's own as compiler."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._monkeypatch = monkeypatch
        self.ports = [free_port(), free_port()]
        service = msgspec.structs.replace(
            Settings().service, bind=f"127.0.0.1:{self.ports[0]}", private_bind=f"127.0.0.1:{self.ports[1]}"
        )
        self.settings = msgspec.structs.replace(Settings(), service=service)
        self.stop = folder / "stop"
        monkeypatch.setattr(starting, "is_warm", lambda demo: False)
        monkeypatch.setattr(starting, "files", lambda demo: [])
        monkeypatch.setattr("feedgen.core.warm.compiled", lambda paths: (1, 2))

    def compiler(self, code: str) -> None:
        async def started(demo: bool) -> asyncio.subprocess.Process:
            pipe = asyncio.subprocess.PIPE
            return await asyncio.create_subprocess_exec(
                sys.executable, "-c", code, stdout=pipe, stderr=asyncio.subprocess.STDOUT, start_new_session=True
            )

        self._monkeypatch.setattr(starting, "_warming", started)

    def waits(self) -> None:
        """A compiler that ends when the test says so."""
        code = f"import os, time\nwhile not os.path.exists({str(self.stop)!r}): time.sleep(0.02)"
        self.compiler(code)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Stage]:
    yield Stage(monkeypatch, tmp_path)


def meanwhile(act: Callable[[], None]) -> threading.Thread:
    """In a thread, because signals reach the main thread."""
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def answered(port: int, path: str, **headers: str) -> httpx.Response:
    deadline_s = time.monotonic() + 30
    while True:
        try:
            return httpx.get(f"http://127.0.0.1:{port}{path}", headers=headers, trust_env=False)
        except httpx.TransportError:
            assert time.monotonic() < deadline_s, "never answered"
            time.sleep(0.02)


def test_both_addresses_tell_how_far_it_is(stage: Stage) -> None:
    stage.waits()
    found: dict[str, httpx.Response] = {}

    def look() -> None:
        for port, where in zip(stage.ports, ("public", "private"), strict=True):
            found[where] = answered(port, "/", accept="text/html,*/*")
        found["xrpc"] = answered(stage.ports[0], "/xrpc/app.bsky.feed.getFeedSkeleton", accept="text/html")
        found["livez"] = answered(stage.ports[1], "/livez")
        found["readyz"] = answered(stage.ports[1], "/readyz")
        found["head"] = httpx.head(f"http://127.0.0.1:{stage.ports[0]}/", trust_env=False)
        stage.stop.touch()

    looking = meanwhile(look)
    assert starting.compile_first(stage.settings)
    looking.join(30)
    for where in ("public", "private"):
        page = found[where]
        assert page.status_code == 503 and HALF_DONE in page.text and 'value="50"' in page.text
        assert 'http-equiv="refresh"' in page.text and page.headers["retry-after"] == "3"
        assert page.headers["cache-control"] == "no-store"
    assert found["xrpc"].status_code == 503
    assert found["xrpc"].json() == {"error": "NotEnoughResources", "message": f"Starting: compiling, {HALF_DONE}"}
    assert found["livez"].status_code == 200
    assert found["readyz"].status_code == 503
    assert found["head"].status_code == 503 and not found["head"].content
    for port in stage.ports:  # the service can have them
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", port))


def test_a_terminal_gets_a_bar(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.compiler("")
    terminal = Terminal()
    assert starting.compile_first(stage.settings, stream=terminal)
    assert f"compiling [############------------] {HALF_DONE}" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_the_compiler(stage: Stage, tmp_path: Path, number: int) -> None:
    marked = tmp_path / "pid"
    stage.compiler(f"import os, time; open({str(marked)!r}, 'w').write(str(os.getpid())); time.sleep(300)")

    def send() -> None:
        while not (marked.exists() and marked.read_text()):
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    sending = meanwhile(send)
    assert not starting.compile_first(stage.settings)
    sending.join(30)
    with pytest.raises(ProcessLookupError):
        os.kill(int(marked.read_text()), 0)


def test_a_compiler_that_fails_does_not_stop_the_start(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.compiler("raise SystemExit('no room on the disk')")
    assert starting.compile_first(stage.settings)
    assert "no room on the disk" in caplog.text


def test_nothing_is_opened_when_all_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "is_warm", lambda demo: True)
    monkeypatch.setattr(starting, "_compile", None)  # calling it would raise
    assert starting.compile_first(Settings(), demo=True)
