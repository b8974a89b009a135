"""A command in a real terminal, and somebody who answers its questions."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

PATIENCE_S = 120.0


class Terminal:
    """`said` is all that was shown."""

    def __init__(self, folder: Path, *words: str, env: dict[str, str] | None = None) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "feedgen", *words],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=os.environ | (env or {}),
            start_new_session=True,
        )
        os.close(theirs)
        self.said = ""
        self._read_to = 0

    def answer(self, question: str, text: str) -> None:
        """Waits for the question, which comes after what was answered last, and types a line."""
        deadline_s = time.monotonic() + PATIENCE_S
        while (at := self.said.find(question, self._read_to)) < 0:
            assert self._read(deadline_s), f"ended before {question!r}: {self.said}"
        self._read_to = at + len(question)
        os.write(self._ours, f"{text}\n".encode())

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.write(self._ours, b"\x03")
        os.kill(self.process.pid, 2)

    def ended(self) -> int:
        """The exit code, when it has ended by itself."""
        deadline_s = time.monotonic() + PATIENCE_S
        while self._read(deadline_s):
            pass
        return self.process.wait(10)

    def ended_by_interrupt(self) -> int:
        """The exit code after Ctrl-C. Just before a line is waited for, it is noted and the wait goes on: CPython looks
        for it, and then waits. Whoever sees nothing happen presses it again."""
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            self.interrupt()
            while self._ready(5.0):
                if not self._read(deadline_s):
                    return self.process.wait(10)
        raise AssertionError(f"waited {PATIENCE_S:.0f} s: {self.said}")

    def _ready(self, patience_s: float) -> bool:
        return bool(select.select([self._ours], [], [], patience_s)[0])

    def _read(self, deadline_s: float) -> bool:
        """False when there is nothing more to read."""
        ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline_s - time.monotonic()))
        assert ready, f"waited {PATIENCE_S:.0f} s: {self.said}"
        try:
            data = os.read(self._ours, 4096)
        except OSError:  # the other end is closed
            return False
        self.said += data.decode(errors="replace")
        return bool(data)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.process.kill()
        self.process.wait()
        os.close(self._ours)
