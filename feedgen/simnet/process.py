"""A simnet in another process, for synchronous programs: benchmarks, and tests that want it out of their loop."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.parse
import urllib.request
from types import TracebackType
from typing import Any, Final

from feedgen.simnet.server import Addresses
from feedgen.simnet.tokens import GET_FEED_SKELETON, LIFETIME_S

READY_S: Final = 120.0
STOP_S: Final = 10.0


class SimnetProcess:
    """`with SimnetProcess("--people", "500") as sim:` takes the words of `feedgen simnet`, or of another `module`."""

    def __init__(self, *arguments: str, module: str = "feedgen.simnet.cli") -> None:
        command = [sys.executable, "-m", module, *arguments]
        # A session of its own: Ctrl-C is for whoever started us, and they stop this one when they are done.
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{module} ended with {self.stop()} before it was ready")
        ready = json.loads(line)
        self.people: int = ready["people"]
        self.seed: int = ready["seed"]
        self.urls = Addresses(**{name: ready[name] for name in Addresses.__slots__})

    def control(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """A control route's answer: `control("readers?k=3")`, `control("faults", {"kind": "close"})`."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.urls.control}/_ctl/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=READY_S) as response:
            return json.load(response)

    def token(self, person: int, aud: str, lxm: str = GET_FEED_SKELETON, lifetime_s: float = LIFETIME_S) -> str:
        query = {"person": person, "aud": aud, "lxm": lxm, "lifetime_s": lifetime_s}
        return str(self.control(f"token?{urllib.parse.urlencode(query)}")["token"])

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def __enter__(self) -> SimnetProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
